"""Folders of files, by URL: in object stores (s3, gs and az, by obstore) or on a disk, and both behave alike.

    s3://BUCKET/FOLDER   gs://BUCKET/FOLDER   az://CONTAINER/FOLDER   memory://NAME (of this process alone, for tests)
    file:///FOLDER       a path

A name is relative, with / between its steps. A file is there whole or not at all, whenever who writes it dies. Credentials, and
end points of other makers, are taken from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS,
AZURE_STORAGE_ACCOUNT_NAME, ...), and never from a URL. Failures that pass are tried again by obstore.
"""

import abc
import contextlib
import functools
import io
import os
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from hit import files
from hit.errors import UserError

SCHEMES = ("s3", "gs", "az", "memory")
_PIECE = 8 << 20  # bytes of a large file that are sent, or fetched, at once
_PIECES = 9_000  # of one file: S3 takes 10,000
_BLOCK = 1 << 20  # bytes that a reader fetches at once
_BLOCKS = 32  # that a reader keeps
_CALL = timedelta(seconds=120)  # for one request
_CONNECT = timedelta(seconds=10)
_RETRY = {"max_retries": 5, "retry_timeout": timedelta(seconds=120)}  # with pauses of 0.1 s, 0.2 s and so on between
_DENIED = "may not be used with these credentials", "see to those in the environment, and to what they allow"
_PART = re.compile(r"\..+\.part")  # what is being written


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
    can go wrong with a place, in one line.
    """

    url: str

    def __reduce__(self) -> tuple[Callable[[str], "Folder"], tuple[str]]:
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

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a path, in a folder that is there; the copy appears when it is whole."""
        part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        try:
            with part.open("wb") as target:
                for block in self._blocks(name):
                    target.write(block)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _blocks(self, name: str) -> Iterator[bytes]:
        entry = self.head(name)
        for start in range(0, entry.size, _PIECE):
            yield self.read_range(name, start, min(start + _PIECE, entry.size), entry.mark)


def is_url(place: str | Path) -> bool:
    """Tell whether a place is one that `folder` knows by a scheme."""
    return re.match(rf"({'|'.join(SCHEMES)}|file)://", str(place)) is not None


def check(place: str | Path) -> str:
    """Return a place, without what it says in excess. Raises UserError for one that no files can be at."""
    text = str(place)
    scheme, found, rest = text.partition("://")
    if not found:
        return str(Path(text).expanduser().absolute()) if text else text
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise UserError(shown(text), "is no folder of this machine", "for example file:///data/library")
        return f"file://{parts.path.rstrip('/') or '/'}"
    if scheme not in SCHEMES:
        raise UserError(shown(text), f"no files are kept by '{shown(scheme)}'", f"one of {', '.join((*SCHEMES[:3], 'file'))}")
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        raise UserError(shown(text), "its credentials are not taken from a URL", "give them in the environment")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket):
        raise UserError(shown(text), "names no bucket", f"for example {scheme}://bucket/folder")
    key = key.strip("/")
    if key:
        _checked(key, shown(text))
    return f"{scheme}://{bucket}" + (f"/{key}" if key else "")


def shown(url: str) -> str:
    """Return a URL without what may be secret: a user, a password, and what stands in place of a bucket's rest."""
    return re.sub(r"^([^:/]+://[^/?]*)\?.*", r"\1?...", re.sub(r"^([^:/]+://)[^/]*@", r"\1", url))


def folder(place: str | Path) -> Folder:
    """Return the folder at a URL or path, which need not be there yet. Raises UserError as `check` does, and without obstore."""
    url = check(place)
    if not is_url(url) or url.startswith("file:"):
        return _Disk(url)
    return _Bucket(url)


def _checked(name: str, where: str) -> str:
    """Return a name that stays in its folder."""
    if any(step in ("", ".", "..") for step in name.split("/")) or any(ord(letter) < 32 for letter in name):
        raise UserError(where, f"{name!r} is no name for a file in it")
    return name


# -- on a disk


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
                raise _changed(self.url, name)
            file.seek(start)
            return file.read(max(end - start, 0))

    def write(self, name: str, data: bytes) -> None:
        with self._told(name) as path, files.room(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_whole(path, data)

    def upload(self, name: str, path: Path) -> None:
        with self._told(name) as target, files.room(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
            try:
                shutil.copyfile(path, part)
                with part.open("rb") as file:
                    os.fsync(file.fileno())
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
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
    def _told(self, name: str, empty: bool = False) -> Iterator[Path]:
        """Yield a name's path, and have what its disk cannot do told in one line."""
        path = self._top.joinpath(_checked(name, self.url)) if name or not empty else self._top
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
        elif not _PART.fullmatch(one.name):
            with contextlib.suppress(FileNotFoundError):  # removed this very moment
                yield _entry(f"{above}{one.name}", one.stat())


# -- in an object store


class _Bucket(Folder):
    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        self.url, self._above = url, f"{key}/" if key else ""
        self._store = store(f"{scheme}://{bucket}")

    def head(self, name: str) -> Entry:
        with self._told(name) as key:
            return self._entry(self._store.head(key))

    def read(self, name: str) -> bytes:
        with self._told(name) as key:
            return bytes(self._store.get(key).bytes())

    def read_range(self, name: str, start: int, end: int, mark: str = "") -> bytes:
        if end <= start:
            return b""
        from obstore.exceptions import GenericError

        options = {"range": (start, end)} | ({"if_match": mark} if mark and mark[0] != "@" else {})
        with self._told(name) as key:
            try:
                return bytes(self._store.get(key, options=options).bytes())
            except GenericError:  # is what beginning past the end comes as
                if self._store.head(key)["size"] > start:
                    raise
                return b""

    def write(self, name: str, data: bytes) -> None:
        with self._told(name, made=True) as key:
            self._store.put(key, data, use_multipart=len(data) > _PIECE, chunk_size=_PIECE)

    def upload(self, name: str, path: Path) -> None:
        size = path.stat().st_size
        with self._told(name, made=True) as key:
            self._store.put(
                key, path, use_multipart=size > _PIECE, chunk_size=max(_PIECE, -(-size // _PIECES)), max_concurrency=4
            )

    def list(self, prefix: str = "") -> Iterator[Entry]:
        with self._told(prefix, made=True, empty=True) as key:
            for batch in self._store.list(prefix=key or None):
                yield from map(self._entry, batch)

    def delete(self, names: Iterable[str]) -> None:
        keys = [self._above + _checked(name, self.url) for name in names]
        with self._told("", made=True, empty=True):
            for start in range(0, len(keys), 1000):
                with contextlib.suppress(FileNotFoundError):
                    self._store.delete(keys[start : start + 1000])

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Reader(self, self.head(name)), 1 << 16))

    def _entry(self, meta: Mapping[str, Any]) -> Entry:
        mark = meta["e_tag"] or f"@{meta['last_modified']}"  # which no server compares
        return Entry(meta["path"].removeprefix(self._above), meta["size"], mark, meta["last_modified"])

    @contextlib.contextmanager
    def _told(self, name: str, made: bool = False, empty: bool = False) -> Iterator[str]:
        """Yield a name's key, and have what goes wrong told in one line. `made`: the file need not be there, but its bucket."""
        from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

        key = self._above + (_checked(name, self.url) if name or not empty else "")
        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield key.rstrip("/")
        except FileNotFoundError:
            if made:
                raise _no_bucket(self.url) from None
            raise FileNotFoundError(where) from None
        except PreconditionError:
            raise _changed(self.url, name) from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise UserError(where, *_DENIED) from None
        except BaseError as error:
            if made and "404 Not Found" in str(error):
                raise _no_bucket(self.url) from None
            raise UserError(where, *_reason(str(error))) from None


def _no_bucket(url: str) -> UserError:
    return UserError(url, "there is no such bucket", "make it, or see to the URL")


def store(top: str) -> Any:
    """Return obstore's store of a bucket, SCHEME://BUCKET. Raises UserError without obstore."""
    try:
        from obstore.store import from_url
    except ImportError:
        raise UserError(shown(top), "the package obstore is missing", "pip install 'hit-video[remote]'") from None
    from obstore.exceptions import BaseError

    if top.startswith("memory:"):
        return _memory(top)
    client: Any = {
        "timeout": _CALL,
        "connect_timeout": _CONNECT,
        "allow_http": True,
    }  # where the environment names such an end point
    try:
        return from_url(top, client_options=client, retry_config=cast(Any, _RETRY))
    except BaseError as error:
        raise UserError(shown(top), *_reason(str(error))) from None


@functools.cache
def _memory(_: str) -> Any:
    from obstore.store import MemoryStore

    return MemoryStore()


def _changed(url: str, name: str) -> UserError:
    return UserError(f"{url}/{name}", "changed while it was read", "try again")


def _reason(text: str) -> tuple[str, str]:
    """Return what obstore's words come to, and what to do."""
    if "169.254.169.254" in text or "metadata.google.internal" in text:  # where machines of a cloud find theirs
        return "there are no credentials for it", "give them in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ..."
    line = text.partition("\n")[0]
    if re.search(r"status code: 40[13] ", line):
        return _DENIED
    if status := re.search(r"status code: (\d+ [A-Za-z ]+)", line):
        return f"the server answered {status[1].strip()}", "try again, or see to the server"
    if "HTTP error" in line:
        return (
            f"cannot be reached: {line.rpartition('HTTP error: ')[2]}",
            "see to its address (AWS_ENDPOINT_URL, ...) and the network",
        )
    return re.sub(r"\?\S*", "?...", re.sub(r"//[^/\s]*@", "//", line)), ""


class _Reader(io.RawIOBase):
    """A file of an object store, read by ranges of one version of it; the blocks that were used last are kept."""

    def __init__(self, folder: Folder, entry: Entry) -> None:
        self._folder, self._about, self._at = folder, entry, 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._about.size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        place, inside = divmod(self._at, _BLOCK)
        if self._at >= self._about.size or not len(buffer):
            return 0
        data = memoryview(self._block(place))[inside : inside + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _block(self, place: int) -> bytes:
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        start, end = place * _BLOCK, min((place + 1) * _BLOCK, self._about.size)
        data = self._folder.read_range(self._about.name, start, end, self._about.mark)
        if len(data) != end - start:
            raise UserError(f"{self._folder.url}/{self._about.name}", "ended before its size", "try again")
        self._kept[place] = data
        if len(self._kept) > _BLOCKS:
            self._kept.popitem(last=False)
        return data
