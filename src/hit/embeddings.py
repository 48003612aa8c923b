"""What search and description share: several vectors as one."""

from collections.abc import Mapping

import numpy as np

from hit.types import Floats


def mean(vectors: Floats, parts: Mapping[str, slice]) -> Floats:
    """Return the mean (dim,) of vectors (n, dim), each part brought to unit length; a part that is zero stays so."""
    found: Floats = vectors.mean(axis=0)
    for part in parts.values():
        found[part] /= max(float(np.linalg.norm(found[part])), 1e-12)
    return found
