"""What several processes of one training share. Every call is defined, and trivial, in a single process too."""

import torch
import torch.distributed as td
from torch import Tensor


def rank() -> int:
    """Return this process's number, from 0."""
    return int(td.get_rank()) if td.is_initialized() else 0


@torch.no_grad()
def gather(tensor: Tensor) -> Tensor:
    """Concatenate the tensors (B, ...) of all processes in the order of their ranks, without gradient."""
    if not td.is_initialized():
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(td.get_world_size())]
    td.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
