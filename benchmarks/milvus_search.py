"""Milvus' indexes: recall of the ten best without a filter and under filters, what a search costs the server, how long it builds.

python benchmarks/milvus_search.py [--rows 50000] [--dim 256] [--queries 50] [--indexes FLAT,HNSW] [--move SEGMENTS] [--tiny]

The vectors are clustered, of two parts of unit length each; a filter names its rows, as the library does. A real Milvus 2.3 is
started on a host of its own (see tests/milvus_server.py), CPU milliseconds a search are those of its process. "growing" is
before what was written is flushed and its index built, which is when a server answers from an index of its own choice. --move:
how long `hit library move` of a library of so many segments takes, with its comparison of 2,000 vectors, and to verify it.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from library import Rows, fill, halves

from hit import stores
from hit.library import Library
from hit.stores.milvus import Milvus
from hit.types import Floats, Keys
from hit.upkeep import shelves
from hit.upkeep.verify import verify
from milvus_server import Real
from netns import hosts

LIMIT = 10
INDEXES: dict[str, Sequence[str]] = {
    "FLAT": [""],
    "IVF_SQ8": ["nprobe=16", "nprobe=64", "nprobe=256"],
    "HNSW": ["ef=64", "ef=256", "ef=1024"],
}
KEPT = {"all": 1.0, "20pct": 0.2, "1pct": 0.01}


class Process:
    """The server's process."""

    def __init__(self, server: Real) -> None:
        self.server = server

    def seconds(self) -> float:
        """Return how much of a core it has had."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self.server.host.pids()) / 100

    def megabytes(self) -> int:
        """Return what it holds in memory."""
        return sum(int(_stat(pid)[21]) for pid in self.server.host.pids()) * 4096 >> 20


def _stat(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def indexed(store: Milvus) -> float:
    """Have what was written sealed and its index built; return the seconds."""
    begun = time.perf_counter()
    store._client.flush(store.collection)
    while True:
        about = store._client.describe_index(store.collection, "vector")
        if about["pending_index_rows"] == 0 and about["indexed_rows"] >= store.count():
            break
        time.sleep(0.5)
    store._client.refresh_load(store.collection)
    return time.perf_counter() - begun


def searched(store: Milvus, queries: Floats, allowed: Keys | None, best: list[set[int]], process: Process) -> dict[str, float]:
    """Return recall, and what a search takes: the server's CPU milliseconds, and the median of wall clock."""
    store.search(queries[:2], LIMIT, allowed)
    before, walls, hits = process.seconds(), [], 0
    for query, right in zip(queries, best, strict=True):
        begun = time.perf_counter()
        ((keys, _),) = store.search(query[None], LIMIT, allowed)
        walls.append(1000 * (time.perf_counter() - begun))
        hits += len(right & set(keys.tolist()))
    cpu = 1000 * (process.seconds() - before) / len(queries)
    return {"recall": round(hits / LIMIT / len(queries), 3), "cpu_ms": round(cpu, 1), "p50_ms": round(float(np.median(walls)), 1)}


def measure(server: Real, rows: int, dim: int, count: int, indexes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Fill each index and ask it."""
    encoder, process, rng = Rows(dim), Process(server), np.random.default_rng(2)
    vectors = np.concatenate([encoder.block(range(start, min(start + 10_000, rows))) for start in range(0, rows, 10_000)])
    queries = halves(vectors[rng.choice(rows, count)] + 0.6 * halves(rng.standard_normal((count, dim), np.float32)))
    allowed = {name: None if kept == 1 else np.sort(rng.choice(rows, int(kept * rows), False)) for name, kept in KEPT.items()}
    best = {}
    for name, keys in allowed.items():
        some = np.arange(rows) if keys is None else keys
        best[name] = [set(some[np.argsort(-vectors[some] @ query)[:LIMIT]].tolist()) for query in queries]
    found: dict[str, Any] = {}
    for index, efforts in indexes.items():
        before, begun = process.seconds(), time.perf_counter()
        with_index = f"{server.uri}?index={index}"
        store = stores.open(with_index, dim, "benchmark/rows")
        assert isinstance(store, Milvus)
        for start in range(0, rows, 10_000):
            some = np.arange(start, min(start + 10_000, rows))
            store.put(some, vectors[some])
        wrote = time.perf_counter() - begun
        about = found[index] = {"write_s": round(wrote, 1)}
        about["growing"] = {name: searched(store, queries, keys, best[name], process) for name, keys in allowed.items()}
        about["build_s"] = round(indexed(store), 1)
        about["build_cpu_s"] = round(process.seconds() - before, 1)
        for effort in efforts:
            asked = stores.open(with_index + (f"&{effort}" if effort else ""), dim, "benchmark/rows")
            assert isinstance(asked, Milvus)
            about[effort or "exact"] = {n: searched(asked, queries, keys, best[n], process) for n, keys in allowed.items()}
            asked.close()
        about["server_mb"] = process.megabytes()
        store.drop()
    return found


def moved(server: Real, folder: Path, count: int, dim: int) -> dict[str, Any]:
    """Move a library into the server and verify it."""
    encoder, process = Rows(dim), Process(server)
    with Library.create(folder / "lib", encoder=encoder) as library:
        fill(library, encoder, count)
        before, begun = process.seconds(), time.perf_counter()
        shelves.move(library, server.uri)
        took = time.perf_counter() - begun
        begun = time.perf_counter()
        found = [one for one in verify(library)["findings"] if one["part"] in ("store", "vectors", "database")]
        cpu, verified = process.seconds() - before, time.perf_counter() - begun
        assert not found, found
        assert library.store.count() == count
    return {"segments": count, "move_s": round(took, 1), "verify_s": round(verified, 1), "server_cpu_s": round(cpu, 1)}


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--indexes", default=",".join(INDEXES))
    parser.add_argument("--move", type=int, default=0)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    if given.tiny:
        given.rows, given.dim, given.queries, given.move = 2000, 16, 5, 1000
    with tempfile.TemporaryDirectory() as folder, hosts(1) as (host,):
        (Path(folder) / "milvus").mkdir()
        server = Real(host, Path(folder) / "milvus").start()
        result: dict[str, Any] = {"rows": given.rows, "dim": given.dim}
        if given.rows:
            chosen = {name: INDEXES[name] for name in given.indexes.split(",")}
            result |= measure(server, given.rows, given.dim, given.queries, chosen)
        if given.move:
            result["moved"] = moved(server, Path(folder), given.move, given.dim)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
