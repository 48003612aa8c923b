"""Concepts: what texts and examples describe, as a score of a segment's vector. Labels and policies are made of them.

Shapes: N segments, d numbers of an embedding, E exceptions. Directions bear the levels' weights, as queries do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hit import embeddings, metrics
from hit.arrays import products
from hit.errors import UserError
from hit.types import Encoder, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Concept:
    """A direction (d,) along which segments score, and what they must not show (E, d).

    kind: "text" where words alone made it; its scores are those of a search for them.
    """

    direction: Floats
    barred: Floats
    kind: str = "text"

    def scores(self, vectors: Floats) -> Floats:
        """Return the raw scores (N,) of vectors (N, d)."""
        return products(vectors, self.direction)

    def excepted(self, vectors: Floats, scores: Floats) -> NDArray[np.bool_]:
        """Tell which vectors (N, d) fit an exception at least as well as what is meant, by these scores (N,)."""
        if not len(self.barred) or not len(vectors):
            return np.zeros(len(vectors), np.bool_)
        return np.asarray((products(vectors, self.barred) >= scores[:, None]).any(axis=1))


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
