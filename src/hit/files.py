"""Writing files so that a crash at any moment leaves the old content or the new, and keeping second writers out."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hit.errors import UserError

VIDEO_SUFFIXES = frozenset(  # by what folders are searched; a file that is named may be called anything
    ".3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv".split(),  # noqa: SIM905
)
# Side files are looked for under these names, in this order: a video's stem with one of them. A folder is not searched for
# other languages, for folders may be large and the default text encoder knows English only.
SUBTITLES = tuple(f"{language}{suffix}" for language in ("", ".en", ".eng") for suffix in (".srt", ".vtt", ".SRT", ".VTT"))
_FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
_BARRED = frozenset([errno.EROFS, errno.EACCES, errno.EPERM])
PART = re.compile(r"\..+\.part")  # the names of unfinished files
_POLL = 0.05  # seconds between two tries for a lock


def is_video(name: str) -> bool:
    """Tell whether a file in a folder is taken for a video, by its name: a hidden one is not."""
    return not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES


@contextlib.contextmanager
def room(path: Path) -> Iterator[None]:
    """Turn it into one line where a disk is full, or may not be written to."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(path, f"there is no room: {error.strerror}", "make room, and give the same command again") from error
        if error.errno in _BARRED:
            raise UserError(path, f"cannot be written to: {error.strerror}", "see who may write there") from error
        raise


class BusyError(UserError):
    """Another process holds what is asked for."""


def part_of(path: Path) -> Path:
    """Return the name of an unfinished file that is to become `path`: no other thread, process or machine draws the same."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a name to write to, which becomes `path` once all is written, and is removed where something goes wrong."""
    part = part_of(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Replace the content of `path` at once and durably. Readers see the old bytes or the new, never a part."""
    with beside(path) as part:
        _write(part, data)
    sync_folder(path.parent)


def create(path: Path, data: bytes, mode: int = 0o666) -> bool:
    """Make a file, whole and durably, unless it is there already; tell whether it was made. Of several who do so one makes it.

    mode: who may use it, less what the process's umask takes away.
    """
    part = part_of(path)
    try:
        _write(part, data, mode)
        try:
            os.link(part, path)  # which is whole from the first, and replaces nothing
        except FileExistsError:
            raise
        except OSError:  # not every file system knows second names
            _write(path, data, mode)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Make a file, on the disk on return. Raises FileExistsError."""
    with open(path, "xb", opener=partial(os.open, mode=mode)) as file:  # Path.open takes no opener
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def save(path: Path, data: bytes) -> None:
    """Write a result that a user asked for, making its folder. Raises UserError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise UserError(path, f"cannot be written: {error.strerror}", "name another place, or make room") from None


def sha256(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make names that were created, replaced or removed in `folder` outlive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, wait: float) -> Iterator[None]:
    """Hold the lock file `path`, which the system releases when a process dies.

    Raises BusyError where another process holds it for longer than `wait` seconds.
    """
    until = time.monotonic() + wait
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise BusyError(path.parent, "another process is writing to it", "wait until it is done") from None
                time.sleep(_POLL)
        yield
