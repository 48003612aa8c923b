"""A tar as it is written, and the digests of what is in it."""

import hashlib
import io
import os
import tarfile
import time
from dataclasses import dataclass, field
from typing import IO, Any

from hit.library import KEY
from hit.types import Silent, Task


@dataclass(slots=True)
class Written:
    """A tar as it is written, and the digests of what is in it."""

    tar: tarfile.TarFile
    task: Task
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, file: IO[bytes], size: int, task: Task | None = None) -> None:
        """Add the next `size` bytes of a file."""
        about = tarfile.TarInfo(name)
        about.size, about.mtime, about.mode = size, int(time.time()), 0o600 if name == KEY else 0o644
        source = _Hashing(file, task or self.task)
        self.tar.addfile(about, source)
        self.files[name] = {"size": size, "sha256": source.digest.hexdigest()}

    def note(self, name: str, data: bytes) -> None:
        """Add a few bytes that the task's total leaves out."""
        self.add(name, io.BytesIO(data), len(data), Silent())


class _Hashing:
    """A file whose digest is taken as it is read."""

    def __init__(self, file: IO[bytes], task: Task) -> None:
        self._file, self._task, self.digest = file, task, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        self._task.advance(len(data) / 1e6)
        return data


def private(path: str, flags: int) -> int:
    """Open a file that nobody but its owner may read, as an opener of `open`."""
    return os.open(path, flags, 0o600)
