"""Perceptual hashes of a video's frames, by which a copy is known that was encoded anew, resized, or changed a little.

Of one frame a second, pHash's 256 bits: the signs, about their median, of the 16 x 16 lowest frequencies of the picture, by the
package ImageHash. Black bars are cut off before, and what has almost no detail (a fade, a title card's ground) has no hash, as
any such frame is like any other. benchmarks/prints.py measures what is told apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hit import video
from hit.types import Bytes, Clip, Floats, FrameWant, Where

KIND = "phash16/1"  # what made a hash; others are not compared with it
BITS = 256
_SIDE = 128
_WANT = FrameWant(1.0, _SIDE, exact=False)
_ROW = np.dtype([("time", "<f4"), ("hash", "u1", BITS // 8)])
_DARK = 24  # of 255: what never is brighter may be a bar
_DETAIL = 2.0  # mean step between neighbours of a 64 x 64 picture, of 255, under which a frame has no hash
Signs = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """The times (n,) of frames in seconds, and their hashes (n, 32), packed bits."""

    times: Floats
    hashes: Bytes

    def pack(self) -> bytes:
        """Return what `unpack` reads."""
        rows = np.empty(len(self.times), _ROW)
        rows["time"], rows["hash"] = self.times, self.hashes
        return rows.tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> "Prints":
        """Read what is kept."""
        rows = np.frombuffer(data, _ROW)
        return cls(rows["time"].astype(np.float32), np.ascontiguousarray(rows["hash"]))

    def within(self, start: float, end: float) -> "Prints":
        """Return those of a stretch."""
        inside = (self.times >= start) & (self.times < end)
        return Prints(self.times[inside], self.hashes[inside])

    def signs(self) -> Signs:
        """Return the bits as -1 and 1 (n, 256): the product of two is BITS less twice their distance."""
        return np.unpackbits(self.hashes, axis=1).astype(np.float32) * 2 - 1


def make(path: Where, start: float = 0.0, end: float = float("inf"), tick: Callable[[float], None] | None = None) -> Prints:
    """Hash a video's frames, or those of a stretch. Raises UserError where the file cannot be read."""
    images: list[Bytes] = []
    times: list[float] = []
    for media in video.read(path, [Clip("", "", path, start, end)], [_WANT], tick):
        frames = media.frames[_WANT]
        images += list(frames.images)
        times += frames.times.tolist()
    return of_frames(images, times)


def of_frames(images: Sequence[Bytes], times: Sequence[float]) -> Prints:
    """Hash pictures (height, width, 3), all of one video."""
    grey = [np.asarray(Image.fromarray(image).convert("L")) for image in images]
    kept, hashes = [], []
    if grey:
        rows, columns = _shown(grey)
        for time, image in zip(times, grey, strict=True):
            small = Image.fromarray(image[rows, columns]).resize((64, 64), Image.Resampling.BILINEAR)
            if _detail(np.asarray(small)) >= _DETAIL:
                kept.append(time)
                hashes.append(np.packbits(imagehash.phash(small, hash_size=16).hash.ravel()))
    return Prints(np.array(kept, np.float32), np.array(hashes, np.uint8).reshape(-1, BITS // 8))


def _shown(images: Sequence[NDArray[np.uint8]]) -> tuple[slice, slice]:
    """Return what is left of pictures (height, width) without bars, which are dark in all of them: at least half of each side."""
    brightest = np.max(images, axis=0)
    found = []
    for axis in (1, 0):
        bright = np.flatnonzero(np.percentile(brightest, 98, axis=axis) > _DARK)
        size = brightest.shape[1 - axis]
        whole = len(bright) == 0 or bright[-1] + 1 - bright[0] < size / 2
        found.append(slice(0, size) if whole else slice(int(bright[0]), int(bright[-1]) + 1))
    return found[0], found[1]


def _detail(image: NDArray[np.uint8]) -> float:
    values = image.astype(np.int16)
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())


@dataclass(frozen=True, slots=True)
class Match:
    """How a video is like a known clip. share: of the frames of the shorter one that the other has; distance: mean, in bits."""

    entry: int
    share: float
    distance: float
    frames: Sequence[dict[str, Any]]


class Known:
    """Known clips by their numbers, to be found in videos."""

    def __init__(self, clips: dict[int, Prints]) -> None:
        self._entries = [(number, clip) for number, clip in clips.items() if len(clip.times)]
        owners = [np.full(len(clip.times), i) for i, (_, clip) in enumerate(self._entries)]
        self._owner = np.concatenate(owners) if owners else np.zeros(0, np.int64)
        self._times = np.concatenate([clip.times for _, clip in self._entries]) if owners else np.zeros(0, np.float32)
        signs = [clip.signs() for _, clip in self._entries]
        self._signs = np.concatenate(signs) if owners else np.zeros((0, BITS), np.float32)

    def find(self, prints: Prints, bits: int, share: float) -> list[Match]:
        """Return the clips that a video has at least such a share of, or that have such a share of it, best first.

        bits: by how many two frames may differ that are taken for the same.
        """
        if not len(prints.times) or not len(self._signs):
            return []
        distances = ((BITS - prints.signs() @ self._signs.T) / 2).astype(np.int32)  # (n, all known frames)
        found = []
        for i in np.unique(self._owner[(distances <= bits).any(axis=0)]).tolist():
            own = np.flatnonzero(self._owner == i)
            part = distances[:, own]
            near = part <= bits
            likeness = max(float(near.any(axis=0).mean()), float(near.any(axis=1).mean()))
            if likeness >= share:
                rows = np.flatnonzero(near.any(axis=1))
                best = part[rows].argmin(axis=1)
                frames = [
                    {"time": float(prints.times[row]), "bank_time": float(self._times[own[at]]), "distance": int(part[row, at])}
                    for row, at in zip(rows.tolist(), best.tolist(), strict=True)
                ]
                mean = float(np.mean([frame["distance"] for frame in frames]))
                found.append(Match(self._entries[i][0], likeness, mean, frames))
        return sorted(found, key=lambda one: (-one.share, one.distance, one.entry))
