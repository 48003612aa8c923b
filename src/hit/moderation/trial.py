"""The dry run: what a policy would do with the library, and what would change. Nothing is written."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hit import trail
from hit.concept import Background
from hit.db import Judged, Policy
from hit.library import Library
from hit.moderation import bank, lifecycle
from hit.moderation.document import Document, read
from hit.moderation.judging import Fit, bench, fit

NEAREST = 12  # videos at a line
CHANGES = 200
_BINS = 40
_VIDEOS = 200  # judged at once


def trial(library: Library, name: str, version: int | None = None, document: Document | None = None) -> dict[str, Any]:
    """Return what a version of a policy, or a document that it could have, would say of all videos.

    {version, counts, audit, previous: {version, state, counts} | None, changed, changes, review, block, passed, histogram,
    thresholds, kind, model}; see `hit.api.policies`. Videos are {video_id, score, confidence, evidence, ..}. Raises as
    `judging.fit`.
    """
    policy = None if document is not None else library.db.policy(name, version)
    number = policy.version if policy else None
    return trail.steady(
        library, lambda: _trial(library, name, policy, document or read(library.db.policy(name, number).document))
    )


def _trial(library: Library, name: str, policy: Policy | None, document: Document) -> dict[str, Any]:
    revision = library.stored.revision
    kept = ((policy.fitted or {}) if policy else {}).get(revision)
    made = bench(library, name, document, Fit.from_json(revision, kept) if kept else fit(library, name, document))
    judged = _all(library, made)
    previous = lifecycle.before(library, name, policy.version if policy else None)
    old = _said(library, previous)
    lines = made.fit.lines
    ordered = sorted(judged, key=lambda one: (-one.score, one.video_id))
    changed = [one for one in ordered if previous and old.get(one.video_id) != one.verdict]
    background = Background.of(made.fit.concept, trail.background(library)).scores
    scores = np.array([one.score for one in ordered], np.float64)
    edges = _edges([scores, background, np.array([lines.review, lines.review if lines.block is None else lines.block])])
    return {
        "version": policy.version if policy else None,
        "counts": _counts(judged),
        "audit": sum(one.audit for one in judged),
        "previous": previous
        and {"version": previous.version, "state": previous.state, "counts": _count_words(list(old.values()))},
        "changed": len(changed),
        "changes": [
            {"video_id": one.video_id, "before": old.get(one.video_id), "after": one.verdict, "score": one.score}
            for one in changed[:CHANGES]
        ],
        "review": _shown(_nearest(ordered, "review", lines.review)),
        "block": _shown(_nearest(ordered, "block", lines.review if lines.block is None else lines.block)),
        "passed": _shown(_nearest(ordered, "pass", lines.review)),
        "histogram": {
            "edges": edges.tolist(),
            "library": np.histogram(scores, edges)[0].tolist(),
            "background": np.histogram(background, edges)[0].tolist(),
        },
        "thresholds": {"review": lines.review, "block": lines.block},
        "kind": made.fit.concept.kind,
        "model": {"id": library.config.model.id, "revision": revision},
    }


def _all(library: Library, made: Any) -> list[Judged]:
    """Judge all videos. Of the bank, those count whose frames have been hashed already: a dry run decodes nothing."""
    known = bank.open_bank(library) if made.document.bank else None
    wanted = library.db.filmed(library.stored.revision)
    judged = []
    for start in range(0, len(wanted), _VIDEOS):
        reels = list(trail.reels(library, wanted[start : start + _VIDEOS]))
        hashes = library.db.hashes(reel.video for reel in reels)
        matches = known.matches(library, hashes, decode=False) if known else {}
        found = (made.judge(reel, hashes[reel.video], matches.get(reel.video, ())) for reel in reels if reel.video in hashes)
        judged += [one for one in found if one]
    return judged


def _said(library: Library, policy: Policy | None) -> dict[str, str]:
    """Return what a version has said of each video."""
    return library.db.said(policy.name, policy.version) if policy else {}


def _counts(judged: Sequence[Judged]) -> dict[str, int]:
    return _count_words([one.verdict for one in judged])


def _count_words(words: Sequence[str]) -> dict[str, int]:
    return {word: words.count(word) for word in lifecycle.VERDICTS}


def _nearest(ordered: Sequence[Judged], verdict: str, line: float) -> list[Judged]:
    """Return the videos of a verdict that are nearest to a line."""
    own = [one for one in ordered if one.verdict == verdict]
    return sorted(own, key=lambda one: (abs(one.score - line), one.video_id))[:NEAREST]


def _shown(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    return [
        {"video_id": one.video_id, "score": one.score, "confidence": one.confidence, "evidence": list(one.evidence)}
        | {"matches": list(one.matches)}
        for one in judged
    ]


def _edges(parts: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the edges of bins over all scores and lines."""
    values = np.concatenate(parts)
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
