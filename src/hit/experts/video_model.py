"""Any video model of `transformers` as an expert: a row a window of frames, from a hub id or a local folder."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from hit import hub
from hit.errors import UserError
from hit.experts import network, pictures, windows
from hit.types import Bytes, Features, Floats, Frames, FrameWant, Media

Window = tuple[Bytes, Any]  # a clip's images (n, height, width, 3) and the places (frames,) of those that make the window


class VideoModel:
    """Shows windows of `frames` frames, `rate` a second, to the model at `path` and takes its pooled output.

    VideoMAE, V-JEPA 2, TimeSformer, ViViT and what is of their form; pooled as `Network.embed` says. `frames` of 0 is
    what the model was made for. Raises UserError where the folder or hub id does not hold such a model with safetensors
    weights.
    """

    licence = "the model's"
    hint = "path: a video model of transformers, as a folder or a hub id"

    def __init__(
        self,
        path: str,
        name: str = "video-model",
        rate: float = 8.0,
        frames: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
        batch: int = 4,
    ) -> None:
        network.positive(path, rate=rate, batch=batch, **({"frames": frames} if frames else {}))
        self.name, self._batch = name, batch
        folder = hub.fetch(path)
        file, table = pictures.read(folder, "video")
        self._table = _completed(table)
        pictures.check(file, self._table)
        self._network = network.Network(path, folder, device, dtype)
        self._frames = frames or _frames(path, self._network.config)
        self._want = FrameWant(rate, pictures.side(self._table))
        self.wants = (self._want,)
        still = np.zeros((1, self._want.side, self._want.side, 3), np.uint8)
        window = still, np.zeros(self._frames, np.int64)
        fix = "name a video model, and a number of frames that it takes"
        self.dim = network.width(path, "frames", fix, lambda: self._embed([window]))
        self.identity = (
            f"video-model/1 {self._network.identity} preprocessing={json.dumps(self._table, sort_keys=True)} "
            f"frames={self._frames} rate={rate}"
        )

    def extract(self, media: Media) -> Features | None:
        """Return (n, dim), a row a window; a clip shorter than a window is filled with its last frame."""
        return self.extract_many([media])[0]

    def extract_many(self, medias: Sequence[Media]) -> list[Features | None]:
        """Return what `extract` does for each clip, from batches of windows of all of them."""
        clips = [self._windows(media.frames[self._want]) for media in medias]
        return windows.features(self._embed, clips, self._batch, self.dim)

    def _windows(self, frames: Frames) -> tuple[list[Window], Floats]:
        """Return the windows of a clip and their times (n, 2)."""
        count = len(frames.images)
        begins = np.array(windows.starts(count, self._frames), np.int64)
        index = np.minimum(begins[:, None] + np.arange(self._frames), count - 1)  # (n, frames)
        ends = frames.times[index[:, -1]] + np.float32(1 / self._want.rate)
        return [(frames.images, places) for places in index], np.stack([frames.times[begins], ends], axis=1)

    def _embed(self, shown: Sequence[Window]) -> Floats:
        """Return a row for each window."""
        pixels = np.stack([self._pixels(*window) for window in shown])  # (n, frames, 3, height, width)
        return self._network.embed("video", {self._network.input("video"): pixels})

    def _pixels(self, images: Bytes, places: Any) -> Floats:
        used, again = np.unique(places, return_inverse=True)  # a frame that stands for the rest is prepared once
        return pictures.prepare(self._table, [images[place] for place in used])[again]


def _completed(table: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that decide over pixels, with what video processors mean where their table is silent."""
    kind = str(table.get("video_processor_type") or table.get("image_processor_type") or table.get("feature_extractor_type"))
    keys = (
        *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize"),
        *("image_mean", "image_std", "offset"),
    )
    settings = {"do_center_crop": True, "offset": kind.startswith("Vivit")} | {key: table[key] for key in keys if key in table}
    if isinstance(settings.get("size"), int):  # older tables: the shorter side
        settings["size"] = {"shortest_edge": settings["size"]}
    if "crop_size" not in settings:
        settings["do_center_crop"] = False
    return settings


def _frames(path: str, config: Any) -> int:
    """Return how many frames the model was made for."""
    for part in (config, getattr(config, "vision_config", None)):
        for key in ("num_frames", "frames_per_clip"):
            if isinstance(count := getattr(part, key, None), int) and count > 0:
                return count
    raise UserError(path, "does not say how many frames it takes at once", "name a video model, or give the option frames")
