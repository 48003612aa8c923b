"""Watching: files are decoded ahead, clips are seen together, and neither changes what comes of a file."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from hit import experts as plugins
from hit import pool, video, watch
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Clip, Expert, Frames, FrameWant, Media, Silent

WANT = FrameWant(4.0, 16)


@dataclass(frozen=True)
class _Job:
    path: Path
    name: str = "/"

    def __str__(self) -> str:
        return self.path.name


def _load() -> Mapping[str, Expert]:
    return plugins.load_all({"appearance": ExpertConfig()})


def _plan(job: _Job, experts: Mapping[str, Expert], beat: Callable[[float], None]) -> watch.Plan:
    info = video.probe(job.path)
    clips = [Clip(f"{job.path.stem} {start}", job.path.stem, job.path, start, start + 1.0) for start in range(2)]
    beat(info.duration)
    if job.path.stem == "eats":
        bytearray(1 << 40)
    if job.path.stem == "mine":
        raise ZeroDivisionError("our own defect")
    return watch.Plan(info, clips, plugins.wants(experts), lambda _: experts)


def _tell(seen: watch.Seen) -> tuple[str, int]:
    assert not isinstance(seen.features, Exception)
    if seen.media.clip.id == "refused 0":
        raise UserError(seen.media.clip.path, "is not to be")
    return seen.media.clip.id, len(seen.features["appearance"].values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films")
    for name in ("a", "b", "c", "eats", "mine", "refused"):
        video.write(path / f"{name}.mp4", np.random.default_rng(0).integers(0, 255, (8, 32, 48, 3), dtype=np.uint8), 4)
    (path / "empty.mp4").touch()
    return path


def test_each_file_ends_in_its_own_way(folder: Path) -> None:
    jobs = [_Job(path) for path in sorted(folder.iterdir())]
    told: dict[str, list[object]] = {job.path.stem: [] for job in jobs}
    for job, part in watch.Crew(_load, _plan, _tell)(jobs, 1):
        told[job.path.stem].append(part)
    ends = {name: parts[-1] for name, parts in told.items()}
    for name in "abc":
        assert [part for part in told[name][:-1] if not isinstance(part, pool.Beat)] == [(f"{name} 0", 2), (f"{name} 1", 2)]
    why = {name: end.error for name, end in ends.items() if isinstance(end, watch.End)}
    assert set(why) == set(told)
    assert [why[name] for name in "abc"] == [None, None, None]
    assert "is empty" in str(why["empty"])
    assert "needs more memory" in str(why["eats"])
    assert "is not to be" in str(why["refused"])
    assert isinstance(why["mine"], ZeroDivisionError)
    assert "in _plan" in why["mine"].__notes__[0], "with its traceback, for the log"
    assert all(end.seconds > 0 for name, end in ends.items() if isinstance(end, watch.End) and name in "abc")
    assert ends["a"].info.duration == pytest.approx(2.0)  # type: ignore[attr-defined]


class _Keeper:
    """Writes down what it is told of two files at once."""

    def __init__(self, path: Path, experts: Mapping[str, Expert], output: float) -> None:
        assert set(experts) == {"appearance"} and output == watch.LIMITS.output
        self.path, self.clips, self.ended = path, list[str](), list[str]()

    def add(self, job: _Job, told: tuple[str, int]) -> None:
        if told[0] == "b 1":
            raise UserError(job.path, "is too much")
        self.clips.append(told[0])

    def end(self, job: _Job, end: watch.End) -> None:
        self.ended.append(job.path.stem)

    def due(self) -> bool:
        return len(self.ended) == 2

    def flush(self) -> list[str]:
        if self.path.name == "full":
            raise UserError(self.path, "has no room")
        with self.path.open("a") as file:
            file.write(" ".join(self.clips) + "\n")
        ended, self.ended, self.clips = self.ended, [], []
        return ended


def test_a_worker_keeps_what_it_tells_itself_and_says_so_once_it_is_kept(folder: Path, tmp_path: Path) -> None:
    jobs = [_Job(folder / f"{name}.mp4") for name in ("a", "b", "c")]
    crew = watch.Crew(_load, _plan, _tell, partial(_Keeper, tmp_path / "kept"))
    told = [(job.path.stem, part) for job, part in crew(jobs, 1) if not isinstance(part, pool.Beat)]
    assert [stem for stem, _ in told] == ["a", "a", "b", "b", "c", "c"]
    assert [part for _, part in told[::2]] == ["a", "b", "c"]
    errors = [part.error for _, part in told[1::2]]
    assert errors[0] is errors[2] is None and "is too much" in str(errors[1])
    assert (tmp_path / "kept").read_text() == "a 0 a 1 b 0\nc 0 c 1\n"
    with pytest.raises(UserError, match="has no room"):
        list(watch.Crew(_load, _plan, _tell, partial(_Keeper, tmp_path / "full"))(jobs, 1))


def _media(number: int, side: int) -> Media:
    images = np.full((1, side, side, 3), number % 256, np.uint8)
    return Media(Clip(str(number), "", Path()), {WANT: Frames(images, np.zeros(1, np.float32))}, {})


def _drawn(count: int, drawn: list[int], side: int = 8) -> Iterator[tuple[int, None, None, Media]]:
    for number in range(count):
        drawn.append(number)
        yield number, None, None, _media(number, side)
    if count == 13:
        raise ZeroDivisionError


def _numbers(groups: watch._Ahead, wait: float = 0.0) -> Iterator[list[int]]:
    for group in groups:
        yield [number for number, *_ in group]
        time.sleep(wait)


def test_what_is_drawn_ahead_comes_in_order_and_never_more_than_has_room() -> None:
    drawn: list[int] = []
    found = list(_numbers(watch._Ahead(_drawn(50, drawn)), 0.01))  # type: ignore[arg-type]
    assert list(chain(*found)) == list(range(50))
    assert max(map(len, found)) <= watch.GROUP
    assert len(found) < 50, "while others slept, several were drawn"

    big = 4096  # 48 MiB
    drawn, groups = [], watch._Ahead(_drawn(4, drawn, big))  # type: ignore[arg-type]
    assert [len(group) for group in _numbers(groups, 0.3)] == [1, 1, 1, 1]


def test_a_defect_is_raised_where_items_are_taken_and_closing_ends_the_thread() -> None:
    with pytest.raises(ZeroDivisionError):
        list(_numbers(watch._Ahead(_drawn(13, []))))  # type: ignore[arg-type]
    drawn: list[int] = []
    groups = watch._Ahead(_drawn(10_000, drawn))  # type: ignore[arg-type]
    next(iter(groups))
    groups.close()
    assert len(drawn) < 10_000
    assert not [thread for thread in threading.enumerate() if "_draw" in thread.name]


def test_pace_tells_hours_speed_and_failures() -> None:
    notes: list[tuple[float, str]] = []

    class Task(Silent):
        def advance(self, steps: float = 1, note: str = "") -> None:
            notes.append((steps, note))

    pace, job = watch.Pace(Task()), _Job(Path("a b.mp4"))
    info = video.VideoInfo(7200.0, 1, 1, 1.0, "", 0, True, False, 0)
    pace.beat(job, 3600.0)
    pace.end(job, watch.End(info))
    pace.end(job, watch.End(None, 0.0, UserError("x", "y")))
    assert [steps for steps, _ in notes] == [0, 1, 1]
    assert notes[0][1].startswith("1.00 h of video, ")
    assert notes[2][1].startswith("2.00 h of video, ")
    assert notes[2][1].endswith("x real time, 1 failed  a b.mp4")
