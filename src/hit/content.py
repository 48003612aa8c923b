"""What a video is, whatever it is called: the bytes of its file and of the subtitles that lie beside it."""

import errno
import hashlib
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hit.types import Progress
from hit.video import subtitles

_HASHERS = 4  # threads


@dataclass(frozen=True, slots=True)
class Look:
    """What tells without reading a file whether it may have changed: sizes summed and the latest change of its parts."""

    size: int
    mtime_ns: int


def look(path: Path) -> Look:
    """Look at a video. Raises OSError where it cannot be, or is no file: to read a pipe or a device may never end."""
    stats = [part.stat() for part in _parts(path)]
    if not stat.S_ISREG(stats[0].st_mode):
        raise OSError(errno.EINVAL, "is not a file but a pipe, a socket or a device")
    return Look(sum(one.st_size for one in stats), max(one.st_mtime_ns for one in stats))


def digest(path: Path) -> str:
    """Return the sha256 of a video's bytes; where subtitles lie beside it, of its hash and theirs. Raises OSError."""
    found = []
    for part in _parts(path):
        with part.open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256"))
    return found[0].hexdigest() if len(found) == 1 else hashlib.sha256(b"".join(one.digest() for one in found)).hexdigest()


def digests(paths: Sequence[Path], progress: Progress) -> Iterator[tuple[Path, str | OSError]]:
    """Yield each video with its digest, or with why it cannot be read, in their order."""
    with progress.task("Reading files", len(paths)) as task, ThreadPoolExecutor(_HASHERS) as threads:
        for path, result in zip(paths, threads.map(_digest, paths), strict=True):
            task.advance(note=path.name)
            yield path, result


def _digest(path: Path) -> str | OSError:
    try:
        return digest(path)
    except OSError as error:
        return error


def _parts(path: Path) -> list[Path]:
    side = subtitles.side_file(path)
    return [path] if side is None else [path, side]
