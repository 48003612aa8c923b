"""Where files are, whatever the machine: databases know them by NAME:PATH, where NAME is a root that hit.toml names.

videos:cats/1.mp4       in the root `videos`: a folder of this machine, elsewhere on the next one, or one in an object store
library:uploads/1.mp4   in the library's own folder
s3://bucket/1.mp4       in an object store, in no root
/data/cats/1.mp4        on this machine: where hit.toml names no roots, and in databases from before it named some
"""

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from hit import deployment, files, objects
from hit.errors import UserError
from hit.types import Far, Where

LIBRARY = "library"
_ROOT = re.compile("[a-z][a-z0-9_-]+")
_GLANCE = 60.0  # seconds for which a look at a root holds
_PIECE = 8 << 20  # bytes of a file that is read through that are asked for at once


@dataclass(frozen=True)
class Places:
    """The roots of a deployment by their names, each a path or a URL, and what `library` stands for: a library's folder, if any.

    objects: the folder, by URL, that has the library's files instead, if one has.
    """

    roots: Mapping[str, str] = field(default_factory=dict)
    library: Path | None = None
    objects: str = ""

    def name_of(self, where: Where | str) -> str:
        """Return what a database calls a file or folder: the root that holds it, the deepest one, and its path in there.

        Links lead out of no root. Raises UserError for what lies in none, where hit.toml names some.
        """
        if isinstance(where, Far) or _store(str(where)):
            return self._of_url(str(where))
        if "\0" in str(where):
            raise UserError(_plain(where), "is no name that a file can have")
        path = Path(os.path.abspath(where))  # noqa: PTH100  # resolve() would follow links: names stay as they were given
        real = Path(os.path.realpath(path))
        found = self._of_path(path, 0, real) or self._of_path(real, 1, real)
        if not found and self.roots:
            roots = ", ".join(f"{name} = {objects.shown(place)}" for name, place in self.roots.items())
            raise UserError(_plain(path), f"is in none of the roots: {roots}", "put it there, or name its folder in hit.toml")
        return found or str(path)

    def locate(self, name: str) -> Where:
        """Return where a file is that a database knows. Raises UserError for a root that is not known here, and for a way out."""
        where = self._at(name)
        head = name.partition(":")[0]
        if isinstance(where, Path) and head in self._folders:
            real = Path(os.path.realpath(where))
            if not real.is_relative_to(self._folders[head][1]):
                raise UserError(_plain(name), f"leads out of the root {head}, by a link", "put what is to be found into the root")
        return where

    def seen(self, name: str) -> Where:
        """Return the same to show it: nothing is looked at, and a name that stands for nothing here is shown as it is."""
        try:
            return self._at(name)
        except UserError:
            return Path(_plain(name))

    def given(self, text: str | Path) -> Where:
        """Return what a user names: NAME:PATH, NAME one of the roots, a URL of an object store, or a path."""
        head, colon, _ = str(text).partition(":")
        known = colon and (head == LIBRARY or head in self.roots)
        return self.locate(str(text)) if known or _store(str(text)) else Path(text)

    def named(self, text: str) -> Where:
        """Return the same, of what is to be there or to be made. Raises UserError for NAME: where no root is called so."""
        head, colon, _ = text.partition(":")
        where = self.given(text)
        if colon and where == Path(text) and _ROOT.fullmatch(head) and not os.path.lexists(text):
            known = ", ".join(self.roots) or "none"
            raise UserError(_plain(text), f"no root is called '{head}'", f"name it under [roots] in hit.toml, which has: {known}")
        return where

    def names_of(self, text: str | Path) -> tuple[str, ...]:
        """Return what a database may call what a user names: the name it has now, that from before there were roots, and this.

        Of a root that is not known here, or a link that leads out of one, only the last.
        """
        called = [str(text)]
        with contextlib.suppress(UserError):
            where = self.given(text)
            own = where if isinstance(where, Far) else where.absolute()
            called = [self.portable(own), str(own), *called]
        return tuple(dict.fromkeys(called))

    def current(self, name: str) -> str:
        """Return what a file is called now that has this name in a database: it may be from before a root was named."""
        if name.startswith("/"):
            tops = [(len(str(top)), root, f"{top}/") for root, (top, _) in self._folders.items()]
            _, root, above = max(((n, root, top) for n, root, top in tops if name.startswith(top)), default=(0, "", ""))
            return f"{root}:{name.removeprefix(above)}" if root else name
        return self._of_url(name) if _store(name) else name

    def portable(self, where: Where | str) -> str:
        """Return a file's or folder's name where that is not its path, else what was given."""
        with contextlib.suppress(UserError):
            if not (name := self.name_of(where)).startswith("/"):
                return objects.shown(name)
        return str(where)

    def gone(self, name: str) -> bool:
        """Tell whether a file is not there any more; one that cannot be looked at, or whose root cannot, is not gone.

        In an object store it is not gone either where nothing is in its root, or in its bucket if it is in no root.
        """
        head = name.partition(":")[0]
        try:
            where = self.locate(name)
            if head in self._folders and not self._folders[head][0].is_dir():
                return False
            if exists(where):
                return False
            if isinstance(where, Path):
                return True
            top = self._urls.get(head) or "/".join(where.url.split("/")[:3])
            return _has_files(top, _told(), int(time.monotonic() // _GLANCE))
        except UserError:
            return False

    # -- names to places and back

    @cached_property
    def _folders(self) -> Mapping[str, tuple[Path, Path]]:
        """The roots on this machine: the path of each, and where that leads."""
        paths = {name: _path(place) for name, place in self._tops.items() if not _store(place)}
        return {name: (path, Path(os.path.realpath(path))) for name, path in paths.items()}

    @cached_property
    def _urls(self) -> Mapping[str, str]:
        return {name: place.rstrip("/") for name, place in self._tops.items() if _store(place)}

    @property
    def _tops(self) -> Mapping[str, str]:
        own = self.objects or (str(self.library.absolute()) if self.library else "")
        return {**self.roots, LIBRARY: own} if own else self.roots

    def _at(self, name: str) -> Where:
        head, colon, rest = name.partition(":")
        if _store(name):
            return Far(name)
        if not colon or not _ROOT.fullmatch(head):
            return Path(name)
        steps = rest.split("/") if rest else []
        if any(step in ("", ".", "..") or "\0" in step for step in steps):
            raise UserError(_plain(name), f"is no path in the root {head}")
        if head in self._urls:
            return Far("/".join((self._urls[head], *steps)))
        if head not in self._folders:
            raise UserError(_plain(name), f"there is no root '{head}' here", "name it under [roots] in hit.toml")
        return self._folders[head][0].joinpath(*steps)

    def _of_url(self, url: str) -> str:
        fits = [(len(top), name) for name, top in self._urls.items() if f"{url.rstrip('/')}/".startswith(f"{top}/")]
        if not fits:
            return url
        length, name = max(fits)
        return f"{name}:{url[length:].strip('/')}"

    def _of_path(self, path: Path, way: int, real: Path) -> str:
        """Return a path's name by the roots as they are named (0) or as links lead (1), if it really lies in one."""
        fits = [(len(both[way].parts), name) for name, both in self._folders.items() if path.is_relative_to(both[way])]
        for _, name in sorted(fits, reverse=True):
            if real.is_relative_to(self._folders[name][1]):
                below = path.relative_to(self._folders[name][way])
                return f"{name}:{below.as_posix() if below.parts else ''}"
        return ""


def deployed(library: Path | None = None, objects: str = "") -> Places:
    """Return the places of the hit.toml that holds here."""
    return Places(deployment.read().roots, library, objects)


def basename(name: str) -> str:
    """Return the last step of what a database calls a file."""
    return name.rpartition("/")[2] if "/" in name else re.sub("^[a-z0-9_-]*:", "", name)


# -- files in object stores


def look(far: Far, sides: bool = True) -> Far:
    """Ask a store what it says now of a file, and of the subtitles beside it if these are of interest.

    Raises FileNotFoundError, and UserError where it cannot be asked.
    """
    folder, key = _split(far.url)
    try:
        about = folder.head(key)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), far.url) from None
    side = None
    for ending in files.SUBTITLES if sides else ():
        with contextlib.suppress(FileNotFoundError):
            beside = folder.head(key.removesuffix(far.name) + far.stem + ending)
            side = Far(f"{folder.url}/{beside.name}", beside.size, beside.mark)
            break
    return Far(far.url, about.size, about.mark, side)


def exists(where: Where) -> bool:
    """Tell whether a file is there. Raises UserError where a store cannot be asked."""
    if isinstance(where, Path):
        return where.exists()
    folder, key = _split(where.url)
    try:
        return bool(folder.head(key))
    except FileNotFoundError:
        return False


def open_far(far: Far) -> BinaryIO:
    """Open a file to be read here and there, by ranges. Raises FileNotFoundError, and UserError as `hit.objects` does."""
    folder, key = _split(far.url)
    return folder.open(key)


def blocks(far: Far, start: int = 0, end: int | None = None, piece: int = _PIECE) -> Iterator[bytes]:
    """Read a file that was looked at, or the bytes from `start` to `end` (exclusive), piece by piece.

    Raises UserError where it has changed since, or cannot be read.
    """
    folder, key = _split(far.url)
    end = far.size if end is None else min(end, far.size)
    for at in range(start, end, piece):
        yield folder.read_range(key, at, min(at + piece, end), far.mark)


def videos(url: str) -> list[Far]:
    """Return what a URL stands for: a file, whatever its suffix; the videos in a folder; or those that a pattern fits.

    As one listing has them, in the order of their keys, without hidden ones. Raises UserError where there is none.
    """
    folder, key = _split(url)
    with contextlib.suppress(FileNotFoundError):
        if key:
            return [look(Far(f"{folder.url}/{key}"))]
    above, pattern, found = key, list[str](), _videos(folder, key)
    if not found and (magic := re.search(r"[*?\[]", key)):
        above = key[: magic.start()].rpartition("/")[0]
        pattern = key.removeprefix(above).strip("/").split("/")
        found = _videos(folder, above)
    top = f"{folder.url}/{above}".rstrip("/")
    seen = [far for far in found if fits(far.url.removeprefix(top).strip("/").split("/"), pattern)]
    if not seen:
        raise UserError(objects.shown(url), "there is no such file, and no video in such a folder")
    return seen


def fits(steps: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether a pattern fits a path or a folder above it; ** stands for any number of folders."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(fits(steps[i:], pattern[1:]) for i in range(len(steps)))
    return bool(steps) and fnmatchcase(steps[0], pattern[0]) and fits(steps[1:], pattern[1:])


def _videos(folder: objects.Folder, above: str) -> list[Far]:
    entries = {one.name: one for one in folder.list(above)}

    def far(name: str, side: Far | None = None) -> Far:
        return Far(f"{folder.url}/{name}", entries[name].size, entries[name].mark, side)

    found = []
    for name in entries:
        steps = name.removeprefix(above).strip("/").split("/")
        if files.is_video(steps[-1]) and not any(step.startswith(".") for step in steps):
            stem = name.removesuffix(Path(name).suffix)
            side = next((stem + ending for ending in files.SUBTITLES if stem + ending in entries), None)
            found.append(far(name, far(side) if side else None))
    return found


def _store(place: str) -> bool:
    """Tell the URL of an object store."""
    return re.match(rf"({'|'.join(objects.SCHEMES)})://", place) is not None


def _split(url: str) -> tuple[objects.Folder, str]:
    """Return the bucket of a URL and the key in it."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return _bucket(f"{scheme}://{bucket}", _told()), key.strip("/")


def _told() -> tuple[object, ...]:
    """Return what says how stores are reached from this process."""
    return os.getpid(), *(item for item in os.environ.items() if item[0].startswith(("AWS_", "GOOGLE_", "AZURE_")))


@lru_cache(16)
def _bucket(url: str, _: tuple[object, ...]) -> objects.Folder:
    """Return a bucket, as this process is told to reach it: to open one takes 10 ms."""
    return objects.folder(url)


@lru_cache(16)
def _has_files(url: str, told: tuple[object, ...], moment: int) -> bool:
    """Tell whether there is anything below a URL: one listing for all who ask at about the same time."""
    folder, key = _split(url)
    with contextlib.suppress(UserError):  # no such bucket, for one
        return next(folder.list(key), None) is not None
    return False


def _path(place: str) -> Path:
    return Path(unquote(place.removeprefix("file://")) if place.startswith("file://") else place)


def _plain(text: object) -> str:
    """Return what was named as one line that can be printed."""
    return repr(str(text))[1:-1] if not str(text).isprintable() else str(text)
