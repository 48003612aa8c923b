"""Folders on a disk of this machine, or on one that it shares."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from hit import files
from hit.errors import UserError
from hit.objects.contract import Entry, Folder, changed, checked


def folder(url: str) -> Folder:
    """Return a folder on a disk, by its path or file URL."""
    return _Disk(url)


class _Disk(Folder):
    def __init__(self, url: str) -> None:
        self.url = url
        self._top = Path(unquote(url.removeprefix("file://")) if url.startswith("file://") else url)

    def head(self, name: str) -> Entry:
        with self._told(name) as path:
            return _entry(name, path.stat())

    def read(self, name: str) -> bytes:
        with self._told(name) as path:
            return path.read_bytes()

    def read_range(self, name: str, start: int, end: int, mark: str = "") -> bytes:
        with self._told(name) as path, path.open("rb") as file:
            if mark and _entry(name, os.fstat(file.fileno())).mark != mark:
                raise changed(self.url, name)
            file.seek(start)
            return file.read(max(end - start, 0))

    def write(self, name: str, data: bytes) -> None:
        with self._made(name) as path:
            files.write_whole(path, data)

    def create(self, name: str, data: bytes) -> bool:
        with self._made(name) as path:
            return files.create(path, data)

    def upload(self, name: str, path: Path) -> None:
        with self._made(name) as target:
            with files.beside(target) as part:
                shutil.copyfile(path, part)
                with part.open("rb") as file:
                    os.fsync(file.fileno())
            files.sync_folder(target.parent)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        with self._told(prefix, empty=True) as top:
            yield from _walk(top, f"{prefix}/" if prefix else "")

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            with self._told(name) as path, files.room(path):
                path.unlink(missing_ok=True)

    def open(self, name: str) -> BinaryIO:
        with self._told(name) as path:
            return path.open("rb")

    @contextlib.contextmanager
    def _made(self, name: str) -> Iterator[Path]:
        """Yield the path of a file that is to be written, whose folder is there, and have what goes wrong told in one line."""
        with self._told(name) as path, files.room(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path

    @contextlib.contextmanager
    def _told(self, name: str, empty: bool = False) -> Iterator[Path]:
        """Yield a name's path, and have what its disk cannot do told in one line."""
        path = self._top.joinpath(checked(name, self.url)) if name or not empty else self._top
        try:
            yield path
        except (IsADirectoryError, NotADirectoryError):
            raise FileNotFoundError(str(path)) from None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(path, f"cannot be read or written: {error.strerror}", "see to its disk") from error


def _entry(name: str, about: os.stat_result) -> Entry:
    if (about.st_mode & 0o170000) == 0o040000:
        raise FileNotFoundError(name)
    mark = f"{about.st_mtime_ns:x}-{about.st_size:x}-{about.st_ino:x}"
    return Entry(name, about.st_size, mark, datetime.fromtimestamp(about.st_mtime, UTC))


def _walk(folder: Path, above: str) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as found:
            here = sorted(found, key=lambda one: os.fsencode(one.name + "/" * one.is_dir()))
    except (FileNotFoundError, NotADirectoryError):
        return
    for one in here:
        if one.is_dir():
            yield from _walk(folder / one.name, f"{above}{one.name}/")
        elif not files.PART.fullmatch(one.name):
            with contextlib.suppress(FileNotFoundError):  # removed this very moment
                yield _entry(f"{above}{one.name}", one.stat())
