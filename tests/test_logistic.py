"""Logistic regression: the truth is found again, signs that would count against are left out, and odds stay finite."""

import numpy as np

from hit import logistic
from hit.metrics import Values


def sample(seed: int, truth: Values, count: int = 20_000) -> tuple[Values, Values]:
    rng = np.random.default_rng(seed)
    signs = rng.normal([1, -2, 5][: len(truth) - 1], [1, 3, 0.1][: len(truth) - 1], (count, len(truth) - 1))
    return signs, (rng.random(count) < logistic.chance(truth[0] + signs @ truth[1:])).astype(np.float64)


def test_the_truth_is_found_again() -> None:
    truth = np.array([-3.0, 1.5, 0.7, 0.4])
    signs, right = sample(0, truth)
    found = logistic.fit(signs, right, np.ones(len(right)))
    odds, expected = found[0] + signs @ found[1:], truth[0] + signs @ truth[1:]
    assert abs(odds - expected).mean() < 0.1
    np.testing.assert_allclose(found[1:3], truth[1:3], rtol=0.1)


def test_at_the_optimum_promise_and_outcome_are_the_same_in_the_mean() -> None:
    signs, right = sample(1, np.array([0.5, 1.0, 0.3]), 500)
    weights = np.random.default_rng(2).random(500)
    found = logistic.fit(signs, right, weights)
    rest = weights @ (logistic.chance(found[0] + signs @ found[1:]) - right) / weights.sum()
    assert abs(rest) < 5e-3  # but for Platt's rule


def test_a_sign_that_counts_against_is_left_out_and_the_rest_is_as_without_it() -> None:
    signs, right = sample(3, np.array([0.0, 1.0, -0.8, 0.0]))
    ones = np.ones(len(right))
    found = logistic.fit(signs, right, ones)
    assert (found[1:] >= 0).all()
    assert found[2] == 0
    np.testing.assert_allclose(found[[0, 1, 3]], logistic.fit(signs[:, [0, 2]], right, ones), atol=1e-6)


def test_a_sign_that_never_changes_says_nothing() -> None:
    signs, right = sample(4, np.array([0.0, 1.0]))
    found = logistic.fit(np.column_stack([signs, np.full(len(right), 7.0)]), right, np.ones(len(right)))
    assert found[2] == 0
    np.testing.assert_allclose(found[:2], logistic.fit(signs, right, np.ones(len(right))), atol=1e-9)


def test_weights_are_as_good_as_copies() -> None:
    signs, right = sample(5, np.array([0.0, 1.0, 0.5]), 300)
    twice = np.arange(300) % 3 == 0
    copied = logistic.fit(np.concatenate([signs, signs[twice]]), np.concatenate([right, right[twice]]), np.ones(400))
    np.testing.assert_allclose(logistic.fit(signs, right, 1.0 + twice), copied, rtol=0.02)  # Platt's rule counts rows


def test_what_is_told_apart_without_error_and_what_is_all_alike_have_finite_odds() -> None:
    signs = np.linspace(-1, 1, 100)[:, None]
    for right in ((signs[:, 0] > 0).astype(np.float64), np.zeros(100), np.ones(100)):
        found = logistic.fit(signs, right, np.ones(100))
        assert np.isfinite(found).all()
        sure = logistic.chance(found[0] + signs @ found[1:])
        assert ((sure > 0.5) == (right > 0)).all()


def test_odds_beyond_floats_are_no_trouble() -> None:
    assert logistic.chance(np.array([-1e9, 0.0, 1e9])).tolist() == [0.0, 0.5, 1.0]
