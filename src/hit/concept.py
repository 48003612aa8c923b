"""Concepts: what texts and examples describe, as a score of a segment's vector. Labels and policies are made of them.

Shapes: N segments, d numbers of an embedding, E exceptions. Directions bear the levels' weights, as queries do. docs/tagging.md
has the formulas and what they reach.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hit import embeddings, logistic, metrics
from hit.arrays import products
from hit.errors import UserError
from hit.metrics import Values
from hit.types import Encoder, Floats

STEEP = 2.0  # log-odds by which the texts' score counts for each of its deviations in the background
LINE = 2.0  # deviations above the background's mean at which texts alone leave it open, before there are examples
FREE = 3.0  # deviation of the log-odds in the background that a probe may differ by from its texts, before examples speak
TRUST = (1.0, 0.3, 0.0)  # shares of what the texts say that a probe may begin with: the examples choose one
BACKGROUND = 1.0  # weight of the whole background beside examples of weight 1, where there are examples against
FOLDS = 5
ALTERNATIVES = 3  # from which on concepts are contrasted
_OPTIMUM = {"gtol": 1e-9, "ftol": 1e-15, "maxcor": 20, "maxiter": 2000}


@dataclass(frozen=True, slots=True, eq=False)
class Concept:
    """A direction (d,) along which segments score, and what they must not show (E, d).

    kind: "text" where words alone made it; its scores are those of a search for them. "contrast": its words, less what those of
    its alternatives say, too. "probe": examples had their say; its scores are on the words' scale. odds: intercept and slope of
    its log-odds. crossed: the scores of the examples that it was made of, by their bytes, each by a probe that had not seen it.
    """

    direction: Floats
    barred: Floats
    kind: str = "text"
    odds: tuple[float, float] | None = None
    crossed: Mapping[bytes, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        crossed = {_text(key): score for key, score in self.crossed.items()}
        packed = {"direction": _pack(self.direction), "barred": _pack(self.barred)}
        return {"kind": self.kind, **packed, "odds": self.odds and list(self.odds), "crossed": crossed}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Concept":
        """Read a concept that was kept."""
        direction = _unpack(table["direction"])
        odds = (table["odds"][0], table["odds"][1]) if table["odds"] else None
        crossed = {base64.b64decode(key): score for key, score in table["crossed"].items()}
        return cls(direction, _unpack(table["barred"]).reshape(-1, len(direction)), table["kind"], odds, crossed)

    def scores(self, vectors: Floats) -> Floats:
        """Return the raw scores (N,) of vectors (N, d)."""
        return products(vectors, self.direction)

    def honest(self, vectors: Floats) -> Floats:
        """Return the scores (N,) by which the concept may be measured: those of its own examples are the crossed ones."""
        own = self.scores(vectors)
        return np.array([self.crossed.get(key, float(score)) for key, score in zip(_keys(vectors), own, strict=True)], np.float32)

    def probabilities(self, scores: Floats) -> Floats | None:
        """Return how probably segments (N,) show what is meant, if as many do as among the examples; None for texts."""
        if self.odds is None:
            return None
        return logistic.chance(self.odds[0] + self.odds[1] * scores.astype(np.float64)).astype(np.float32)

    def excepted(self, vectors: Floats, scores: Floats) -> NDArray[np.bool_]:
        """Tell which vectors (N, d) show nothing of what is meant, however they score (N,).

        They fit an exception at least as well, or the model has found nothing in them at all: their score, 0, says nothing.
        """
        nothing = np.asarray(~vectors.any(axis=1), np.bool_)
        if len(self.barred) and len(vectors):
            nothing |= (products(vectors, self.barred) >= scores[:, None]).any(axis=1)
        return nothing


def of_texts(encoder: Encoder, texts: Sequence[str], exceptions: Sequence[str] = ()) -> Concept:
    """Return the concept of texts, which are several ways to say it: their mean, each part of unit length.

    Raises UserError where there is no text, or an empty one.
    """
    if not texts or any(not text.strip() for text in (*texts, *exceptions)):
        raise UserError("a concept", "has no text, or an empty one", "say in words what is meant")
    scale = metrics.weighting(encoder.parts, encoder.weights, encoder.dim)
    rows = encoder.embed_texts([*texts, *exceptions])
    meant = embeddings.mean(rows[: len(texts)], encoder.parts) * scale
    return Concept(meant, rows[len(texts) :] * scale)


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """Scores (C,), ascending, of what was not asked for: clips of the model's background, or segments of the library."""

    scores: NDArray[np.float64]

    @classmethod
    def of(cls, concept: Concept, vectors: Floats) -> "Background":
        """Score a background (C, d), of at least one."""
        return cls(np.sort(concept.scores(vectors).astype(np.float64)))

    def percentiles(self, scores: Floats) -> NDArray[np.float64]:
        """Return for each score (N,) how many per cent of the background score less."""
        below: NDArray[np.intp] = np.searchsorted(self.scores, scores.astype(np.float64), side="left")
        return 100.0 * below / len(self.scores)

    def threshold(self, percentile: float) -> float:
        """Return the score that so many per cent of the background do not reach."""
        return float(np.quantile(self.scores, percentile / 100.0, method="higher"))


def make(
    encoder: Encoder, texts: Sequence[str], exceptions: Sequence[str], liked: Floats, disliked: Floats, background: Floats
) -> Concept:
    """Return the concept of texts and of examples: vectors (n, d) that show it, that do not, and of what nobody has looked at.

    Raises UserError as `of_texts`.
    """
    return refined(of_texts(encoder, texts, exceptions), liked, disliked, background)


def contrasted(alternatives: Sequence[Concept]) -> list[Concept]:
    """Return concepts of texts that are alternatives, such as colours, as what sets each apart: less the mean of all of them.

    What all of them say in common ("something is ...") no longer counts. Fewer than three stay as they are: of two, each would be
    but the other's opposite.
    """
    if len(alternatives) < ALTERNATIVES:
        return list(alternatives)
    middle = np.mean([one.direction for one in alternatives], axis=0, dtype=np.float64).astype(np.float32)
    return [Concept(one.direction - middle, one.barred - middle, "contrast") for one in alternatives]


def refined(said: Concept, liked: Floats, disliked: Floats, background: Floats) -> Concept:
    """Return what texts say, refined by examples: vectors (n, d) of each kind, and of what nobody has looked at.

    It is a logistic regression whose prior is the texts' direction; how far that is to be trusted, the examples say, by what is
    lost on those that are left out. Their order does not matter.
    """
    if not len(liked) and not len(disliked):
        return said
    rows = _Rows.of(liked, disliked, background)
    enough = rows.right.sum() >= FOLDS  # else what is left out says nothing
    tried = [_Tried.of(_Prior.of(said, background, trust), rows) for trust in (TRUST if enough else TRUST[:1])]
    best = min(tried, key=lambda one: one.loss)
    odds = best.odds if len(liked) else None  # of what is only known not to be meant, no chance is known
    examples = slice(0, len(rows.vectors) - len(background))
    keys = _keys(rows.vectors[examples].astype(np.float32))
    held = dict(zip(keys, best.crossed[examples].astype(np.float32).tolist(), strict=True))
    direction: Floats = (best.weights[:-1] / best.prior.slope).astype(np.float32)
    return Concept(direction, said.barred, "probe", odds, held)


class _Rows(NamedTuple):
    """What a probe learns from: vectors (N, d), examples first; whether each is right (N,), its weight (N,), its fold (N,)."""

    vectors: Values
    right: Values
    weight: Values
    fold: NDArray[np.int64]

    @classmethod
    def of(cls, liked: Floats, disliked: Floats, background: Floats) -> "_Rows":
        """Put them in an order of their own. The background weighs little; alone against, as much as what is for."""
        kinds = [np.unique(liked, axis=0) if len(liked) else liked, np.unique(disliked, axis=0) if len(disliked) else disliked]
        whole = BACKGROUND if len(disliked) else max(BACKGROUND, float(len(kinds[0])))
        parts = [*kinds, background]
        weights = [1.0, 1.0, whole / max(len(background), 1)]
        return cls(
            np.concatenate(parts).astype(np.float64),
            np.repeat([1.0, 0.0, 0.0], [len(part) for part in parts]),
            np.repeat(weights, [len(part) for part in parts]),
            np.concatenate([np.arange(len(part)) % FOLDS for part in parts]),
        )

    def kept(self, mask: NDArray[np.bool_]) -> "_Rows":
        """Return some of them."""
        return _Rows(self.vectors[mask], self.right[mask], self.weight[mask], self.fold[mask])


class _Prior(NamedTuple):
    """What is believed before there are examples: weights (d + 1,), the last one the intercept, and how firmly (d + 1,).

    slope: log-odds of a unit of the texts' score.
    """

    weights: Values
    ridge: Values
    slope: float

    @classmethod
    def of(cls, said: Concept, background: Floats, trust: float = 1.0) -> "_Prior":
        """Take the scale from the background: texts score by its deviation, and a probe's freedom is measured by it."""
        scores = said.scores(background).astype(np.float64)
        middle, deviation = (float(scores.mean()), float(scores.std())) if len(scores) else (0.0, 0.0)
        spread = float(background.astype(np.float64).var(axis=0).sum()) if len(background) else 1.0
        slope = STEEP / max(deviation, 1e-3)
        weights = np.append(trust * slope * said.direction.astype(np.float64), -trust * slope * middle - STEEP * LINE)
        ridge = np.full(len(weights), max(spread, 1e-6) / FREE**2)
        ridge[-1] = 1 / STEEP**2
        return cls(weights, ridge, slope)

    def probe(self, rows: _Rows, start: Values | None = None) -> Values:
        """Return the weights (d + 1,) at the least sum of the rows' weighted log-loss and the ridge to the prior."""
        # Imported late: it takes a third of a second, and texts alone go without.
        from scipy.optimize import minimize

        signs = np.column_stack([rows.vectors, np.ones(len(rows.vectors))])

        def loss(weights: Values) -> tuple[float, Values]:
            odds, away = signs @ weights, weights - self.weights
            value = rows.weight @ (np.logaddexp(0, odds) - rows.right * odds) + 0.5 * self.ridge @ away**2
            return float(value), signs.T @ (rows.weight * (logistic.chance(odds) - rows.right)) + self.ridge * away

        begin = self.weights if start is None else start
        found: Values = minimize(loss, begin, jac=True, method="L-BFGS-B", options=_OPTIMUM).x
        return found

    def score(self, vectors: Values, weights: Values) -> Values:
        """Return scores (N,) on the texts' scale."""
        found: Values = vectors @ (weights[:-1] / self.slope)
        return found


class _Tried(NamedTuple):
    """A probe by one prior: its weights (d + 1,), the scores of its rows (N,) by probes without them, their odds and log-loss."""

    prior: _Prior
    weights: Values
    crossed: Values
    odds: tuple[float, float]
    loss: float

    @classmethod
    def of(cls, prior: _Prior, rows: _Rows) -> "_Tried":
        """Fit it, and each fold's."""
        whole = prior.probe(rows)
        crossed = np.empty(len(rows.vectors))
        for fold in range(FOLDS):
            out = rows.fold == fold
            crossed[out] = prior.score(rows.vectors[out], prior.probe(rows.kept(~out), whole))
        intercept, slope = logistic.fit(crossed[:, None], rows.right, rows.weight).tolist()
        odds = intercept + slope * crossed
        loss = float(rows.weight @ (np.logaddexp(0, odds) - rows.right * odds))
        return cls(prior, whole, crossed, (intercept, slope), loss)


def _keys(vectors: Floats) -> Iterator[bytes]:
    return (row.tobytes() for row in np.ascontiguousarray(vectors, np.float32))


def _pack(values: Floats) -> str:
    return _text(np.ascontiguousarray(values, "<f4").tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unpack(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
