"""Worker processes for work on many files: results as they come, and a worker that dies costs its own item only."""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

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


_GONE = (EOFError, BrokenPipeError, ConnectionResetError)  # what a pipe says whose other end has died


class WorkerLostError(RuntimeError):
    """A worker process died (killed, out of memory, a crash in native code) while it worked on an item."""


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
    limit = workers or os.cpu_count() or 1
    source = ((item,) for item in items)  # in a tuple, as None may be an item
    idle: list[_Worker] = []
    busy: dict[Connection, tuple[_Worker, Item]] = {}
    setup = (function, initializer, tuple(initargs))
    try:
        while True:
            while len(busy) < limit and (drawn := next(source, None)):
                worker = idle.pop() if idle else _Worker(setup)
                worker.give(drawn[0])
                busy[worker.pipe] = (worker, drawn[0])
            if not busy:
                break
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker, item = busy[pipe]
                if not worker.ready:
                    worker.welcome()
                    continue
                outcome = worker.take(item)
                del busy[pipe]
                if worker.ready:
                    idle.append(worker)
                yield item, outcome
        for worker in idle:
            worker.dismiss()
    finally:
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.kill()


class _Worker:
    """One process and the pipe to it. It speaks first, once it is initialised; then it answers item by item."""

    def __init__(self, setup: tuple[Any, ...]):
        context = multiprocessing.get_context("spawn")
        self.ready = False
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
        self.ready = True

    def give(self, item: Any) -> None:
        """Send an item; one that does not pickle comes back as its own failure."""
        try:
            message = pickle.dumps((True, item))
        except Exception as error:  # what pickling raises is the item's choice
            message = pickle.dumps((False, _portable(error)))
        with suppress(*_GONE):  # it died between two items: `take` finds out
            self.pipe.send_bytes(message)

    def take(self, item: object) -> Any:
        """Return the item's result or exception; a dead worker is no longer ready."""
        try:
            return self.pipe.recv()
        except _GONE:
            self.ready = False
            error = WorkerLostError(f"the worker process died ({self.epitaph()}) on {str(item)[:200]}")
            self.kill()
            return error

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


def _work(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; it is for the parent to act on
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        problem, function = _prepare(pipe)
        pipe.send(problem)
        while problem is None:
            good, item = pickle.loads(pipe.recv_bytes())  # noqa: S301 from our own parent
            try:
                message = pickle.dumps(function(item) if good else item)
            except Exception as error:  # whatever it is, it is this item's outcome
                message = pickle.dumps(_portable(error))
            pipe.send_bytes(message)
    except _GONE:
        pass  # the parent has no more work, or is gone


def _follow_parent() -> None:
    """End this process when its parent has died: a long item would otherwise go on for nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    wait([parent.sentinel])
    os._exit(1)


def _prepare(pipe: Connection) -> tuple[Exception | None, Callable[[Any], Any]]:
    try:
        function, initializer, arguments = pipe.recv()
        if initializer is not None:
            initializer(*arguments)
    except _GONE:
        raise
    except Exception as error:
        return _portable(error), str
    return None, function


def _portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or, where it would not survive pickling, one that says the same."""
    trace = "".join(traceback.format_exception(error))
    try:
        copy: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 made on this very line
        assert isinstance(copy, Exception)
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"in a worker process:\n{trace}")
    return copy


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
