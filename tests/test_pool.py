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
