"""Windows cover a clip, none reaches out of it, and a rest counts from half a window on."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hit.experts import windows
from hit.types import Audio, Floats


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [(0, 4, []), (1, 4, [0]), (4, 4, [0]), (5, 4, [0]), (6, 4, [0, 2]), (8, 4, [0, 4]), (9, 4, [0, 4]), (11, 4, [0, 4, 7])],
)
def test_by_hand(length: int, size: int, expected: list[int]) -> None:
    assert windows.starts(length, size) == expected


@given(st.integers(1, 500), st.integers(1, 50))
def test_all_but_a_short_rest_is_covered(length: int, size: int) -> None:
    starts = windows.starts(length, size)
    assert starts == sorted(set(starts))
    assert all(start + size <= max(length, size) for start in starts)
    covered = {step for start in starts for step in range(start, start + size)}
    missed = set(range(length)) - covered
    assert len(missed) < size / 2
    assert missed <= set(range(length - len(missed), length)), "what is missed lies at the end"


def test_sound_in_windows() -> None:
    audio = Audio(np.arange(1, 12, dtype=np.float32), 2, 10.0)
    samples, times = windows.over(audio, 4)
    assert samples.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [8, 9, 10, 11]]
    assert times.tolist() == [[10.0, 12.0], [12.0, 14.0], [13.5, 15.5]]
    samples, times = windows.over(Audio(np.ones(3, np.float32), 2, 10.0), 4)
    assert samples.tolist() == [[1, 1, 1, 0]]
    assert times.tolist() == [[10.0, 11.5]], "the silence that fills it is not the clip's"


def test_what_stays_is_embedded_once() -> None:
    seen: list[int] = []

    def embed(rows: Any) -> Floats:
        seen.extend(row[0] for row in rows)
        return np.array([[row[0] * 10] for row in rows], np.float32)

    rows = np.array([[3, 1], [3, 1], [3, 2], [4, 0], [4, 0], [4, 0], [3, 1]])
    times = np.zeros((7, 2), np.float32)
    found = windows.features(embed, [(rows[:4], times[:4]), None, (rows[4:], times[4:]), (rows[:0], times[:0])], 2, 1)
    assert [None if one is None else one.values[:, 0].tolist() for one in found] == [[30, 30, 30, 40], None, [40, 40, 30], []]
    assert seen == [3, 3, 4, 3]
