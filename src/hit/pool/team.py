"""Who works on what: items go to workers, and what becomes of the items of a worker that is lost."""

import logging
import math
import pickle
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hit.errors import UserError
from hit.pool.worker import BEAT, END, ERROR, GONE, LOG, PART, WANT

Item = TypeVar("Item")
Setup = tuple[Any, ...]  # function, initializer, its arguments, bytes of memory

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
LOSSES = 5  # machines that an item may lose before it is taken for the cause


class WorkerLostError(RuntimeError):
    """A worker process died (killed, out of memory, a crash in native code) while it worked on an item."""


class NodeLostError(WorkerLostError):
    """The machine of a worker is gone, or cannot be reached: no item's fault."""


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


@dataclass(slots=True, eq=False)
class Task(Generic[Item]):
    """An item, and how often it was with a worker that died, and with a machine that was lost."""

    item: Item
    deaths: int = 0
    losses: int = 0


class Worker(ABC):
    """A process somewhere. It speaks first, once it is initialised; then it asks for items and tells of them."""

    forgiven = 0  # deaths of a worker that an item is forgiven which it had alone

    def __init__(self, limits: Limits, alone: bool) -> None:
        self.limits, self.alone = limits, alone
        self.open: dict[int, Task[Any]] = {}  # what it has, by number
        self.said: dict[int, int] = {}  # bytes about each
        self.count = 0  # of items that it was given
        self.wants = 0  # of items that it asked for and was not given; below 0: given before it asked
        self.placed = True  # is there a machine for it
        self.ready = self.late = False
        self.heard = time.monotonic()

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Send a pickled item in a tuple, or None. Where it has died, `receive` finds out."""

    @abstractmethod
    def receive(self, most: float) -> bytes | None:
        """Return its next message, which is there, or None for one that is longer than so many bytes.

        Raises one of GONE where it has died, and NodeLostError.
        """

    @abstractmethod
    def epitaph(self) -> str:
        """Say how it ended."""

    @abstractmethod
    def leave(self) -> None:
        """Let it end, which has no more to say, without waiting for it."""

    @abstractmethod
    def dismiss(self) -> None:
        """See to it that it has ended."""

    @abstractmethod
    def kill(self) -> None:
        """End it, whatever it is doing."""

    @property
    def deadline(self) -> float:
        """Until when something must be heard of it."""
        return self.heard + self.limits.silence if self.ready and self.open else math.inf

    def renew(self) -> None:
        """Take it for a new one, which has been alone and is at its end: it is there already, and holds what it has loaded."""
        self.alone = True
        self.count = self.wants = 0

    def give(self, task: Task[Any], message: bytes) -> None:
        """Send an item, as a message."""
        self.open[self.count], self.said[self.count] = task, 0
        self.count, self.wants, self.heard = self.count + 1, self.wants - 1, time.monotonic()
        self.send(message)

    def stop(self) -> None:
        """Say that there are no more items."""
        self.wants -= 1
        self.send(pickle.dumps(None))

    def take(self) -> tuple[bytes, int, Any]:
        """Return (kind, number of the item, content) of the next message. A broken limit is an ERROR.

        Raises WorkerLostError where it died, and what its initializer raised.
        """
        if self.late:
            why = f"made no progress for {self.limits.silence:g} s and was given up"
            return ERROR, 0, UserError(self.items(), why, "if it is sound, allow more time")
        try:
            message = self.receive(self.limits.output)
        except GONE:
            where = f"on {self.items()}" if self.ready else "while it was starting"
            raise WorkerLostError(f"a worker process died ({self.epitaph()}) {where}") from None
        if message is None:
            return self._too_much()
        self.heard = time.monotonic()
        kind, content = message[:1], pickle.loads(message[1:])  # noqa: S301 from our own worker
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
        return self._too_much() if self.said[number] > self.limits.output else (kind, number, part)

    def items(self) -> str:
        """Name the items that it has."""
        return ", ".join(str(task.item) for task in self.open.values())[:200]

    def _too_much(self) -> tuple[bytes, int, Exception]:
        why = f"yields more than {_size(self.limits.output)}"
        return ERROR, 0, UserError(self.items(), why, "cut it into shorter videos")


class Place(Protocol):
    """Where workers are."""

    @property
    def room(self) -> int:
        """For how many workers there is room now."""
        ...

    def hire(self, setup: Setup, limits: Limits, alone: bool) -> Worker:
        """Have a worker started."""
        ...

    def wait(self, workers: Sequence[Any], seconds: float | None) -> list[Worker]:
        """Return those of the workers who have something to say or have died; none of them after so many seconds, or before.

        Raises UserError where the place is lost as a whole.
        """
        ...

    def close(self) -> None:
        """Leave it. All workers have been killed."""
        ...


class Team(Generic[Item]):
    """The workers, and who gets what."""

    def __init__(self, place: Place, setup: Setup, limits: Limits, items: Iterable[Item]) -> None:
        self._place, self._setup, self._limits = place, setup, limits
        self._source = (Task(item) for item in items)
        self._back: deque[Task[Item]] = deque()  # of machines that were lost
        self._again: deque[Task[Item]] = deque()  # items that are to be alone
        self.workers: list[Worker] = []
        self._leaving: list[Worker] = []
        self._begun, self._stillborn = False, 0  # has any worker been ready, and how many since have died before

    def gather(self) -> Iterator[tuple[Item, Exception]]:
        """Have workers started as long as there are items for them: new ones first, then those that are to be alone."""
        while len(self.workers) < self._place.room:
            task = self._draw()
            alone = task is None and bool(self._again)
            if task is None and not alone:
                break
            self.workers.append(self._place.hire(self._setup, self._limits, alone))
            yield from self._give(self.workers[-1], task or self._again.popleft())

    def ready(self) -> list[Worker]:
        """Wait for workers who have something to say, or from whom nothing has been heard for too long."""
        first = min(worker.deadline for worker in self.workers)
        heard = self._place.wait(self.workers, None if first == math.inf else max(0.0, first - time.monotonic()))
        now = time.monotonic()
        for worker in self.workers:
            if now > first + ASLEEP:  # we have been stopped, and so have they
                worker.heard = now
            worker.late = worker not in heard and worker.deadline <= now
        return [worker for worker in self.workers if worker in heard or worker.late]

    def hear(self, worker: Worker) -> Iterator[tuple[Item, Any]]:
        """Act on a worker's message; yield what it says of an item. Raises what its initializer raised."""
        if worker not in self.workers:  # it has just lost its item to another
            return
        try:
            kind, number, content = worker.take()
        except WorkerLostError as error:
            if not worker.ready and not isinstance(error, NodeLostError):
                self._stillborn += 1
                if not self._begun or self._stillborn > TRIES:
                    raise
            yield from self._lose(worker, error)
            return
        if worker.ready:
            self._begun, self._stillborn = True, 0
        if kind == ERROR:
            yield from self._lose(worker, content)
        elif kind == END:
            if self._again:
                worker.renew()
                yield from self._give(worker, self._again.popleft())
            else:
                self.workers.remove(worker)
                self._leaving.append(worker)
                worker.leave()
        elif kind == WANT:
            worker.wants += 1
            yield from self._feed(worker)
        elif number in worker.open:  # else a beat that came late
            item = worker.open[number].item
            if content is None:
                del worker.open[number]
            yield item, content
            yield from self._feed(worker)

    def _feed(self, worker: Worker) -> Iterator[tuple[Item, Exception]]:
        """Give a worker an item, or tell it that there are no more; one whose item is to be alone gets no other."""
        while worker.wants > 0:
            if task := None if worker.alone else self._draw() or self._reclaim():
                yield from self._give(worker, task)
            else:
                worker.stop()

    def _draw(self) -> Task[Item] | None:
        return self._back.popleft() if self._back else next(self._source, None)

    def _reclaim(self) -> Task[Item] | None:
        """Return the item of a worker for which there is no room yet, where others have nothing left to do."""
        for worker in self.workers:
            if not worker.placed and not worker.alone and worker.open:
                self.workers.remove(worker)
                worker.kill()
                return worker.open.popitem()[1]
        return None

    def _give(self, worker: Worker, task: Task[Item]) -> Iterator[tuple[Item, Exception]]:
        try:
            message = pickle.dumps((task.item,))  # in a tuple, as None may be an item
        except Exception as error:  # what pickling raises is the item's own
            yield task.item, error
        else:
            worker.give(task, message)

    def _lose(self, worker: Worker, error: Exception) -> Iterator[tuple[Item, Exception]]:
        """Replace a worker; of several items that it had nobody knows which one is to blame."""
        self.workers.remove(worker)
        worker.kill()
        tasks = list(worker.open.values())
        worker.open.clear()
        for task in tasks:
            if isinstance(error, NodeLostError):
                task.losses += 1
                if task.losses > LOSSES:
                    yield task.item, error
                else:
                    (self._again if worker.alone else self._back).append(task)
                continue
            died = isinstance(error, WorkerLostError)
            task.deaths += died and worker.ready
            if len(tasks) == 1 and worker.ready and not (died and task.deaths <= worker.forgiven):
                yield task.item, error
            else:
                self._again.append(task)

    def dismiss(self) -> None:
        """Let the workers end by themselves."""
        for worker in self._leaving:
            worker.dismiss()

    def kill(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in [*self.workers, *self._leaving]:
            worker.kill()


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
