"""From a video to texts: which of thousands of labels or captions it shows."""

from collections.abc import Sequence
from typing import Any

from hit.errors import UserError
from hit.examples import Like
from hit.library import Library
from hit.tagging.fitted import labels_of


def rank(library: Library, video: str, label_set: str | None, texts: Sequence[str], limit: int) -> dict[str, Any]:
    """Return the texts, or a label set's labels by the text of each that fits best, that fit a video best, best first.

    Raises NotFoundError for a video without vectors and for a set that is not known, UserError for both or neither.
    """
    if (label_set is None) == (not texts):
        raise UserError("what is ranked", "names both a label set and texts, or neither", "give label_set or texts")
    labels = [] if label_set is None else labels_of(library.db.label_set(label_set))
    of: dict[str, list[str]] = {}  # a text may be one of several labels
    for label in labels:
        for text in label.texts:
            of.setdefault(text, []).append(label.name)
    found = library.describe([Like(video)], [*texts, *of], limit if not labels else len(of))
    ranked: list[dict[str, Any]] = []
    seen: set[str] = set()
    for one in found["videos"][0]["texts"]:
        for name in of.get(one["text"], [""]):
            if name not in seen:
                seen |= {name} - {""}
                ranked.append({**one, "label": name or None, "rank": len(ranked) + 1})
    return {"texts": ranked[:limit], "model": found["model"]}
