"""Worker processes: every item comes back once, with its result or with what became of it."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from hit import pool
from hit.errors import UserError
from hit.pool.worker import one_by_one

Item = TypeVar("Item")
_BASE = [0]


@pytest.fixture(scope="module")
def a_ray() -> Iterator[None]:
    """A Ray of this machine, which the pool takes for its own and leaves running."""
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=3, num_gpus=1, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["local", "ray"])
def where(request: pytest.FixtureRequest) -> str:
    """Who works: what holds of both is tested with both."""
    if request.param == "ray":
        request.getfixturevalue("a_ray")
    return str(request.param)


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


def test_workers_are_initialised_single_threaded_and_elsewhere(where: str) -> None:
    assert dict(pool.run(_add_base, [1, 2], 1, _set_base, (40,), where=where)) == {1: 41, 2: 42}
    [(_, outcome)] = pool.run(_threads, [0], 1, where=where)
    assert isinstance(outcome, tuple)
    cv2_threads, omp, pid = outcome
    assert (cv2_threads, omp) == (1, "1")
    assert pid != os.getpid()


def test_a_failing_initializer_ends_the_run(where: str) -> None:
    with pytest.raises(UserError, match="weights"):
        list(pool.run(_square, range(5), 1, _fail, where=where))


def test_workers_that_die_while_they_start_end_the_run() -> None:
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


def _each(items: Iterator[int]) -> Iterator[tuple[int, object]]:
    for number, item in enumerate(items):
        for part in range(item):
            yield number, part
        yield number, None


def _parts(told: Iterator[tuple[Item, object]]) -> dict[Item, list[object]]:
    seen: dict[Item, list[object]] = {}
    for item, part in told:
        seen.setdefault(item, []).append(part)
    return seen


def test_parts_come_in_order_and_the_end_last() -> None:
    assert _parts(pool.stream(_each, [0, 2, 3], 2)) == {0: [None], 2: [0, 1, None], 3: [0, 1, 2, None]}
    assert _parts(pool.stream(_each, [], 2)) == {}


def _hang(items: Iterator[str]) -> Iterator[tuple[int, object]]:
    for number, item in enumerate(items):
        until = time.monotonic() + 6
        while item == "beats" and time.monotonic() < until:
            pool.beat(number, item)
            time.sleep(0.05)
        yield number, item
        if item == "hangs":
            signal.pause()
        yield number, None


def test_a_worker_without_a_sign_of_life_is_replaced() -> None:
    seen = _parts(pool.stream(_hang, ["hangs", "beats", "works"], 1, limits=pool.Limits(silence=4)))
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
    for _, part in pool.stream(_each, [2, 2], 2, limits=pool.Limits(silence=1)):
        assert not isinstance(part, Exception)
        time.sleep(1.2)


def _all_at_once(items: Iterator[str]) -> Iterator[tuple[int, object]]:
    """Draw three items at once, as who works ahead, and fall over those that are called so."""
    drawn: list[tuple[int, str]] = []
    for one in enumerate(items):
        drawn.append(one)
        if len(drawn) == 3:
            yield from _fall(drawn)
    yield from _fall(drawn)


def _fall(drawn: list[tuple[int, str]]) -> Iterator[tuple[int, object]]:
    for number, item in drawn:
        yield number, item.upper()
        if item == "dies":
            os._exit(9)
        if item == "hangs":
            signal.pause()
        if item == "raises":
            raise ZeroDivisionError
        if item == "talks":
            yield number, bytes(1 << 20)
        yield number, None
    drawn.clear()


@pytest.mark.parametrize(("workers", "where"), [(1, "local"), (3, "local"), (3, "ray")], indirect=["where"])
def test_of_items_drawn_together_only_the_one_to_blame_is_lost(workers: int, where: str) -> None:
    items = ["a", "dies", "b", "c", "hangs", "d", "raises", "e", "f", "talks", "g"]
    seen = _parts(pool.stream(_all_at_once, items, workers, limits=pool.Limits(silence=3, output=1 << 19), where=where))
    assert set(seen) == set(items)
    for item in "abcdefg":
        assert set(seen[item]) == {item.upper(), None}
        assert seen[item][-1] is None
        assert seen[item].count(None) == 1
    reasons = {item: str(seen[item][-1]) for item in items if len(item) > 1}
    assert ("exit code 9" if where == "local" else "unexpectedly exits") in reasons["dies"]
    assert "no progress for 3 s" in reasons["hangs"]
    assert isinstance(seen["raises"][-1], ZeroDivisionError)
    assert "yields more than 0.5 MiB" in reasons["talks"]


def _warn(items: Iterator[str]) -> Iterator[tuple[int, object]]:
    for number, item in enumerate(items):
        logging.getLogger("hit.video").warning("%s is odd", item)
        yield number, None


def test_what_a_worker_warns_of_is_logged_here(where: str, caplog: pytest.LogCaptureFixture) -> None:
    assert len(list(pool.stream(_warn, ["one", "two"], 1, where=where))) == 2
    assert [(record.name, record.getMessage()) for record in caplog.records if record.name == "hit.video"] == [
        ("hit.video", f"{n} is odd") for n in ("one", "two")
    ]


def _start_once(path: Path) -> None:
    """Let the first worker start, the next two die at it, and the others start."""
    with path.open("a") as file:
        file.write("x")
    if path.stat().st_size in (2, 3):
        os._exit(5)


def test_workers_that_die_while_they_start_are_replaced_where_others_have_started(tmp_path: Path) -> None:
    items = ["dies", "a", "b"]
    told = pool.stream(_all_at_once, items, 1, _start_once, (tmp_path / "starts",))
    assert {item: parts[-1] for item, parts in _parts(told).items() if item != "dies"} == {"a": None, "b": None}
    assert (tmp_path / "starts").stat().st_size >= 5


def _eat(items: Iterator[int]) -> Iterator[tuple[int, object]]:
    for number, amount in enumerate(items):
        try:
            yield number, (len(bytes(amount)), os.getpid())
        except MemoryError:
            yield number, "too much"
        yield number, None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may map")
def test_memory_is_limited_and_the_worker_lives_on(where: str) -> None:
    amounts = [1 << 20, 1 << 30, 2 << 20]
    told = pool.stream(_eat, amounts, 1, limits=pool.Limits(memory=512 << 20), where=where)
    found = [part for _, part in told if part is not None]
    assert found[1] == "too much"
    assert (found[0][0], found[2][0]) == (1 << 20, 2 << 20)
    assert found[0][1] == found[2][1], "by the same process"


def _gpu(_: int) -> tuple[int, str]:
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.usefixtures("a_ray")
def test_where_they_want_one_workers_share_a_gpu() -> None:
    worker = partial(one_by_one, _gpu)
    told = [part[0] for _, part in pool.stream(worker, range(9), 2, where="ray", gpus=True) if part is not None]
    assert {where for _, where in told} == {"0"}
    [(_, found)] = pool.run(_gpu, [1], 1, where="ray")
    assert isinstance(found, tuple) and found[1] == ""


def test_who_is_no_pool_is_said_so() -> None:
    pytest.importorskip("ray")
    away = ("127.0.0.1:9", "a..b:6379", f"{'a' * 64}:6379", "127.0.0.1:99999")
    for name, why in (("rays", "is no pool"), *((one, "nothing answers there") for one in away)):
        with pytest.raises(UserError, match=why):
            list(pool.run(_square, [1], 1, where=name))


def test_without_ray_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "hit.pool.ray", raising=False)
    with pytest.raises(UserError, match="hit-video\\[ray\\]"):
        list(pool.run(_square, [1], 1, where="ray"))
