"""What it costs to bring videos in: decoding against ffmpeg, key pictures alone, two workers, an expert beside it, 4K.

python benchmarks/ingest.py [--folder DIR] [--model DIR] [--repeats 3] [--tiny]

The films are made first and kept in --folder (else a temporary one): 720p H.264, 30 pictures a second, a key picture every
2 s, with sound; and 4K. Each figure is the median of the repeats, of wall time; CPU seconds stand beside it, for who has no
quiet machine: `load` is the number of processes that ran as it began. Where two cores were not free, `two_cores_free` is
false and neither two workers nor overlap can show what they bring.

full_over_ffmpeg     one picture a second at 224 pixels, everything decoded that has to be, over `ffmpeg -threads 1 -an -i FILE
                     -f null -`, which decodes every picture. Ours is one thread too, and the process is started already.
full_over_ffmpeg_2   the same, ours with its one thread, over ffmpeg with two
keyframe_speedup     ffmpeg's time (one thread) over ours for the same sampling of key pictures alone
two_workers_speedup  `hit.extract` with an `image-model`, one worker's time over that of two, less what the workers take to start
overlap              one worker's time, less its start, over the longer of decoding alone and the expert alone
rss_mb_4k            the most memory of a worker that loads the expert and shows it a 4K film
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from hit import datasets, extract, pool, video
from hit import experts as plugins
from hit.config import ExpertConfig
from hit.types import Bytes, Clip, FrameWant, Want

MODEL = Path(__file__).parents[2] / "shared" / "models" / "mobilenet_v2"
RATE, SOUND = 30, 16_000
FULL, KEYED = FrameWant(1.0, 224), FrameWant(1.0, 224, exact=False)

Costs = defaultdict[str, list[tuple[float, float]]]  # (wall, CPU) seconds of each repeat


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="where the films are kept")
    parser.add_argument("--model", type=Path, default=MODEL, help="a vision model of transformers (default: MobileNetV2)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="small films, to try it")
    given = parser.parse_args()
    if not given.model.is_dir():
        raise SystemExit(f"{given.model}: there is no such folder; name a model of transformers with --model")
    torch.set_num_threads(1)  # as in a worker
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(given.folder or Path(scratch), Path(scratch), given.model, given.repeats, given.tiny)
    free = {"load": round(load, 2), "cores": cores, "two_cores_free": cores - load >= 1.5}
    print(json.dumps({"benchmark": "ingest", **result, **free, "repeats": given.repeats}))


def measure(folder: Path, scratch: Path, model: Path, repeats: int, tiny: bool) -> dict[str, object]:
    """Return all figures."""
    size, seconds, large = ((128, 72), 4, (256, 144)) if tiny else ((1280, 720), 20, (3840, 2160))
    short, many = data_set(folder / "short", size, 2, 2), data_set(folder / "many", size, seconds, 8)
    film = next(iter(many.clips.values())).path
    configs = {"image": ExpertConfig("image-model", {"path": str(model)})}
    expert = plugins.load_all(configs)["image"]
    costs: Costs = defaultdict(list)

    def take(name: str, work: Callable[..., object], *args: object) -> None:
        before = os.times()
        work(*args)
        after = os.times()
        costs[name].append((after.elapsed - before.elapsed, sum(after[:4]) - sum(before[:4])))

    [media] = video.read(film, [Clip("c", "v", film)], expert.wants)
    for turn in range(repeats):
        for threads in (1, 2) if shutil.which("ffmpeg") else ():
            take(f"ffmpeg, {threads} threads", ffmpeg, film, threads)
        take("full", decode, [film], [FULL])
        take("key pictures", decode, [film], [KEYED])
        take("decoding alone", decode, [clip.path for clip in many.clips.values()], expert.wants)
        take("expert alone", lambda: [expert.extract(media) for _ in many.clips])
        for data, name in ((short, "start"), (many, "start and work")):
            for workers in (1, 2):
                root = scratch / f"{name} {workers} {turn}"
                take(f"{name}, {workers} workers", partial(extract.extract, data, configs, root, workers=workers))
    if not shutil.which("ffmpeg"):
        print("ffmpeg: is not installed, so that nothing can be set against it: apt-get install ffmpeg", file=sys.stderr)
    [(_, memory)] = pool.run(peak, [(made(folder / "large.mp4", large, 4), configs)], 1)
    if isinstance(memory, Exception):
        raise memory
    return {**ratios(costs), "rss_mb_4k": round(memory), "seconds": table(costs)}


def ratios(costs: Costs) -> dict[str, object]:
    """Return what the figures are of walls, and as `by_cpu` of CPU seconds, where that means anything."""

    def middle(of: Callable[..., float], *names: str, which: int = 0) -> float | None:
        rounds = zip(*(costs[name] for name in names), strict=True)
        found = [of(*(cost[which] for cost in costs)) for costs in rounds]
        return round(median(found), 3) if found else None

    def over(one: float, two: float) -> float:
        return one / two

    works = [f"{part}, {workers} workers" for workers in (1, 2) for part in ("start and work", "start")]
    pairs = {
        "full_over_ffmpeg": ("full", "ffmpeg, 1 threads"),
        "full_over_ffmpeg_2": ("full", "ffmpeg, 2 threads"),
        "keyframe_speedup": ("ffmpeg, 1 threads", "key pictures"),
    }
    return {
        **{name: middle(over, *pair) for name, pair in pairs.items()},
        "two_workers_speedup": middle(lambda one, its, two, theirs: (one - its) / (two - theirs), *works),
        "overlap": middle(lambda one, its, *alone: (one - its) / max(alone), *works[:2], "decoding alone", "expert alone"),
        "by_cpu": {name: middle(over, *pair, which=1) for name, pair in pairs.items()},
    }


def table(costs: Costs) -> dict[str, dict[str, float]]:
    """Return median seconds."""
    return {
        name: {kind: round(median(cost[which] for cost in found), 2) for which, kind in enumerate(("wall", "cpu"))}
        for name, found in costs.items()
        if found
    }


def ffmpeg(path: Path, threads: int) -> None:
    """Decode every picture of a file."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", str(threads), "-an", "-i", str(path), "-f", "null", "-"]
    subprocess.run(command, check=True)


def decode(paths: Sequence[Path], wants: Sequence[Want]) -> None:
    """Read files as a worker does."""
    for path in paths:
        for _ in video.read(path, [Clip("c", "v", path)], wants):
            pass


def peak(task: tuple[Path, dict[str, ExpertConfig]]) -> float:
    """Return the most memory in MB that this process has had resident once the experts have seen a film."""
    path, configs = task
    loaded = plugins.load_all(configs)
    for media in video.read(path, [Clip("c", "v", path)], plugins.wants(loaded)):
        plugins.run(loaded, media)
    # Not getrusage's: what the parent had when it forked counts there.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def data_set(root: Path, size: tuple[int, int], seconds: int, count: int) -> datasets.Dataset:
    """Return a data set of one film under `count` names, each with a box at its end that makes it another file."""
    (root / "videos").mkdir(parents=True, exist_ok=True)
    film = made(root / "film.mp4", size, seconds).read_bytes()
    for number in range(count):
        (root / "videos" / f"{number}.mp4").write_bytes(film + (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big"))
    (root / "captions.csv").write_text("video,caption\n" + "".join(f"{number}.mp4,film {number}\n" for number in range(count)))
    return datasets.read(root)


def made(path: Path, size: tuple[int, int], seconds: int) -> Path:
    """Write a film of (width, height) unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(seconds * SOUND) / 10).astype(np.float32)
        video.write(path, pictures(size, seconds * RATE), RATE, tone, SOUND, gop=2 * RATE)
    return path


def pictures(size: tuple[int, int], count: int) -> Iterator[Bytes]:
    """Yield a view that wanders over a landscape of soft shapes, with a thing that crosses it and a camera's noise.

    The noise is new in every picture, as it is in real films: were it painted on the landscape, all but key pictures would
    cost next to nothing.
    """
    (width, height), rng, margin = size, np.random.default_rng(0), 64
    coarse = rng.integers(0, 256, (12, 20, 3), np.uint8)
    soft = cv2.resize(coarse, (width + 2 * margin, height + 2 * margin), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-4, 5, (height + margin, width + margin, 1), np.int16)
    for k in range(count):
        y, x = (round(margin * (1 + turn(k / 40))) for turn in (np.sin, np.cos))
        dy, dx = rng.integers(0, margin, 2)
        view = np.clip(soft[y : y + height, x : x + width] + noise[dy : dy + height, dx : dx + width], 0, 255).astype(np.uint8)
        left = k * width // 200 % (width * 7 // 8)
        view[height // 3 : height // 2, left : left + width // 8] = (230, 60, 30)
        yield view


if __name__ == "__main__":
    main()
