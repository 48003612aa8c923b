"""What a search is given instead of words: files that are looked at now, and stretches of what the library has looked at."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hit import analysis, filters
from hit.db import Database, Segment, Stored
from hit.errors import NotFoundError, UserError
from hit.places import Places
from hit.segments import SegmentConfig
from hit.types import Expert, Features, Floats


@dataclass(frozen=True, slots=True)
class Like:
    """A video of the library by its id, or a stretch of it: what is known of it is used, and nothing decoded."""

    video: str
    start: float = 0.0
    end: float = float("inf")


Named = str | Path | Like


def to_json(like: Like) -> dict[str, Any]:
    """Return a stretch as a saved search has it, whose videos are such tables, or names of files."""
    return {"video": like.video, "start": like.start, "end": None if math.isinf(like.end) else like.end}


def from_json(saved: str | Mapping[str, Any]) -> str | Like:
    """Return a video of a saved search."""
    if isinstance(saved, str):
        return saved
    return Like(saved["video"], saved["start"], float("inf") if saved["end"] is None else saved["end"])


def asked(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved search as `Library.search` takes it. Raises UserError for a filter that is none."""
    videos = {name: [from_json(one) for one in saved[name]] for name in ("videos", "exclude_videos") if name in saved}
    return {**saved, **videos, "where": filters.given(saved.get("where"))}


def look_at_video(
    name: str | Path, experts: Mapping[str, Expert], config: SegmentConfig, roots: Places
) -> list[Mapping[str, Features]]:
    """Return what experts see in a video, or in a stretch of one ("film.mp4#t=10,20"), segment by segment."""
    named, within = analysis.stretch(name)
    return [piece.features for piece in analysis.analyse("query", roots.given(named), experts, config, within)]


def chosen(db: Database, stored: Stored, like: Like) -> tuple[list[Segment], Floats]:
    """Return the n segments that a stretch holds for the most part, or else the one at its middle, and their vectors (n, dim).

    Raises NotFoundError for a video that has none, UserError for a stretch that lies outside.
    """
    own = db.segments(stored, [like.video]).get(like.video)
    if not own:
        raise NotFoundError(f"video {like.video}", "the library has no vectors of a video with this id")
    times = np.array([(segment.start, segment.end) for segment in own.values()])  # (segments, 2)
    if not 0 <= like.start < like.end or like.start >= times[:, 1].max():
        raise UserError(
            f"video {like.video}", f"ends at {times[:, 1].max():.3f} s", "give a stretch that lies inside, start < end"
        )
    shared = np.minimum(times[:, 1], like.end) - np.maximum(times[:, 0], like.start)
    inside = shared > 0.5 * (times[:, 1] - times[:, 0])
    if not inside.any():
        inside[shared.argmax()] = True
    segments = [segment for segment, good in zip(own.values(), inside.tolist(), strict=True) if good]
    return segments, db.vectors(stored, np.fromiter(own, np.int64)[inside])
