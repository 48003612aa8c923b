"""Looking at rows one by one: the best by inner product, to the last bit the same wherever a row lies."""

import numpy as np
from numpy.typing import NDArray

from hit.arrays import products
from hit.stores import given
from hit.stores.state import View
from hit.types import Floats, Keys

CHUNK = 1 << 22  # scores worked on at once
FETCH = 512  # rows copied at once from here and there: they stay in the processor's cache


def candidates(view: View, matrix: Floats, queries: Floats, limit: int, chosen: Keys | None = None) -> list[Keys]:
    """Return for each query (Q, dim) all rows that may be among the `limit` best: of those that live, or of `chosen` ones."""
    best: list[tuple[Keys, Floats]] = [(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
    off = error(view, queries)
    count = len(matrix) if chosen is None else len(chosen)
    joined = chosen is None or (count > 0 and int(chosen[-1] - chosen[0]) == count - 1)  # rows without a gap need not be copied
    step = max(1024, CHUNK // max(1, len(queries))) if joined else FETCH
    for start in range(0, count, step):
        some = np.arange(start, min(start + step, count)) if chosen is None else chosen[start : start + step]
        scores = queries @ (matrix[some[0] : some[-1] + 1] if joined else matrix[some]).T  # (Q, chunk)
        scores[:, ~view.live[some]] = -np.inf
        for q, (rows, values) in enumerate(best):
            rows, values = np.concatenate([rows, some]), np.concatenate([values, scores[q]])  # noqa: PLW2901
            near = (values >= floor(values, limit, off[q])) & view.live[rows]
            best[q] = rows[near], values[near]
    return [rows for rows, _ in best]


def error(view: View, queries: Floats) -> NDArray[np.floating]:
    """Return by how much (Q,) a float32 sum may be off: its last bits depend on its order."""
    dim = queries.shape[1]
    bound: NDArray[np.floating] = np.finfo(np.float32).eps * dim * view.state.norm * np.linalg.norm(queries, axis=1)
    return bound


def floor(values: Floats, limit: int, error: float) -> float:
    """Return the value under which none is among the `limit` best, whatever the sums' last bits."""
    return float(np.partition(values, -limit)[-limit] - 2 * error) if len(values) > limit else -np.inf


def rank(query: Floats, matrix: Floats, rows: Keys, limit: int) -> tuple[Keys, Floats]:
    """Return the `limit` best of some rows and their scores, best first, equals in the order of rows."""
    return given.best(rows, products(matrix[rows], query), limit)
