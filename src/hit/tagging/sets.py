"""Label sets: written, shown, and made anew of what people said of the clips."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hit.db import LabelSet
from hit.db.labels import Listed
from hit.errors import NotFoundError, UserError
from hit.library import Library
from hit.tagging.fitted import kept, labels_of
from hit.tagging.labels import Label, set_name

__all__ = ["answer", "find", "labels_of", "refit", "save", "saved", "summary", "tagged", "tally", "to_json"]


def save(library: Library, name: str, labels: Sequence[Label], by: str) -> LabelSet:
    """Write a new draft of a label set. Raises UserError for a name that is none, and for examples that nobody knows.

    Examples that an earlier version had may be gone: their videos were removed since.
    """
    name = set_name(name)
    wanted = {key for label in labels for key in label.examples}
    if lost := wanted - library.db.stretches(wanted).keys():
        before = {key for one in library.db.label_sets() if one.newest.name == name for key in _examples(one.newest)}
        if odd := sorted(lost - before):
            owner = next(label.name for label in labels if odd[0] in label.examples)
            why = f"an example of '{owner}' that the library does not know"
            raise NotFoundError(f"segment {odd[0]}", why, "give segments' ids")
    return library.db.put_label_set(name, {"labels": [label.to_table() for label in labels]}, by)


def saved(library: Library, name: str, labels: Sequence[Label], by: str) -> LabelSet:
    """Return the newest version of a label set where it has these very labels, or else write a new draft, as `save` does."""
    newest = next((one.newest for one in library.db.label_sets() if one.newest.name == name), None)
    same = newest is not None and newest.document["labels"] == [label.to_table() for label in labels]
    return newest if newest is not None and same else save(library, name, labels, by)


def _examples(one: LabelSet) -> set[str]:
    return {key for label in labels_of(one) for key in label.examples}


def find(one: LabelSet, label: str) -> Label:
    """Return a label of a version. Raises NotFoundError."""
    found = next((each for each in labels_of(one) if each.name == label), None)
    if found is None:
        raise NotFoundError(f"label {label}", f"version {one.version} of the label set {one.name} has none of this name")
    return found


def answer(library: Library, name: str, label: str, segment: str, yes: bool | None, by: str) -> dict[str, int]:
    """Note whether a segment shows a label, None: nobody says so any more. Return {yes, no}: how many answers it has."""
    find(library.db.label_set(name), label)
    library.db.answer_label(name, label, segment, yes, by)
    return tally(library, name, label)


def tally(library: Library, name: str, label: str) -> dict[str, int]:
    """Return how many answers of each kind a label has."""
    said = list(library.db.label_answers(name).get(label, {}).values())
    return {"yes": sum(said), "no": len(said) - sum(said)}


def refit(library: Library, name: str, label: str, by: str) -> LabelSet:
    """Make people's answers examples of a label, in a new draft. Raises UserError where there are none."""
    newest = library.db.label_set(name)
    before = find(newest, label)
    said = library.db.label_answers(name).get(label, {})
    if not said:
        raise UserError(f"label {label}", "nobody has answered anything yet", "answer some of the clips at the line first")
    kinds = {yes: [key for key, own in said.items() if own is yes] for yes in (True, False)}
    after = replace(
        before,
        examples_for=tuple(dict.fromkeys([*(key for key in before.examples_for if key not in said), *kinds[True]])),
        examples_against=tuple(dict.fromkeys([*(key for key in before.examples_against if key not in said), *kinds[False]])),
    )
    labels = [after if one.name == label else one for one in labels_of(newest)]
    return save(library, name, labels, by)


def tagged(library: Library, video: str) -> list[dict[str, Any]]:
    """Return by which labels a video is tagged, and why."""
    groups: dict[tuple[str, int], dict[str, str]] = {}
    found = []
    for one in library.db.tagged(video):
        key = one.label_set, one.version
        if key not in groups:
            groups[key] = {label.name: label.group for label in labels_of(library.db.label_set(*key))}
        names = ("label_set", "version", "label", "score", "confidence", "threshold", "revision", "segments")
        found.append({**{name: getattr(one, name) for name in names}, "group": groups[key].get(one.label, "")})
    return found


def summary(one: Listed) -> dict[str, Any]:
    """Return a label set as a list shows it."""
    newest = one.newest
    return {
        "name": newest.name,
        "version": newest.version,
        "state": newest.state,
        "labels": len(newest.document["labels"]),
        "tagged": one.tagged,
        "active_version": one.active,
        "created_at": newest.created_at,
        "by": newest.by,
    }


def to_json(library: Library, one: LabelSet) -> dict[str, Any]:
    """Return a version of a label set, with what is known of its labels for the library's model."""
    model = library.config.model
    fitted, counts = kept(one, model.revision), library.db.tagged_counts(one.name)
    labels = []
    for i, label in enumerate(labels_of(one)):
        line, kind = (fitted.thresholds[i], fitted.concepts[i].kind) if fitted else (None, None)
        labels.append({**label.to_table(), "threshold": line, "kind": kind, "tagged": counts.get(label.name, 0)})
    return {
        "name": one.name,
        "version": one.version,
        "state": one.state,
        "versions": [
            {"version": each.version, "state": each.state, "created_at": each.created_at, "by": each.by}
            for each in library.db.label_versions(one.name)
        ],
        "labels": labels,
        "model": {"id": model.id, "revision": model.revision},
    }
