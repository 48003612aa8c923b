"""What is in a library of 100,000 segments: clusters, and near-duplicates among videos of one segment and of fifty.

python benchmarks/explore.py [--segments 100000] [--dim 256] [--folder DIR] [--tiny]

Seconds of processor time, the first call's imports among them. `ratio` is that of all of the search for duplicates to the plain
product of each video's mean with those after it, block by block: at most 1 is aimed at where each video is one segment; where
they are fifty, that product is next to nothing. Every hundredth video is a copy of the one before it, with a little noise.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import library as whole
import numpy as np

from hit.library import Library
from hit.metrics import blocks
from hit.tagging import clusters, duplicates
from hit.types import Floats

COPY = 100


class Copies(whole.Rows):
    """Rows of which some are copies of those of the video before."""

    def block(self, rows: Sequence[int]) -> Floats:
        """Return the vectors of rows."""
        found = super().block(rows)
        for i, row in enumerate(rows):
            if row // whole.PER_VIDEO % COPY == COPY - 1 and i >= whole.PER_VIDEO:
                found[i] = found[i - whole.PER_VIDEO]
        noise = np.random.default_rng(rows[-1]).standard_normal(found.shape, np.float32)
        return whole.halves(found + 0.01 * whole.halves(noise))


def measure(folder: Path, count: int, dim: int, per_video: int) -> dict[str, Any]:
    """Make a library and look through it."""
    whole.PER_VIDEO = per_video
    encoder = Copies(dim)
    with Library.create(folder, encoder=encoder) as library:
        whole.fill(library, encoder, count)
    with Library.open(folder, encoder=encoder, mend=False) as library:
        seconds: dict[str, float] = {}
        for method in ("kmeans", "hdbscan"):
            seconds[f"{method}_s"] = timed(lambda method=method: clusters.find(library, method))  # type: ignore[misc]
        same: list[duplicates.Duplicates] = []
        took = timed(lambda: same.append(duplicates.find(library)))
        means = np.concatenate([encoder.block(range(i, min(i + 50_000, count))) for i in range(0, count, 50_000)])[::per_video]
    plain = timed(lambda: [means[part] @ means[part.start :].T for part in blocks(len(means), len(means))])
    return {
        "videos": same[0].compared,
        "found": sum(len(group.videos) == 2 for group in same[0].groups),
        "planted": count // per_video // COPY,
        **{name: round(value, 2) for name, value in {**seconds, "duplicates_s": took, "plain_s": plain}.items()},
        "ratio": round(took / plain, 2),
    }


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of processor time that a call takes."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--folder", help="where to write: 400 MB for 100,000 segments")
    parser.add_argument("--tiny", action="store_true", help="2,000 segments of width 64")
    given = parser.parse_args()
    count, dim = (2000, 64) if given.tiny else (given.segments, given.dim)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = {str(many): measure(Path(folder) / str(many), count, dim, many) for many in (1, 50)}
    print(json.dumps({"benchmark": "explore", "segments": count, "dim": dim, "by_segments_a_video": found}))


if __name__ == "__main__":
    main()
