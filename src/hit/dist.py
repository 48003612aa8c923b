"""What several processes of one training share, as torchrun starts them. All of it is defined, and trivial, in one process."""

import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as td

# Before there is a group: the defaults of these functions hold on to the group that is there as they are imported, which DDP
# does, so that gloo's threads would outlive it, and now and then abort a finished process as it exits.
import torch.distributed.nn
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from hit.errors import EndedError, UserError

T = TypeVar("T")
PATIENCE = timedelta(hours=1)  # how long the others wait while the first one validates and writes
LOST = ("gloo/transport", "ncclRemoteError")  # in what gloo and nccl say where another process has died, or does not answer

POLL = 0.02  # seconds between two looks for those who have yet to come
_groups = itertools.count()  # each has keys of its own at torchrun's store


@contextmanager
def group(device: torch.device) -> Iterator[None]:
    """Join the other processes of a torchrun, if this is one of several: nccl on GPUs, gloo on CPUs.

    Where one fails all end, and the first to fail says why: the UserErrors of the others become a silent exit with the same
    code. Raises UserError where another process is gone. After a UserError that is not of that kind the restarts that
    torchrun has left would end in the same: they exit as soon as they come here, with nothing more to say.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or td.is_initialized():
        yield
        return
    mistake = _mistake()
    if mistake and mistake.exists():
        raise SystemExit(UserError.code)
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    meeting, number, count = next(rendezvous("env://", timeout=PATIENCE))
    lobby = td.PrefixStore(f"group {next(_groups)}", meeting)  # type: ignore[attr-defined]
    store = td.PrefixStore(_agree(lobby, number, count), lobby)  # type: ignore[attr-defined]
    td.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", store=store, rank=number, world_size=count, timeout=PATIENCE
    )
    try:
        yield
    except (UserError, RuntimeError) as error:
        said = error if isinstance(error, UserError) else _lost(error)
        if said is None:
            raise
        if mistake and isinstance(error, UserError) and not isinstance(error, EndedError):
            mistake.touch()
        if _said(store):
            raise SystemExit(said.code) from None
        raise said from None
    finally:
        said = None  # it holds its traceback, and that the frames that hold the group
        td.destroy_process_group()


def _agree(lobby: Any, number: int, count: int) -> str:
    """Return a name that the processes of this start have in common, and no others.

    torchrun's store outlives the processes that it starts again, with all that they wrote there, and counts restarts by node.
    So each asks the first one by a name of its own, and the first one answers until all of this start have heard.
    """
    mine = uuid.uuid4().hex
    if number:
        lobby.set(f"asks {number}", mine)
        name = str(lobby.get(f"answer to {mine}").decode())
        lobby.set(f"{name} {number}", "heard")
        return name
    missing, until = set(range(1, count)), time.monotonic() + PATIENCE.total_seconds()
    while missing and time.monotonic() < until:
        for other in sorted(missing):
            if lobby.check([f"asks {other}"]):
                lobby.set(f"answer to {lobby.get(f'asks {other}').decode()}", mine)
            if lobby.check([f"{mine} {other}"]):
                missing.discard(other)
        time.sleep(POLL)
    return mine


def _mistake() -> Path | None:
    """Return the file by which a node's restarts know of a mistake; it lies beside torchrun's attempts, and goes with them."""
    given = os.environ.get("TORCHELASTIC_ERROR_FILE")  # RUN/attempt_0/0/error.json
    return Path(given).parents[2] / "mistake" if given else None


def _said(store: Any) -> bool:
    """Tell whether another process has failed before, and said why."""
    try:
        return int(store.add("failed", 1)) > 1
    except td.DistError:  # the store went with the first process
        return False


def _lost(error: RuntimeError) -> UserError | None:
    if any(sign in str(error) for sign in LOST):
        fix = "the same command goes on from the last checkpoint"
        return UserError("training", "another process of it is gone, or does not answer", fix)
    return None


def first() -> bool:
    """Tell whether this is the process that reports: the first one of a torchrun, or the only one."""
    return int(os.environ.get("WORLD_SIZE", "1")) < 2 or os.environ["RANK"] == "0"


def rank() -> int:
    """Return this process's number, from 0."""
    return int(td.get_rank()) if td.is_initialized() else 0


def world() -> int:
    """Return the number of processes."""
    return int(td.get_world_size()) if td.is_initialized() else 1


def anywhere(flag: bool, device: torch.device) -> bool:
    """Tell whether any process says so: all hear the same."""
    seen = torch.tensor(float(flag), device=device)
    average([seen])
    return bool(seen)


def shared(make: Callable[[], T], device: torch.device) -> T:
    """Return what the first process makes; the others are told. A UserError of it is raised in all of them."""
    if not td.is_initialized():
        return make()
    told: list[Any] = [None, None]
    if td.get_rank() == 0:
        try:
            told[0] = make()
        except UserError as error:
            told[1] = error
    td.broadcast_object_list(told, 0, device=device)
    if told[1] is not None:
        raise told[1]
    made: T = told[0]
    return made


def hand_out(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the first process's tensors, on `device`; what the others give does not count."""
    if not td.is_initialized():
        return dict(tensors)
    shapes = shared(lambda: {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}, device)
    mine = tensors if td.get_rank() == 0 else {}
    found = {
        name: mine[name].to(device) if name in mine else torch.empty(shape, dtype=dtype, device=device)
        for name, (shape, dtype) in shapes.items()
    }
    align(found.values())
    return found


@torch.no_grad()
def align(tensors: Iterable[Tensor]) -> None:
    """Give each tensor the values that it has in the first process."""
    for tensor in tensors if td.is_initialized() else ():
        td.broadcast(tensor, 0)


def gather(tensor: Tensor) -> Tensor:
    """Concatenate the tensors (B, ...) of all processes in the order of their ranks.

    The gradient of a process's own part is the sum of what all processes' losses send back to it: with gradients averaged
    over the processes, as DDP does, that is the gradient of the mean of the losses.
    """
    if not td.is_initialized():
        return tensor
    return _Gather.apply(tensor) if tensor.requires_grad else _gather(tensor)  # type: ignore[no-untyped-call]


@torch.no_grad()
def average(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    for tensor in tensors if td.is_initialized() else ():
        td.all_reduce(tensor)
        tensor.div_(td.get_world_size())


def collect(tensor: Tensor) -> Tensor:
    """Return, to the first process, the tensors of all side by side (W, ...); to another one its own (1, ...)."""
    if not td.is_initialized():
        return tensor[None]
    parts = [torch.empty_like(tensor) for _ in range(world())] if rank() == 0 else None
    td.gather(tensor.contiguous(), parts, 0)
    return torch.stack(parts) if parts else tensor[None]


def logsumexp(tensor: Tensor) -> Tensor:
    """Return log of the sum of exp over the processes, element by element. The gradient is as that of `gather`."""
    if not td.is_initialized():
        return tensor
    found: Tensor = _LogSumExp.apply(tensor)  # type: ignore[no-untyped-call]
    return found


def _gather(tensor: Tensor) -> Tensor:
    parts = [torch.empty_like(tensor) for _ in range(td.get_world_size())]
    td.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        return _gather(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        td.all_reduce(total)
        start = td.get_rank() * ctx.rows
        return total[start : start + ctx.rows]


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        top = tensor.clone()
        td.all_reduce(top, td.ReduceOp.MAX)
        total = (tensor - top).exp()
        td.all_reduce(total)
        found = total.log().add_(top)
        ctx.save_for_backward(tensor, found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        tensor, found = ctx.saved_tensors
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        td.all_reduce(total)  # each process looks at other elements of the result
        share: Tensor = (tensor - found).exp() * total
        return share
