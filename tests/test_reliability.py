"""Reliability: closed forms, bins of equal mass, and a liar that is found out."""

import numpy as np
import pytest

from hit.reliability import Bin, bins, brier, ece


def test_bins_hold_as_many_answers_each_the_least_sure_first() -> None:
    confidence = np.array([0.9, 0.1, 0.8, 0.2, 0.5])
    right = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    found = bins(confidence, right, 2)
    assert [one.count for one in found] == [3, 2]
    assert [one.confidence for one in found] == pytest.approx([0.8 / 3, 0.85])
    assert [one.right for one in found] == pytest.approx([1 / 3, 1.0])
    assert ece(found) == pytest.approx((3 * (1 / 3 - 0.8 / 3) + 2 * 0.15) / 5)
    assert len(bins(confidence, right, 10)) == 5


def test_who_keeps_his_word_has_no_error_and_who_lies_has_all_of_it() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(100_000)
    right = (rng.random(100_000) < confidence).astype(np.float64)
    assert ece(bins(confidence, right)) < 0.01
    assert brier(confidence, right) == pytest.approx(1 / 6, abs=0.005)  # the mean of p (1 - p)
    assert ece(bins(np.ones(50), np.zeros(50))) == brier(np.ones(50), np.zeros(50)) == 1
    assert ece([Bin(10, 0.5, 0.5)]) == 0
    assert brier(np.full(2, 0.5), np.array([0.0, 1.0])) == 0.25


@pytest.mark.parametrize("confidence", [[], [[0.5]], [0.5, 0.5], [1.01], [float("nan")]])
def test_what_is_no_probability_is_refused(confidence: list[float]) -> None:
    with pytest.raises(ValueError, match="confidence"):
        bins(np.array(confidence), np.array([1.0]))
