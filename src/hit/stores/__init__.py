"""Vector stores: derived data, always to be rebuilt from the database."""

import re
from pathlib import Path

from hit.errors import UserError
from hit.stores.local import Local
from hit.stores.milvus import LITE, Milvus
from hit.types import Store


def open(where: str | Path, dim: int, name: str = "vectors") -> Store:  # noqa: A001  # stores.open, as one says it
    """Open, or make, the store in a folder, or at an address of Milvus (`hit.stores.milvus`), for vectors of width `dim`.

    `name` tells apart what shares a Milvus. Raises UserError for a store that cannot hold them.
    """
    if str(where).startswith((f"{LITE}:", "http://", "https://")):
        return Milvus(str(where), dim, "hit_" + re.sub(r"[^A-Za-z0-9_]", "_", name))
    kind, scheme, _ = str(where).partition("://")
    if scheme:
        raise UserError(where, f"no kind of store is called '{kind}'", f"give a folder, {LITE}:PATH, or http://host:port")
    return Local(Path(where), dim)
