"""What became of each file: a line of JSON a file and attempt, so that a run that is killed has told all it did; and logs.

In an object store, where nothing can be added to a file, a journal is a folder of files: one a call, in the order of their names.
"""

import contextlib
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from hit import logs, objects
from hit.errors import UserError
from hit.types import Far, Where

MAKE_ROOM = "free some space or name another folder, then run it again: it goes on where it stopped"
_MANY = 64  # files of a journal in an object store
_TRIES = 5  # to read them
Status = Literal["pending", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """An attempt at a file. Of a file with several entries the last one holds."""

    file: str
    status: Status
    reason: str = ""
    seconds: float = 0.0  # from its opening to its end, other files meanwhile
    duration: float = 0.0  # seconds of video, where it could be told
    content: str = ""  # its digest, see `hit.content`
    size: int = 0
    mtime_ns: int = 0
    clips: Mapping[str, str] = field(default_factory=dict)  # {clip id: reason} of those that failed
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class Journal:
    """A journal. Any number of processes may write to it at once. `pace`: how many entries are worth a call."""

    def __init__(self, path: Where) -> None:
        self.path = path
        self._far = objects.folder(path.url) if isinstance(path, Far) else None
        self.pace = 256 if self._far else 1

    def write(self, *entries: Entry) -> None:
        """Add entries, durably. Raises UserError where they cannot be written."""
        if not entries:
            return
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries).encode()
        if self._far:
            self._far.write(f"{time.time_ns():020d}-{secrets.token_hex(4)}.jsonl", lines)
        else:
            self._append(Path(str(self.path)), lines)

    def tidy(self) -> None:
        """Make one file of many, those that were there before: whoever reads has fewer to ask for."""
        names = [one.name for one in self._far.list()] if self._far else []
        if not self._far or len(names) < _MANY:
            return
        with contextlib.suppress(FileNotFoundError):  # another process is at it
            lines = self._pieces(names)
            newest = names[-1].removesuffix(".jsonl").partition("-all")[0]  # its place: others may be written meanwhile
            self._far.write(f"{newest}-all-{secrets.token_hex(4)}.jsonl", lines)  # a name that nobody else writes to
            self._far.delete(names)

    def _append(self, path: Path, lines: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                if file.seek(0, os.SEEK_END) and not _ends_a_line(file):  # a writer was killed in the middle of one
                    lines = b"\n" + lines
                file.write(lines)  # at the end, whoever else writes
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(path, f"cannot be written: {error.strerror}", MAKE_ROOM) from None

    def _pieces(self, names: Sequence[str]) -> bytes:
        """Return what is in files of an object store. Raises FileNotFoundError where one is not there any more."""
        assert self._far
        return b"".join(map(self._far.read, names))

    def _gathered(self, far: objects.Folder) -> bytes:
        """Return all that is in an object store: from the beginning where a process has made one file of many meanwhile."""
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                return self._pieces([one.name for one in far.list()])
        raise UserError(self.path, "changes while it is read", "try again")

    def read(self) -> dict[str, Entry]:
        """Return the last entry of each file. Lines that are not whole are passed over, as their work is not done.

        Raises UserError where the journal cannot be read.
        """
        return {entry.file: entry for entry in self.entries()}

    def entries(self) -> Iterator[Entry]:
        """Yield all entries as they were written. As `read` in all else."""
        try:
            lines = (self._gathered(self._far) if self._far else Path(str(self.path)).read_bytes()).splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(self.path, f"cannot be read: {error.strerror}", "delete it, it will be written anew") from None
        for line in lines:
            try:
                yield Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Have everything that hit logs meanwhile added to a file. Raises OSError where it cannot be."""
    handler = _Log(path, encoding="utf-8", delay=True)
    handler.setFormatter(logs.Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("hit")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


class _Log(logging.FileHandler):
    """A log that is not written is an error like any other."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name for it
        raise  # noqa: PLE0704  # what logging has just caught
