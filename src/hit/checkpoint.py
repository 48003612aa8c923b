"""Checkpoints of a training run: one safetensors file each, with JSON beside the tensors; no pickle.

Written beside, flushed to the disk and renamed, so that a file that has its name is whole.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hit import dist
from hit.errors import UserError
from hit.files import sync_folder
from hit.momentum import MomentumContrast


def save(
    folder: Path, step: int, contrast: MomentumContrast, optimizer: torch.optim.Optimizer, notes: Mapping[str, Any], keep: int
) -> None:
    """Write the checkpoint of `step` and remove all but the newest `keep`. Raises UserError where the disk refuses.

    All processes call this at once; the first one writes.
    """
    state = contrast.learned_state()
    if dist.rank():
        return
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"module.{name}": tensor.contiguous() for name, tensor in state.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    path = folder / f"step-{step:08d}.safetensors"
    partial = path.with_suffix(".partial")
    try:
        save_file(tensors, partial, {"step": str(step), "notes": json.dumps(notes)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise UserError(path, f"cannot be written: {error}", "free some space; the checkpoint before is untouched") from None
    partial.replace(path)
    sync_folder(folder)
    for old in _all(folder)[:-keep]:
        old.unlink()


def restore(folder: Path, contrast: MomentumContrast, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]] | None:
    """Load the newest checkpoint into encoders, banks and optimiser; return its step and notes, or None without one.

    The first process reads it and hands it out: no other needs the folder.
    """
    device = contrast.bank.device
    tensors: dict[str, Tensor] = {}

    def read() -> dict[str, str] | None:
        for partial in folder.glob("*.partial"):
            partial.unlink()
        if not (found := _all(folder)):
            return None
        whole, header = _read(found[-1])
        tensors.update(whole)
        return header

    if (header := dist.shared(read, device)) is None:
        return None
    tensors = dist.hand_out(tensors, device)
    contrast.load_learned_state({name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")})
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return int(header["step"]), json.loads(header["notes"])


def there(folder: Path) -> bool:
    """Tell whether there is a checkpoint."""
    return bool(_all(folder))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118  # no mapping
    except SafetensorError as error:
        raise UserError(path, f"a damaged checkpoint: {error}", "delete it; the run goes on from the one before") from None


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"))
