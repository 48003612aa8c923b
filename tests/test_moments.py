"""Moments: neighbours that score alike are one, the best comes first."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hit.moments import moments
from hit.types import Moment


def segments(*scores: float, length: float = 2.0, gap: float = 0.0) -> list[Moment]:
    starts = [i * (length + gap) for i in range(len(scores))]
    return [Moment(start, start + length, start, score) for start, score in zip(starts, scores, strict=True)]


def test_neighbours_that_score_well_are_one_moment() -> None:
    found = moments(segments(0.0, 0.9, 1.0, 0.8, 0.0, 0.0, 0.95, 0.1))
    assert found == [Moment(2, 8, 4, 1.0), Moment(12, 14, 12, 0.95)]


def test_a_gap_parts_them() -> None:
    assert len(moments(segments(1.0, 1.0, gap=1.0))) == 2
    assert moments(segments(1.0, 1.0, gap=0.1)) == [Moment(0, 4.1, 0, 1.0)]


def test_one_segment_is_its_own_moment_and_none_has_none() -> None:
    assert moments(segments(-0.3)) == segments(-0.3)
    assert moments([]) == []


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=30))
def test_the_best_segment_is_in_the_first_moment_and_moments_do_not_meet(scores: list[float]) -> None:
    own = segments(*scores)
    found = moments(own)
    best = max(own, key=lambda one: (one.score, -one.start))
    assert found[0].score == best.score and any(one.start <= best.start < one.end for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    in_time = sorted(found, key=lambda one: one.start)
    assert all(a.end < b.start for a, b in itertools.pairwise(in_time))
    assert all(one.start <= one.seek < one.end for one in found)
