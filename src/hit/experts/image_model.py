"""Any vision model of `transformers` as an expert: a row a frame, from a hub id or a local folder, without torchvision."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hit import hub
from hit.experts import network, pictures, windows
from hit.types import Bytes, Features, Floats, FrameWant, Media

# The settings of a preprocessor that decide over pixels.
SETTINGS = (
    "do_resize size resample do_center_crop crop_size do_rescale rescale_factor do_normalize image_mean image_std".split()  # noqa: SIM905
)


class ImageModel:
    """Shows frames, `rate` a second, to the model at `path` and takes its pooled output (see `Network.embed`).

    With `keyframes` it is content with key pictures where they are close enough (see `hit.types.FrameWant`).
    Raises UserError where the folder or hub id does not hold such a model with safetensors weights.
    """

    licence = "the model's"
    hint = "path: a vision model of transformers (of images, or a classifier of scenes), as a folder or a hub id"

    def __init__(
        self,
        path: str,
        name: str = "image-model",
        rate: float = 1.0,
        device: str = "cpu",
        dtype: str = "float32",
        batch: int = 16,
        keyframes: bool = False,
    ) -> None:
        network.positive(path, rate=rate, batch=batch)
        self.name, self._batch = name, batch
        folder = hub.fetch(path)
        self._process, table = _processor(folder)
        self._network = network.Network(path, folder, device, dtype)
        self._want = FrameWant(rate, pictures.side(table), not keyframes)
        self.wants = (self._want,)
        example = np.zeros((1, self._want.side, self._want.side, 3), np.uint8)
        self.dim = network.width(path, "images", "name a vision model", lambda: self._embed(example))
        self.identity = f"image-model/1 {self._network.identity} preprocessing={json.dumps(table, sort_keys=True)} rate={rate}"
        self.identity += " keyframes" * keyframes

    def extract(self, media: Media) -> Features | None:
        """Return (n, dim), a row a frame."""
        return self.extract_many([media])[0]

    def extract_many(self, medias: Sequence[Media]) -> list[Features | None]:
        """Return what `extract` does for each clip, from batches of frames of all of them."""
        frames = [media.frames[self._want] for media in medias]
        clips = [(one.images, windows.spans(one, self._want.rate)) for one in frames]
        return windows.features(self._embed, clips, self._batch, self.dim)

    def _embed(self, images: Any) -> Floats:
        return self._network.embed("image", {"pixel_values": self._process(list(images))})  # (b, 3, height, width)


def _processor(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return a function from images (height, width, 3) to (n, 3, height, width) float32, and the settings it follows.

    It is transformers' own on PIL where the model's family has one, else ours.
    """
    import transformers

    file, table = pictures.read(folder, "image")
    auto: Any = transformers.AutoImageProcessor
    try:
        process = auto.from_pretrained(folder, backend="pil", trust_remote_code=False)
    except Exception:  # has no such variant, or one that wants torchvision, or is none: then ours, which says what it lacks
        pictures.check(file, table)
        return partial(pictures.prepare, table), table
    settings = json.loads(process.to_json_string())  # with its family's defaults
    chosen = {key: value for key, value in settings.items() if key in SETTINGS}
    pictures.check(file, chosen)
    return partial(_theirs, process), chosen


def _theirs(process: Any, images: Sequence[Bytes]) -> Floats:
    return np.ascontiguousarray(process(images=list(images), return_tensors="np")["pixel_values"], dtype=np.float32)
