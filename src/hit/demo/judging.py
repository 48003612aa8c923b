"""The demo's other two jobs: it tags its library and enforces a policy, and both are held against the corpus's truth.

Truth is what a clip shows (truth.jsonl). Lines of labels are drawn on the validation clips, those of the policy by the background
alone; the figures are of the library, which holds the test clips.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit import moderation, splits
from hit.datasets import Dataset
from hit.datasets.corpus import truth
from hit.library import Library
from hit.moderation import lifecycle
from hit.tagging import apply as applying
from hit.tagging import fitted, sets
from hit.tagging.labels import Label
from hit.tagging.thresholds import Rule
from hit.types import Floats, Progress

SET, POLICY = "corpus", "red-spinning"
BAD = "red spin"  # what the policy means, as truth has it
DOCUMENT = {
    "texts": ["a red object spins", "something red spins"],
    "review": {"percentile": 90},
    "block": {"percentile": 99.5},
    "severity": 3,
    "audit_share": 0.05,
    "note": "The demo's example: anything red that spins, whatever its shape.",
}
BY = "hit demo"


def tag(shelf: Library, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    """Tag the library by the corpus's colours, shapes, motions and sounds; return how many videos are tagged, and how well.

    macro_f1: by group, the mean over its labels of F1; labels that no clip of the library shows are left out.
    """
    labels = [Label(name, tuple(texts), group) for group, own in truth.LABELS.items() for name, texts in own.items()]
    one = sets.saved(shelf, SET, _lined(shelf, labels, dataset), BY)
    tagged = applying.apply(shelf, SET, one.version, progress)
    shown = _truth(shelf, dataset)
    found: dict[str, set[str]] = {}
    for label, video in shelf.db.tagged_by(SET):
        found.setdefault(label, set()).add(video)
    scores: dict[str, dict[str, float]] = {}
    for group, own in truth.LABELS.items():
        right = {name: {video for video, labels_ in shown.items() if name in labels_} for name in own}
        scores[group] = {name: f1(found.get(name, set()), right[name]) for name in own if right[name]}
    return {
        "label_set": SET,
        "version": one.version,
        "tags": tagged["tagged"],
        "videos": len({video for videos in found.values() for video in videos}),
        "macro_f1": {group: float(np.mean(list(own.values()))) for group, own in scores.items() if own},
        "f1": scores,
    }


def enforce(shelf: Library, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    """Enforce the policy; return what it says of the library, and how right that is.

    precision and recall are of what is blocked, and of what is blocked or shown to people; None where nothing is.
    """
    now = next((one for one in shelf.db.policies([POLICY]) if one.state == "enforced"), None)
    if now is None:
        now = lifecycle.draft(shelf, POLICY, DOCUMENT, BY)
        (now,) = lifecycle.enter(shelf, POLICY, "enforced", BY, now.version)
    moderation.judge(shelf, None, progress, [POLICY])
    shown = _truth(shelf, dataset)
    bad = {video for video, labels in shown.items() if BAD in labels}
    said: dict[str, set[str]] = {verdict: set() for verdict in lifecycle.VERDICTS}
    for video, one in shelf.db.verdicts_of(POLICY, now.version, shown).items():
        said[one.verdict].add(video)
    return {
        "policy": POLICY,
        "version": now.version,
        "texts": DOCUMENT["texts"],
        "bad": len(bad),
        "counts": {kind: len(videos) for kind, videos in said.items()},
        "block": hits(said["block"], bad),
        "review or block": hits(said["review"] | said["block"], bad),
        "passed": {"bad": len(said["pass"] & bad), "of": len(said["pass"])},
        "cases": shelf.db.cases(policy=POLICY, limit=1)[1],
    }


def f1(found: AbstractSet[str], right: AbstractSet[str]) -> float:
    """Return the harmonic mean of precision and recall of what was found."""
    return 2 * len(found & right) / max(1, len(found) + len(right))


def hits(found: AbstractSet[str], right: AbstractSet[str]) -> dict[str, float | None]:
    """Return precision and recall of what was found: None of nothing."""
    both = len(found & right)
    return {"precision": both / len(found) if found else None, "recall": both / len(right) if right else None}


def line(scores: Floats, right: NDArray[np.bool_]) -> float | None:
    """Return the score (n,) from which on F1 is best, the highest of equals; None where nothing is right (n,)."""
    if not right.any():
        return None
    order = np.argsort(-scores, kind="stable")
    both = np.cumsum(right[order])
    best = int(np.argmax(2 * both / (np.arange(1, len(order) + 1) + both[-1])))
    return float(scores[order[best]])


def _lined(shelf: Library, labels: Sequence[Label], dataset: Dataset) -> list[Label]:
    """Return labels with the lines that are best on the validation clips; those that none of these shows keep their rule."""
    held = splits.load(dataset, "val", shelf.experts)
    vectors = shelf.encoder.embed_clips(held.features)
    scores = fitted.make(shelf, SET, labels).scores(vectors)  # (clips, labels)
    shown = truth.read(dataset.root)
    lined = []
    for column, label in zip(scores.T, labels, strict=True):
        right = np.array([label.name in shown[_video(clip)] for clip in held.ids])
        best = line(column, right)
        lined.append(label if best is None else Label(label.name, label.texts, label.group, rule=Rule("score", best)))
    return lined


def _truth(shelf: Library, dataset: Dataset) -> Mapping[str, AbstractSet[str]]:
    """Return what the library's videos show, by their ids."""
    shown = truth.read(dataset.root)
    return {known.video: shown["/".join(Path(path).parts[-3:])] for path, known in shelf.db.files().items()}


def _video(clip: str) -> str:
    return f"videos/{clip}.mp4"
