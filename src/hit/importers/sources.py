"""Reading the files that releases are made of, none of them trusted: split lists, json, pickles of plain values.

Whatever is wrong with one is a UserError that names it.
"""

import hashlib
import io
import json
import pickle
import pickletools
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from hit.errors import UserError

AGAIN = "get this file again"
PLAIN = (dict, list, tuple, str, int, float, bytes)


def read_bytes(path: Path) -> bytes:
    """Return a file's content."""
    try:
        return path.read_bytes()
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise UserError(path, why, "it belongs to the release" if isinstance(error, FileNotFoundError) else "") from None


def read_text(path: Path) -> str:
    """Return a file's text, without a byte order mark."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(path, f"is not UTF-8 text: {error}", AGAIN) from None


def read_ids(path: Path) -> list[str]:
    """Return the ids of a split list, one a line."""
    ids = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not ids:
        raise UserError(path, "is empty", AGAIN)
    seen: dict[str, int] = {}
    for line, clip in enumerate(ids, 1):
        check_id(f"{path}, line {line}", clip)
        if seen.setdefault(clip, line) != line:
            raise UserError(f"{path}, line {line}", f"the id '{clip}' is in line {seen[clip]} already", "remove one of them")
    return ids


def check_lists(path: Path, lists: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Raise UserError for an id that is in two splits."""
    seen: dict[str, str] = {}
    for split, ids in lists:
        for clip in ids:
            if seen.setdefault(clip, split) != split:
                raise UserError(path, f"'{clip}' is in both {seen[clip]} and {split}", "remove it from one of the two lists")


def check_id(where: object, clip: str, *, nested: bool = False) -> None:
    """Raise UserError for an id that could lead out of a folder where it is part of a path."""
    path = PurePosixPath(clip)
    bad = path.is_absolute() or ".." in path.parts or "\0" in clip or "\\" in clip or not path.name
    if bad or (not nested and "/" in clip):
        raise UserError(where, f"'{clip}' is not an id: it could lead out of the folder", "write the plain id of the video")


def read_json(path: Path) -> Any:
    """Return what a json file holds; a key that is there twice is damage."""
    try:
        return json.loads(read_text(path), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(path, f"is not readable json: {error}", AGAIN) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"'{next(key for key in keys if keys.count(key) > 1)}' is there twice")
    return found


class _Plain(pickle.Unpickler):
    """Builds what has an opcode of its own, and nothing that would have to be looked up by name, so nothing is ever called."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which may be anything")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it refers to things outside of it")


def read_pickle(path: Path) -> Any:
    """Return what a pickle of plain values holds: dict, list, tuple, str, int, float and bytes. Nothing in it is executed."""
    data = read_bytes(path)
    try:
        for code, value, _ in pickletools.genops(data):
            if code.name in ("PUT", "LONG_BINPUT") and (value or 0) > len(data):
                raise ValueError("it asks for more memory than it can fill")
        found = _Plain(io.BytesIO(data)).load()
        _check_plain(found)
    except Exception as error:  # damaged pickles raise whatever they like
        why = f"is not a pickle of plain values: {error or type(error).__name__}"
        raise UserError(path, why, "get it from the release itself; nothing in it was executed") from None
    return found


def _check_plain(found: object) -> None:
    waiting, seen = [found], set()
    while waiting:
        value = waiting.pop()
        if type(value) not in PLAIN:
            raise ValueError(f"it holds a {type(value).__name__}")
        if isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))  # a pickle may hold a list that holds itself
            waiting += [*value, *value.values()] if isinstance(value, dict) else value


def clean(text: str) -> str:
    """Return a caption in one line, without spaces that say nothing."""
    return " ".join(text.split())


def stamp(paths: Iterable[Path]) -> str:
    """Return a hash of files' names, sizes and times: what stands for the content of releases of many gigabytes."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            about = path.stat()
        except (OSError, ValueError):
            continue
        digest.update(f"{path.name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
