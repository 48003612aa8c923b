"""Addresses of Milvus: which server or folder, and which index is built and how it is searched."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from hit.errors import UserError

TOKEN = "HIT_MILVUS_TOKEN"  # noqa: S105  # the variable's name
LITE = "milvus+lite"
# What an index is built with, and searched with, unless the address says otherwise. FLAT is exact and obeys every filter;
# AUTOINDEX is the server's choice, a graph. Of vectors with two parts that cluster apart, 64 of 1024 lists hold 69 % of the best,
# 256 hold 89 %, and a graph finds 98 % with ef=256: see docs/scale.md.
_INDEXES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "FLAT": ({}, {}),
    "AUTOINDEX": ({}, {}),
    "IVF_FLAT": ({"nlist": 1024}, {"nprobe": 256}),
    "IVF_SQ8": ({"nlist": 1024}, {"nprobe": 256}),
    "HNSW": ({"M": 32, "efConstruction": 256}, {"ef": 512}),
}


@dataclass(frozen=True)
class Address:
    """What an address says. build, effort: what its index is built with, and searched with."""

    uri: str  # without database and options; "" for an embedded one
    path: Path | None = None
    database: str = ""
    index: str = "FLAT"
    build: Mapping[str, int] = field(default_factory=dict)
    effort: Mapping[str, int] = field(default_factory=dict)


def parse(where: str) -> Address:
    """Take an address apart. Raises UserError for one that is none, or that bears a password."""
    if importlib.util.find_spec("pymilvus") is None:
        raise UserError(where, "needs pymilvus, which is not installed", "pip install 'hit-video[milvus]'")
    scheme, _, rest = where.partition(":")
    if scheme == LITE:
        if not rest:
            raise UserError(where, "names no folder", f"say {LITE}:PATH")
        return Address("", Path(rest).resolve())
    try:
        parts = urlsplit(where)
        host, port = parts.hostname, parts.port or (443 if scheme == "https" else 19530)
    except ValueError as error:
        raise UserError(where.rpartition("@")[2], f"is no address: {error}") from None
    if "@" in parts.netloc:
        raise UserError(
            parts.hostname or "Milvus", "its address has a password in it", f"take it out and set {TOKEN}=user:password"
        )
    if not host:
        raise UserError(where, "names no server", "say http://host:port")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    index = options.pop("index", "FLAT")
    if index not in _INDEXES:
        raise UserError(where, f"no index is called '{index}'", f"choose among {', '.join(_INDEXES)}")
    build, effort = (dict(some) for some in _INDEXES[index])
    for name, value in options.items():
        some = build if name in build else effort
        if name not in some or not value.isdecimal():
            raise UserError(
                where, f"'{name}={value}' is nothing that {index} knows", f"it takes {' '.join([*build, *effort]) or 'nothing'}"
            )
        some[name] = int(value)
    return Address(f"{scheme}://{host}:{port}", None, parts.path.strip("/"), index, build, effort)
