"""A thousand damaged files: each one ends in pictures or in a UserError; no worker dies, hangs or grows.

HIT_FUZZ_SEED chooses other files, HIT_FUZZ_COUNT another number of them.
"""

import math
import os
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import odd_files
from hit import pool, video
from hit.errors import UserError
from hit.segments import SegmentConfig, divide
from hit.types import AudioWant, Clip, FrameWant
from hit.video import subtitles
from odd_files import Maker, film

SEED, COUNT = int(os.environ.get("HIT_FUZZ_SEED", "0")), int(os.environ.get("HIT_FUZZ_COUNT", "1000"))
SECONDS = 30  # of one file; more is a hang
MEMORY = 4 << 30  # bytes that a worker may map
SETTLED = 100  # files after which a worker has loaded what it needs
GROWTH = 48 << 20  # bytes by which it may grow after that: three large pictures
SEE, HEAR = FrameWant(4.0, 32), AudioWant(8000)
LONG = [n / 2 for n in range(28)]  # times of pictures: long enough to be sought in

SEEDS: dict[str, Maker] = {
    "front.mp4": partial(odd_files.FRONT, sound="aac", times=LONG, rate=2, heard=(0, 14)),
    "fragments.mp4": partial(odd_files.FRAGMENTS, sound="aac"),
    "pcm.mov": partial(film, codec="prores_ks", pix="yuv422p10le", sound="pcm_s16le"),
    "hevc.mp4": odd_files.HEVC,
    "av1.mp4": odd_files.AV1,
    "subtitles.mkv": partial(odd_files.subtitles, codec="ass"),
    "flac.mkv": partial(film, sound="flac", times=LONG, rate=2),
    "opus.webm": partial(odd_files.VP9, sound="libopus", hz=48000),
    "vp8.ogv": partial(film, codec="libvpx"),
    "stream.ts": partial(film, sound="aac", times=LONG, rate=2, options={"bf": "2"}),
    "program.mpg": partial(odd_files.MPEG1, sound="mp2"),
    "jpeg.avi": partial(odd_files.JPEG, sound="pcm_u8", hz=8000),
    "flash.flv": partial(film, sound="aac"),
    "moving.gif": odd_files.GIF,
    "camera.mxf": odd_files.MPEG1,
    "media.wmv": partial(film, codec="wmv2"),
}


def truncate(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(len(content))) :]


def flip_bits(content: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(len(content), size=int(2 ** rng.integers(8))):
        content[place] ^= 1 << int(rng.integers(8))


def overwrite(content: bytearray, rng: np.random.Generator) -> None:
    start, size = int(rng.integers(len(content))), int(2 ** rng.integers(1, 12))
    size = min(size, len(content) - start)
    content[start : start + size] = [bytes(size), b"\xff" * size, rng.bytes(size)][rng.integers(3)]


def move_block(content: bytearray, rng: np.random.Generator) -> None:
    """Delete a block, or put it in a second place, or into that instead."""
    start, size, target = int(rng.integers(len(content))), int(2 ** rng.integers(1, 12)), int(rng.integers(len(content)))
    block, kind = content[start : start + size], rng.integers(3)
    if kind != 1:
        del content[start : start + size]
    if kind != 0:
        content[target:target] = block


def set_extreme(content: bytearray, rng: np.random.Generator) -> None:
    """Set a number of 1, 2, 4 or 8 bytes, mostly one in the header, to an extreme."""
    reach = len(content) if rng.random() < 0.2 else min(len(content), 1500)
    size = int(2 ** rng.integers(4))
    start = int(rng.integers(reach))
    extremes = [bytes(size), b"\xff" * size, b"\x7f" + b"\xff" * (size - 1), b"\x80" + bytes(size - 1), bytes(size - 1) + b"\1"]
    extreme = extremes[rng.integers(len(extremes))]
    content[start : start + size] = extreme if rng.random() < 0.5 else extreme[::-1]


MUTATIONS: list[Callable[[bytearray, np.random.Generator], None]] = [truncate, flip_bits, overwrite, move_block, set_extreme]


def mutated(content: bytes, number: int) -> bytes:
    """Return a seed with one to three damages; the same for the same number."""
    rng, changed = np.random.default_rng([SEED, number]), bytearray(content)
    for kind in rng.choice(len(MUTATIONS), size=rng.integers(1, 4), p=[0.1, 0.25, 0.2, 0.15, 0.3]):
        if changed:
            MUTATIONS[kind](changed, rng)
    return bytes(changed)


def start() -> None:
    """Have the system end this process where it maps too much; what takes too long is ended by the alarm's default action."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def look(item: tuple[int, Path]) -> tuple[str, int, int]:
    """Read a damaged file in all ways; return what came of it, this process's bytes of memory and its open files."""
    signal.alarm(SECONDS)
    number, seed = item
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, seed.name)
        path.write_bytes(mutated(seed.read_bytes(), number))
        try:
            outcome = read(path)
        except UserError as error:
            assert error.what == str(path) and "\n" not in error.why
            outcome = "refused"
    signal.alarm(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return outcome, pages * resource.getpagesize(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def read(path: Path) -> str:
    """Probe a file and read it in segments, as a whole, and its end after a seek; its subtitles too."""
    info = video.probe(path)
    assert 0 <= info.duration < 1e6 and (min(info.width, info.height) > 0 or not info.has_video)
    subtitles.embedded(path)
    segments = divide(info.duration, [], SegmentConfig())
    assert len(segments) < 10_000, f"{len(segments)} segments"
    spans = [*segments[:20], (0.0, 20.0), (max(0.0, info.duration - 1), math.inf)]
    shown = 0
    for clips in (spans, [(11.0, 12.0)]):
        for media in video.read(path, [Clip(str(clip), "v", path, *clip) for clip in clips], [SEE, HEAR]):
            shown += len(media.frames[SEE].images)
            assert all(np.isfinite(audio.samples).all() for audio in media.audio.values())
    assert shown, "neither pictures nor a reason"
    return "decoded"


@pytest.mark.slow
def test_damaged_files(tmp_path: Path) -> None:
    for name, make in SEEDS.items():
        make(tmp_path / name)
        assert read(tmp_path / name) == "decoded", name
    items = [(number, tmp_path / name) for number, name in enumerate(np.resize(list(SEEDS), COUNT).tolist())]
    outcomes: Counter[str] = Counter()
    findings, memory, handles = [], [], set()
    for (number, seed), result in pool.run(look, items, 1, start):
        if isinstance(result, Exception):
            findings.append(f"{number} of {seed.name}: {result!r}\n{''.join(getattr(result, '__notes__', []))}")
            continue
        outcome, used, opened = result
        outcomes[outcome] += 1
        memory.append(used)
        handles.add(opened)
    print(f"seed {SEED}: {dict(outcomes)}, {len(findings)} findings; MB: {[used >> 20 for used in memory[:: COUNT // 10]]}")
    assert not findings, "\n".join(findings)
    assert outcomes["decoded"] > COUNT / 4 and outcomes["refused"] > COUNT / 20, "too little damage, or too much"
    assert len(handles) == 1, f"files stay open: {handles}"
    assert max(memory[-SETTLED:]) - max(memory[:SETTLED]) < GROWTH
