"""Retrieval metrics in plain numpy: ranks with ties counted by expectation, in chunks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit.types import Encoder, Features, Floats

Ints = NDArray[np.int64]
RECALLS = (1, 5, 10, 50)


def ranks(queries: Floats, items: Floats, query_group: Ints, item_group: Ints, chunk: int = 1024) -> tuple[Ints, Ints]:
    """Return for each query how many wrong items score above its best right one, and how many tie with it.

    queries (Q, d), items (N, d); an item is right for a query of the same group, so with one caption a group this is the
    usual rank - 1, and with several captions a video it is the best rank among the video's own. Scores are inner
    products, computed `chunk` queries at a time: no Q x N matrix. Raises ValueError on NaN and on a query without a
    right item.
    """
    above, tied = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    for start in range(0, len(queries), chunk):
        part = slice(start, start + chunk)
        scores = queries[part] @ items.T  # (chunk, N)
        if np.isnan(scores).any():
            raise ValueError("scores hold NaN")
        right = query_group[part, None] == item_group[None, :]
        if not right.any(axis=1).all():
            raise ValueError("a query has no right item")
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        above[part] = (scores > best).sum(axis=1)
        tied[part] = ((scores == best) & ~right).sum(axis=1)
    return above, tied


def summary(above: Ints, tied: Ints) -> dict[str, float]:
    """Return R1, R5, R10, R50 (per cent), their geometric mean over 1, 5, 10, MdR and MnR (1 is best).

    Ties are counted by expectation over a random order of the tied: recall@k = mean(clip((k - above) / (tied + 1), 0, 1))
    and the expected rank is above + tied / 2 + 1. An all-equal score matrix thus scores chance.
    """
    expected = above + tied / 2 + 1
    found = {f"R{k}": 100 * float(np.clip((k - above) / (tied + 1), 0, 1).mean()) for k in RECALLS}
    geometric = float(np.prod([found[f"R{k}"] for k in (1, 5, 10)]) ** (1 / 3))
    return {**found, "geometric_mean": geometric, "MdR": float(np.median(expected)), "MnR": float(expected.mean())}


def retrieval(
    texts: Floats, videos: Floats, owner: Ints, parts: Mapping[str, slice], weights: Mapping[str, float]
) -> dict[str, Any]:
    """Score both directions by each part alone and fused.

    texts (T, dim) and videos (V, dim) are embeddings, parts side by side; owner (T,) is the index of each text's video;
    `weights` go onto the query's parts. Returns {"t2v": {part | "fused": summary}, "v2t": ...}.
    """
    video_ids = np.arange(len(videos))
    result: dict[str, Any] = {"t2v": {}, "v2t": {}}
    for name in (*parts, "fused"):
        columns = parts.get(name, slice(None))
        scale = weighting(parts, weights, videos.shape[1])[columns] if name == "fused" else np.float32(1)
        text, video = texts[:, columns], videos[:, columns]
        result["t2v"][name] = summary(*ranks(text * scale, video, owner, video_ids))
        result["v2t"][name] = summary(*ranks(video * scale, text, video_ids, owner))
    return result


def weighting(parts: Mapping[str, slice], weights: Mapping[str, float], dim: int) -> Floats:
    """Return the vector (dim,) that puts each part's weight onto a query."""
    scale = np.zeros(dim, np.float32)
    for name, columns in parts.items():
        scale[columns] = weights[name]
    return scale


def score(encoder: Encoder, clips: Sequence[Mapping[str, Features]], captions: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Embed clips and the captions of each, and return `retrieval`'s scores with the counts of queries and videos."""
    texts = [text for own in captions for text in own]
    owner = np.repeat(np.arange(len(clips)), [len(own) for own in captions])
    found = retrieval(encoder.embed_texts(texts), encoder.embed_clips(clips), owner, encoder.parts, encoder.weights)
    return {**found, "queries": len(texts), "videos": len(clips)}
