"""What several processes of one training share, as torchrun starts them. All of it is defined, and trivial, in one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as td
from torch import Tensor

PATIENCE = timedelta(minutes=10)  # how long a process waits for the others before it gives up
LOST = ("connection closed", "connection reset", "connection refused", "broken pipe", "timed out", "timeout", "ncclremoteerror")


@contextmanager
def group(device: torch.device) -> Iterator[None]:
    """Join the other processes of a torchrun, if this is one of several: nccl on GPUs, gloo on CPUs."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or td.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    td.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        td.destroy_process_group()


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


def lost(error: RuntimeError) -> bool:
    """Tell whether an error means that another process is gone."""
    return td.is_initialized() and any(sign in str(error).lower() for sign in LOST)


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
