"""Worker processes for work on many files: results as they come, and a worker that dies or hangs costs its own item only."""

import logging
import math
import multiprocessing
import os
import pickle
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

from hit.errors import UserError
from hit.pool.worker import BEAT, END, ERROR, GONE, LOG, PART, WANT, beat, one_by_one, portable, work

__all__ = ["Beat", "Limits", "WorkerLostError", "beat", "portable", "run", "stream"]

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
ASLEEP = 5.0  # seconds by which a wait may overrun before it is taken for a stop of all (Ctrl-Z, a laptop that sleeps)
TRIES = 3  # workers in a row that may die while they start, once some have started


class WorkerLostError(RuntimeError):
    """A worker process died (killed, out of memory, a crash in native code) while it worked on an item."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an item may take before it is given up, with its worker where need be."""

    silence: float = math.inf  # seconds without a sign of life: a part, or a `beat`
    memory: float = math.inf  # bytes beyond what the worker holds before its first item; where the system can limit it
    output: float = math.inf  # bytes of all that is said of it


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, and what the worker says of how far it is."""

    note: Any


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    initializer: Callable[..., object] | None = None,
    initargs: Sequence[Any] = (),
    limits: "Limits | None" = None,
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yield (item, its result or the exception it ended in) in the order of completion.

    `workers` processes (0: as many as there are cores) are spawned as items come, and each has one item at a time, so
    that `items` may be endless. `initializer(*initargs)` runs once in each; what it raises is raised here. Function and
    items must pickle. Closing the generator, or Ctrl-C, kills the workers at once.
    """
    for item, part in stream(partial(one_by_one, function), items, workers, initializer, initargs, limits):
        if isinstance(part, Exception):
            yield item, part
        elif part is not None:
            yield item, part[0]


def stream(
    function: Callable[[Iterator[Item]], Iterator[tuple[int, Any]]],
    items: Iterable[Item],
    workers: int,
    initializer: Callable[..., object] | None = None,
    initargs: Sequence[Any] = (),
    limits: Limits | None = None,
) -> Iterator[tuple[Item, Any]]:
    """Yield (item, part) as parts come, in other things as `run`.

    Each worker calls `function` once with an iterator over items, from which it may draw as many as it likes to have at once,
    in any of its threads. It yields (which item in the order in which it drew them, part), and as the last part of each item
    None. Where a worker dies or breaks a limit it is replaced; the items that it had at once are given to others again, each
    alone, and what was said of them is said again. An item that was alone ends in an exception.
    """
    limits = limits or Limits()
    team = _Team((function, initializer, tuple(initargs), limits.memory), limits, workers or os.cpu_count() or 1, items)
    try:
        while True:
            yield from team.gather()
            if not team.workers:
                break
            for worker in team.ready():
                yield from team.hear(worker)
        team.dismiss()
    finally:
        team.kill()


class _Team(Generic[Item]):
    """The workers, and who gets what."""

    def __init__(self, setup: tuple[Any, ...], limits: Limits, size: int, items: Iterable[Item]) -> None:
        self._setup, self._limits, self._size = setup, limits, size
        self._source = ((item,) for item in items)  # in a tuple, as None may be an item
        self._again: deque[Item] = deque()  # items that are to be alone
        self.workers: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._begun, self._stillborn = False, 0  # has any worker been ready, and how many since have died before

    def gather(self) -> Iterator[tuple[Item, Exception]]:
        """Spawn workers as long as there are items for them: new ones first, then those that are to be alone."""
        while len(self.workers) < self._size:
            drawn = next(self._source, None)
            alone = drawn is None and bool(self._again)
            if drawn is None and not alone:
                break
            self.workers.append(_Worker(self._setup, self._limits, alone))
            yield from self._give(self.workers[-1], drawn or (self._again.popleft(),))

    def ready(self) -> list["_Worker"]:
        """Wait for workers who have something to say, or from whom nothing has been heard for too long."""
        first = min(worker.deadline for worker in self.workers)
        heard = wait([worker.pipe for worker in self.workers], None if first == math.inf else max(0.0, first - time.monotonic()))
        now = time.monotonic()
        for worker in self.workers:
            if now > first + ASLEEP:  # we have been stopped, and so have they
                worker.heard = now
            worker.late = worker.pipe not in heard and worker.deadline <= now
        return [worker for worker in self.workers if worker.pipe in heard or worker.late]

    def hear(self, worker: "_Worker") -> Iterator[tuple[Item, Any]]:
        """Act on a worker's message; yield what it says of an item. Raises what its initializer raised."""
        try:
            kind, number, content = worker.take()
        except WorkerLostError as error:
            self._stillborn += not worker.ready
            if not worker.ready and (not self._begun or self._stillborn > TRIES):
                raise
            yield from self._lose(worker, error)
            return
        if worker.ready:
            self._begun, self._stillborn = True, 0
        if kind == ERROR:
            yield from self._lose(worker, content)
        elif kind == END:
            self.workers.remove(worker)
            self._leaving.append(worker)
        elif kind == WANT:
            worker.wants += 1
            yield from self._feed(worker)
        elif number in worker.open:  # else a beat that came late
            item = worker.open[number]
            if content is None:
                del worker.open[number]
            yield item, content
            yield from self._feed(worker)

    def _feed(self, worker: "_Worker") -> Iterator[tuple[Item, Exception]]:
        """Give a worker an item, or tell it that there are no more; one whose item is to be alone gets no other."""
        while worker.wants > 0:
            if drawn := None if worker.alone else next(self._source, None):
                yield from self._give(worker, drawn)
            else:
                worker.stop()

    def _give(self, worker: "_Worker", drawn: tuple[Item]) -> Iterator[tuple[Item, Exception]]:
        try:
            message = pickle.dumps(drawn)
        except Exception as error:  # what pickling raises is the item's own
            yield drawn[0], error
        else:
            worker.give(drawn[0], message)

    def _lose(self, worker: "_Worker", error: Exception) -> Iterator[tuple[Item, Exception]]:
        """Replace a worker; of several items that it had nobody knows which one is to blame."""
        self.workers.remove(worker)
        worker.kill()
        items = list(worker.open.values())
        worker.open.clear()
        if len(items) == 1 and worker.ready:
            yield items[0], error
        else:
            self._again.extend(items)

    def dismiss(self) -> None:
        """Let the workers end by themselves."""
        for worker in self._leaving:
            worker.dismiss()

    def kill(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in [*self.workers, *self._leaving]:
            worker.kill()


class _Worker:
    """One process and the pipe to it. It speaks first, once it is initialised; then it asks for items and tells of them."""

    def __init__(self, setup: tuple[Any, ...], limits: Limits, alone: bool):
        context = multiprocessing.get_context("spawn")
        self.limits, self.alone = limits, alone
        self.open: dict[int, Any] = {}  # items that it has, by number
        self.said: dict[int, int] = {}  # bytes about each
        self.count = 0  # of items that it was given
        self.wants = 0  # of items that it asked for and was not given; below 0: given before it asked
        self.ready = self.late = False
        self.heard = time.monotonic()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,), daemon=True)
        with _environment(ONE_THREAD):
            self.process.start()
        theirs.close()  # so that the pipe ends when the process does
        with suppress(*GONE):  # it died at once: `take` finds out
            self.pipe.send(setup)

    @property
    def deadline(self) -> float:
        """Until when something must be heard of it."""
        return self.heard + self.limits.silence if self.ready and self.open else math.inf

    def give(self, item: Any, message: bytes) -> None:
        """Send an item, as a message."""
        self.open[self.count], self.said[self.count] = item, 0
        self.count, self.wants, self.heard = self.count + 1, self.wants - 1, time.monotonic()
        with suppress(*GONE):  # it died meanwhile: `take` finds out
            self.pipe.send_bytes(message)

    def stop(self) -> None:
        """Say that there are no more items."""
        self.wants -= 1
        with suppress(*GONE):
            self.pipe.send_bytes(pickle.dumps(None))

    def take(self) -> tuple[bytes, int, Any]:
        """Return (kind, number of the item, content) of the next message. A broken limit is an ERROR.

        Raises WorkerLostError where it died, and what its initializer raised.
        """
        if self.late:
            why = f"made no progress for {self.limits.silence:g} s and was given up"
            return ERROR, 0, UserError(self.items(), why, "if it is sound, allow more time")
        try:
            message = self.pipe.recv_bytes(None if self.limits.output == math.inf else int(self.limits.output) + 64)
        except GONE:
            raise self.dead() from None
        except OSError as error:
            if "length" in str(error):  # longer than that
                return self.too_much()
            raise self.dead() from None  # in the middle of a message
        self.heard = time.monotonic()
        kind, content = message[:1], pickle.loads(message[1:])  # noqa: S301 from our own child
        if not self.ready:
            if content is not None:
                raise content
            self.ready = True
            return BEAT, -1, None
        if kind == LOG:
            logging.getLogger(content[0]).log(*content[1:])
            return BEAT, -1, None
        if kind not in (PART, BEAT):
            return kind, 0, content
        number, part = content
        if kind == BEAT:
            return kind, number if part is not None else -1, Beat(part)
        self.said[number] = self.said.get(number, 0) + len(message)
        return self.too_much() if self.said[number] > self.limits.output else (kind, number, part)

    def dead(self) -> WorkerLostError:
        """Return the error that says how it ended, and on what."""
        where = f"on {self.items()}" if self.ready else "while it was starting"
        return WorkerLostError(f"a worker process died ({self.epitaph()}) {where}")

    def too_much(self) -> tuple[bytes, int, Exception]:
        """Return the error of an item about which too much is said."""
        why = f"yields more than {_size(self.limits.output)}"
        return ERROR, 0, UserError(self.items(), why, "cut it into shorter videos")

    def items(self) -> str:
        """Name the items that it has."""
        return ", ".join(map(str, self.open.values()))[:200]

    def epitaph(self) -> str:
        """Say how the process ended."""
        self.process.join(5)
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
        self.process.join(5)  # no longer: one that hangs in the system itself, on a mount that is gone, never ends


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
