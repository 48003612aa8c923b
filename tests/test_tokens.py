"""Packing keeps every token in its clip's place, spreads what it leaves out, and refuses what cannot be embedded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hit import tokens
from hit.errors import UserError
from hit.types import Features


def features(rows: int, width: int = 3, start: float = 0.0) -> Features:
    """Return rows that count upwards, a second each."""
    times = start + np.arange(rows, dtype=np.float32)
    return Features(np.arange(rows * width, dtype=np.float32).reshape(rows, width), np.stack([times, times + 1], axis=1))


def test_a_clip_is_cls_then_each_experts_aggregate_and_rows() -> None:
    clips = [{"a": features(2), "b": features(1, 2)}, {"b": features(3, 2)}]
    batch = tokens.pack_clips(clips, {"a": 3, "b": 2}, 30)
    assert batch.lengths.tolist() == [1 + 3 + 2, 1 + 4]
    assert batch.aggregate.tolist() == [-1, 0, -1, -1, 1, -1, -1, 1, -1, -1, -1]
    assert batch.values["a"].tolist() == [[3, 4, 5], [0, 1, 2], [3, 4, 5]]  # the maximum, then the rows
    assert batch.seconds["b"].tolist() == [-1, -1, 0.5, 0.5, 1.5, 2.5]
    # the stack before packing: cls 0, 1; a: 2, 3, 4; b: aggregates 5, 6, rows 7 | 8, 9, 10
    assert batch.order.tolist() == [0, 2, 3, 4, 5, 7, 1, 6, 8, 9, 10]


def test_phases_are_shares_of_the_clips_length() -> None:
    batch = tokens.pack_clips([{"a": features(4, start=7.0), "b": features(2, 2, start=7.0)}], {"a": 3, "b": 2}, 30)
    assert batch.phases["a"].tolist() == [-1, 0.125, 0.375, 0.625, 0.875]
    assert batch.phases["b"].tolist() == [-1, 0.125, 0.375]


def test_times_count_from_the_clips_start() -> None:
    late = tokens.pack_clips([{"a": features(3, start=100.0)}], {"a": 3}, 30)
    early = tokens.pack_clips([{"a": features(3)}], {"a": 3}, 30)
    assert late.seconds["a"].tolist() == early.seconds["a"].tolist()


def test_an_aggregate_is_the_maximum_of_all_rows_also_of_those_left_out() -> None:
    batch = tokens.pack_clips([{"a": features(100)}], {"a": 3}, 4)
    assert batch.values["a"][0].tolist() == [297, 298, 299]
    assert len(batch.values["a"]) == 1 + 4


@pytest.mark.parametrize("clip", [{}, {"other": features(2)}, {"a": features(0)}])
def test_a_clip_in_which_nothing_was_seen_is_refused(clip: dict[str, Features]) -> None:
    with pytest.raises(UserError, match="no features of any expert"):
        tokens.pack_clips([{"a": features(1)}, clip], {"a": 3}, 30)


def test_a_wrong_width_is_refused() -> None:
    with pytest.raises(UserError, match="expert 'a': gave 2 numbers a row, the model wants 3"):
        tokens.pack_clips([{"a": features(1, 2)}], {"a": 3}, 30)


@given(st.integers(1, 500), st.integers(1, 60))
def test_what_is_kept_is_in_order_even_and_within_the_limit(count: int, limit: int) -> None:
    kept = tokens.spread(count, limit)
    assert len(kept) == min(count, limit)
    gaps = np.diff([-1, *kept.tolist(), count])
    assert (gaps[1:-1] > 0).all()
    assert gaps.max() <= -(-count // limit) + 1
