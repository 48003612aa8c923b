"""Less room: vectors of other models, rows that nothing needs any more, and files that nothing names."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hit import chunks, files
from hit.arrays import Matrix
from hit.db import upkeep
from hit.index import POSTERS
from hit.library import COPIES, Library
from hit.types import Keys, Progress, Silent
from hit.upkeep import leftovers, shelves

_BYTES = 1 << 26  # of vectors copied at once


def prune(library: Library, dry_run: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Drop vectors of other models than the current one, dead rows of its array, and files that nothing names.

    Return what was dropped, or would be, by kind, with bytes. Videos that only another model has embedded wait to be indexed
    again. Rows get other numbers, and a store is filled anew; searches meanwhile see the old one.
    """
    with library.writing():
        if dry_run:
            return {"library": str(library.path), "dropped": [], "would_drop": _plan(library)}
        dropped = _plan(library)
        library.db.cut_short_jobs()
        with library.job("prune", {}) as job:
            others = [stored for stored in upkeep.arrays(library.db) if stored.revision != library.stored.revision]
            for stored in others:
                shelves.drop(library, stored)  # derived, and so first
            if others:
                upkeep.drop_revisions(library.db, library.stored.revision)
            rows = library.db.rows(library.stored.revision)
            if len(rows) < library.stored.rows:
                _compact(library, rows, progress or Silent())
            for stored in leftovers.generations(library):
                shelves.leave(library, stored)
            for one in leftovers.find(library):
                for path in one.paths:
                    _remove(path)
                library.db.home.delete(entry.name for entry in one.objects)
            _tidy(*(library.path / name for name in (chunks.TOP, COPIES, POSTERS)))
            job.result["bytes"] = sum(one["bytes"] for one in dropped)
    return {"library": str(library.path), "dropped": dropped, "would_drop": []}


def _plan(library: Library) -> list[dict[str, Any]]:
    current = library.stored
    found = [
        {"what": f"vectors of model revision {stored.revision}", "count": count, "bytes": stored.rows * 4 * stored.dim}
        for stored, count in upkeep.arrays(library.db).items()
        if stored.revision != current.revision
    ]
    if dead := current.rows - library.db.vector_count(current.revision):
        found.append({"what": "vectors of segments that are gone", "count": dead, "bytes": dead * 4 * current.dim})
    found += [{"what": one.what, "count": one.count, "bytes": one.bytes} for one in leftovers.find(library) if one.count]
    return found


def _compact(library: Library, rows: Keys, progress: Progress) -> None:
    """Write the living rows (n,), ascending, as the next generation of their array, with a store, and go over to it."""
    old = library.stored
    fresh = replace(old, generation=old.generation + 1, rows=len(rows))
    shelves.discard(library, fresh)  # of a call that was killed: rows may have died since
    matrix = Matrix(library.path / fresh.name, fresh.dim)
    step = max(1, _BYTES // (4 * fresh.dim))
    with progress.task("Rewriting vectors", len(rows)) as task:
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            matrix.write(np.arange(start, start + len(some)), library.db.vectors(old, some))
            task.advance(len(some))
    files.sync_folder(matrix.path.parent.parent)
    far = library.db.objects
    sent = list(chunks.send_all(far, fresh.revision, matrix, 0, len(rows))) if far else []
    library.db.array(fresh).keep(sent)
    with contextlib.closing(library.store_of(fresh)) as store, library.db.coming(fresh, sent):
        shelves.fill(library, fresh, store, np.arange(len(rows)), progress)
    upkeep.turn(library.db, old, rows, sent)
    library.renew()
    shelves.leave(library, old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tidy(*folders: Path) -> None:
    """Remove folders that have become empty."""
    for top in folders:
        for folder in sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: len(path.parts), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
