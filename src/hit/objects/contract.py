"""What a folder of files can do, wherever it is."""

import abc
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from hit import files
from hit.errors import UserError

PIECE = 8 << 20  # bytes of a large file that are sent, or fetched, at once


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its name, its size in bytes, a mark that every change of it changes, and when it was written."""

    name: str
    size: int
    mark: str
    modified: datetime


class Folder(abc.ABC):
    """The files at a URL. Threads may share it, and processes may pickle it.

    A file that is not there raises FileNotFoundError, a name that leads out of the folder UserError, and so does all else that
    can go wrong with a place, in one line: AwayError where its server may soon be back.
    """

    url: str

    def __reduce__(self) -> tuple[Callable[[str], "Folder"], tuple[str]]:
        from hit.objects import folder

        return folder, (self.url,)

    @abc.abstractmethod
    def head(self, name: str) -> Entry:
        """Look at a file."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """Return what is in a file."""

    @abc.abstractmethod
    def read_range(self, name: str, start: int, end: int, mark: str = "") -> bytes:
        """Return the bytes from `start` to `end` (exclusive), fewer where the file ends before.

        With the `mark` of an entry, raises UserError where the file is another one by now.
        """

    @abc.abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file, durably."""

    @abc.abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Make a small file, durably, unless it is there already; tell whether it was made. Of several who do so one makes it."""

    @abc.abstractmethod
    def upload(self, name: str, path: Path) -> None:
        """Make or replace a file by what is at a path, however large, durably."""

    @abc.abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield what lies in the folder, or below `prefix`, a folder in it, in the order of the names' bytes."""

    @abc.abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are none to remove."""

    @abc.abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a file to read, as it is now: if it is replaced meanwhile, reading raises UserError or goes on with what was."""

    def sizes(self, *folders: str) -> dict[str, int]:
        """Return what lies below folders in it, as `list` has it, and the bytes of each."""
        return {entry.name: entry.size for folder in folders for entry in self.list(folder)}

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Write several files; where that fails, some of them may be there."""
        for name, data in contents.items():
            self.write(name, data)

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a path, in a folder that is there; the copy appears when it is whole."""
        with files.beside(path) as part, part.open("wb") as target:
            for block in self._blocks(name):
                target.write(block)

    def _blocks(self, name: str) -> Iterator[bytes]:
        entry = self.head(name)
        for start in range(0, entry.size, PIECE):
            yield self.read_range(name, start, min(start + PIECE, entry.size), entry.mark)


def shown(url: str) -> str:
    """Return a URL without what may be secret: a user, a password, and what stands in place of a bucket's rest."""
    return re.sub(r"^([^:/]+://[^/?]*)\?.*", r"\1?...", re.sub(r"^([^:/]+://)[^/]*@", r"\1", url))


def checked(name: str, where: str) -> str:
    """Return a name that stays in its folder."""
    if any(step in ("", ".", "..") for step in name.split("/")) or any(ord(letter) < 32 for letter in name):
        raise UserError(where, f"{name!r} is no name for a file in it")
    return name


def changed(url: str, name: str) -> UserError:
    """Return what is to be said where a file is another one than was opened."""
    return UserError(f"{url}/{name}", "changed while it was read", "try again")
