"""Copies of files that lie elsewhere, in a folder of this machine that is kept from growing. It may go at any time."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from hit import files
from hit.objects import Folder

FETCHED = "fetched"  # the folder in a library's
LIMIT = 4 << 30  # bytes of it
log = logging.getLogger(__name__)
_TIDY = 60.0  # seconds between two looks at how much there is


def trim(folder: Path, limit: float, used: Path | None = None) -> None:
    """Remove what was read longest ago, until at most `limit` bytes are left; `used` stays, and so do hidden files."""
    found = []
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            with contextlib.suppress(FileNotFoundError):  # another process tidies too
                look = path.stat()
                found.append((look.st_atime_ns, look.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            break
        if path != used and not path.name.startswith("."):
            path.unlink(missing_ok=True)
            total -= size


def touch(path: Path) -> None:
    """Note that a file was read now, which `trim` goes by. Raises FileNotFoundError."""
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


class Stock:
    """Reads files of `source` that never change, and keeps copies of at most `limit` bytes in `folder`, if there is one."""

    def __init__(self, source: Folder, folder: Path | None, limit: float = LIMIT) -> None:
        self.source, self.folder, self.limit = source, folder, limit
        self._trimmed, self._guard = -_TIDY, threading.Lock()

    def read(self, name: str) -> bytes:
        """Return what is in a file. Raises FileNotFoundError, and UserError as the source does."""
        if not self.folder:
            return self.source.read(name)
        path = self.folder / name
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes()
            touch(path)
            return data
        data = self.source.read(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_whole(path, data)
        except OSError as error:  # there need be no copy
            log.warning("%s: no copy is kept: %s", path, error.strerror)
        with self._guard:
            if due := time.monotonic() > self._trimmed + _TIDY:
                self._trimmed = time.monotonic()
        if due:
            trim(self.folder, self.limit, path)
        return data

    def forget(self, names: Iterable[str]) -> None:
        """Remove copies."""
        if self.folder:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
