"""How sure a retrieval score is: bootstrap intervals, and a paired test between two runs, in plain numpy.

What is drawn are videos, each with all of its captions: captions of one video are found or missed together, and intervals over
single captions would be too narrow. The items that a query is ranked among stay as they are. Q queries of G videos.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hit.metrics import RECALLS, Ints, Values, expected_rank, found

DRAWS, FLIPS = 1000, 10_000
LEVEL = 95.0  # per cent
ROWS = 2**22  # weights of queries held at once
Pair = tuple[Ints, Ints]  # (above, tied), as `metrics.ranks` returns them


def intervals(runs: Sequence[Pair], group: Ints, draws: int = DRAWS, seed: int = 0) -> dict[str, list[float]]:
    """Return the ends of the bootstrap interval (percentile, 95 %) of each figure of `metrics.summary`, averaged over the runs.

    The runs (of several seeds) are of the same queries; group (Q,) is the video of each query.
    """
    _, place = np.unique(group, return_inverse=True)
    videos = int(place.max()) + 1
    weights = np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), draws)  # (draws, G)
    each = [_draw(pair, place, weights) for pair in runs]
    low, high = (100 - LEVEL) / 2, (100 + LEVEL) / 2
    return {name: np.percentile(np.mean([one[name] for one in each], axis=0), (low, high)).tolist() for name in each[0]}


def paired(one: Pair, other: Pair, group: Ints, flips: int = FLIPS, seed: int = 0) -> dict[str, Mapping[str, float]]:
    """Compare two runs on the same queries: {R1, R5, R10, R50, MnR: {first, second, difference, low, high, p}}.

    The difference is second - first with its bootstrap interval; p is that of the paired permutation test, in which each
    video's queries change sides together or not: how often chance alone would bring a difference as large.
    """
    _, place = np.unique(group, return_inverse=True)
    videos, rng = int(place.max()) + 1, np.random.default_rng(seed)
    weights = rng.multinomial(videos, np.full(videos, 1 / videos), DRAWS)
    signs = rng.choice(np.array([-1.0, 1.0]), (flips, videos))
    counts, result = np.bincount(place, minlength=videos), dict[str, Mapping[str, float]]()
    first, second = _linear(one), _linear(other)
    for name in first:
        sums = np.bincount(place, second[name] - first[name], minlength=videos)  # (G,)
        difference = float(sums.sum() / len(group))
        low, high = np.percentile((weights @ sums) / (weights @ counts), ((100 - LEVEL) / 2, (100 + LEVEL) / 2))
        chance = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9  # of float sums
        result[name] = {
            "first": float(first[name].mean()),
            "second": float(second[name].mean()),
            "difference": difference,
            "low": float(low),
            "high": float(high),
            "p": float((1 + chance.sum()) / (1 + flips)),
        }
    return result


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
    step = max(1, ROWS // len(ranks))
    for start in range(0, len(weights), step):
        upto = weights[start : start + step, place[order]].cumsum(axis=1)
        total = upto[:, -1:]
        middle = [(upto < rank).sum(axis=1) for rank in ((total + 1) // 2, total // 2 + 1)]  # the two in the middle, or one twice
        result[start : start + step] = (ordered[middle[0]] + ordered[middle[1]]) / 2
    return result
