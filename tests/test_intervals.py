"""Bootstrap and paired test: closed forms, a slow version, and what they promise over many repetitions."""

import numpy as np
import pytest

from hit import intervals, metrics
from hit.metrics import Ints


def outcome(seed: int, queries: int, share: float = 0.5) -> tuple[Ints, Ints]:
    """Return ranks of which about `share` are the first."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(queries) < share, 0, rng.integers(1, 90, queries)), rng.integers(0, 2, queries)


def test_what_does_not_vary_has_no_width() -> None:
    pair = (np.full(30, 2), np.zeros(30, np.int64))
    found = intervals.intervals([pair], np.arange(30))
    assert found == {name: [value, value] for name, value in metrics.summary(*pair).items() if name in found}
    assert set(found) == set(metrics.summary(*pair))


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    above = np.repeat([0, 50], [300, 700])
    low, high = intervals.intervals([(above, np.zeros(1000, np.int64))], np.arange(1000))["R1"]
    error = 100 * (0.3 * 0.7 / 1000) ** 0.5
    assert (low, high) == pytest.approx((30 - 1.96 * error, 30 + 1.96 * error), abs=0.35)


def test_captions_of_one_video_count_as_one_drawing() -> None:
    """Five copies of each query say no more than one."""
    above, tied = outcome(0, 200)
    alone = intervals.intervals([(above, tied)], np.arange(200))
    copied = intervals.intervals([(np.repeat(above, 5), np.repeat(tied, 5))], np.repeat(np.arange(200), 5))
    for name, ends in alone.items():
        assert copied[name] == pytest.approx(ends)


def test_each_draw_is_the_summary_of_the_drawn_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "HELD", 100)  # medians of a few draws at once
    above, tied = outcome(1, 60)
    group = np.repeat(np.arange(20), 3)
    weights = np.random.default_rng(3).multinomial(20, np.full(20, 1 / 20), 30)
    drawn = intervals._draw((above, tied), group, weights)
    for i, row in enumerate(weights):
        rows = np.repeat(np.arange(60), row[group])
        expected = metrics.summary(above[rows], tied[rows])
        assert {name: values[i] for name, values in drawn.items()} == pytest.approx(expected)


def test_memory_is_bounded_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, group = outcome(0, 90), outcome(1, 90), np.repeat(np.arange(30), 3)
    whole = intervals.intervals([one], group), intervals.paired(one, other, group)
    monkeypatch.setattr(intervals, "HELD", 64)
    assert (intervals.intervals([one], group), intervals.paired(one, other, group)) == whole


def test_several_runs_are_averaged() -> None:
    one, other, group = outcome(0, 100, 0.2), outcome(1, 100, 0.6), np.arange(100)
    low, high = intervals.intervals([one, other], group)["R1"]
    middle = (metrics.summary(*one)["R1"] + metrics.summary(*other)["R1"]) / 2
    assert low < middle < high


def test_a_run_against_itself_is_no_difference() -> None:
    pair = outcome(0, 100)
    for about in intervals.paired(pair, pair, np.arange(100)).values():
        assert (about["difference"], about["low"], about["high"], about["p"]) == (0, 0, 0, 1)


def test_p_is_that_of_all_sign_flips() -> None:
    """Three videos: of the eight ways to change sides two are as far from nothing as what was seen."""
    one, other = (np.array([5, 5, 5]), np.zeros(3, np.int64)), (np.zeros(3, np.int64), np.zeros(3, np.int64))
    about = intervals.paired(one, other, np.arange(3))["R1"]
    assert (about["first"], about["second"], about["difference"]) == (0, 100, 100)
    assert about["p"] == pytest.approx(2 / 8, abs=0.02)


def test_chance_alone_seldom_seems_a_difference() -> None:
    """Of 200 pairs of equally good runs about one in twenty has p below 0.05."""
    below = 0
    for seed in range(200):
        one, other = outcome(2 * seed, 80), outcome(2 * seed + 1, 80)
        below += intervals.paired(one, other, np.repeat(np.arange(40), 2), flips=400, seed=seed)["R1"]["p"] < 0.05
    assert below <= 20


def test_a_difference_is_found() -> None:
    better, worse = outcome(0, 300, 0.7), outcome(1, 300, 0.4)
    about = intervals.paired(worse, better, np.arange(300))["R1"]
    assert about["low"] < about["difference"] < about["high"]
    assert about["low"] > 0
    assert about["p"] < 0.001
