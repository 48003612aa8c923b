"""Vector stores: derived data, always to be rebuilt from the database."""

import re
from pathlib import Path

from hit.errors import UserError
from hit.stores.local import Local
from hit.stores.milvus import Milvus
from hit.stores.milvus_address import LITE
from hit.types import Store

LOCAL = "local"  # the library's own


def open(where: str | Path, dim: int, name: str = "vectors") -> Store:  # noqa: A001  # stores.open, as one says it
    """Open, or make, the store of vectors of width `dim` in a folder (a Path), or at an address of Milvus (a str).

    `name`, COLLECTION or COLLECTION/PARTITION, tells apart what shares a Milvus, see `hit.stores.milvus`; each kind of index that
    an address names has its own. Raises UserError for a store that cannot hold them.
    """
    if str(where).startswith((f"{LITE}:", "http://", "https://")):
        collection, _, part = (re.sub(r"[^A-Za-z0-9_]", "_", one) for one in name.partition("/"))
        index = re.search(r"[?&]index=(\w+)", str(where))
        own = f"hit_{collection}_{index[1]}" if index else f"hit_{collection}"
        return Milvus(str(where), dim, own, part and f"of_{part}")
    if isinstance(where, str):
        kind = where.partition(":")[0]
        raise UserError(where, f"no kind of store is called '{kind}'", f"say {LITE}:PATH, or http://host:port")
    return Local(where, dim)


def address(where: str) -> str:
    """Return an address as a library keeps it: it names the same store from every folder. "local" is ""."""
    if where.startswith(f"{LITE}:") and where != f"{LITE}:":
        return f"{LITE}:{Path(where.removeprefix(f'{LITE}:')).absolute()}"
    return "" if where == LOCAL else where
