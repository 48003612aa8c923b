"""The pulse of work that a job stands for: a thread that shows it alive, and how far it is, to whoever asks the database."""

import contextlib
import contextvars
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

from hit.db import Database
from hit.errors import EndedError, UserError
from hit.types import Progress, Silent, Task

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between two beats


def name() -> str:
    """Return what no other worker is called."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(slots=True, eq=False)
class _Part:
    title: str
    total: float | None
    done: float = 0.0
    note: str = ""


def reason(error: BaseException) -> str:
    """Return what is noted of work that ended in an error."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


class Pulse:
    """Beats for a job as long as it is open. `result` is what is to be noted when the work is done.

    `lost` is called, in the thread that beats, where the job has been given to somebody else.
    """

    def __init__(self, db: Database, number: int, owner: str, lost: Callable[[], object] = lambda: None) -> None:
        self.number, self.owner, self.result = number, owner, dict[str, Any]()
        self._db, self._lost = db, lost
        self._parts = [_Part("", None)]  # the innermost last
        self._cancelled, self._end = False, threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._beat,), name=f"pulse of job {number}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def watched(self, progress: Progress | None = None) -> Progress:
        """Return a progress that is shown to those who ask the database, too. Its steps raise EndedError after a cancel."""
        return _Watched(self, progress or Silent())

    @contextlib.contextmanager
    def part(self, title: str, total: float | None) -> Iterator[_Part]:
        """Open a part of the work, which is shown until it ends."""
        part = _Part(title, total)
        self._parts.append(part)
        try:
            yield part
        finally:
            self._parts.remove(part)
            self._parts[0] = part  # until there is another one

    def check(self) -> None:
        """Raise EndedError where somebody wants the work to end."""
        if self._cancelled:
            raise EndedError(f"job {self.number}", "was cancelled")

    def say(self) -> None:
        """Beat once."""
        part = self._parts[-1]
        note = f"{part.title}: {part.note}" if part.note else part.title
        wish = self._db.beat_job(self.number, self.owner, part.done, part.total, note)
        self._cancelled |= wish == "cancel"
        if wish == "lost":
            self._lost()

    def _beat(self) -> None:
        while not self._end.wait(PAUSE):
            try:
                self.say()
            except UserError as error:  # a server that is away for a moment; away for longer, the job is given to others
                log.warning("job %d: %s", self.number, error)


class _Watched:
    def __init__(self, pulse: Pulse, progress: Progress) -> None:
        self._pulse, self._progress = pulse, progress

    def task(self, title: str, total: float | None) -> AbstractContextManager[Task]:
        return self._task(title, total)

    @contextlib.contextmanager
    def _task(self, title: str, total: float | None) -> Iterator[Task]:
        with self._progress.task(title, total) as task, self._pulse.part(title, total) as part:
            yield _Both(task, part, self._pulse)


@dataclass(frozen=True, slots=True)
class _Both:
    task: Task
    part: _Part
    pulse: Pulse

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.part.done += steps
        self.part.note = note or self.part.note
        self.task.advance(steps, note)
        self.pulse.check()


@contextlib.contextmanager
def working(db: Database, kind: str, detail: Mapping[str, Any]) -> Iterator[Pulse]:
    """Note in the database that work is done, and how it ended."""
    owner = name()
    number = db.begin_job(kind, detail, owner)
    pulse = Pulse(db, number, owner)
    try:
        with pulse:
            yield pulse
    except EndedError as error:
        db.end_job(number, owner, "cancelled", pulse.result, str(error))
        raise
    except BaseException as error:
        db.end_job(number, owner, "failed", pulse.result, reason(error))
        raise
    db.end_job(number, owner, "done", pulse.result)
