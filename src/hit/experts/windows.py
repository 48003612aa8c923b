"""What networks are shown of a clip: windows of one length, the time of each frame, and how much at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hit import pool
from hit.types import Audio, Features, Floats, Frames


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
    found = []
    for at in range(0, len(rows), batch):
        found.append(embed(rows[at : at + batch]))
        pool.beat()  # a slow network is at work, and does not hang
    return np.concatenate([np.zeros((0, dim), np.float32), *found])


def features(
    embed: Callable[[Any], Floats], clips: Sequence[tuple[Any, Floats] | None], batch: int, dim: int
) -> list[Features | None]:
    """Return the features of clips given as (rows, times (n, 2)), or as None where an expert does not apply.

    `embed` is shown `batch` rows at once, whichever clips they are of, and not again a row that equals the one before, as
    still pictures do.
    """
    rows = [row for clip in clips if clip is not None for row in clip[0]]
    new = [not at or not np.array_equal(row, rows[at - 1]) for at, row in enumerate(rows)]
    values = in_batches(embed, [row for row, fresh in zip(rows, new, strict=True) if fresh], batch, dim)[
        np.cumsum(new, dtype=int) - 1
    ]
    ends = np.cumsum([0 if clip is None else len(clip[0]) for clip in clips])
    return [
        None if clip is None else Features(values[end - len(clip[0]) : end], clip[1])
        for clip, end in zip(clips, ends, strict=True)
    ]
