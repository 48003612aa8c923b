"""A label's threshold as a page shows it: what counts at every line, which clips lie beside it, and how right it is so far."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit import trail
from hit.concept import Background
from hit.library import Library
from hit.search import Shelf
from hit.tagging import fitted as fitting
from hit.tagging import sets
from hit.tagging.apply import confidences
from hit.tagging.fitted import NOTHING, Fitted
from hit.tagging.thresholds import precision
from hit.types import Floats, Keys

LINES = 200  # at which videos are counted
BINS = 40  # of a histogram
NEAR = 12  # clips shown on each side of the line
_BLOCK = 10_000  # vectors read at once


def view(library: Library, name: str, label: str, version: int | None = None, threshold: float | None = None) -> dict[str, Any]:
    """Return how a label of a version divides the library at its threshold, or at another one. Raises NotFoundError.

    above and below: {segment_id, score, confidence, percentile, answer} of the clips that are nearest to the line, nearest first.
    """
    one = library.db.label_set(name, version)
    rule = sets.find(one, label).rule
    fitted = fitting.of_label(library, one, label)
    line = fitted.thresholds[0] if threshold is None else threshold
    said = library.db.label_answers(name).get(label, {})
    rows, videos, scores = library.asked(lambda shelf: _scored(shelf, fitted))
    there = scores > NOTHING
    best = _best(videos, scores)
    ground = Background.of(fitted.concepts[0], trail.background(library))
    order = np.argsort(scores, kind="stable")
    middle = int(np.searchsorted(scores[order], np.float32(line), side="left"))
    below = order[:middle]
    sides = {"above": order[middle : middle + NEAR], "below": below[there[below]][::-1][:NEAR]}
    model = library.config.model
    lines = counts_at(best[best > NOTHING])
    return {
        "label": label,
        "version": one.version,
        "rule": rule.to_table(),
        "kind": fitted.concepts[0].kind,
        "threshold": line,
        "percentile": float(ground.percentiles(np.array([line], np.float32))[0]),
        "videos": int((best >= line).sum()),
        "segments": int((scores >= line).sum()),
        "counts_at": lines,
        "percentiles": ground.percentiles(np.array([at for at, _ in lines], np.float32)).tolist(),
        "histogram": histogram(scores[there], ground.scores),
        **{side: _near(library, said, fitted, ground, rows[at], scores[at]) for side, at in sides.items()},
        **judged(library, said, fitted, line),
        "model": {"id": model.id, "revision": model.revision},
    }


def judged(library: Library, said: Mapping[str, bool], fitted: Fitted, line: float) -> dict[str, Any]:
    """Return {precision, answers} of one fitted label at a line, by what people said so far of its clips.

    Segments that the label was made of count by their scores under a probe that had not seen them.
    """
    vectors = library.db.segment_vectors(library.stored, said)
    yes = np.array([said[key] for key in vectors], np.bool_)
    found = np.array(list(vectors.values()), np.float32).reshape(-1, library.stored.dim)
    answers = {"yes": sum(said.values()), "no": len(said) - sum(said.values())}
    return {"precision": precision(fitted.concepts[0].honest(found), yes, line), "answers": answers}


def _scored(shelf: Shelf, fitted: Fitted) -> tuple[Keys, NDArray[np.intp], Floats]:
    """Return all segments (N): their rows (N,), the number of the video of each (N,), their scores (N,)."""
    rows, owners = shelf.db.owners(shelf.stored)
    blocks = np.array_split(rows, len(rows) // _BLOCK + 1)
    scores = [fitted.scores(shelf.db.vectors(shelf.stored, block))[:, 0] for block in blocks if len(block)]
    nothing = np.zeros(0, np.float32)
    return rows, np.unique(owners, return_inverse=True)[1], np.concatenate([nothing, *scores])


def _best(videos: NDArray[np.intp], scores: Floats) -> Floats:
    """Return the best score of each video."""
    found = np.full(int(videos.max()) + 1 if len(videos) else 0, NOTHING, np.float32)
    np.maximum.at(found, videos, scores)
    return found


def counts_at(best: Floats) -> list[tuple[float, int]]:
    """Return [(line, how many of the best scores (V,) reach it)] from where all do to where one does."""
    if not len(best):
        return []
    lines = np.linspace(best.min(), best.max(), LINES) if best.min() < best.max() else best[:1]
    reach = len(best) - np.searchsorted(np.sort(best), lines.astype(np.float32), side="left")
    return list(zip(lines.astype(np.float32).tolist(), reach.tolist(), strict=True))


def histogram(scores: Floats, background: NDArray[np.float64]) -> dict[str, list[float]]:
    """Return {edges, library, background}: how many scores of each kind lie between two edges."""
    both = np.concatenate([scores.astype(np.float64), background])
    edges = np.histogram_bin_edges(both, BINS)
    counts = {"library": scores.astype(np.float64), "background": background}
    return {"edges": edges.tolist(), **{key: np.histogram(values, edges)[0].tolist() for key, values in counts.items()}}


def _near(
    library: Library, said: Mapping[str, bool], fitted: Fitted, ground: Background, rows: Keys, scores: Floats
) -> list[dict[str, Any]]:
    sure, places = confidences(library, fitted, 0, scores), ground.percentiles(scores).tolist()
    found = library.db.places(library.stored, rows.tolist())
    return [
        {
            "segment_id": (key := found[row].segment.id),
            "score": score,
            "confidence": confidence,
            "percentile": place,
            "answer": said.get(key),
        }
        for row, score, confidence, place in zip(rows.tolist(), scores.tolist(), sure, places, strict=True)
        if row in found
    ]
