"""Worker processes: every item comes back once, with its result or with what became of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hit import pool
from hit.errors import UserError

_BASE = [0]


def _square(number: int) -> int:
    return number * number


def _misbehave(item: str) -> str:
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "raise":
        raise UserError("film.mp4", "is odd", "look at it")
    if item == "unpicklable result":
        return lambda: item  # type: ignore[return-value]
    if item == "unpicklable error":
        raise _OddError(1, 2)
    return item.upper()


class _OddError(Exception):
    def __init__(self, one: int, two: int):
        super().__init__(f"{one} and {two}")


def _set_base(base: int) -> None:
    _BASE[0] = base


def _add_base(number: int) -> int:
    return _BASE[0] + number


def _fail() -> None:
    raise UserError("weights", "are missing")


def _die(*_: object) -> None:
    os._exit(7)


def _threads(_: int) -> tuple[int, str, int]:
    import cv2

    return cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"], os.getpid()


def test_every_item_comes_back_once() -> None:
    assert sorted(pool.run(_square, range(20), 2)) == [(n, n * n) for n in range(20)]
    assert list(pool.run(_square, [], 2)) == []


def test_a_dead_worker_costs_its_own_item_only() -> None:
    items = ["a", "kill", "b", "exit", "c", "raise", "d", "unpicklable result", "unpicklable error", "e"]
    results = dict(pool.run(_misbehave, items, 2))
    assert set(results) == set(items)
    assert {item: results[item] for item in "abcde"} == {item: item.upper() for item in "abcde"}
    assert isinstance(results["kill"], pool.WorkerLostError)
    assert "SIGKILL" in str(results["kill"])
    assert "kill" in str(results["kill"])
    assert "exit code 3" in str(results["exit"])
    error = results["raise"]
    assert isinstance(error, UserError)
    assert (error.what, error.why, error.fix) == ("film.mp4", "is odd", "look at it")
    assert isinstance(results["unpicklable result"], Exception)
    assert str(results["unpicklable error"]) == "_OddError: 1 and 2"
    assert "in _misbehave" in results["unpicklable error"].__notes__[0], "the worker's traceback is kept"  # type: ignore[union-attr]


def test_an_item_that_does_not_pickle_is_its_own_failure() -> None:
    items = ["a", lambda: None, "b"]
    results = list(pool.run(_misbehave, items, 1))  # type: ignore[arg-type]
    assert [outcome for _, outcome in results[::2]] == ["A", "B"]
    assert isinstance(results[1][1], Exception)


def test_items_are_drawn_as_workers_become_free() -> None:
    drawn = 0

    def endless() -> Iterator[int]:
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn

    results = pool.run(_square, endless(), 2)
    for seen in range(1, 30):
        next(results)
        assert drawn <= seen + 2
    results.close()  # type: ignore[attr-defined]


def test_workers_are_initialised_single_threaded_and_elsewhere() -> None:
    assert dict(pool.run(_add_base, [1, 2], 1, _set_base, (40,))) == {1: 41, 2: 42}
    [(_, outcome)] = pool.run(_threads, [0], 1)
    assert isinstance(outcome, tuple)
    cv2_threads, omp, pid = outcome
    assert (cv2_threads, omp) == (1, "1")
    assert pid != os.getpid()


def test_a_failing_initializer_ends_the_run() -> None:
    with pytest.raises(UserError, match="weights"):
        list(pool.run(_square, range(5), 2, _fail))
    with pytest.raises(pool.WorkerLostError, match="exit code 7"):
        list(pool.run(_square, range(5), 2, _die))


def _stuck(path: Path) -> None:
    path.write_text(str(os.getpid()))
    signal.pause()


def test_closing_kills_workers_that_are_busy(tmp_path: Path) -> None:
    def items() -> Iterator[Path]:
        yield tmp_path / "first"
        while not (tmp_path / "first").exists() or not (tmp_path / "first").read_text():
            os.sched_yield()
        raise KeyboardInterrupt

    results = pool.run(_stuck, items(), 2)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "first").read_text()), 0)


ORPHAN = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from hit import pool
from test_pool import _linger
if __name__ == "__main__":
    for _ in pool.run(_linger, [sys.argv[2]], 1):
        pass
"""


def _linger(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    while True:
        pass


def test_a_worker_whose_parent_was_killed_does_not_go_on(tmp_path: Path) -> None:
    script, note = tmp_path / "orphan.py", tmp_path / "pid"
    script.write_text(ORPHAN)
    parent = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parent), str(note)])
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(note.read_text())
    parent.kill()
    parent.wait()
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return False


# -- parts, signs of life, limits


def _count(item: int) -> Iterator[int]:
    yield from range(item)
    if item == 3:
        raise UserError("three", "is odd")


def test_parts_come_in_order_and_the_end_last() -> None:
    seen: dict[int, list[object]] = {}
    for item, part in pool.stream(_count, [0, 2, 3], 2):
        seen.setdefault(item, []).append(part)
    assert seen[0] == [None]
    assert seen[2] == [0, 1, None]
    assert seen[3][:3] == [0, 1, 2]
    assert isinstance(seen[3][3], UserError)


def _hang(item: str) -> Iterator[str]:
    until = time.monotonic() + 6
    while item == "beats" and time.monotonic() < until:
        pool.beat(item)
        time.sleep(0.05)
    yield item
    if item == "hangs":
        signal.pause()


def test_a_worker_without_a_sign_of_life_is_replaced() -> None:
    seen: dict[str, list[object]] = {}
    for item, part in pool.stream(_hang, ["hangs", "beats", "works"], 1, limits=pool.Limits(silence=4)):
        seen.setdefault(item, []).append(part)
    assert seen["hangs"][0] == "hangs"
    error = seen["hangs"][1]
    assert isinstance(error, UserError)
    assert "no progress for 4 s" in error.why
    beats = [part for part in seen["beats"] if isinstance(part, pool.Beat)]
    assert 2 <= len(beats) <= 7, "one a second"
    assert {beat.note for beat in beats} == {"beats"}
    assert seen["beats"][-2:] == ["beats", None]
    assert seen["works"] == ["works", None]


def test_a_slow_reader_is_not_the_workers_silence() -> None:
    for _, part in pool.stream(_count, [2, 2], 2, limits=pool.Limits(silence=1)):
        assert not isinstance(part, Exception)
        time.sleep(1.2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may map")
def test_memory_is_limited_and_the_worker_lives_on() -> None:
    amounts = [1 << 20, 1 << 30, 2 << 20]
    found = [part for _, part in pool.stream(_eat_and_tell, amounts, 1, limits=pool.Limits(memory=512 << 20)) if part is not None]
    assert isinstance(found[1], UserError)
    assert found[1].why == "needs more than 512.0 MiB of memory"
    assert (found[0], found[2]) == ((1 << 20, found[0][1]), (2 << 20, found[0][1])), "by the same process"  # type: ignore[index]


def _eat_and_tell(amount: int) -> Iterator[tuple[int, int]]:
    yield len(bytes(amount)), os.getpid()


def _talk(size: int) -> Iterator[bytes]:
    for _ in range(4):
        yield bytes(size)


def test_output_is_limited() -> None:
    told = pool.stream(_talk, [1 << 10, 1 << 20, 8 << 20], 1, limits=pool.Limits(output=2 << 20))
    ends = {item: part for item, part in told if not isinstance(part, bytes)}
    assert ends[1 << 10] is None
    for size in (1 << 20, 8 << 20):
        error = ends[size]
        assert isinstance(error, UserError)
        assert error.why == "yields more than 2.0 MiB"
