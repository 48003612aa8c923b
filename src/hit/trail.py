"""The evidence trail: videos as their segments' vectors, and which stretches of them show what. Tags and policies share it."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hit.calibration import Calibration
from hit.db import Segment
from hit.library import Library
from hit.types import Floats

_VIDEOS = 200  # read at once
_GROUND = 1000  # segments that stand for the library where the model has no background


@dataclass(frozen=True, slots=True, eq=False)
class Reel:
    """A video's segments (n) in the order of time, and their vectors (n, d)."""

    video: str
    segments: Sequence[Segment]
    vectors: Floats

    @property
    def digest(self) -> str:
        """Name this set of segments: another one where the video is cut anew."""
        return hashlib.sha256("\n".join(sorted(one.id for one in self.segments)).encode()).hexdigest()[:16]

    def evidence(self, scores: Floats, threshold: float) -> list[dict[str, Any]]:
        """Return the segments that score (n,) the threshold or more, in the order of time, as JSON."""
        return [
            {"segment_id": one.id, "start": one.start, "end": one.end, "seek": one.seek, "score": score}
            for one, score in zip(self.segments, scores.tolist(), strict=True)
            if score >= threshold
        ]


def reels(library: Library, videos: Iterable[str] | None = None) -> Iterator[Reel]:
    """Yield the videos that have vectors by the library's model, all or these, in the order of their ids.

    Raises StaleError where the rows are numbered anew meanwhile: who cannot begin anew keeps writers out.
    """
    db, stored = library.db, library.stored
    wanted = db.filmed(stored.revision) if videos is None else sorted(set(videos))
    for start in range(0, len(wanted), _VIDEOS):
        found = db.segments(stored, wanted[start : start + _VIDEOS])
        for video in sorted(found):
            own = found[video]
            yield Reel(video, list(own.values()), db.vectors(stored, np.fromiter(own, np.int64)))


def background(library: Library) -> Floats:
    """Return (C, d): the clips of the model's background, or, where it has none, segments of the library, always the same."""
    judge = library.judge
    if isinstance(judge, Calibration) and len(judge.clips):
        return judge.clips
    rows = library.db.rows(library.stored.revision)
    if len(rows) > _GROUND:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:_GROUND])
    return library.db.vectors(library.stored, rows)
