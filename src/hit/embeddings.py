"""What search and description share: several vectors as one, and how its parts weigh."""

from collections.abc import Mapping, Sequence

import numpy as np

from hit.errors import UserError
from hit.types import Floats

_HEAVY = 1e6  # so that no product becomes infinite


def mean(vectors: Floats, parts: Mapping[str, slice]) -> Floats:
    """Return the mean (dim,) of vectors (n, dim), each part brought to unit length; a part that is zero stays so."""
    found: Floats = vectors.mean(axis=0)
    for part in parts.values():
        found[part] /= max(float(np.linalg.norm(found[part])), 1e-12)
    return found


def weights(values: Sequence[float], parts: Mapping[str, slice]) -> dict[str, float]:
    """Return weights by part, as they were given in the parts' order. Raises UserError for what weighs nothing."""
    if len(values) != len(parts):
        raise UserError("level weights", f"{len(values)} given, the model has the levels {', '.join(parts)}", "give one for each")
    if not any(values) or not all(0 <= value <= _HEAVY for value in values):
        raise UserError("level weights", f"must be 0 or above, at most {_HEAVY:g}, and not all 0")
    return dict(zip(parts, values, strict=True))


def joined(vectors: Floats, parts: Mapping[str, slice], weights: Mapping[str, float]) -> Floats:
    """Return vectors (N, dim) of unit length, whose inner product is the parts' cosines, weighted; what is zero stays so."""
    found = np.zeros(vectors.shape, np.float32)
    for name, part in parts.items():
        length = np.linalg.norm(vectors[:, part], axis=1, keepdims=True)
        found[:, part] = vectors[:, part] * (np.sqrt(weights.get(name, 1.0)) / np.maximum(length, 1e-12))
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return found
