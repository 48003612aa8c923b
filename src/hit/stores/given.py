"""What every store asks of what it is given, and how it scores: so that all give the same answers, and the same complaints."""

import numpy as np

from hit.errors import UserError
from hit.types import Floats, Keys


def vectors(where: object, dim: int, found: Floats) -> Floats:
    """Return vectors (N, dim) as float32. Raises ValueError where they are not finite, UserError for another width."""
    found = np.ascontiguousarray(found, np.float32)
    if found.ndim != 2 or found.shape[1] != dim:
        raise UserError(where, f"holds vectors of width {dim}, not of shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("vectors hold values that are not finite")
    return found


def keys(found: Keys, count: int) -> Keys:
    """Return the keys of `count` vectors as int64. Raises ValueError for negative ones, and where they are not distinct."""
    found = np.asarray(found, np.int64)
    if found.shape != (count,) or len(np.unique(found)) != len(found) or (found < 0).any():
        raise ValueError(f"{found.shape} keys for {count} vectors are not one each, distinct, and 0 or above")
    return found


def limit(found: int) -> None:
    """Raise ValueError for a limit below 1."""
    if found < 1:
        raise ValueError(f"limit {found} is below 1")


def best(keys: Keys, scores: Floats, limit: int) -> tuple[Keys, Floats]:
    """Return the `limit` best keys and their scores, best first, equals in the order of keys."""
    order = np.lexsort((keys, -scores))[:limit]
    return keys[order], scores[order]


def nothing(queries: Floats) -> list[tuple[Keys, Floats]]:
    """Return the answers to queries (Q, dim) where nothing is found."""
    return [(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
