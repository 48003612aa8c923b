"""Logistic regression on a few signs, by Newton's method; scikit-learn would be 200 MB for these lines."""

import numpy as np

from hit.metrics import Values

RIDGE = 1e-4  # on the weights of signs of unit deviation, beside the mean log-loss
STEPS = 100


def chance(odds: Values) -> Values:
    """Return the probability for log-odds, without overflow."""
    result: Values = 0.5 * (1 + np.tanh(odds / 2))
    return result


def fit(signs: Values, right: Values, weight: Values) -> Values:
    """Return the intercept and the weights (1 + S,), none of these below 0, for signs (N, S), outcomes and weights (N,).

    A sign that would count against is left out, and the rest fitted again. Outcomes are drawn in by Platt's rule (1999), so
    that what can be told apart without error still has finite odds.
    """
    share = weight / weight.sum()
    positive, negative = right.sum(), (1 - right).sum()
    target = np.where(right > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))
    mean = share @ signs
    deviation = np.sqrt(share @ (signs - mean) ** 2)
    kept = np.flatnonzero(deviation > 1e-9)
    while True:
        scaled = (signs[:, kept] - mean[kept]) / deviation[kept]
        found = _newton(np.column_stack([np.ones(len(signs)), scaled]), target, share)
        if not len(kept) or found[1:].min() >= 0:
            break
        kept = np.delete(kept, found[1:].argmin())
    result = np.zeros(1 + signs.shape[1])
    result[1 + kept] = found[1:] / deviation[kept]
    result[0] = found[0] - result[1:] @ mean
    return result


def _newton(signs: Values, target: Values, share: Values) -> Values:
    ridge = np.full(signs.shape[1], RIDGE)
    ridge[0] = 0
    found = np.zeros(signs.shape[1])
    for _ in range(STEPS):
        p = chance(signs @ found)
        slope = signs.T @ (share * (p - target)) + ridge * found
        bend = (signs * (share * p * (1 - p))[:, None]).T @ signs + np.diag(ridge + 1e-12)
        step = np.linalg.solve(bend, slope)
        step *= min(1.0, 5 / np.abs(step).max(initial=1e-30))  # far from the optimum Newton's step can be too long
        found = found - step
        if np.abs(step).max(initial=0) < 1e-9:
            break
    return found
