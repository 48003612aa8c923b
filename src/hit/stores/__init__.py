"""Vector stores: derived data, always to be rebuilt from the database."""

from pathlib import Path

from hit.errors import UserError
from hit.stores.local import Local
from hit.types import Store


def open(where: str | Path, dim: int, name: str = "") -> Store:  # noqa: A001  # stores.open, as one says it
    """Open, or make, a store for vectors of width `dim`: in a folder, or of this `name` in a database of vectors.

    Raises UserError for one that cannot hold them.
    """
    kind, scheme, _ = str(where).partition("://")
    if scheme:
        raise UserError(where, f"no kind of store is called '{kind}'", "give a folder")
    return Local(Path(where), dim)
