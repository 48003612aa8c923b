"""How many clips a second workers look at, on this machine's own processes and on a Ray: with one worker and with two.

python benchmarks/pool.py [--clips 48] [--seconds 4] [--workers 1,2] [--tiny]

Clips of 320 x 240 at 25 pictures a second, each a file, are decoded and shown to the experts that need no network; what they see
comes back, as in `hit index`. Clips a second are those between the first result and the last, so that starting a Ray or loading
experts, which a long run does once, does not count: `start` has the seconds to the first result. `cpu_ms` is CPU time of a clip:
in the worker, all its threads, and in the process that hands the work out. On a busy machine it is the figure that counts.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hit import analysis, video, watch
from hit.config import ExpertConfig
from hit.content import look
from hit.segments import SegmentConfig

EXPERTS = {name: ExpertConfig() for name in ("appearance", "motion", "sound")}


def films(folder: Path, count: int, seconds: float) -> list[analysis.Job]:
    """Write so many clips, of moving noise and sound."""
    jobs = []
    for number in range(count):
        noise = np.random.default_rng(number)
        still = noise.integers(0, 255, (60, 80, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        images = (np.roll(still, 4 * step, axis=1) for step in range(round(25 * seconds)))
        path = folder / f"{number}.mp4"
        video.write(path, images, 25.0, noise.normal(0, 0.1, round(16000 * seconds)).astype(np.float32), 16000)
        seen = look(path)
        jobs.append(analysis.Job(str(number), path, seen.size, seen.mtime_ns))
    return jobs


def measure(jobs: list[analysis.Job], workers: int, where: str) -> dict[str, Any]:
    """Return clips a second, the seconds to the first, and the CPU time of a clip."""
    crew = analysis.crew(EXPERTS, {}, SegmentConfig())
    crew = replace(crew, tell=partial(clocked, crew.tell))
    begun, ends, own = time.monotonic(), [], [0.0]
    spent: defaultdict[int, list[float]] = defaultdict(list)  # CPU seconds after each clip, by worker
    for job, part in crew(jobs, workers, None, where):
        if isinstance(part, watch.End):
            assert part.error is None, f"{job}: {part.error}"
            ends.append(time.monotonic())
            own.append(time.process_time())
        elif isinstance(part, tuple):
            spent[part[0]].append(part[1])
    assert len(ends) == len(jobs)
    far = sum(seen[-1] - seen[0] for seen in spent.values()) / sum(len(seen) - 1 for seen in spent.values())
    near = (own[-1] - own[1]) / (len(ends) - 1)
    return {
        "clips_per_s": round((len(ends) - 1) / (ends[-1] - ends[0]), 2),
        "start": round(ends[0] - begun, 1),
        "cpu_ms": {"worker": round(1000 * far), "parent": round(1000 * near, 1)},
    }


def clocked(tell: Callable[[watch.Seen], Any], seen: watch.Seen) -> tuple[int, float, Any]:
    """Add a worker's process and the CPU seconds that it has used to what it tells."""
    return os.getpid(), time.process_time(), tell(seen)


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    counts = [1] if given.tiny else [int(count) for count in given.workers.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        jobs = films(Path(folder), 6 if given.tiny else given.clips, 1.0 if given.tiny else given.seconds)
        load = round(os.getloadavg()[0], 1)
        rows: dict[str, Any] = {
            str(workers): {where: measure(jobs, workers, where) for where in ("local", "ray")} for workers in counts
        }
    for row in rows.values():
        row["ray_over_local"] = round(row["ray"]["clips_per_s"] / row["local"]["clips_per_s"], 2)
    print(json.dumps({"benchmark": "pool", "cores": os.cpu_count(), "load": load, "clips": len(jobs), "workers": rows}))


if __name__ == "__main__":
    import pool  # this file: workers import by name what they are told to do

    pool.main()
