"""CPU milliseconds for an exact search of the local store, with and without a filter.

python benchmarks/search.py [VECTORS DIM]
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hit import stores

QUERIES = 20


def main() -> None:
    """Print one JSON line."""
    count, dim = map(int, sys.argv[1:] or (50_000, 512))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"clip-{i}" for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store = stores.open(Path(folder) / "vectors", dim)
        begun = time.process_time()
        store.put(ids, vectors)
        result: dict[str, object] = {
            "benchmark": "search",
            "vectors": count,
            "dim": dim,
            "put_s": round(time.process_time() - begun, 2),
        }
        for name, allowed in {"all": None, "1 % allowed": ids[::100]}.items():
            store.search(vectors[:1], 10, allowed)
            begun = time.process_time()
            for query in vectors[:QUERIES]:
                store.search(query[None], 10, allowed)
            result[f"ms, {name}"] = round((time.process_time() - begun) / QUERIES * 1000, 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
