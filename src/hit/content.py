"""What a video is, whatever it is called: the bytes of its file and of the subtitles that lie beside it."""

import errno
import hashlib
import stat
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hit import places
from hit.errors import UserError
from hit.types import Far, Progress, Where
from hit.video import subtitles

_HASHERS = 4  # threads
_BLOCK = 1 << 23  # bytes read at once


@dataclass(frozen=True, slots=True)
class Look:
    """What tells without reading a file whether it may have changed: the sums over its parts.

    In an object store, a number for the video's mark stands for the time.
    """

    size: int
    mtime_ns: int


def look(path: Where) -> Look:
    """Look at a video. Raises OSError where it cannot be, or is no file: to read a pipe or a device may never end.

    Of one in an object store, what is known of it will do. Raises UserError where a store cannot be asked.
    """
    if isinstance(path, Far):
        far = path if path.size >= 0 else places.look(path)
        return Look(far.size + (far.side.size if far.side else 0), number(far))
    stats = [part.stat() for part in _parts(path)]
    if not stat.S_ISREG(stats[0].st_mode):
        raise OSError(errno.EINVAL, "is not a file but a pipe, a socket or a device")
    return Look(sum(one.st_size for one in stats), sum(one.st_mtime_ns for one in stats))


def number(far: Far) -> int:
    """Return a number of 56 bits for the mark of a file in an object store."""
    return int.from_bytes(hashlib.sha256(far.mark.encode()).digest()[:7])


def changed(path: Where, noted: Look) -> bool:
    """Say whether a video looks otherwise than it did, or cannot be looked at any more."""
    try:
        return look(Far(path.url) if isinstance(path, Far) else path) != noted
    except (OSError, UserError):
        return True


def digests(paths: Sequence[Where], progress: Progress) -> Generator[tuple[Where, str | OSError | UserError]]:
    """Yield each video with its digest, or with why it cannot be read, in their order.

    That is the sha256 of its bytes; where subtitles lie beside it, of its hash and theirs. Closing ends at once.
    """
    if not paths:
        return
    stop = threading.Event()
    with progress.task("Reading files", len(paths)) as task, ThreadPoolExecutor(_HASHERS) as threads:
        try:
            for path, result in zip(paths, threads.map(partial(_digest, stop), paths), strict=True):
                task.advance(note=path.name)
                yield path, result
        finally:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)


def _digest(stop: threading.Event, path: Where) -> str | OSError | UserError:
    try:
        found = [_sha256(part, stop) for part in (_parts(path) if isinstance(path, Path) else _far_parts(path))]
    except (OSError, UserError) as error:
        return error
    return found[0].hexdigest() if len(found) == 1 else hashlib.sha256(b"".join(one.digest() for one in found)).hexdigest()


def _sha256(path: Where, stop: threading.Event) -> Any:
    found = hashlib.sha256()
    if isinstance(path, Far):
        for block in places.blocks(path):
            found.update(block)
            if stop.is_set():
                break
        return found
    with path.open("rb", buffering=0) as file:
        while not stop.is_set() and (block := file.read(_BLOCK)):
            found.update(block)
    return found


def _parts(path: Path) -> list[Path]:
    side = subtitles.side_file(path)
    return [path, side] if isinstance(side, Path) else [path]


def _far_parts(far: Far) -> list[Far]:
    known = far if far.size >= 0 else places.look(far)
    return [known, known.side] if known.side else [known]
