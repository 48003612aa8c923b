"""What several processes of one training share, as torchrun starts them. All of it is defined, and trivial, in one process."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as td
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from hit.errors import UserError

PATIENCE = timedelta(hours=1)  # how long the others wait while the first one validates and writes
LOST = ("gloo/transport", "ncclRemoteError")  # in what gloo and nccl say where another process has died, or does not answer

_groups = itertools.count()  # each has keys of its own at torchrun's store


@contextmanager
def group(device: torch.device) -> Iterator[None]:
    """Join the other processes of a torchrun, if this is one of several: nccl on GPUs, gloo on CPUs.

    Where one fails all end, and the first to fail says why: the UserErrors of the others become a silent exit with the same
    code. Raises UserError where another process is gone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or td.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    meeting, number, count = next(rendezvous("env://", timeout=PATIENCE))
    store = td.PrefixStore(f"group {next(_groups)}", meeting)  # type: ignore[attr-defined]
    td.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", store=store, rank=number, world_size=count, timeout=PATIENCE
    )
    try:
        yield
    except (UserError, RuntimeError) as error:
        said = error if isinstance(error, UserError) else _lost(error)
        if said is None:
            raise
        if _said(store):
            raise SystemExit(said.code) from None
        raise said from None
    finally:
        td.destroy_process_group()


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


def barrier() -> None:
    """Wait until all processes are here."""
    if td.is_initialized():
        td.barrier()


def anywhere(flag: bool, device: torch.device) -> bool:
    """Tell whether any process says so: all hear the same."""
    seen = torch.tensor(float(flag), device=device)
    average([seen])
    return bool(seen)


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
