"""The evidence trail: videos as their segments' vectors, and which stretches of them show what. Tags and policies share it."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from hit import content, places
from hit.calibration import Calibration
from hit.db import Segment, StaleError
from hit.errors import NotFoundError
from hit.library import Library
from hit.types import Far, Floats, Keys, Where

T = TypeVar("T")
_VIDEOS = 200  # read at once
_TRIES = 5  # where rows are numbered anew meanwhile
_GROUND = 1000  # segments that stand for the library where the model has no background


@dataclass(frozen=True, slots=True, eq=False)
class Reel:
    """A video's segments (n) in the order of time, their vectors (n, d), and the rows (n,) of the array where these are."""

    video: str
    segments: Sequence[Segment]
    vectors: Floats
    rows: Keys

    @property
    def digest(self) -> str:
        """Name this set of segments: another one where the video is cut anew."""
        return hashlib.sha256("\n".join(sorted(one.id for one in self.segments)).encode()).hexdigest()[:16]

    def evidence(self, scores: Floats, threshold: float) -> list[dict[str, Any]]:
        """Return the segments that score (n,) the threshold or more, in the order of time, as JSON."""
        return [evidence(one, score) for one, score in zip(self.segments, scores.tolist(), strict=True) if score >= threshold]


def evidence(segment: Segment, score: float) -> dict[str, Any]:
    """Return a segment that shows something, and how well, as JSON."""
    times = {"start": segment.start, "end": segment.end, "seek": segment.seek}
    return {"segment_id": segment.id, **times, "score": score}


def steady(library: Library, work: Callable[[], T]) -> T:
    """Return what comes of work that reads rows; it is begun anew, a few times, where these are numbered anew meanwhile.

    As `Library.asked`, but for work that can do without the model.
    """
    for left in reversed(range(_TRIES)):
        try:
            return work()
        except StaleError:
            if not left:
                raise
            library.renew()
    raise AssertionError


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
            rows = np.fromiter(own, np.int64)
            yield Reel(video, list(own.values()), db.vectors(stored, rows), rows)


def background(library: Library) -> Floats:
    """Return (C, d): the clips of the model's background, or, where it has none, segments of the library, always the same.

    Segments in which the model has found nothing stand for nothing, unless there are no others.
    """
    judge = library.judge
    if isinstance(judge, Calibration) and len(judge.clips):
        return judge.clips
    rows = library.db.rows(library.stored.revision)
    if len(rows) > _GROUND:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:_GROUND])
    found = library.db.vectors(library.stored, rows)
    said = found.any(axis=1)
    return found[said] if said.any() else found


def source(library: Library, name: str) -> Where:
    """Return a file that holds a video's content, as when it was last looked at: one in an object store with its size and mark.

    Raises NotFoundError where the library does not know the video, or none of its files is there as it was.
    """
    changed = False
    for known, size, mtime_ns in library.db.files_of(name):
        with contextlib.suppress(OSError):
            where = library.db.roots.locate(known)
            if isinstance(where, Far):
                where = places.look(where, sides=False)  # for each part that a player asks for
                same = content.number(where) == mtime_ns
            else:
                same = content.look(where) == content.Look(size, mtime_ns)
            if same:
                return where
            changed = True
    why = "its file has changed since it was looked at" if changed else "its file is not there any more"
    raise NotFoundError(f"video {name}", why, "index it again" if changed else "bring the file back, or remove the video")
