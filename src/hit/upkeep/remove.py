"""Forgetting videos. Their own files are left alone, but for those that were uploaded: these are the library's."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hit import index
from hit.db import Known
from hit.errors import UserError
from hit.library import CACHE, UPLOADS, Library
from hit.places import basename
from hit.upkeep import leftovers, pieces


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to be forgotten: paths of files, and the videos of which none is left then."""

    paths: list[str]
    videos: list[str]


def plan(library: Library, names: Sequence[str] = (), missing: bool = False) -> Removal:
    """Return what goes: files by path, all below a folder, videos by id; with `missing` all files that are not there any more.

    A video that has other files stays. Raises UserError for a name that the library does not know.
    """
    known = library.db.files()
    paths: set[str] = set()
    for name in names:
        paths |= _named(library, name, known)
    if missing:
        paths |= {path for path in known if library.db.roots.gone(path)}
    staying = {file.video for path, file in known.items() if path not in paths}
    return Removal(sorted(paths), sorted({known[path].video for path in paths} - staying))


def remove(library: Library, names: Sequence[str] = (), missing: bool = False) -> dict[str, Any]:
    """Forget what `plan` says, with its segments, vectors, words, tags and thumbnails; they are found no more at once."""
    with library.writing(), library.job("remove", {}) as job:
        going = plan(library, names, missing)
        thumbnails = library.db.record_files([], going.paths)
        index.sync(library.db, library.store, library.stored)
        going_files = [f"{index.POSTERS}/{name}" for name in thumbnails]
        # The names of uploads are drawn by chance: it is this one, wherever the library lay.
        going_files += [f"{UPLOADS}/{basename(path)}" for path in going.paths if re.search(rf"[:/]{UPLOADS}/[^/]+$", path)]
        if library.db.objects:
            going_files += [f"{CACHE}/{kind}/{video}{suffix}" for video in going.videos for kind, suffix in pieces.MADE.items()]
        library.db.home.delete(going_files)
        library.db.stock.forget(going_files)
        gone = set(going.videos)
        for video, made in leftovers.made(library):
            if video in gone:
                made.unlink(missing_ok=True)
        job.result |= {"files": len(going.paths), "videos": len(going.videos)}
    return {"library": str(library.path), "removed": going.videos, "files": going.paths, "videos": library.db.counts()["videos"]}


def videos(library: Library, names: Sequence[str]) -> list[str]:
    """Return the ids of the videos that names stand for, as in `plan`. Raises UserError for one that is not known."""
    known = library.db.files()
    return sorted({known[path].video for name in names for path in _named(library, name, known)})


def _named(library: Library, name: str, known: dict[str, Known]) -> set[str]:
    called = library.db.roots.names_of(name)
    if there := known.keys() & called:
        return set(there)
    below = tuple(one if one.endswith(":") else f"{one.rstrip('/')}/" for one in called)
    found = {one for one, file in known.items() if file.video == name or one.startswith(below)}
    if not found:
        raise UserError(name, "the library knows no video of this path or id", "`hit search` names the paths that it knows")
    return found
