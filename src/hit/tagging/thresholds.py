"""Where the line is drawn: above it a segment shows what a label or a policy means."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from hit.concept import Background, Concept
from hit.errors import UserError
from hit.types import Floats

Kind = Literal["percentile", "precision", "score"]
LEAST = 10  # answers, to estimate a precision by
_Z = 1.959963984540054  # 95 %
_FIX = 'give one, such as {"percentile": 99}, {"precision": 0.9} or {"score": 1.2}'
_BOUNDS: dict[Kind, tuple[float, float]] = {"percentile": (0, 100), "precision": (0, 1), "score": (-1e6, 1e6)}


@dataclass(frozen=True, slots=True)
class Rule:
    """How a threshold is found: a percentile of the background, the precision that answers must show, or a raw score."""

    kind: Kind = "percentile"
    value: float = 99.0

    @classmethod
    def from_table(cls, table: object, where: str = "the rule") -> Self:
        """Read {kind: value}; `where` opens every error. Raises UserError for what is none."""
        if not isinstance(table, Mapping) or len(table) != 1:
            raise UserError(where, "is no table of one key", _FIX)
        ((kind, value),) = table.items()
        if kind not in get_args(Kind):
            raise UserError(where, f"there is no rule '{kind}'", _FIX)
        low, high = _BOUNDS[kind]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UserError(where, f"{kind} must be a number from {low:g} to {high:g}", _FIX)
        return cls(kind, float(value))

    @classmethod
    def from_text(cls, text: str, where: str = "the rule") -> Self:
        """Read "percentile 99.5", as a cell of a csv has it. Raises UserError for what is none."""
        kind, _, value = text.strip().partition(" ")
        try:
            return cls.from_table({kind: float(value)}, where)
        except ValueError:
            raise UserError(where, f"'{text}' is none", "write it as `percentile 99`, `precision 0.9` or `score 1.2`") from None

    def to_table(self) -> dict[str, float]:
        """Return {kind: value}."""
        return {self.kind: self.value}

    def to_text(self) -> str:
        """Return what `from_text` reads."""
        return f"{self.kind} {self.value!r}"


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Segments of which people said whether they show what is meant: vectors (A, d), and yes (A,)."""

    vectors: Floats
    yes: NDArray[np.bool_]


def fit(rule: Rule, concept: Concept, background: Background, answered: Answered | None = None) -> float:
    """Return the threshold by a rule. Answers count by what they score where the concept was not made of them.

    Raises UserError where the rule asks for a precision and there are too few answers, or none of their scores reaches it.
    """
    if rule.kind == "score":
        return rule.value
    if rule.kind == "percentile":
        return background.threshold(rule.value)
    count = 0 if answered is None else len(answered.yes)
    if answered is None or count < LEAST:
        fix = "answer more of the clips at the line, or take a percentile meanwhile"
        raise UserError("a threshold by precision", f"needs {LEAST} answers, and there are {count}", fix)
    scores = concept.honest(answered.vectors)
    line = by_precision(scores, answered.yes, rule.value)
    if line is None:
        best = max(float(answered.yes[scores >= score].mean()) for score in scores)
        why = f"none of {count} answers' scores reaches {rule.value:g}: the best is {best:.2f}"
        raise UserError("a threshold by precision", why, "ask for less, say it in other words, or give examples")
    return line


def by_precision(scores: Floats, yes: NDArray[np.bool_], precision: float) -> float | None:
    """Return the lowest score (A,) from which on at least this share of the answers (A,) is yes; None if there is none."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    share = np.cumsum(yes[order]) / np.arange(1, len(order) + 1)
    last = np.append(ordered[1:] != ordered[:-1], True)  # equal scores are on the same side of every line
    good = np.flatnonzero(np.logical_and(last, share >= precision))
    return float(ordered[good[-1]]) if len(good) else None


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion [Wilson 1927]; (0, 1) without a trial."""
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, _Z * _Z / trials
    middle = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def precision(scores: Floats, yes: NDArray[np.bool_], threshold: float) -> dict[str, Any] | None:
    """Return {estimate, low, high, answered} of the answers whose scores (A,) reach the threshold; None where none does."""
    above = yes[scores >= threshold]
    if not len(above):
        return None
    low, high = wilson(int(above.sum()), len(above))
    return {"estimate": float(above.mean()), "low": low, "high": high, "answered": len(above)}
