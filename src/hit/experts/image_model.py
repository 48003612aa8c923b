"""Any vision model of `transformers` as an expert: a row a frame, from a hub id or a local folder, without torchvision."""

import hashlib
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hit.errors import UserError
from hit.types import Bytes, Features, Floats, FrameWant, Media

# The settings of a preprocessor that decide over pixels.
SETTINGS = (
    "do_resize size resample do_center_crop crop_size do_rescale rescale_factor do_normalize image_mean image_std".split()  # noqa: SIM905
)


class ImageModel:
    """Shows frames, `rate` a second, to the model at `path` and takes its pooled output.

    That is, in this order: the image features of a dual encoder (CLIP, SigLIP); `pooler_output` where the weights of
    the pooler are there; the class token of `last_hidden_state` where the model has one; its mean over places.
    Raises UserError where the folder or hub id does not hold such a model with safetensors weights.
    """

    def __init__(self, path: str, name: str = "image-model", rate: float = 1.0, device: str = "cpu", batch: int = 16) -> None:
        self.name, self._batch, self._device = name, batch, device
        folder = _folder(path)
        self._process, table = _processor(folder)
        self._model, self._pooler = _model(path, folder, device)
        self._want = FrameWant(rate, _side(table))
        self.wants = (self._want,)
        self.dim = self._measure(path)
        weights = hashlib.sha256()
        for file in sorted(folder.glob("*.safetensors")):
            with file.open("rb") as stream:
                weights.update(hashlib.file_digest(stream, "sha256").digest())
        config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
        self.identity = (
            f"image-model/1 config={config} weights={weights.hexdigest()} "
            f"preprocessing={json.dumps(table, sort_keys=True)} rate={rate}"
        )

    def extract(self, media: Media) -> Features:
        """Return (n, dim), a row a frame."""
        frames = media.frames[self._want]
        batches = [self._embed(frames.images[at : at + self._batch]) for at in range(0, len(frames.images), self._batch)]
        values = np.concatenate([np.zeros((0, self.dim), np.float32), *batches])
        return Features(values, np.stack([frames.times, frames.times + np.float32(1 / self._want.rate)], axis=1))

    def _measure(self, path: str) -> int:
        try:
            return int(self._embed(np.zeros((1, self._want.side, self._want.side, 3), np.uint8)).shape[1])
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(path, f"does not turn images into features: {_line(error)}", "name a vision model") from error

    def _embed(self, images: Bytes) -> Floats:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(self._process(list(images))).to(self._device)  # (b, 3, height, width)
            if hasattr(self._model, "get_image_features"):
                output = self._model.get_image_features(pixel_values=pixels)
                pooled = output if isinstance(output, torch.Tensor) else output.pooler_output
            else:
                pooled = _pool(self._model(pixel_values=pixels), self._pooler, self._model)
            rows: Floats = pooled.flatten(1).float().cpu().numpy()  # (b, dim)
        return rows


def _pool(output: Any, pooler: bool, model: Any) -> Any:
    if pooler and getattr(output, "pooler_output", None) is not None:
        return output.pooler_output
    hidden = output.last_hidden_state
    if hidden.ndim == 4:
        return hidden.mean((2, 3))  # (b, dim, height, width)
    if any(name.endswith(("cls_token", "class_embedding")) for name, _ in model.named_parameters()):
        return hidden[:, 0]
    return hidden.mean(1)


def _folder(path: str) -> Path:
    """Return the local folder of a model, fetching it from the hub if need be."""
    folder = Path(path).expanduser()
    if folder.is_dir():
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
        raise UserError(path, f"is neither a folder nor a model on the hub: {_line(error)}", "check its name") from None


def _preprocessing(folder: Path) -> dict[str, Any]:
    try:
        table = json.loads((folder / "preprocessor_config.json").read_text())
    except FileNotFoundError:
        raise UserError(
            folder, "has no preprocessor_config.json", "name a vision model, saved with its image processor"
        ) from None
    except ValueError as error:
        raise UserError(folder / "preprocessor_config.json", f"is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise UserError(folder / "preprocessor_config.json", "is not a table")
    return table


def _model(path: str, folder: Path, device: str) -> tuple[Any, bool]:
    """Return the model and whether the weights of its pooler, if it has one, are real ones."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers import utils as library

    if not any(folder.glob("*.safetensors")):
        raise UserError(path, "has no weights in safetensors form", "save it with save_pretrained(..., safe_serialization=True)")
    logging: Any = library.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, info = AutoModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        model = model.eval().requires_grad_(False).to(device)
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError, ImportError) as error:
        raise UserError(
            path, f"cannot be loaded: {_line(error)}", "see that the folder is whole and of a kind transformers knows"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    # What the file lacks has been made up at random: never to be used. Classifiers are saved without a pooler.
    lacking = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if lacking:
        raise UserError(
            path, f"lacks {len(lacking)} of the model's weights, such as {lacking[0]}", "the file is of another model"
        )
    return model, not info["missing_keys"]


def _processor(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return a function from images (height, width, 3) to (n, 3, height, width) float32, and the settings it follows.

    It is transformers' own on PIL where the model's family has one, else ours.
    """
    import transformers

    table = _preprocessing(folder)
    auto: Any = transformers.AutoImageProcessor
    try:
        process = auto.from_pretrained(folder, backend="pil", trust_remote_code=False)
    except (ImportError, OSError, ValueError, KeyError, AttributeError):  # has no such variant, or one that wants torchvision
        if lacking := {"size", "resample", "image_mean", "image_std"} - set(table):
            why = f"does not say {', '.join(sorted(lacking))}"
            raise UserError(folder / "preprocessor_config.json", why, "save it with all settings") from None
        return partial(_plain, table), table
    settings = json.loads(process.to_json_string())  # with its family's defaults
    return partial(_theirs, process), {key: value for key, value in settings.items() if key in SETTINGS}


def _theirs(process: Any, images: Sequence[Bytes]) -> Floats:
    return np.ascontiguousarray(process(images=list(images), return_tensors="np")["pixel_values"], dtype=np.float32)


def _plain(table: dict[str, Any], images: Sequence[Bytes]) -> Floats:
    """Resize, crop and normalise as preprocessor_config.json says."""
    rows = []
    for image in images:
        picture = Image.fromarray(image)
        if table.get("do_resize", True):
            picture = picture.resize(_size(table, picture.size), Image.Resampling(table["resample"]))
        if table.get("do_center_crop", False):
            height, width = _pair(table["crop_size"])
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            picture = picture.crop((left, top, left + width, top + height))
        pixels = np.asarray(picture, np.float32)
        if table.get("do_rescale", True):
            pixels = pixels * np.float32(table.get("rescale_factor", 1 / 255))
        if table.get("do_normalize", True):
            pixels = (pixels - np.float32(table["image_mean"])) / np.float32(table["image_std"])
        rows.append(pixels.transpose(2, 0, 1))
    return np.stack(rows).astype(np.float32)


def _size(table: dict[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """Return the (width, height) to resize a picture of `size` to."""
    wanted = table["size"]
    if isinstance(wanted, dict) and "shortest_edge" in wanted:
        scale = wanted["shortest_edge"] / min(size)
        return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    height, width = _pair(wanted)
    return width, height


def _pair(size: Any) -> tuple[int, int]:
    """Return (height, width)."""
    return (size["height"], size["width"]) if isinstance(size, dict) else (size, size)


def _side(table: dict[str, Any]) -> int:
    """Return the shorter side that frames are decoded at: what the processor would bring them to."""
    size = table["size"]
    return int(max(size.values()) if isinstance(size, dict) else size)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
