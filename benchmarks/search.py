"""The local store at 100,000 and at a million segments, against brute force in float32 over the same matrix in the same process.

python benchmarks/search.py [--sizes 100000,1000000] [--dim 512] [--queries 200] [--folder DIR] [--tiny]

Vectors are as HiT makes them: two halves of unit length, in clusters of very different sizes, a tenth in none. Queries are
members with little and with much noise. Times are wall clock, `cpu_ms` is CPU time; `open_s` goes up to the first answer; a
filter is an array of allowed keys, looked at anew in every search. `rss_mb` is what the store takes beside the mapped matrix.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hit.stores import codes, exact
from hit.stores.local import Local
from hit.types import Floats, Keys

K = 10
BATCH = 32
ADDED = 10_000
PUT = 50_000  # vectors a call
CENTRES = 10_000
WEIGHTS = {"1, 0": (1.0, 0.0), "0.3, 1": (0.3, 1.0), "0, 1": (0.0, 1.0)}
Answers = list[tuple[Keys, Floats]]


class Vectors:
    """Clustered vectors of two halves, each of unit length."""

    def __init__(self, dim: int) -> None:
        self.rng, self.dim = np.random.default_rng(0), dim
        groups = self.noise(200)[self.rng.integers(0, 200, CENTRES)]
        self.centres = self.halves(0.7 * groups + self.noise(CENTRES))
        sizes = self.rng.pareto(1.5, CENTRES) + 0.3
        self.sizes = sizes / sizes.sum()

    def noise(self, count: int) -> Floats:
        """Return `count` vectors of about the halves' length, in any direction."""
        found: Floats = self.rng.standard_normal((count, self.dim), np.float32) / np.float32(np.sqrt(self.dim / 2))
        return found

    def halves(self, vectors: Floats) -> Floats:
        """Bring both halves to unit length."""
        halves = vectors.reshape(len(vectors), 2, -1)
        halves /= np.linalg.norm(halves, axis=2, keepdims=True)
        return vectors

    def blocks(self, count: int) -> Iterator[Floats]:
        """Yield `count` vectors, some at a time."""
        for start in range(0, count, PUT):
            some = min(PUT, count - start)
            centres = self.centres[self.rng.choice(CENTRES, some, p=self.sizes)]
            centres[self.rng.random(some) < 0.1] = 0  # in no cluster
            yield self.halves(centres + 0.8 * self.noise(some))

    def queries(self, matrix: Floats, count: int) -> Floats:
        """Return members with noise: cosines of 0.95 down to 0.55 with them."""
        members = matrix[np.sort(self.rng.integers(0, len(matrix), count))]
        return self.halves(members + self.rng.uniform(0.3, 1.5, (count, 1)).astype(np.float32) * self.noise(count))


def weigh(queries: Floats, weights: Sequence[float]) -> Floats:
    """Weigh the halves of queries."""
    return queries * np.repeat(np.array(weights, np.float32), queries.shape[1] // 2)


def brute(matrix: Floats, query: Floats) -> Keys:
    """Return the K best rows: what one writes without a store."""
    scores = matrix @ query
    best = np.argpartition(-scores, K)[:K]
    return best[np.argsort(-scores[best])]


def timed(calls: Sequence[Callable[[], Any]]) -> tuple[list[Any], Floats, float]:
    """Return what calls return, the milliseconds (N,) of each, and the CPU milliseconds of one in the middle."""
    found, walls, processors = [], [], []
    calls[0]()
    for call in calls:
        wall, processor = time.perf_counter(), time.process_time()
        found.append(call())
        walls.append(1000 * (time.perf_counter() - wall))
        processors.append(1000 * (time.process_time() - processor))
    return found, np.array(walls, np.float32), float(np.median(processors))


def searched(store: Local, queries: Floats, allowed: Keys | None = None) -> tuple[dict[str, Any], Floats]:
    """Search one query after the other; return the row of figures and the milliseconds of each."""
    found, walls, processor = timed([partial(store.search, query[None], K, allowed) for query in queries])
    row = {
        "p50_ms": middle(walls),
        "cpu_ms": round(processor, 2),
        "recall_at_10": round(codes.recall([answer for (answer,) in found], truth(store, queries, allowed)), 4),
    }
    return row, walls


def truth(store: Local, queries: Floats, allowed: Keys | None) -> Answers:
    """Return the best by the store's own look at every row: sums in float64, ties by key."""
    view, matrix = store.snapshot()
    rows = exact.candidates(view, matrix, queries, K, allowed)
    return [exact.rank(query, matrix, some, K) for query, some in zip(queries, rows, strict=True)]


def middle(values: Floats) -> float:
    """Return the median."""
    return round(float(np.median(values)), 2)


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return round(time.perf_counter() - begun, 2)


def memory() -> float:
    """Return the megabytes of this process that lie in no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def measure(folder: Path, size: int, dim: int, count: int) -> dict[str, Any]:
    """Fill a store, build its codes, search it in all ways, add to it."""
    vectors = Vectors(dim)
    writer, start = Local(folder, dim), 0
    for block in vectors.blocks(size):
        writer.put(np.arange(start, start + len(block)), block)
        start += len(block)
    build = seconds(writer.build)
    writer.close()
    before = memory()
    queries = vectors.queries(writer.snapshot()[1], count)
    begun = time.perf_counter()
    store = Local(folder, dim)
    store.search(queries[:1], K)
    open_s = round(time.perf_counter() - begun, 3)
    row, walls = searched(store, queries)
    rss = memory() - before
    matrix = store.snapshot()[1]
    _, brutes, _ = timed([partial(brute, matrix, query) for query in queries[:20]])
    batches = [queries[i : i + BATCH] for i in range(0, max(1, count - BATCH + 1), BATCH)]
    weighed = {name: searched(store, weigh(queries, weights))[0] for name, weights in WEIGHTS.items()}
    filters = {
        name: np.sort(vectors.rng.permutation(size)[: int(share * size)]) for name, share in (("20pct", 0.2), ("0_5pct", 0.005))
    }
    added = next(vectors.blocks(min(ADDED, size)))
    return {
        **row,
        "p99_ms": round(float(np.percentile(walls, 99)), 2),
        "batch32_ms": middle(timed([partial(store.search, batch, K) for batch in batches])[1]),
        "brute_force_ms": middle(brutes),
        "speedup_over_brute_force": round(float(np.median(brutes) / np.median(walls)), 1),
        "weighted": {**weighed, "recall_at_10": min(one["recall_at_10"] for one in weighed.values())},
        **{f"filter_{name}": searched(store, queries, allowed)[0] for name, allowed in filters.items()},
        "by_codes": store.recall() is not None,
        "build_s": build,
        "open_s": open_s,
        "rss_mb": round(rss, 1),
        "disk_mb": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1),
        "add_10k_s": seconds(lambda: store.put(np.arange(size, size + len(added)), added)),
        "with_10k_added": searched(store, queries)[0],
        "build_after_10k_s": seconds(store.build),
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", help="where to write: 2 GB for a million vectors of width 512")
    parser.add_argument("--tiny", action="store_true", help="5,000 vectors of width 64")
    given = parser.parse_args()
    sizes, dim, count = ([5000], 64, 40) if given.tiny else (list(map(int, given.sizes.split(","))), given.dim, given.queries)
    result: dict[str, Any] = {"benchmark": "search", "dim": dim, "queries": count, "threads": codes.threads()}
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            result[str(size)] = measure(Path(folder), size, dim, count)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
