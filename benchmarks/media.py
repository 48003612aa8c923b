"""What it costs to show videos: a sheet of sprites, a cut, a rendition, each against the command `ffmpeg` doing the same.

python benchmarks/media.py [--folder DIR] [--repeats 3] [--tiny]

The film is made first and kept in --folder (else a temporary one): 720p H.264, 30 pictures a second, a key picture every 2 s,
with sound. Each figure is the median over the repeats of ours over theirs, one after the other in the same run, of wall time;
`by_cpu` has those of CPU seconds, for who has no quiet machine: `load` is the number of processes that ran as it began.
ffmpeg has one thread to decode and as many to encode as we do. Without it, the other side is to decode every picture.

sprites_over_ffmpeg    100 tiles of 160 pixels from key pictures; ffmpeg: -skip_frame nokey, fps, scale, tile
cut_over_ffmpeg        10 s from the middle, packets copied; ffmpeg: -ss -t -c copy
rendition_over_ffmpeg  H.264 and AAC anew; ffmpeg: libx264, the same preset, crf and key pictures
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from ingest import made

from hit import video
from hit.types import Clip, FrameWant
from hit.video.rendition import X264


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="where the film is kept")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a small film, to try it")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        film = made(folder / "film.mp4", (128, 72), 8) if given.tiny else made(folder / "film.mp4", (1280, 720), 20)
        result = measure(film, Path(scratch), given.repeats)
    print(json.dumps({"benchmark": "media", **result, "load": round(load, 2), "repeats": given.repeats}))


def measure(film: Path, scratch: Path, repeats: int) -> dict[str, object]:
    """Return all figures."""
    duration = video.probe(film).duration
    begin, length, interval = duration / 2 + 0.5, min(10.0, duration / 4), max(1.0, duration / 100)
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    encoding = [word for name, value in X264.items() if name != "forced-idr" for word in (f"-{name}", value)]
    tiles = f"fps=1/{interval},scale=160:-2,tile=10x10"
    cases: dict[str, tuple[Callable[[], object], list[str]]] = {
        "sprites": (
            lambda: video.sprites(film, duration, scratch / "ours.jpg"),
            ["-skip_frame", "nokey", "-i", str(film), "-an", "-vf", tiles, "-frames:v", "1", "theirs.jpg"],
        ),
        "cut": (
            lambda: video.cut(film, begin, begin + length, scratch / "ours.mp4"),
            ["-ss", str(begin), "-t", str(length), "-i", str(film), "-c", "copy", "theirs.mp4"],
        ),
        "rendition": (
            lambda: video.rendition(film, scratch / "copy.mp4"),
            ["-i", str(film), "-c:v", "libx264", *encoding, "-g", "60", "-threads", threads, "-c:a", "aac", "theirs copy.mp4"],
        ),
    }
    by_cpu: dict[str, float] = {}
    found: dict[str, object] = {"against": "ffmpeg" if shutil.which("ffmpeg") else "decoding all", "film_s": round(duration, 2)}
    for name, (ours, theirs) in cases.items():
        pairs = [(clocked(ours), clocked(partial(other, film, scratch, theirs))) for _ in range(repeats)]
        walls, cpus = ([(one[which], two[which]) for one, two in pairs] for which in (0, 1))
        found[f"{name}_over_ffmpeg"] = round(median(one / two for one, two in walls), 3)
        found[f"{name}_s"] = round(median(one for one, _ in walls), 3)
        by_cpu[f"{name}_over_ffmpeg"] = round(median(one / two for one, two in cpus), 3)
    return found | {"by_cpu": by_cpu}


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that something takes: of wall time, and of CPU with that of the processes that it starts."""
    begin, before = time.perf_counter(), os.times()
    work()
    return time.perf_counter() - begin, sum(os.times()[:4]) - sum(before[:4])


def other(film: Path, scratch: Path, words: list[str]) -> None:
    """Have ffmpeg do it, or decode every picture."""
    if shutil.which("ffmpeg"):
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1", *words], check=True, cwd=scratch)
        return
    for _ in video.read(film, [Clip("c", "v", film)], [FrameWant(30.0, 64)]):
        pass


if __name__ == "__main__":
    main()
