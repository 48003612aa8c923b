"""The metric at MSR-VTT's full size, against the matrix products that it cannot do without.

python benchmarks/metrics.py [CAPTIONS VIDEOS DIM]: both directions, feature, semantic and fused. CPU seconds, and what the
process's memory rose by.
"""

import json
import resource
import sys
import time

import numpy as np

from hit import metrics
from hit.types import Floats


def main() -> None:
    """Print one JSON line."""
    captions, videos, dim = map(int, sys.argv[1:] or (59_800, 2_990, 512))
    rng = np.random.default_rng(0)
    owner = np.sort(np.concatenate([np.arange(videos), rng.integers(0, videos, captions - videos)]))
    clips = _unit(rng, videos, dim)
    texts = clips[owner] + 10 * _unit(rng, captions, dim)
    parts = {"feature": slice(0, dim // 2), "semantic": slice(dim // 2, dim)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    found = metrics.retrieval(texts, clips, owner, parts, {"feature": 1.0, "semantic": 1.0})
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rise = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    limit = time.process_time()
    for columns in (*parts.values(), slice(None)):
        for start in range(0, captions, 4096):
            texts[start : start + 4096, columns] @ clips[:, columns].T
    limit = 2 * (time.process_time() - limit)  # both directions
    print(
        json.dumps(
            {
                "benchmark": "metrics",
                "captions": captions,
                "videos": videos,
                "dim": dim,
                "wall_s": round(wall, 2),
                "cpu_s": round(cpu, 2),
                "over_matrix_products": round(cpu / limit, 2),
                "memory_mb": round(rise / 1024),
                "t2v_fused_R1": round(found["t2v"]["fused"]["R1"], 2),
            }
        )
    )


def _unit(rng: np.random.Generator, count: int, dim: int) -> Floats:
    x = rng.standard_normal((count, dim), np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()
