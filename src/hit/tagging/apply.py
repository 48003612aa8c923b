"""What label sets tag: looked at beforehand, applied, and kept up to date while the library grows."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hit import search, trail
from hit.concept import Background
from hit.db import LabelSet, Tagged
from hit.errors import NotFoundError
from hit.library import Library
from hit.tagging import fitted as fitting
from hit.tagging.fitted import Fitted
from hit.tagging.labels import Label
from hit.types import Floats, Progress, Silent

SAMPLES = 6  # of a label that change, each way
_STEP = 50  # videos between two words of progress


@dataclass(frozen=True, slots=True)
class Change:
    """What a label set would tag (rows), what it tags now (before), and how many videos were looked at."""

    rows: Mapping[tuple[str, str], Tagged]
    before: Mapping[tuple[str, str], Tagged]
    videos: int

    @property
    def gone(self) -> list[tuple[str, str]]:
        """What is tagged now, and would not be."""
        return sorted(self.before.keys() - self.rows.keys())

    @property
    def new(self) -> list[tuple[str, str]]:
        """What is not tagged now, and would be."""
        return sorted(self.rows.keys() - self.before.keys())

    @property
    def written(self) -> list[Tagged]:
        """The rows that differ from what there is. Confidence alone is no difference: it depends on how large the library is."""
        return [row for key, row in sorted(self.rows.items()) if key not in self.before or _said(row) != _said(self.before[key])]


def _said(row: Tagged) -> tuple[Any, ...]:
    return row.version, row.revision, row.score, row.threshold, row.segments


def change(
    library: Library, one: LabelSet, fitted: Fitted, videos: Sequence[str] | None = None, progress: Progress | None = None
) -> Change:
    """Work out what a version of a label set tags of these videos, or of all. Raises StaleError as `trail.reels`."""
    search.check(library.encoder, library.stored)
    found: list[Tagged] = []
    looked = 0
    wanted = library.db.filmed(library.stored.revision) if videos is None else videos
    with (progress or Silent()).task(f"Tagging by {one.name}", len(wanted)) as task:
        for reel in trail.reels(library, videos):
            found += _rows(reel, fitted, one)
            looked += 1
            if looked % _STEP == 0:
                task.advance(_STEP)
    _judge(library, fitted, found)
    before = library.db.tagged_by(one.name, videos)
    return Change({(row.label, row.video_id): row for row in found}, before, looked)


def _rows(reel: trail.Reel, fitted: Fitted, one: LabelSet) -> Iterator[Tagged]:
    scores = fitted.scores(reel.vectors)
    now = datetime.now(UTC)
    best = scores.max(axis=0).tolist()
    for column, (label, line) in enumerate(zip(fitted.labels, fitted.thresholds, strict=True)):
        if best[column] >= line:
            yield Tagged(
                label_set=one.name,
                label=label.name,
                video_id=reel.video,
                version=one.version,
                revision=fitted.revision,
                score=best[column],
                confidence=None,
                threshold=line,
                segments=reel.evidence(scores[:, column], line),
                at=now,
            )


def _judge(library: Library, fitted: Fitted, rows: Iterable[Tagged]) -> None:
    """Give rows their confidence, label by label: it takes a background, and one look at that is cheaper than many."""
    of: dict[str, list[Tagged]] = {}
    for row in rows:
        of.setdefault(row.label, []).append(row)
    for column, label in enumerate(fitted.labels):
        if own := of.get(label.name):
            sure = confidences(library, fitted, column, np.array([row.score for row in own], np.float32))
            for row, value in zip(own, sure, strict=True):
                row.confidence = value


def confidences(library: Library, fitted: Fitted, column: int, scores: Floats) -> Sequence[float | None]:
    """Return how probably segments (N,) show a label: by its probe, or as in a search for its one text, or None."""
    one = fitted.concepts[column]
    found = one.probabilities(scores)
    if (
        found is None and library.judge and one.kind == "text" and len(fitted.labels[column].texts) == 1
    ):  # as in a search: mixtures are not calibrated
        found = library.judge.judge(one.direction, scores, max(1, library.db.vector_count(fitted.revision)))
    return [None] * len(scores) if found is None else found.tolist()


def apply(library: Library, name: str, version: int | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Tag the library by a version of a label set, the newest unless one is named; what it no longer says is taken back.

    All of it counts in one moment. Raises UserError as `fitted.make`, and BusyError where another process is at work for long.
    """
    detail = {"label_set": name, "version": version}
    with library.writing(), library.job("tag", detail) as job:
        progress = job.watched(progress or Silent())
        one = library.db.label_set(name, version)
        found = change(library, one, fitting.of_version(library, one, progress), None, progress)
        library.db.activate_labels(one, found.gone, found.written)
        job.result |= {"version": one.version, "videos": found.videos, "added": len(found.new), "removed": len(found.gone)}
        return {"label_set": name, **dict(job.result), "tagged": len(found.rows)}


def refresh(library: Library, videos: Iterable[str] | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Look at these videos, or at all, by every active label set, and tag and untag them; twice is the same as once.

    A set that is not fitted to the library's model yet is fitted to it, and looks at all videos. Raises BusyError as `apply`.
    """
    result = {"label_sets": 0, "videos": 0, "added": 0, "removed": 0}
    active = [(one.newest.name, one.active) for one in library.db.label_sets() if one.active is not None]
    wanted = None if videos is None else sorted(set(videos))
    if not active or wanted == []:
        return result
    with library.writing():
        for name, version in active:
            one = library.db.label_set(name, version)
            known = fitting.kept(one, library.stored.revision) is not None
            fitted = fitting.of_version(library, one, progress)
            found = change(library, one, fitted, wanted if known else None, progress)
            with contextlib.suppress(NotFoundError):  # somebody retired it meanwhile
                library.db.activate_labels(one, found.gone, found.written)
            result["label_sets"] += 1
            result["videos"] = max(result["videos"], found.videos)
            result["added"] += len(found.new)
            result["removed"] += len(found.gone)
    return result


def preview(library: Library, name: str, version: int | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Return what `apply` would change, and write nothing but what the version was fitted to."""
    one = library.db.label_set(name, version)
    fitted = fitting.of_version(library, one, progress)
    return {"version": one.version, **_previewed(library, one, fitted, progress)}


def preview_labels(library: Library, name: str, labels: Sequence[Label], progress: Progress | None = None) -> dict[str, Any]:
    """Return what a set of these labels would change if it were saved under a name and applied. Nothing is written."""
    one = LabelSet(name=name, version=0, state="draft", document={"labels": [label.to_table() for label in labels]})
    return {"version": None, **_previewed(library, one, fitting.make(library, name, labels, progress), progress)}


def _previewed(library: Library, one: LabelSet, fitted: Fitted, progress: Progress | None) -> dict[str, Any]:
    found = library.asked(lambda _: change(library, one, fitted, None, progress))
    counts = {key: Counter(label for label, _ in keys) for key, keys in _kinds(found).items()}
    names = [label.name for label in fitted.labels]
    names += sorted({label for label, _ in found.before} - set(names))
    before = next((row.version for row in found.before.values()), None)
    return {
        "before": before,
        "videos": found.videos,
        "labels": [{"name": name, **{key: count[name] for key, count in counts.items()}} for name in names],
        "samples": list(_samples(library, fitted, found)),
    }


def _kinds(found: Change) -> dict[str, Iterable[tuple[str, str]]]:
    kept = found.rows.keys() & found.before.keys()
    return {"before": found.before, "after": found.rows, "added": found.new, "removed": found.gone, "kept": kept}


def _samples(library: Library, fitted: Fitted, found: Change) -> Iterator[dict[str, Any]]:
    """Yield of each label some videos that change, surest first, each by the segment that fits best."""
    ground = trail.background(library)
    for kind, keys, rows in (("added", found.new, found.rows), ("removed", found.gone, found.before)):
        of: dict[str, list[Tagged]] = {}
        for key in keys:
            of.setdefault(key[0], []).append(rows[key])
        for name, own in of.items():
            column = next((i for i, label in enumerate(fitted.labels) if label.name == name), None)
            back = None if column is None else Background.of(fitted.concepts[column], ground)
            for row in sorted(own, key=lambda row: (-row.score, row.video_id))[:SAMPLES]:
                best = max(row.segments, key=lambda segment: segment["score"])
                place = None if back is None else float(back.percentiles(np.array([row.score], np.float32))[0])
                facts = {"segment_id": best["segment_id"], "score": row.score, "confidence": row.confidence, "percentile": place}
                yield {"label": name, "change": kind, **facts}


def retire(library: Library, name: str) -> dict[str, Any]:
    """Retire a label set, and take back what it tagged. Raises NotFoundError."""
    return {"label_set": name, "removed": library.db.retire_labels(name)}
