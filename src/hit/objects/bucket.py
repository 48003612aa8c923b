"""Folders in object stores, by obstore, which tries again what fails for a while."""

import contextlib
import functools
import io
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from hit import traces
from hit.errors import AwayError, UserError
from hit.objects.contract import PIECE, Entry, Folder, changed, checked, shown

_AT_ONCE = 16  # small files that are written at once
_PIECES = 9_000  # of one file: S3 takes 10,000
_BLOCK = 1 << 20  # bytes that a reader fetches at once
_BLOCKS = 32  # that a reader keeps
_CALL = timedelta(seconds=120)  # for one request
_CONNECT = timedelta(seconds=10)
_RETRY = {"max_retries": 5, "retry_timeout": timedelta(seconds=120)}  # with pauses of 0.1 s, 0.2 s and so on between
_DENIED = "may not be used with these credentials", "see to those in the environment, and to what they allow"


def folder(url: str) -> Folder:
    """Return a folder in an object store. Raises UserError without obstore."""
    return _Bucket(url)


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
            self._store.put(key, data, use_multipart=len(data) > PIECE, chunk_size=PIECE)

    def create(self, name: str, data: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        with self._told(name, made=True) as key:
            try:
                self._store.put(key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self.write, contents, contents.values()))

    def upload(self, name: str, path: Path) -> None:
        size = path.stat().st_size
        with self._told(name, made=True) as key:
            self._store.put(key, path, use_multipart=size > PIECE, chunk_size=max(PIECE, -(-size // _PIECES)), max_concurrency=4)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        with self._told(prefix, made=True, empty=True) as key:
            for batch in self._store.list(prefix=key or None):
                yield from map(self._entry, batch)

    def delete(self, names: Iterable[str]) -> None:
        keys = [self._above + checked(name, self.url) for name in names]
        with self._told("", made=True, empty=True):
            for start in range(0, len(keys), 1000):
                with contextlib.suppress(FileNotFoundError):
                    self._store.delete(keys[start : start + 1000])

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Reader(self, self.head(name)), 1 << 16))

    def _entry(self, meta: Mapping[str, Any]) -> Entry:
        mark = meta["e_tag"] or f"@{meta['last_modified']}"  # which no server compares
        if self.url.startswith("az:") and not mark.startswith(('"', "W/", "@")):
            mark = f'"{mark}"'  # Azure lists tags without the quotes that it gives them elsewhere
        return Entry(meta["path"].removeprefix(self._above), meta["size"], mark, meta["last_modified"])

    @contextlib.contextmanager
    def _told(self, name: str, made: bool = False, empty: bool = False) -> Iterator[str]:
        """Yield a name's key, and have what goes wrong told in one line. `made`: the file need not be there, but its bucket."""
        from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

        key = self._above + (checked(name, self.url) if name or not empty else "")
        where, begun = f"{self.url}/{name}".rstrip("/"), time.perf_counter()
        try:
            yield key.rstrip("/")
            if name:  # one call, and not a list that is gone through
                traces.took("object", time.perf_counter() - begun)
        except FileNotFoundError:
            if made:
                raise _no_bucket(self.url) from None
            raise FileNotFoundError(where) from None
        except PreconditionError:
            raise changed(self.url, name) from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise UserError(where, *_DENIED) from None
        except BaseError as error:
            if made and "404 Not Found" in str(error):
                raise _no_bucket(self.url) from None
            raise _problem(where, str(error)) from None


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
        raise _problem(shown(top), str(error)) from None


@functools.cache
def _memory(_: str) -> Any:
    from obstore.store import MemoryStore

    return MemoryStore()


def _problem(where: str, text: str) -> UserError:
    """Return what obstore's words about a place come to: AwayError where its server may soon be back."""
    if "169.254.169.254" in text or "metadata.google.internal" in text:  # where machines of a cloud find theirs
        fix = "give them in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ..."
        return UserError(where, "there are no credentials for it", fix)
    line = text.partition("\n")[0]
    if re.search(r"status code: 40[13] ", line):
        return UserError(where, *_DENIED)
    if status := re.search(r"status code: (\d+ [A-Za-z ]+)", line):
        kind = AwayError if re.match("5|429", status[1]) else UserError
        return kind(where, f"the server answered {status[1].strip()}", "try again, or see to the server")
    if "HTTP error" in line:
        why = f"cannot be reached: {line.rpartition('HTTP error: ')[2]}"
        return AwayError(where, why, "see to its address (AWS_ENDPOINT_URL, ...) and the network")
    return UserError(where, re.sub(r"\?\S*", "?...", re.sub(r"//[^/\s]*@", "//", line)))


class _Reader(io.RawIOBase):
    """A file of an object store, read by ranges of one version of it; the blocks that were used last are kept.

    Who has read two blocks in a row is taken to want the next one, which is fetched meanwhile.
    """

    def __init__(self, folder: Folder, entry: Entry) -> None:
        self._folder, self._about, self._at = folder, entry, 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._last = -2  # the block that was fetched last
        self._ahead: tuple[int, Future[bytes]] | None = None

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
        ahead, self._ahead = self._ahead, None
        data = ahead[1].result() if ahead and ahead[0] == place else self._fetch(place)
        if place == self._last + 1 and (place + 1) * _BLOCK < self._about.size and place + 1 not in self._kept:
            self._ahead = place + 1, _threads().submit(self._fetch, place + 1)
        self._last = place
        self._kept[place] = data
        if len(self._kept) > _BLOCKS:
            self._kept.popitem(last=False)
        return data

    def _fetch(self, place: int) -> bytes:
        start, end = place * _BLOCK, min((place + 1) * _BLOCK, self._about.size)
        data = self._folder.read_range(self._about.name, start, end, self._about.mark)
        if len(data) != end - start:
            raise UserError(f"{self._folder.url}/{self._about.name}", "ended before its size", "try again")
        return data


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Return who fetches ahead, for all files that this process reads."""
    return ThreadPoolExecutor(8, "ahead")
