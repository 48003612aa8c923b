"""Networks of `transformers` from a hub id or a local folder: found, loaded safely, named by their weights, pooled."""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hit.errors import UserError
from hit.types import Floats

DTYPES = ("float32", "bfloat16", "float16")


class Network:
    """The frozen model in `folder`, on its device. `identity` names its configuration, its weights and its precision.

    `path` is what the user calls it. Only safetensors are read and no code from the folder is run. Raises UserError where it
    cannot be loaded whole.
    """

    def __init__(self, path: str, folder: Path, device: str = "cpu", dtype: str = "float32") -> None:
        if dtype not in DTYPES:
            raise UserError(path, f"cannot be computed in '{dtype}'", f"dtype is one of {', '.join(DTYPES)}")
        self._device, self._dtype = device, dtype
        self._model, self._pooler = _load(path, folder, device, dtype)
        self.config: Any = self._model.config
        # V-JEPA 2 would also predict what it cannot see, for several times the work.
        spared = "skip_predictor" in inspect.signature(self._model.forward).parameters
        self._extra = {"skip_predictor": True} if spared else {}
        self.identity = _fingerprint(folder) + ("" if dtype == "float32" else f" dtype={dtype}")

    def input(self, kind: str) -> str:
        """Return what the model calls its pictures, such as "pixel_values"."""
        method = getattr(self._model, f"get_{kind}_features", self._model.forward)
        own = str(self._model.main_input_name)  # of dual encoders: the text
        return own if own in inspect.signature(method).parameters else "pixel_values"

    def embed(self, kind: str, inputs: Mapping[str, Any]) -> Floats:
        """Return a row (n, dim) for each "image", "video" or "audio" of a batch of arrays.

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


def line(error: Exception) -> str:
    """Return what an exception of another library says, on one line of no great length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def fetch(path: str) -> Path:
    """Return the local folder of a model, fetching it from the hub if need be."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        _check(folder / "config.json")
        return folder
    if folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise UserError(path, "there is no such folder", "give a folder in the form that transformers saves, or a hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors"]))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        why = (
            "is not in the hub's cache here, and HF_HUB_OFFLINE is set"
            if offline
            else "is not here and the hub cannot be reached"
        )
        raise UserError(path, why, "fetch it where there is a network, then give its folder") from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise UserError(path, f"is neither a folder nor a model on the hub: {line(error)}", "check its name") from None


def _check(file: Path) -> None:
    """Raise UserError for a configuration that is none: of that, transformers complains in many ways."""
    try:
        table = json.loads(file.read_text())
    except FileNotFoundError:
        return  # what is missed first is the preprocessing, which says more
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(file, f"is not JSON: {line(error)}", "fetch the model again") from None
    if not isinstance(table, dict):
        raise UserError(file, "is not a table", "fetch the model again")


def _load(path: str, folder: Path, device: str, dtype: str) -> tuple[Any, bool]:
    """Return the model and whether the weights of its pooler, if it has one, are real ones."""
    import torch
    from transformers import AutoModel

    if not any(folder.glob("*.safetensors")):
        raise UserError(path, "has no weights in safetensors form", "save it with save_pretrained(..., safe_serialization=True)")
    try:
        with _quiet():
            model, info = AutoModel.from_pretrained(
                folder,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=getattr(torch, dtype),
                output_loading_info=True,
            )
            model = model.eval().requires_grad_(False).to(device)
    except Exception as error:  # whatever transformers makes of a stranger's folder is that folder's failing
        raise UserError(
            path, f"cannot be loaded: {line(error)}", "see that the folder is whole and of a kind transformers knows"
        ) from error
    # What the file lacks has been made up at random: never to be used. Classifiers are saved without a pooler.
    lacking = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if lacking:
        raise UserError(
            path, f"lacks {len(lacking)} of the model's weights, such as {lacking[0]}", "the file is of another model"
        )
    return model, not info["missing_keys"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from writing its reports and progress bars between ours."""
    from transformers import utils as library

    logging: Any = library.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _fingerprint(folder: Path) -> str:
    weights = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            weights.update(hashlib.file_digest(stream, "sha256").digest())
    config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    return f"config={config} weights={weights.hexdigest()}"
