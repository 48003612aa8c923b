"""What is made of videos to show them, kept under LIB/cache: renditions, sheets of sprites, clips."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from hit import files, places, stock, video
from hit.db import Database
from hit.jobs import KINDS
from hit.library import CACHE, Library
from hit.objects import Folder
from hit.pulse import Pulse
from hit.trail import source
from hit.types import Far, Where
from hit.upkeep import pieces
from hit.video import Facts

Kind = Literal["renditions", "sprites", "clips"]
SUFFIXES: dict[str, str] = {**pieces.MADE, "clips": ".mp4"}
_WAIT = 300.0  # seconds for another who makes the same
_TIDY = 60.0  # seconds between two looks at how much there is


class MediaCache:
    """Files made of videos, by kind and name, which begins with the video's id.

    However many ask for one at once, threads or processes, one of them makes it and the others wait. What was asked for
    longest ago goes when all are larger than `limit` bytes, but what is used at the moment. A process that is killed leaves
    an unfinished file, which the next one removes. Where the files of `db`'s library are in an object store, renditions and
    sprites are there too, for all machines.
    """

    def __init__(self, folder: Path, limit: float, db: Database | None = None) -> None:
        self.folder, self.limit, self._db = folder, limit, db
        self._tidied, self._guard = -_TIDY, threading.Lock()
        self.asked = self.known = 0  # lookups, and those that found something

    def find(self, kind: Kind, name: str) -> Where | None:
        """Return what was made, here or in the object store, or None."""
        path = self._path(kind, name)
        self.asked += 1
        try:
            stock.touch(path)
        except FileNotFoundError:
            far = self._far(kind, name)
            self.known += far is not None
            return far
        self.known += 1
        if time.monotonic() > self._tidied + _TIDY:
            self.tidy(path)
        return path

    def make(self, kind: Kind, name: str, maker: Callable[[Path], object], wait: float = _WAIT) -> Where:
        """Return what was made, or have it made by `maker`, which gets its path and is to write it whole.

        Raises BusyError where another has been at it for `wait` seconds.
        """
        if (found := self.find(kind, name)) is not None:
            return found
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.room(self.folder), self._lock(path, wait):
            if (found := self.find(kind, name)) is not None:
                return found
            for part in path.parent.glob(f".{name[0]}*.part"):  # of whoever was killed: the lock is ours
                part.unlink()
            maker(path)
            if (far := self._home(kind)) is not None:
                far.upload(f"{CACHE}/{kind}/{path.name}", path)
        self.tidy(path)
        return path

    def tidy(self, used: Path | None = None) -> None:
        """Remove what was asked for longest ago, until what is left has room; `used` stays."""
        with self._guard:
            self._tidied = time.monotonic()
            stock.trim(self.folder, self.limit, used)

    def _home(self, kind: Kind) -> Folder | None:
        return self._db.objects if self._db and kind in pieces.MADE else None  # a clip is soon made, and few ask for it

    def _far(self, kind: Kind, name: str) -> Far | None:
        if (far := self._home(kind)) is None:
            return None
        try:
            return places.look(Far(f"{far.url}/{CACHE}/{kind}/{self._path(kind, name).name}"), sides=False)
        except FileNotFoundError:
            return None

    def _path(self, kind: Kind, name: str) -> Path:
        return self.folder / kind / f"{name}{SUFFIXES[kind]}"

    def _lock(self, path: Path, wait: float) -> contextlib.AbstractContextManager[None]:
        # One of 16, by the first digit of the video's id: files for locks must not be removed, and so are not to grow in number.
        return files.locked(path.with_name(f".lock {path.name[0]}"), wait)


def facts(path: Where) -> Facts:
    """Return what `hit.video.facts` does, which is asked once for each state of a file: one elsewhere has been looked at."""
    if isinstance(path, Far):
        return _facts(path, path.size, path.mark)
    look = path.stat()
    return _facts(path, look.st_size, look.st_mtime_ns)


@lru_cache(4096)
def _facts(path: Where, size: int, mark: int | str) -> Facts:
    return video.facts(path)


# -- kinds of jobs


def render(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make the rendition of the video `video`."""
    return _made(library, pulse, detail["video"], "renditions", lambda path, target, _, tick: video.rendition(path, target, tick))


def picture(library: Library, pulse: Pulse, detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make the sheet of sprites of the video `video`."""

    def make(path: Where, target: Path, duration: float, tick: Callable[[float], None]) -> object:
        return video.sprites(path, duration, target, tick)

    return _made(library, pulse, detail["video"], "sprites", make)


def _made(
    library: Library, pulse: Pulse, name: str, kind: Kind, make: Callable[[Where, Path, float, Callable[[float], None]], object]
) -> Mapping[str, Any]:
    path, duration = source(library, name), library.db.video(name).video.duration or 0.0
    reached = 0.0
    with pulse.watched().task("Convert", duration) as task:

        def tick(time: float) -> None:
            nonlocal reached
            task.advance(max(0.0, time - reached))
            reached = max(time, reached)

        made = MediaCache(library.path / CACHE, math.inf, library.db).make(
            kind, name, lambda target: make(path, target, duration, tick), 0
        )
    return {"bytes": made.size if isinstance(made, Far) else made.stat().st_size}


KINDS |= {"rendition": render, "sprites": picture}
