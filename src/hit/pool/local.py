"""Workers that are processes of this machine."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait

from hit.pool.team import ONE_THREAD, Limits, Setup, Worker
from hit.pool.worker import GONE, work


class Processes:
    """Spawned ones, each with a pipe to it."""

    def __init__(self, workers: int) -> None:
        self.room = workers or os.cpu_count() or 1

    def hire(self, setup: Setup, limits: Limits, alone: bool) -> "Process":
        """Start one."""
        return Process(setup, limits, alone)

    def wait(self, workers: Sequence["Process"], seconds: float | None) -> list[Worker]:
        """Return those whose pipes have something."""
        heard = set(wait([worker.pipe for worker in workers], seconds))
        return [worker for worker in workers if worker.pipe in heard]

    def close(self) -> None:
        """Do nothing: they are gone."""


class Process(Worker):
    """One process and the pipe to it."""

    def __init__(self, setup: Setup, limits: Limits, alone: bool) -> None:
        super().__init__(limits, alone)
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,), daemon=True)
        with environment(ONE_THREAD):
            self.process.start()
        theirs.close()  # so that the pipe ends when the process does
        with suppress(*GONE):  # it died at once: `receive` finds out
            self.pipe.send(setup)

    def send(self, message: bytes) -> None:
        """Write to its pipe."""
        with suppress(*GONE):
            self.pipe.send_bytes(message)

    def receive(self, most: float) -> bytes | None:
        """Read from its pipe."""
        try:
            return self.pipe.recv_bytes(None if most == float("inf") else int(most) + 64)
        except GONE:
            raise
        except OSError as error:
            if "length" in str(error):  # longer than that
                return None
            raise EOFError from None  # in the middle of a message

    def epitaph(self) -> str:
        """Name the signal or the exit code."""
        self.process.join(5)
        code = self.process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def leave(self) -> None:
        """Close its pipe: it ends by itself."""
        self.pipe.close()

    def dismiss(self) -> None:
        """Wait for its end."""
        self.process.join(5)

    def kill(self) -> None:
        """Kill the process."""
        self.pipe.close()
        self.process.kill()
        self.process.join(5)  # no longer: one that hangs in the system itself, on a mount that is gone, never ends


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Have these variables set meanwhile."""
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
