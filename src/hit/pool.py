"""Worker processes for work on many files: results as they come, and a worker that dies or hangs costs its own item only."""

import math
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from hit.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Each worker is one thread: as many workers as cores are then as many threads as cores.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
BEAT = 1.0  # seconds between two signs of life, at least


_GONE = (EOFError, BrokenPipeError, ConnectionResetError)  # what a pipe says whose other end has died
_BEAT, _PART, _END, _ERROR = b"b", b"p", b"e", b"x"  # the first byte of a worker's message


class WorkerLostError(RuntimeError):
    """A worker process died (killed, out of memory, a crash in native code) while it worked on an item."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an item may take before it is given up, with its worker where need be."""

    silence: float = math.inf  # seconds without a sign of life: a part, or a `beat`
    memory: float = math.inf  # bytes beyond what the worker holds before its first item; where the system can limit it
    output: float = math.inf  # bytes of all that it yields


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, and how far the worker says it is."""

    note: Any


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    initializer: Callable[..., object] | None = None,
    initargs: Sequence[Any] = (),
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yield (item, its result or the exception it ended in) in the order of completion.

    `workers` processes (0: as many as there are cores) are spawned as items come, and each has one item at a time, so
    that `items` may be endless. `initializer(*initargs)` runs once in each; what it raises is raised here. Function and
    items must pickle. Closing the generator, or Ctrl-C, kills the workers at once.
    """
    for item, kind, content in _events(function, items, workers, (initializer, tuple(initargs)), Limits()):
        if kind in (_END, _ERROR):
            yield item, content


def stream(
    function: Callable[[Item], Iterator[Result]],
    items: Iterable[Item],
    workers: int,
    initializer: Callable[..., object] | None = None,
    initargs: Sequence[Any] = (),
    limits: Limits | None = None,
) -> Iterator[tuple[Item, Result | Beat | Exception | None]]:
    """Yield (item, part) for each part that the function yields, as it comes, and last None or the exception it ended in.

    As `run` in all else. A worker that breaks a limit is killed and replaced, and its item ends in a UserError.
    """
    for item, _, content in _events(function, items, workers, (initializer, tuple(initargs)), limits or Limits()):
        yield item, content


def beat(note: Any = None) -> None:
    """In a worker, from any of its threads: show that it is alive. Anywhere else: do nothing."""
    global _beaten  # noqa: PLW0603  # of this worker process
    if _pipe is not None and time.monotonic() >= _beaten + BEAT:
        _beaten = time.monotonic()
        _say(_pipe, _BEAT, note)


def _events(
    function: Callable[[Item], Any], items: Iterable[Item], workers: int, prepare: tuple[Any, tuple[Any, ...]], limits: Limits
) -> Iterator[tuple[Item, bytes, Any]]:
    """Yield (item, kind of message, its content)."""
    limit = workers or os.cpu_count() or 1
    source = ((item,) for item in items)  # in a tuple, as None may be an item
    idle: list[_Worker] = []
    busy: dict[Connection, tuple[_Worker, Item]] = {}
    try:
        while True:
            while len(busy) < limit and (drawn := next(source, None)):
                worker = idle.pop() if idle else _Worker((function, *prepare, limits.memory), limits)
                worker.give(drawn[0])
                busy[worker.pipe] = (worker, drawn[0])
            if not busy:
                break
            first = min(worker.deadline for worker, _ in busy.values())
            ready = wait(list(busy), None if first == math.inf else max(0.0, first - time.monotonic()))
            late = [pipe for pipe, (worker, _) in busy.items() if pipe not in ready and worker.deadline <= time.monotonic()]
            for pipe in (*ready, *late):
                assert isinstance(pipe, Connection)
                worker, item = busy[pipe]
                if not worker.ready:
                    worker.welcome()
                    continue
                kind, content = worker.silent(item) if pipe in late else worker.take(item)
                if kind in (_END, _ERROR):
                    del busy[pipe]
                    if worker.ready:
                        idle.append(worker)
                yield item, kind, content
        for worker in idle:
            worker.dismiss()
    finally:
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.kill()


class _Worker:
    """One process and the pipe to it. It speaks first, once it is initialised; then it answers item by item."""

    def __init__(self, setup: tuple[Any, ...], limits: Limits):
        context = multiprocessing.get_context("spawn")
        self.ready, self.limits = False, limits
        self.deadline, self.room = math.inf, limits.output
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _environment(ONE_THREAD):
            self.process.start()
        theirs.close()  # so that the pipe ends when the process does
        try:
            self.pipe.send(setup)
        except _GONE:
            raise WorkerLostError(f"a worker process died while it was starting: {self.epitaph()}") from None

    def welcome(self) -> None:
        """Note that the worker is ready. Raises what its initializer raised."""
        try:
            problem = self.pipe.recv()
        except _GONE:
            raise WorkerLostError(f"a worker process died while it was starting: {self.epitaph()}") from None
        if problem is not None:
            raise problem
        self.ready, self.deadline = True, time.monotonic() + self.limits.silence

    def give(self, item: Any) -> None:
        """Send an item; one that does not pickle comes back as its own failure."""
        try:
            message = pickle.dumps((True, item))
        except Exception as error:  # what pickling raises is the item's choice
            message = pickle.dumps((False, portable(error)))
        self.room = self.limits.output
        self.deadline = time.monotonic() + self.limits.silence if self.ready else math.inf
        with suppress(*_GONE):  # it died between two items: `take` finds out
            self.pipe.send_bytes(message)

    def take(self, item: object) -> tuple[bytes, Any]:
        """Return the next message about the item; a dead worker is no longer ready."""
        try:
            message = self.pipe.recv_bytes(None if self.room == math.inf else int(self.room) + 1)
        except _GONE:
            death = self.epitaph()
            return self.lost(WorkerLostError(f"the worker process died ({death}) on {str(item)[:200]}"))
        except OSError:  # longer than that
            return self.lost(UserError(str(item), f"yields more than {_size(self.limits.output)}", "cut it into shorter videos"))
        self.room -= len(message) - 1
        self.deadline = time.monotonic() + self.limits.silence
        kind, content = message[:1], pickle.loads(message[1:])  # noqa: S301 from our own child
        return kind, Beat(content) if kind == _BEAT else content

    def silent(self, item: object) -> tuple[bytes, Any]:
        """Give up an item on which nothing has been heard for too long."""
        why = f"made no progress for {self.limits.silence:g} s and was given up"
        return self.lost(UserError(str(item), why, "if it is sound, allow more time"))

    def lost(self, error: Exception) -> tuple[bytes, Exception]:
        """End the process; the item ended in `error`."""
        self.ready = False
        self.kill()
        return _ERROR, error

    def epitaph(self) -> str:
        """Say how the process ended."""
        self.process.join()
        code = self.process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def dismiss(self) -> None:
        """Let the worker end by itself."""
        self.pipe.close()
        self.process.join(5)

    def kill(self) -> None:
        """End the process whatever it is doing."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


# -- in the worker process

_pipe: Connection | None = None
_beaten = -math.inf  # when the last sign of life was given
_speaking = threading.Lock()


def _work(pipe: Connection) -> None:
    global _pipe  # noqa: PLW0603  # a process's own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; it is for the parent to act on
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        problem, function, memory = _prepare(pipe)
        pipe.send(problem)
        _pipe = pipe
        _limit(memory)
        while problem is None:
            good, item = pickle.loads(pipe.recv_bytes())  # noqa: S301 from our own parent
            _answer(pipe, function if good else _raise, item, memory)
    except _GONE:
        pass  # the parent has no more work, or is gone


def _answer(pipe: Connection, function: Callable[[Any], Any], item: Any, memory: float) -> None:
    """Work on one item and tell what comes of it."""
    try:
        result = function(item)
        if isinstance(result, Iterator):
            for part in result:
                _say(pipe, _PART, part)
            result = None
        _say(pipe, _END, result)
    except _GONE:
        raise
    except MemoryError:
        short = UserError(str(item), f"needs more than {_size(memory)} of memory", "cut it into shorter videos, or allow more")
        _say(pipe, _ERROR, short)
    except Exception as error:  # whatever it is, it is this item's outcome
        _say(pipe, _ERROR, portable(error))


def _say(pipe: Connection, kind: bytes, content: Any) -> None:
    message = kind + pickle.dumps(content)
    with _speaking:  # a thread that decodes ahead has signs of life to give
        pipe.send_bytes(message)


def _raise(error: Exception) -> None:
    raise error


def _limit(memory: float) -> None:
    """Have the system refuse this process more than so many bytes beyond what it holds now."""
    if memory < math.inf:
        held = 0
        with suppress(OSError):  # no /proc: then what it holds counts too
            about = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            held = int(about["VmData"].split()[0]) * 1024
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = held + int(memory)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))


def _follow_parent() -> None:
    """End this process when its parent has died: a long item would otherwise go on for nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    wait([parent.sentinel])
    os._exit(1)


def _prepare(pipe: Connection) -> tuple[Exception | None, Callable[[Any], Any], float]:
    try:
        function, initializer, arguments, memory = pipe.recv()
        if initializer is not None:
            initializer(*arguments)
    except _GONE:
        raise
    except Exception as error:
        return portable(error), str, math.inf
    return None, function, memory


def portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or, where it would not survive pickling, one that says the same."""
    trace = "".join(traceback.format_exception(error))
    try:
        copy: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 made on this very line
        assert isinstance(copy, Exception)
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"in a worker process:\n{trace}")
    return copy


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
