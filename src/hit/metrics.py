"""Retrieval metrics in plain numpy: ranks with ties counted by expectation, in chunks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit.types import Floats

Ints = NDArray[np.int64]
Values = NDArray[np.float64]
Rescore = Callable[[Floats], Values]  # some queries' scores of all items (q, N) to those that they are ranked by
Ranks = dict[str, dict[str, tuple[Ints, Ints]]]  # "t2v" | "v2t" -> part | "fused" -> (above, tied), as `ranks` returns them
WAYS = {"t2v": "text to video", "v2t": "video to text"}
RECALLS = (1, 5, 10, 50)
SCORES = 2**24  # how many are held at once: 64 MB


def ranks(
    queries: Floats, items: Floats, query_group: Ints, item_group: Ints, chunk: int = 0, rescore: Rescore | None = None
) -> tuple[Ints, Ints]:
    """Return for each query how many wrong items score above its best right one, and how many tie with it.

    queries (Q, d), items (N, d); an item is right for a query of the same group, so with one caption a group this is the
    usual rank - 1, and with several captions a video it is the best rank among the video's own. Scores are inner
    products, or what `rescore` makes of them, computed `chunk` queries at a time (0: as many as make SCORES of them): no
    Q x N matrix. Raises ValueError on NaN and on a query without a right item.
    """
    order = np.argsort(item_group, kind="stable")  # a query's right items lie side by side in it
    first = np.searchsorted(item_group, query_group, "left", sorter=order)
    counts = np.searchsorted(item_group, query_group, "right", sorter=order) - first
    if not counts.all():
        raise ValueError("a query has no right item")
    above, tied = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    for part in blocks(len(queries), len(items), chunk):
        products = queries[part] @ items.T  # (chunk, N)
        scores = rescore(products) if rescore else products
        if np.isnan(scores.max()):
            raise ValueError("scores hold NaN")
        count = counts[part]
        begin = np.cumsum(count) - count  # of each query's right items in the list of all pairs of a query and a right item
        columns = order[np.arange(count.sum()) + np.repeat(first[part] - begin, count)]
        right = scores[np.repeat(np.arange(len(count)), count), columns]
        best = np.maximum.reduceat(right, begin)
        above[part] = np.count_nonzero(scores > best[:, None], axis=1)
        equal = np.count_nonzero(scores == best[:, None], axis=1)
        tied[part] = equal - np.add.reduceat(right == np.repeat(best, count), begin, dtype=np.int64)
    return above, tied


def blocks(queries: int, items: int, chunk: int = 0, most: int = 0) -> list[slice]:
    """Divide queries into parts of `chunk`, or of as many as make `most` (0: SCORES) scores of all items."""
    chunk = chunk or max(1, (most or SCORES) // items)
    return [slice(start, min(start + chunk, queries)) for start in range(0, queries, chunk)]


def expected_rank(above: Ints, tied: Ints) -> Values:
    """Return each query's rank, 1 is best, as expected over a random order of the tied: above + tied / 2 + 1."""
    return above + tied / 2 + 1


def found(above: Ints, tied: Ints, k: int) -> Values:
    """Return for each query how probably its right item is in the first k: clip((k - above) / (tied + 1), 0, 1).

    That is over a random order of the tied, so an all-equal score matrix finds as chance does.
    """
    return np.clip((k - above) / (tied + 1), 0, 1)


def recall_at(above: Ints, tied: Ints, ks: Sequence[int]) -> Values:
    """Return for each k the per cent of queries whose right item is in the first k, ties by expectation."""
    return np.array([100 * found(above, tied, k).mean() for k in ks])


def summary(above: Ints, tied: Ints) -> dict[str, float]:
    """Return R1, R5, R10, R50 (per cent), their geometric mean over 1, 5, 10, MdR and MnR (1 is best); ties by expectation."""
    expected = expected_rank(above, tied)
    recalls = dict(zip((f"R{k}" for k in RECALLS), recall_at(above, tied, RECALLS).tolist(), strict=True))
    geometric = float(np.prod([recalls[f"R{k}"] for k in (1, 5, 10)]) ** (1 / 3))
    return {**recalls, "geometric_mean": geometric, "MdR": float(np.median(expected)), "MnR": float(expected.mean())}


def ranks_by_level(texts: Floats, videos: Floats, owner: Ints, parts: Mapping[str, slice], weights: Mapping[str, float]) -> Ranks:
    """Rank in both directions by each part alone and fused.

    texts (T, dim) and videos (V, dim) are embeddings, parts side by side; owner (T,) is the index of each text's video;
    `weights` go onto the query's parts.
    """
    video_ids = np.arange(len(videos))
    result: Ranks = {"t2v": {}, "v2t": {}}
    for name in (*parts, "fused"):
        columns = parts.get(name, slice(None))
        scale = weighting(parts, weights, videos.shape[1])[columns] if name == "fused" else np.float32(1)
        text, video = texts[:, columns], videos[:, columns]
        result["t2v"][name] = ranks(text * scale, video, owner, video_ids)
        result["v2t"][name] = ranks(video * scale, text, video_ids, owner)
    return result


def summaries(ranked: Ranks) -> dict[str, Any]:
    """Return {"t2v": {part | "fused": summary}, "v2t": ...} of what `ranks_by_level` returned."""
    return {way: {level: summary(*pair) for level, pair in levels.items()} for way, levels in ranked.items()}


def retrieval(
    texts: Floats, videos: Floats, owner: Ints, parts: Mapping[str, slice], weights: Mapping[str, float]
) -> dict[str, Any]:
    """Score both directions by each part alone and fused; arguments are those of `ranks_by_level`."""
    return summaries(ranks_by_level(texts, videos, owner, parts, weights))


def weighting(parts: Mapping[str, slice], weights: Mapping[str, float], dim: int) -> Floats:
    """Return the vector (dim,) that puts each part's weight onto a query; a part that is not named weighs 1."""
    scale = np.zeros(dim, np.float32)
    for name, columns in parts.items():
        scale[columns] = weights.get(name, 1.0)
    return scale


def unroll(captions: Sequence[Sequence[str]]) -> tuple[list[str], Ints]:
    """Return the captions of all clips in one list, and the index (T,) of each one's clip."""
    return [text for own in captions for text in own], np.repeat(np.arange(len(captions)), [len(own) for own in captions])
