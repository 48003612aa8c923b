"""Networks of `transformers` on pictures and sound: a row for each, pooled as the model's kind is."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hit.errors import UserError
from hit.experts.pretrained import fingerprint, load
from hit.hub import line
from hit.types import Floats


class Network:
    """The frozen model in `folder`, on its device. `identity` names its configuration, its weights and its precision.

    `path` is what the user calls it. Only safetensors are read and no code from the folder is run. Raises UserError where it
    cannot be loaded whole.
    """

    def __init__(self, path: str, folder: Path, device: str = "cpu", dtype: str = "float32") -> None:
        self._device, self._dtype = device, dtype
        self._model, self._pooler = load(path, folder, dtype=dtype)
        try:
            self._model.to(device)
        except Exception as error:  # torch has many words for a device that is not there
            raise UserError(path, f"cannot be put on '{device}': {line(error)}", "device is cpu, cuda or cuda:1") from error
        self.config: Any = self._model.config
        # V-JEPA 2 would also predict what it cannot see, for several times the work.
        spared = "skip_predictor" in inspect.signature(self._model.forward).parameters
        self._extra = {"skip_predictor": True} if spared else {}
        config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
        weights = fingerprint(folder.glob("*.safetensors"))
        self.identity = f"config={config} weights={weights}" + ("" if dtype == "float32" else f" dtype={dtype}")

    def input(self, kind: str) -> str:
        """Return what the model calls its pictures, such as "pixel_values"."""
        method = getattr(self._model, f"get_{kind}_features", self._model.forward)
        own = str(self._model.main_input_name)  # of dual encoders: the text
        return own if own in inspect.signature(method).parameters else "pixel_values"

    def has(self, kind: str) -> bool:
        """Say whether the model is a dual encoder one of whose sides embeds a `kind`, "text" among them."""
        return hasattr(self._model, f"get_{kind}_features")

    def embed(self, kind: str, inputs: Mapping[str, Any]) -> Floats:
        """Return a row (n, dim) for each "image", "video", "audio" or "text" of a batch of arrays.

        That is, in this order: the features of a dual encoder (CLIP, X-CLIP, CLAP); `pooler_output` where the weights of
        the pooler are there; the class token of `last_hidden_state` where the model has one; its mean over places.
        """
        import torch

        with torch.inference_mode():
            tensors = {name: self._tensor(values) for name, values in inputs.items()}
            features = getattr(self._model, f"get_{kind}_features", None)
            if features is not None:
                output = features(**tensors)
                pooled = output if isinstance(output, torch.Tensor) else output.pooler_output
            else:
                pooled = self._pool(self._model(**tensors, **self._extra))
            rows: Floats = pooled.flatten(1).float().cpu().numpy()  # (n, dim)
        return rows

    def _tensor(self, values: Any) -> Any:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(values))
        return tensor.to(self._device, getattr(torch, self._dtype) if tensor.is_floating_point() else None)

    def _pool(self, output: Any) -> Any:
        if self._pooler and getattr(output, "pooler_output", None) is not None:
            return output.pooler_output
        hidden = output.last_hidden_state
        if hidden.ndim == 4:
            return hidden.mean((2, 3))  # (n, dim, height, width)
        if any(name.endswith(("cls_token", "class_embedding")) for name, _ in self._model.named_parameters()):
            return hidden[:, 0]
        return hidden.mean(1)


def width(path: str, what: str, fix: str, embed: Callable[[], Floats]) -> int:
    """Return how many numbers a row of `embed` has. Raises UserError where the model turns out to be of another kind."""
    try:
        rows = embed()
    except Exception as error:  # whatever a stranger's model makes of an example is that model's failing
        raise UserError(path, f"does not turn {what} into features: {line(error)}", fix) from error
    if not np.isfinite(rows).all():
        raise UserError(path, f"turns {what} into numbers that are not finite", "see that its weights and settings are whole")
    return int(rows.shape[1])


def positive(path: str, **options: float) -> None:
    """Raise UserError for the first option that is not above 0."""
    for option, value in options.items():
        if not value > 0:
            raise UserError(path, f"option '{option}' is {value}", "it must be above 0")
