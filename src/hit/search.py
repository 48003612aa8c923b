"""Search: texts, videos and images become one query vector; the store's nearest segments become hits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hit.db import Database, Line, Place
from hit.errors import UserError
from hit.types import Clip, Encoder, Evidence, Features, Floats, Hit, Store

EVIDENCE = 5  # lines shown with a hit
# Words that a line may share with any query: they prove nothing.
_COMMON = (
    "about an and are as at be by for from has he her his in into is it its me my not of on one or our out she so some that "
    "the their them then there they this to two up was we were what when where which while who with you your"
)
COMMON = frozenset(_COMMON.split())

_OVERFETCH = 4

Looked = Mapping[str, Features]


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: the mean of all texts and examples.

    An example is a video or an image as the experts saw it, segment by segment. `weights` of the embedding's parts; a part
    that is not named weighs 1. With `group_by="video"` each video appears once, with its best segment.
    """

    texts: Sequence[str] = ()
    examples: Sequence[Sequence[Looked]] = ()
    weights: Mapping[str, float] | None = None
    limit: int = 10
    group_by: Literal["clip", "video"] = "clip"


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, best first, and the model that found them. `no_good_match` is None as long as scores are not calibrated."""

    hits: Sequence[Hit]
    model: str
    revision: str
    no_good_match: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the answer under the names of the command line's and the API's JSON."""
        return {
            "hits": [hit.to_json() for hit in self.hits],
            "model": {"id": self.model, "revision": self.revision},
            "no_good_match": self.no_good_match,
        }


def search(query: Query, *, db: Database, store: Store, encoder: Encoder, revision: str, posters: Path) -> Answer:
    """Return the segments that fit the query best.

    `revision` is that of the model whose vectors are in the store. Raises UserError for an empty query, a limit below 1, an
    empty library, and where the encoder is of another revision.
    """
    if query.limit < 1:
        raise UserError("the limit", f"{query.limit} is below 1")
    if encoder.revision != revision:
        why = f"it was indexed with model revision {revision}, the query would be made by {encoder.revision}"
        raise UserError("the library", why, "index it again with `hit index LIBRARY --model MODEL`")
    if not store.count():
        raise UserError("the library", "holds no videos yet", "add some with `hit index LIBRARY PATH`")
    found = _nearest(embed(query, encoder), query, db, store)
    lines = db.lines(place.segment.id for place, _ in found) if query.texts else {}
    hits = [
        Hit(
            rank=rank,
            clip=Clip(place.segment.id, place.segment.video_id, place.path, place.segment.start, place.segment.end),
            score=score,
            seek=place.segment.seek,
            thumbnail=posters / place.segment.thumbnail if place.segment.thumbnail else None,
            evidence=evidence(query.texts, lines.get(place.segment.id, ())),
        )
        for rank, (place, score) in enumerate(found, 1)
    ]
    return Answer(hits, encoder.id, encoder.revision)


def evidence(texts: Sequence[str], lines: Sequence[Line]) -> list[Evidence]:
    """Return the lines that have words in common with the query, those with most first, and of equals the earliest."""
    wanted = words(" ".join(texts))
    shared = [(len(wanted & words(line.text)), line) for line in lines]
    best = sorted((pair for pair in shared if pair[0]), key=lambda pair: (-pair[0], pair[1].number))
    return [Evidence(line.expert, line.start, line.end, line.text) for _, line in best[:EVIDENCE]]


def words(text: str) -> set[str]:
    """Return the words of a text, upper and lower case alike, without single letters and the commonest ones of English."""
    return set(re.findall(r"\w{2,}", text.casefold())) - COMMON


def embed(query: Query, encoder: Encoder) -> Floats:
    """Return the query as one vector (dim,), so that an inner product with it is the weighted sum of the parts' cosines."""
    if any(not text.strip() for text in query.texts) or not (query.texts or query.examples):
        raise UserError("the query", "is empty", "give a text, --video or --image")
    rows = list(encoder.embed_texts(query.texts)) if query.texts else []
    rows += [_mean(encoder.embed_clips(example), encoder.parts) for example in query.examples]
    vector: Floats = np.stack(rows).mean(axis=0)
    for name, part in encoder.parts.items():
        vector[part] *= (query.weights or {}).get(name, 1.0)
    if not vector.any():
        raise UserError("the query", "the model finds nothing in it to search by", "give a text, or another video or image")
    return vector


def _mean(vectors: Floats, parts: Mapping[str, slice]) -> Floats:
    mean: Floats = vectors.mean(axis=0)
    for part in parts.values():
        mean[part] /= max(float(np.linalg.norm(mean[part])), 1e-12)
    return mean


def _nearest(vector: Floats, query: Query, db: Database, store: Store) -> list[tuple[Place, float]]:
    """Return the best segments, never fewer than `limit` if there are as many."""
    fetch = query.limit * (1 if query.group_by == "clip" else _OVERFETCH)
    while True:
        found = store.search(vector[None], fetch)[0]
        places = db.places(key for key, _ in found)
        best: dict[str, tuple[Place, float]] = {}
        for key, score in found:
            if key in places:  # else it was removed this very moment
                best.setdefault(key if query.group_by == "clip" else places[key].segment.video_id, (places[key], score))
        if len(best) >= query.limit or len(found) < fetch:
            return list(best.values())[: query.limit]
        fetch *= _OVERFETCH
