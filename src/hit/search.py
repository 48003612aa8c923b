"""Search: texts, videos and images become one query vector; the store's nearest segments become hits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hit.db import Database, Place
from hit.errors import UserError
from hit.types import Clip, Encoder, Features, Floats, Hit, Store

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
    vector = embed(query, encoder)
    hits = [
        Hit(
            rank=rank,
            clip=Clip(place.segment.id, place.segment.video_id, place.path, place.segment.start, place.segment.end),
            score=score,
            seek=place.segment.seek,
            thumbnail=posters / place.segment.thumbnail if place.segment.thumbnail else None,
        )
        for rank, (place, score) in enumerate(_nearest(vector, query, db, store), 1)
    ]
    return Answer(hits, encoder.id, encoder.revision)


def embed(query: Query, encoder: Encoder) -> Floats:
    """Return the query as one vector (dim,), so that an inner product with it is the weighted sum of the parts' cosines."""
    if any(not text.strip() for text in query.texts) or not (query.texts or query.examples):
        raise UserError("the query", "is empty", "give a text, --video or --image")
    rows = list(encoder.embed_texts(query.texts)) if query.texts else []
    rows += [_mean(encoder.embed_clips(example), encoder.parts) for example in query.examples]
    vector: Floats = np.stack(rows).mean(axis=0)
    for name, part in encoder.parts.items():
        vector[part] *= (query.weights or {}).get(name, 1.0)
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
