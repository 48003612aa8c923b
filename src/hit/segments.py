"""How a video is cut into segments, and which picture stands for one."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hit.errors import UserError
from hit.types import Bytes, Frames, FrameWant
from hit.video import jpeg

CUT_WANT = FrameWant(rate=4.0, side=90)  # what cuts are found in: a cut's time is exact to a quarter of a second
POSTER_WANT = FrameWant(rate=1.0, side=240)  # what posters are chosen from


@dataclass(frozen=True)
class SegmentConfig:
    """Segments last from `shortest` to `longest` seconds, where the video does.

    auto: a video up to `longest` is one segment; a longer one is cut at its shots, and shots that are too long into equal
    windows of about `window` seconds. shots: short videos are cut at their shots too. windows: shots are not looked for.
    Windows that follow each other have `overlap` seconds in common, so that what happens where one ends is whole in the next.
    """

    mode: Literal["auto", "shots", "windows"] = "auto"
    window: float = 8.0
    shortest: float = 2.0
    longest: float = 12.0
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < 2 * self.shortest <= self.window <= self.longest:
            fix = "twice the shortest <= window <= longest"
            raise UserError("segments", f"{self.shortest}, {self.window} and {self.longest} seconds do not go together", fix)
        if not 0 <= self.overlap <= self.window / 2:
            why = f"an overlap of {self.overlap} s does not go with windows of {self.window} s"
            raise UserError("segments", why, "from 0 to half a window")

    def needs_cuts(self, duration: float) -> bool:
        """Say whether a video of this many seconds is looked through for cuts."""
        return duration > self.longest if self.mode == "auto" else self.mode == "shots"


def find_cuts(stretches: Iterable[Frames]) -> list[float]:
    """Return the times at which new shots begin, given the frames of CUT_WANT of consecutive stretches of a video."""
    # Imported late: it loads OpenCV, and most videos are short.
    from scenedetect import AdaptiveDetector, FrameTimecode

    detector = AdaptiveDetector(min_scene_len=1)
    times: list[float] = []
    cuts: list[float] = []
    for frames in stretches:
        for time, image in zip(frames.times.tolist(), frames.images, strict=True):
            place = FrameTimecode(len(times), CUT_WANT.rate)
            times.append(time)
            cuts += [times[cut.frame_num] for cut in detector.process_frame(place, np.ascontiguousarray(image[..., ::-1]))]
    return cuts


def divide(duration: float, cuts: Sequence[float], config: SegmentConfig) -> list[tuple[float, float]]:
    """Return the segments (start, end) of a video: they cover it, and what they have in common is the overlap of windows."""
    bounds = [0.0]
    for cut in sorted(cuts):
        if cut - bounds[-1] >= config.shortest and duration - cut >= config.shortest:
            bounds.append(round(cut, 3))
    segments = []
    for start, end in zip(bounds, [*bounds[1:], duration], strict=True):
        limit = config.window if config.mode == "windows" and end - start > config.longest else config.longest
        if end - start <= limit:
            segments.append((start, end))
            continue
        both = config.overlap
        pieces = math.ceil((end - start - both) / (config.window - both))
        step = (end - start - both) / pieces
        begins = [round(start + step * i, 3) for i in range(pieces)]
        segments += list(zip(begins, [*(round(begin + both, 3) for begin in begins[1:]), end], strict=True))
    return segments


def poster(images: Bytes) -> bytes:
    """Return the JPEG of the best of some images (n, height, width, 3): rich in contrast and sharp, so not black or blurred."""
    return jpeg(max(images, key=_worth))  # the first one of equals


def _worth(image: Bytes) -> float:
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    edges = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    return float(grey.std() * edges)
