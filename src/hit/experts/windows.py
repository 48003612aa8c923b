"""What networks are shown of a clip: windows of one length, the time of each frame, and how much at once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hit.types import Audio, Floats, Frames


def starts(length: int, size: int) -> list[int]:
    """Return where windows of `size` steps begin in `length`: side by side, the last one moved back to end in time.

    A rest of less than half a window gets none of its own, for it would be a copy of the one before; what is shorter
    than a window gets one all the same, and nothing gets none.
    """
    count = max(1, (2 * length + size) // (2 * size)) if length else 0  # rounds half a window up
    return [max(0, min(i * size, length - size)) for i in range(count)]


def over(audio: Audio, size: int) -> tuple[Floats, Floats]:
    """Cut sound into windows of `size` samples: (n, size), what is shorter than one filled with silence, and times (n, 2)."""
    length = len(audio.samples)
    begins = np.array(starts(length, size), np.int64)
    samples = np.pad(audio.samples, (0, max(0, size - length)))
    times = audio.start + np.stack([begins, np.minimum(begins + size, length)], axis=1) / audio.rate
    return np.lib.stride_tricks.sliding_window_view(samples, size)[begins], times.astype(np.float32)


def spans(frames: Frames, rate: float) -> Floats:
    """Return the stretch of time (n, 2) that each of frames stands for, `rate` of which come a second."""
    return np.stack([frames.times, frames.times + np.float32(1 / rate)], axis=1)


def in_batches(embed: Callable[[Any], Floats], rows: Any, batch: int, dim: int) -> Floats:
    """Return what `embed` makes of rows, `batch` of them at once: (n, dim), n = 0 too."""
    found = [embed(rows[at : at + batch]) for at in range(0, len(rows), batch)]
    return np.concatenate([np.zeros((0, dim), np.float32), *found])


def each_once(embed: Callable[[Any], Floats], rows: Any, batch: int, dim: int) -> Floats:
    """Do as `in_batches` for an array of rows, without embedding again one that equals the one before, as still pictures do."""
    new = np.array([not i or not np.array_equal(rows[i], rows[i - 1]) for i in range(len(rows))], bool)
    values: Floats = in_batches(embed, rows[new], batch, dim)[np.cumsum(new) - 1]
    return values
