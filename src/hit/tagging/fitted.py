"""What a version of a label set becomes for one model: a concept and a threshold for each label, kept with the version."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from hit import concept, search, trail
from hit.arrays import products
from hit.concept import Background, Concept
from hit.db import LabelSet
from hit.errors import UserError
from hit.library import Library
from hit.tagging.labels import Label, from_tables
from hit.tagging.thresholds import Answered, Rule, fit
from hit.types import Encoder, Floats, Progress, Silent

NOTHING = -np.inf  # the score of a segment that shows an exception, or in which the model has found nothing


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Labels (L) with their concepts and thresholds, by a revision of the model. `answers` names the answers that counted."""

    revision: str
    answers: str
    labels: Sequence[Label]
    concepts: Sequence[Concept]
    thresholds: Sequence[float]

    def scores(self, vectors: Floats) -> Floats:
        """Return the scores (N, L) of vectors (N, d); NOTHING where a label's concept is excepted."""
        found = products(vectors, np.stack([one.direction for one in self.concepts]))
        for column, one in enumerate(self.concepts):
            if len(one.barred):
                found[one.excepted(vectors, found[:, column]), column] = NOTHING
        found[~vectors.any(axis=1)] = NOTHING  # for all labels at once, whatever they bar
        return found

    def only(self, name: str) -> "Fitted":
        """Return one label of them."""
        at = next(slice(i, i + 1) for i, label in enumerate(self.labels) if label.name == name)
        return replace(self, labels=self.labels[at], concepts=self.concepts[at], thresholds=self.thresholds[at])

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "revision": self.revision,
            "answers": self.answers,
            "labels": [{**one.to_json(), "threshold": line} for one, line in zip(self.concepts, self.thresholds, strict=True)],
        }

    @classmethod
    def from_json(cls, table: Mapping[str, Any], labels: Sequence[Label]) -> Self:
        """Read what is kept of these labels."""
        concepts = [Concept.from_json(one) for one in table["labels"]]
        return cls(table["revision"], table["answers"], labels, concepts, [one["threshold"] for one in table["labels"]])


def labels_of(one: LabelSet) -> list[Label]:
    """Return the labels of a version."""
    return from_tables(one.document["labels"], f"label set {one.name}")


def kept(one: LabelSet, revision: str) -> Fitted | None:
    """Return what is kept of a version for a revision of the model, if there is."""
    if one.fitted is None or one.fitted["revision"] != revision:
        return None
    return Fitted.from_json(one.fitted, labels_of(one))


def of_version(library: Library, one: LabelSet, progress: Progress | None = None) -> Fitted:
    """Return a version's labels fitted to the library's model: as they are kept, or else fitted now, and kept.

    What is active stays as it is under the same model; a draft is fitted anew where answers that its rules ask for are others.
    """
    found = kept(one, library.stored.revision)
    if found is not None and (one.state == "active" or found.answers == _said(found.labels, library.db.label_answers(one.name))):
        return found
    made = make(library, one.name, labels_of(one), progress)
    library.db.keep_fitted(one, made.to_json())
    return made


def of_label(library: Library, one: LabelSet, name: str) -> Fitted:
    """Return one label of a version, as `of_version` fits it, without the others; nothing is kept.

    Where there are too few answers for its threshold, it is the default rule's: else nobody could look for what to answer.
    """
    found = kept(one, library.stored.revision)
    if found is not None and (one.state == "active" or found.answers == _said(found.labels, library.db.label_answers(one.name))):
        return found.only(name)
    labels = labels_of(one)
    label = next(label for label in labels if label.name == name)
    words = [Label(other.name, other.texts, other.group) for other in labels if other.group == label.group]  # its alternatives
    try:
        return make(library, one.name, [label if other.name == name else other for other in words]).only(name)
    except UserError:
        if label.rule.kind != "precision":
            raise
        plain = replace(label, rule=Rule())
        return make(library, one.name, [plain if other.name == name else other for other in words]).only(name)


def make(library: Library, name: str, labels: Sequence[Label], progress: Progress | None = None) -> Fitted:
    """Fit labels of the set `name` to the library's model.

    Examples of which the model has made no vector, as those of removed videos, do not count. Raises UserError as
    `thresholds.fit`, naming the label, and where the library's vectors are another model's.
    """
    encoder, ground = library.encoder, trail.background(library)
    search.check(encoder, library.stored)
    if not len(ground):
        raise UserError("the library", "holds no videos yet", "add some with `hit index LIBRARY PATH`")
    answers = library.db.label_answers(name)
    asked = {label.name: answers.get(label.name, {}) for label in labels if label.rule.kind == "precision"}
    wanted = {key for label in labels for key in label.examples} | {key for own in asked.values() for key in own}
    vectors = library.db.segment_vectors(library.stored, wanted)
    concepts, lines = [], []
    with (progress or Silent()).task("Fitting labels", len(labels)) as task:
        for label, words in zip(labels, _said_by(encoder, labels), strict=True):
            liked, disliked = (_chosen(vectors, keys, encoder.dim) for keys in (label.examples_for, label.examples_against))
            one = concept.refined(words, liked, disliked, ground)
            own = {key: yes for key, yes in asked.get(label.name, {}).items() if key in vectors}
            said = Answered(_chosen(vectors, list(own), encoder.dim), np.array(list(own.values()), np.bool_))
            try:
                lines.append(fit(label.rule, one, Background.of(one, ground), said))
            except UserError as error:
                raise UserError(f"label {label.name}: {error.what}", error.why, error.fix) from None
            concepts.append(one)
            task.advance(note=label.name)
    return Fitted(library.stored.revision, _said(labels, answers), labels, concepts, lines)


def _said_by(encoder: Encoder, labels: Sequence[Label]) -> list[Concept]:
    """Return what labels say in words; those of one group are alternatives to one another."""
    found = {label.name: concept.of_texts(encoder, label.texts, label.exceptions) for label in labels}
    for group in {label.group for label in labels} - {""}:
        names = [label.name for label in labels if label.group == group]
        found |= zip(names, concept.contrasted([found[name] for name in names]), strict=True)
    return [found[label.name] for label in labels]


def _said(labels: Sequence[Label], answers: Mapping[str, Mapping[str, bool]]) -> str:
    """Name the answers that the labels' rules ask for."""
    asked = {label.name: answers.get(label.name, {}) for label in labels if label.rule.kind == "precision"}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _chosen(vectors: Mapping[str, Floats], keys: Sequence[str], dim: int) -> Floats:
    return np.array([vectors[key] for key in keys if key in vectors], np.float32).reshape(-1, dim)
