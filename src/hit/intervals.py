"""How sure a retrieval score is: bootstrap intervals, and a paired test between two runs, in plain numpy.

What is drawn are videos, each with all of its captions: captions of one video are found or missed together, and intervals over
single captions would be too narrow. The items that a query is ranked among stay as they are. Q queries of G videos.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hit.metrics import RECALLS, Ints, Values, blocks, expected_rank, found

DRAWS, FLIPS = 1000, 10_000
LEVEL = 95.0  # per cent
HELD = 2**22  # numbers held at once, 32 MB
Pair = tuple[Ints, Ints]  # (above, tied), as `metrics.ranks` returns them


def intervals(runs: Sequence[Pair], group: Ints, draws: int = DRAWS, seed: int = 0) -> dict[str, list[float]]:
    """Return the ends of the bootstrap interval (percentile, 95 %) of each figure of `metrics.summary`, averaged over the runs.

    The runs (of several seeds) are of the same queries; group (Q,) is the video of each query.
    """
    _, place = np.unique(group, return_inverse=True)
    each = [
        {name: np.mean([run[name] for run in drawn], axis=0) for name in drawn[0]}
        for weights in _weights(int(place.max()) + 1, draws, seed)
        if (drawn := [_draw(pair, place, weights) for pair in runs])
    ]
    return {name: _ends(np.concatenate([block[name] for block in each])) for name in each[0]}


def paired(one: Pair, other: Pair, group: Ints, flips: int = FLIPS, seed: int = 0) -> dict[str, Mapping[str, float]]:
    """Compare two runs on the same queries: {R1, R5, R10, R50, MnR: {first, second, difference, low, high, p}}.

    The difference is second - first with its bootstrap interval; p is that of the paired permutation test, in which each
    video's queries change sides together or not: how often chance alone would bring a difference as large.
    """
    _, place = np.unique(group, return_inverse=True)
    videos, queries = int(place.max()) + 1, len(group)
    first, second = _linear(one), _linear(other)
    sums = np.stack([np.bincount(place, second[name] - first[name], videos) for name in first], axis=1)  # (G, figures)
    counts, total = np.bincount(place, minlength=videos), sums.sum(axis=0)
    drawn = np.concatenate([weights @ sums / (weights @ counts)[:, None] for weights in _weights(videos, DRAWS, seed)])
    rng, chance = np.random.default_rng(seed), np.zeros(len(first))
    for part in blocks(flips, videos, most=HELD):
        signs = rng.integers(0, 2, (part.stop - part.start, videos), np.int8) * np.float64(2) - 1
        chance += (np.abs(signs @ sums) >= np.abs(total) - 1e-9).sum(axis=0)  # of float sums
    result: dict[str, Mapping[str, float]] = {}
    for i, name in enumerate(first):
        low, high = _ends(drawn[:, i])
        result[name] = {
            "first": float(first[name].mean()),
            "second": float(second[name].mean()),
            "difference": float(total[i] / queries),
            "low": low,
            "high": high,
            "p": float((1 + chance[i]) / (1 + flips)),
        }
    return result


def _weights(videos: int, draws: int, seed: int) -> Iterator[Ints]:
    """Yield how often each video is drawn (draws, G), some draws at a time."""
    rng, chances = np.random.default_rng(seed), np.full(videos, 1 / videos)
    for part in blocks(draws, videos, most=HELD):
        yield rng.multinomial(videos, chances, part.stop - part.start)


def _ends(values: Values) -> list[float]:
    low, high = np.percentile(values, ((100 - LEVEL) / 2, (100 + LEVEL) / 2)).tolist()
    return [low, high]


def _linear(pair: Pair) -> dict[str, Values]:
    """Return what each query brings to the figures that are means over queries."""
    return {**{f"R{k}": 100 * found(*pair, k) for k in RECALLS}, "MnR": expected_rank(*pair)}


def _draw(pair: Pair, place: NDArray[np.intp], weights: Ints) -> dict[str, Values]:
    """Return each figure (draws,) of the queries of the drawn videos."""
    videos = weights.shape[1]
    count = weights @ np.bincount(place, minlength=videos)
    means = {name: (weights @ np.bincount(place, own, minlength=videos)) / count for name, own in _linear(pair).items()}
    geometric = np.prod([means[f"R{k}"] for k in (1, 5, 10)], axis=0) ** (1 / 3)
    return {**means, "geometric_mean": geometric, "MdR": _medians(expected_rank(*pair), place, weights)}


def _medians(ranks: Values, place: NDArray[np.intp], weights: Ints) -> Values:
    """Return the median rank (draws,), each query counted as often as its video was drawn."""
    order = np.argsort(ranks, kind="stable")
    ordered, result = ranks[order], np.empty(len(weights))
    for part in blocks(len(weights), len(ranks), most=HELD):
        upto = weights[part, place[order]].cumsum(axis=1)
        total = upto[:, -1:]
        middle = [(upto < rank).sum(axis=1) for rank in ((total + 1) // 2, total // 2 + 1)]  # the two in the middle, or one twice
        result[part] = (ordered[middle[0]] + ordered[middle[1]]) / 2
    return result
