"""A video's segments and their scores become its moments: what to show of it for one query."""

from collections.abc import Sequence

import numpy as np

from hit.types import Moment

_GAP = 0.5  # seconds between two segments that still belong together


def moments(segments: Sequence[Moment]) -> list[Moment]:
    """Return the stretches of neighbouring segments that score above the middle between the video's mean and its best.

    segments: in the order of time. Best first; the first one holds the best segment, and where a video has but one, it is that.
    """
    if not segments:
        return []
    scores = np.array([one.score for one in segments])
    floor = (scores.max() + scores.mean()) / 2
    found: list[Moment] = []
    for one in (one for one in segments if one.score >= floor):
        last = found[-1] if found else None
        if last and one.start <= last.end + _GAP:
            best = max(last, one, key=lambda each: each.score)
            found[-1] = Moment(last.start, max(last.end, one.end), best.seek, best.score)
        else:
            found.append(one)
    return sorted(found, key=lambda one: (-one.score, one.start))
