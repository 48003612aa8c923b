"""Memory and time of reading features for training: mapped and read on demand, against loaded at once, by 1, 2, 4 processes.

python benchmarks/reading.py [--tiny]

Each of W processes takes its share of the same batches of 64 clips, twice over all clips (1,000 of 30 rows of 1,024 numbers: 117
MB), from a data set in a temporary folder. `own_mb`: memory that belongs to a process alone, beyond what it had before it read
anything; `mapped_mb`: pages of the files that it has looked at, of which the machine holds one copy for all (`RssAnon` and
`RssFile` of /proc/self/status). `clip_us`: CPU time to take a clip and pack it.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hit import features
from hit.batches import draw
from hit.config import TrainConfig
from hit.tokens import pack_clips
from hit.types import Features

ROWS, WIDTH = 30, 1024


@dataclass
class Expert:
    """What features on disk depend on."""

    name: str = "frames"
    dim: int = WIDTH
    identity: str = "a benchmark"


def memory() -> dict[str, float]:
    """Return MB of this process: its own, and pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[key].split()[0]) / 1024 for name, key in (("own_mb", "RssAnon"), ("mapped_mb", "RssFile"))}


def work(root: Path, clips: int, world: int, rank: int, how: str) -> dict[str, float]:
    """Read this process's share of two epochs; return what it took."""
    before = memory()
    ids = [str(i) for i in range(clips)]
    found: Any = features.mapped(root, {"frames": Expert()}, ids)
    if how == "loaded":
        found = list(features.load(root, {"frames": Expert()}, ids).values())
    settings, used = TrainConfig(batch=64), 0.0
    for step in range(2 * clips // settings.batch):
        rows, _ = draw(clips, settings, step, world)
        share = len(rows) // world
        began = time.process_time()
        pack_clips([found[i] for i in rows[rank * share : (rank + 1) * share]], {"frames": WIDTH}, ROWS)
        used += time.process_time() - began
    after = memory()
    return {name: after[name] - before[name] for name in after} | {"clip_us": used * 1e6 * world / (2 * clips)}


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="few clips, to try the benchmark itself")
    clips, worlds = (128, [2]) if parser.parse_args().tiny else (1000, [1, 2, 4])
    rng = np.random.default_rng(0)
    times = np.stack([np.arange(ROWS), np.arange(1, ROWS + 1)], axis=1).astype(np.float32)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hit.batches"])
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, clips, 64):
            made = {
                str(i): Features(rng.standard_normal((ROWS, WIDTH), np.float32), times)
                for i in range(first, min(first + 64, clips))
            }
            features.Folder(Path(folder), Expert()).write(dict(made))
        for world in worlds:
            for how in ("loaded", "mapped"):
                jobs = [(Path(folder), clips, world, rank, how) for rank in range(world)]
                with context.Pool(world, maxtasksperchild=1) as pool:
                    each = pool.starmap(work, jobs, chunksize=1)
                mean = {name: round(float(np.mean([one[name] for one in each])), 1) for name in each[0]}
                found.setdefault(str(world), {})[how] = mean
    print(
        json.dumps(
            {
                "benchmark": "reading",
                "clips": clips,
                "features_mb": round(clips * ROWS * WIDTH * 4 / 2**20, 1),
                "processes": found,
            }
        )
    )


if __name__ == "__main__":
    main()
