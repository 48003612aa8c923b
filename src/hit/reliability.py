"""How far probabilities keep their word: bins of equal mass, expected calibration error, Brier score. Outcomes are 0 or 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hit.metrics import Values

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of like confidence: how many there are, their mean confidence, and the share of them that is right."""

    count: int
    confidence: float
    right: float


def bins(confidence: Values, right: Values, count: int = BINS) -> list[Bin]:
    """Return up to `count` bins of as many answers each, least confident first; equal confidences stand in their order.

    Raises ValueError where there are none, where the two (N,) are not as long, or where a confidence is no probability.
    """
    if confidence.shape != right.shape or confidence.ndim != 1 or not len(confidence):
        raise ValueError(f"confidences {confidence.shape} and outcomes {right.shape}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence is not between 0 and 1")
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(count, len(confidence)))
    return [Bin(len(part), float(confidence[part].mean()), float(right[part].mean())) for part in parts]


def ece(found: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean distance of the bins' confidence from their share of right answers."""
    total = sum(one.count for one in found)
    return sum(one.count * abs(one.confidence - one.right) for one in found) / total


def brier(confidence: Values, right: Values) -> float:
    """Return the mean squared distance of confidence and outcome: 0 is best, 0.25 is what always saying one half gives."""
    return float(np.mean((confidence - right) ** 2))
