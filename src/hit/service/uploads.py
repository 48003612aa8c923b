"""Uploads: what comes over the network and becomes a video of the library. LIB/uploads has the only copy.

A file is called by chance: its sender's name for it is the video's title, and never a path. Until it is known to be a
video, and harmless as far as the scanner knows, its name is hidden and ends with `.part`.
"""

import contextlib
import os
import re
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hit import content, files, pool, video
from hit.db import Found, video_id
from hit.errors import UserError
from hit.library import UPLOADS, Library
from hit.objects import Folder
from hit.places import LIBRARY
from hit.service.config import ServeConfig
from hit.types import Silent
from hit.upkeep import sizes

LIMITS = pool.Limits(silence=60.0, memory=2 << 30, output=1 << 20)  # of the process that looks at what strangers send
SCAN_SECONDS = 3600.0
_HEAD = 1024  # bytes that tell what a file is
_LONGEST = 200  # characters of a title
_KINDS = (  # how files begin
    (rb".{4}(ftyp|moov|mdat|wide|free|skip|pnot)", ".mp4"),
    (rb"\x1a\x45\xdf\xa3.{0,60}webm", ".webm"),
    (rb"\x1a\x45\xdf\xa3", ".mkv"),
    (rb"RIFF.{4}AVI ", ".avi"),
    (rb"FLV\x01", ".flv"),
    (rb"OggS", ".ogv"),
    (rb"GIF8[79]a", ".gif"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ".wmv"),
    (rb"\x06\x0e\x2b\x34", ".mxf"),
    (rb"\x00\x00\x01[\xb3\xba]", ".mpg"),
    (rb"(G.{187}){3}", ".ts"),
    (rb"(.{4}G.{187}){3}", ".m2ts"),
)


class TooLargeError(UserError):
    """More is sent than is taken."""


class NoVideoError(UserError):
    """What was sent is no video that can be read."""


class HarmfulError(UserError):
    """The scanner refused what was sent."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What became of an upload: its video, and the file's name, another one where the library has this content already."""

    video: str
    path: str
    duplicate: bool = False


class Uploads:
    """The uploads of a library."""

    def __init__(self, library: Library, config: ServeConfig) -> None:
        self.folder = library.path.absolute() / UPLOADS
        self.most, self.quota = config.upload_mib << 20, int(config.quota_gib * 2**30)
        self.scanner, self.library = config.scanner, library

    def begin(self, size: int | None = None) -> "Upload":
        """Open an upload of so many bytes, if that is known. Raises TooLargeError."""
        self.check(size or 0)
        self.folder.mkdir(exist_ok=True)
        return Upload(self, self.folder / f".{secrets.token_hex(16)}.part")

    def check(self, size: int, more: int | None = None) -> None:
        """Raise TooLargeError for a file of so many bytes, of which `more` (None: all) are not on the disk yet."""
        if size > self.most:
            raise TooLargeError("the upload", f"is of more than {sizes.words(self.most)}", "that is the most that is taken")
        if self._held() + (size if more is None else more) > self.quota:
            raise TooLargeError(
                "the upload", "finds no room: the quota of uploads is used up", "have an administrator remove some"
            )

    def _held(self) -> int:
        far = self.library.db.objects
        return sizes.of(self.folder) + (sum(entry.size for entry in far.list(UPLOADS)) if far else 0)


class Upload:
    """A file that is being sent: write to it, then keep it; what is not kept goes away."""

    def __init__(self, uploads: Uploads, part: Path) -> None:
        self._uploads, self._part = uploads, part
        self._size, self._head, self._suffix = 0, b"", ""
        with files.room(uploads.folder):
            self._file = part.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises TooLargeError and NoVideoError as soon as that is known."""
        self._size += len(data)
        if self._size > self._uploads.most:
            self._uploads.check(self._size)
        if not self._suffix:
            self._head += data[: _HEAD - len(self._head)]
            if len(self._head) == _HEAD:
                self._suffix = _suffix(self._head)
        with files.room(self._uploads.folder):
            self._file.write(data)

    def keep(self, name: str) -> Uploaded:
        """Make what was sent a video that waits to be indexed, called as its sender calls it.

        No turn to write is waited for: where the library's files were moved meanwhile, this one is brought after them.
        Raises TooLargeError, NoVideoError and HarmfulError.
        """
        suffix = self._suffix or _suffix(self._head)
        with files.room(self._uploads.folder):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._uploads.check(self._size, 0)
        self._scan()
        self._look()
        path = f"{UPLOADS}/{self._part.name[1 : -len('.part')]}{suffix}"
        ((_, digest),) = content.digests([self._part], Silent())
        if isinstance(digest, Exception):
            raise digest
        video, library = video_id(digest), self._uploads.library
        library.renew()
        for known, *_ in library.db.files_of(video):
            if not library.db.roots.gone(known):
                return Uploaded(video, known, duplicate=True)
        while True:
            home = library.db.home.url
            self._bring(path, library.db.objects)
            look = content.look(library.db.roots.locate(f"{LIBRARY}:{path}"))
            found = Found(f"{LIBRARY}:{path}", look.size, look.mtime_ns, digest)
            library.db.record_files([found], titles={found.path: title(name)})
            library.renew()
            if library.db.home.url == home:  # else who moved the library may not have seen it
                return Uploaded(video, found.path)

    def _bring(self, path: str, store: Folder | None) -> None:
        """Have the file in an object store, or in the library's folder."""
        own = self._part.with_name(Path(path).name)
        if store is None:
            if self._part.exists():
                self._part.replace(own)
            files.sync_folder(own.parent)
        else:
            with contextlib.suppress(FileNotFoundError):  # who moved the library took it along
                store.upload(path, own if own.exists() else self._part)

    def _scan(self) -> None:
        if self._uploads.scanner:
            words = [*self._uploads.scanner, str(self._part)]
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SCAN_SECONDS)  # noqa: S603  # the administrator's own command
            if done.returncode:
                raise HarmfulError("the upload", "is refused by the scanner")

    def _look(self) -> None:
        """Have a process of its own look at it: what strangers made may take down who looks."""
        ((_, found),) = pool.run(video.probe, [self._part], 1, limits=LIMITS)
        if isinstance(found, Exception):
            why = found.why if isinstance(found, UserError) else "cannot be looked at"
            raise NoVideoError("the upload", why)
        if not found.has_video:
            raise NoVideoError("the upload", "has no pictures")


def title(name: str) -> str:
    """Return a sender's name for a file as a title: printable, without folders, not too long."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return " ".join("".join(c if c.isprintable() else " " for c in last).split())[:_LONGEST].strip() or "upload"


def _suffix(head: bytes) -> str:
    """Return what a file that begins like this is called. Raises NoVideoError."""
    for begin, suffix in _KINDS:
        if re.match(begin, head, re.DOTALL):
            return suffix
    raise NoVideoError("the upload", "is no video of a kind that is known", "send mp4, webm, mkv, mov, avi, ts, mpg, ogv or gif")
