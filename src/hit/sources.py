"""Which video files are meant by what a user names: files, folders, patterns, URLs, and lists of them."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hit import places
from hit import remote as elsewhere
from hit.errors import UserError
from hit.files import is_video
from hit.places import LIBRARY, Places
from hit.remote import STORES, Remote, fetch, is_url
from hit.types import Far, Where

_KEYS = ("path", "video", "file", "url")  # the columns of a csv and the keys of a jsonl that name a video
_CALLED = 20  # names that a job remembers
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Failure:
    """A file, or whatever else was named, that could not be used."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Videos:
    """Where each video file is, once, in the order of what names it: absolute paths, URLs; and what could not be read."""

    paths: Sequence[Where]
    failed: Sequence[Failure] = ()


def find(names: Sequence[str], *, lists: Sequence[str] = (), remote: Remote, roots: Places) -> Videos:
    """Return the videos at `names`, then those that the files of `lists` name (- is standard input).

    A name is a file, whatever its suffix; a folder, with the videos in it, without hidden ones and round no circle of links;
    a URL; NAME:PATH, NAME one of `roots`; or, where nothing is called so, a pattern, by which videos and folders are found.
    Copies from web servers go to `remote`; what is in object stores stays there.
    What a list names is never a pattern of local files, and is relative to the list's folder. Raises UserError for a name
    that fits nothing, for a URL that may not be fetched, and for a line of a list that names nothing, all before
    anything is fetched. A file that a list names and that is not there is a failure, as is one that cannot be fetched.

    What is in none of the roots, if there are any, is refused.
    """
    failed: list[Failure] = []
    tops: list[Path | str] = []
    for name in names:
        tops += _tops(name, roots)
    for where, name, folder in (entry for file in lists for entry in _listed(file)):
        if is_url(name := _meant(name, roots)):
            tops.append(name)
        elif complaint := _lacks(folder / name) or _astray(folder / name, roots):
            failed.append(Failure(printable(folder / name), f"{complaint} ({where})"))
        else:
            tops.append(folder / name)
    urls = list(dict.fromkeys(top for top in tops if isinstance(top, str)))
    for url in urls:
        elsewhere.check(url, remote)
    there = {url: _listing(url, failed) for url in urls if url.partition("://")[0].lower() in STORES}
    copies, lost = fetch(left, remote) if (left := [url for url in urls if url not in there]) else ({}, [])
    walked = _Walk(failed)
    found: dict[str, Sequence[Where]] = {**there}
    found |= {url: [_shared(path, remote, roots) if remote.shared else path] for url, path in copies.items()}
    paths = [path for top in tops for path in (found.get(top, ()) if isinstance(top, str) else walked(top))]
    return Videos(list(dict.fromkeys(paths)), [*failed, *(Failure(printable(url), reason) for url, reason in lost)])


def check(names: Sequence[str], remote: Remote, roots: Places) -> None:
    """Raise UserError for a name of this machine that fits nothing, and for a URL that may not be fetched."""
    for name in names:
        for top in _tops(name, roots):
            if isinstance(top, str):
                elsewhere.check(top, remote)


def called(names: Sequence[str], roots: Places) -> list[str]:
    """Return what users named first, as all machines would call it."""
    return [elsewhere.shown(name) if is_url(name) else roots.portable(roots.given(name)) for name in names[:_CALLED]]


def _shared(path: Path, remote: Remote, roots: Places) -> Where:
    """Have a copy where all machines find it; say where that is."""
    assert remote.shared
    name, look = f"{remote.folder.name}/{path.relative_to(remote.folder).as_posix()}", path.stat()
    try:
        there = remote.shared.head(name)
        stale = there.size != look.st_size or there.modified.timestamp() < look.st_mtime
    except FileNotFoundError:
        stale = True
    if stale:
        remote.shared.upload(name, path)
        there = remote.shared.head(name)
    found = roots.locate(f"{LIBRARY}:{name}")
    return replace(found, size=there.size, mark=there.mark) if isinstance(found, Far) else found


def _tops(name: str, roots: Places) -> list[Path | str]:
    """Return what a user names: a URL, or paths. Raises UserError for those in none of the roots."""
    if is_url(name := _meant(name, roots)):
        return [name]
    try:
        found: list[Path | str] = [*_match(name)]
    except UserError:
        roots.named(name)  # which knows more of why, where it was to be in a root
        raise
    for path in found:
        roots.name_of(str(path))
    return found


def _meant(name: str, roots: Places) -> str:
    """Return NAME:PATH as what it stands for, and all else as it is."""
    return str(roots.given(name)) if ":" in name and not is_url(name) else name


def _astray(path: Path, roots: Places) -> str:
    try:
        roots.name_of(path)
    except UserError as error:
        return error.why
    return ""


def _listing(url: str, failed: list[Failure]) -> list[Far]:
    scheme, _, rest = url.partition("://")
    try:
        return places.videos(f"{scheme.lower()}://{rest}")
    except UserError as error:
        failed.append(Failure(printable(elsewhere.shown(url)), f"{error.why} ({error.fix})" if error.fix else error.why))
        return []


def printable(path: str | Path) -> str:
    """Return a path as text that every database and terminal takes."""
    return os.fsencode(path).decode(errors="backslashreplace")


class _Walk:
    """Yields the videos at a path. No folder is entered twice, by whatever links."""

    def __init__(self, failed: list[Failure]) -> None:
        self._failed = failed
        self._entered: set[tuple[int, int]] = set()

    def __call__(self, path: Path) -> Iterator[Path]:
        top = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links: names stay as they were given
        if not top.is_dir():
            yield top
            return
        for folder, folders, names in os.walk(top, followlinks=True, onerror=self._unreadable):
            look = Path(folder).stat()
            if (look.st_dev, look.st_ino) in self._entered:
                folders.clear()
                continue
            self._entered.add((look.st_dev, look.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(folder, name) for name in sorted(names) if is_video(name))

    def _unreadable(self, error: OSError) -> None:
        self._failed.append(Failure(printable(error.filename), str(error.strerror)))


def _match(name: str) -> list[Path]:
    """Return what a name means on this machine: one path, or those that a pattern fits."""
    path = Path(name)
    complaint = _lacks(path)
    if not complaint:
        return [path]
    steps = [i for i, part in enumerate(path.parts) if _MAGIC & set(part)]
    if not steps:
        raise UserError(printable(name), complaint)
    root = Path(*path.parts[: steps[0]])
    try:
        found = sorted(root.glob("/".join(path.parts[steps[0] :])))
    except ValueError as error:  # x** for example
        raise UserError(printable(name), f"no such file, and not a pattern: {error}") from None
    seen = [one for one in found if not any(part.startswith(".") for part in one.relative_to(root).parts)]
    videos = [one for one in seen if one.is_dir() or is_video(one.name)]
    if not videos:
        raise UserError(printable(name), "neither a file nor a pattern that fits a video or a folder")
    return videos


def _lacks(path: Path) -> str:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL, which no name holds
        return "there is no such file or folder"
    except OSError as error:
        return str(error.strerror)
    return ""


# -- lists


def _listed(file: str) -> Iterator[tuple[str, str, Path]]:
    """Yield (where it stands, name, folder that it is relative to) for what a list names. Raises UserError for no list."""
    suffix = Path(file).suffix.lower()
    read = {"": _plain, ".txt": _plain, ".jsonl": _jsonl, ".csv": _csv}.get(suffix)
    if read is None:
        raise UserError(file, f"no list of videos ends in '{suffix}'", "give a .csv, .jsonl or .txt")
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = os.fsdecode(data) if file == "-" else data.decode("utf-8-sig")  # standard input: names as the system has them
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {line}", f"is not UTF-8 text: {error.reason}", "save it as UTF-8") from None
    except OSError as error:
        raise UserError(file, f"the list cannot be read: {error.strerror}") from None
    for line, name in read(file, text):
        if not isinstance(name, str) or not name:
            raise UserError(f"{file}, line {line}", "names no video", "give it a path")
        yield f"{file}, line {line}", name, Path() if file == "-" else Path(file).parent


def _plain(_: str, text: str) -> Iterator[tuple[int, object]]:
    """Read a name a line; or names that end with NUL, as `find -print0` writes them."""
    lines = text.split("\0") if "\0" in text else (line.removesuffix("\r") for line in text.split("\n"))
    return ((number, line) for number, line in enumerate(lines, 1) if line)


def _jsonl(file: str, text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would cut at separators that JSON strings may hold
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as error:
                raise UserError(f"{file}, line {number}", f"not JSON: {error}") from None
            yield number, _chosen(value) if isinstance(value, dict) else value


def _csv(file: str, text: str) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        reader.fieldnames = columns = [name.strip().lower() for name in reader.fieldnames or ()]
        if not set(_KEYS) & set(columns):
            raise UserError(file, f"its columns are '{','.join(columns)}'", f"the first line must name one: {', '.join(_KEYS)}")
        for row in reader:
            yield reader.reader.line_num, _chosen(row)
    except csv.Error as error:
        why = f"not a csv line: {error}"
        raise UserError(f"{file}, line {reader.reader.line_num}", why, "is a quotation mark left open?") from None


def _chosen(row: Mapping[str, object]) -> object:
    return next((row[key] for key in _KEYS if row.get(key)), None)
