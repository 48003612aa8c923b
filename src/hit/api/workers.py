"""Several processes that answer at one address: begun, begun anew when one dies, and ended together."""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from hit.errors import UserError

log = logging.getLogger(__name__)
_APART = 1.0  # seconds between two beginnings of the same worker, however quickly it dies


def follow_parent() -> None:
    """Have this process end as after SIGTERM when the one that began it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a supervisor"

    def follow() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()


class _Worker:
    """A process, and whether it has come so far as to answer."""

    def __init__(self, target: Callable[..., int], arguments: tuple[Any, ...]) -> None:
        self.begun, self.answers = time.monotonic(), False
        spawn = multiprocessing.get_context("spawn")  # threads of the supervisor are not to be forked
        self.pipe, end = spawn.Pipe(duplex=False)
        self.process: SpawnProcess = spawn.Process(target=_run, args=(target, *arguments, end))
        self.process.start()
        end.close()

    def hear(self) -> None:
        """Take notice of what it says. Raises the UserError because of which it cannot begin."""
        if not self.answers and self.pipe.poll():
            with contextlib.suppress(EOFError):  # it has died
                if isinstance(said := self.pipe.recv(), UserError):
                    raise said
                self.answers = True


def _run(target: Callable[..., int], *arguments: Any) -> None:
    try:
        code = target(*arguments)
    except UserError as error:  # which all of them will meet, and one is to tell
        arguments[-1].send(error)
        code = error.code
    sys.exit(code)


class Supervisor:
    """Keeps `count` processes at work that each do `target(*arguments, ready)`, `ready` being a connection.

    patience: seconds for them to end when told to, before they are killed.
    """

    def __init__(self, target: Callable[..., int], arguments: tuple[Any, ...], count: int, patience: float) -> None:
        self._target, self._arguments, self._patience = target, arguments, patience
        self._count, self._workers = count, list[_Worker]()
        self._signals = list[int]()

    def run(self, listening: socket.socket, ready: Callable[[], None]) -> int:
        """Work until a signal comes, or a worker fails before it answers; return the exit code.

        `ready` is called when the first worker answers. The socket is closed when no more is accepted. Raises UserError where
        a worker did.
        """
        with self._caught() as bell:
            self._workers = [self._begin() for _ in range(self._count)]
            try:
                code = self._watch(bell, ready)
                listening.close()
                self._end(bell)
            finally:  # whoever still is there then
                for worker in self._workers:
                    worker.process.kill()
                    worker.process.join()
        return code

    def _begin(self) -> _Worker:
        return _Worker(self._target, self._arguments)

    def _watch(self, bell: int, ready: Callable[[], None]) -> int:
        told = False
        while not self._signals:
            waiting: list[int | Connection] = [bell]
            for place, worker in enumerate(self._workers):
                living = worker.process.is_alive()
                worker.hear()
                if living:
                    waiting += [worker.process.sentinel] if worker.answers else [worker.process.sentinel, worker.pipe]
                    continue
                code = worker.process.exitcode or 0
                if not worker.answers and code >= 0:  # it would fail again
                    return code or 1
                if time.monotonic() >= worker.begun + _APART:
                    log.error("worker %s ended (%s) and is begun anew", worker.process.pid, code)
                    worker.pipe.close()
                    self._workers[place] = self._begin()
            if not told and any(worker.answers for worker in self._workers):
                ready()
                told = True
            wait(waiting, None if len(waiting) > len(self._workers) else _APART / 4)  # somebody is to be begun, or watched
        return 130 if self._signals[0] == signal.SIGINT else 0

    def _end(self, bell: int) -> None:
        """Have all workers end; whoever does not within the patience, or until a second signal, is killed by the caller."""
        before, until = len(self._signals), time.monotonic() + self._patience
        for worker in self._workers:
            worker.process.terminate()
        while living := [worker.process.sentinel for worker in self._workers if worker.process.is_alive()]:
            left = until - time.monotonic()
            if left <= 0 or len(self._signals) > before:
                break
            if bell in wait([bell, *living], left):
                os.read(bell, 64)

    @contextlib.contextmanager
    def _caught(self) -> Iterator[int]:
        """Note SIGTERM and SIGINT, and have what is yielded become readable by them."""
        bell, rope = os.pipe()
        os.set_blocking(rope, False)

        def caught(number: int, _: object) -> None:
            self._signals.append(number)
            with contextlib.suppress(BlockingIOError):
                os.write(rope, b"!")

        before = {number: signal.signal(number, caught) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield bell
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(bell)
            os.close(rope)
