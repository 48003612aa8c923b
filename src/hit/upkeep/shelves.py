"""Stores made anew, moved elsewhere, and compared with what they are made from.

A rebuilt store belongs to the next generation of its array, which is the same file under a second name: so the old store and
the new one are never mixed, one transaction goes over, and readers notice.
"""

import contextlib
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hit import arrays, chunks, files, index, stores
from hit.db import Stored, upkeep
from hit.errors import UserError
from hit.library import Library
from hit.stores import LOCAL
from hit.types import Builds, Drops, Floats, Keys, Progress, Silent, Store

log = logging.getLogger(__name__)
SAMPLE = 2000  # vectors compared, unless all are
_TOGETHER = 1000  # vectors compared in one search
_CLOSE = 1e-4  # of a vector's length: how far a store's products may be off


def rebuild(library: Library, progress: Progress | None = None) -> dict[str, Any]:
    """Make the store anew from the arrays, and the index of words; no video is looked at.

    Searches meanwhile see the old store, even a damaged one. What an earlier call did before it was killed is gone on with.
    """
    progress = progress or Silent()
    with library.writing(), library.job("rebuild", {"revision": library.stored.revision}) as job:
        old = library.stored
        rows = library.db.rows(old.revision)
        if old.rows:
            _link(library, old)
            fresh = replace(old, generation=old.generation + 1)
            with contextlib.closing(library.store_of(fresh)) as store, library.db.coming(fresh, library.db.pieces(old)):
                fill(library, fresh, store, rows, progress)
            upkeep.turn(library.db, old)
            library.renew()
            leave(library, old)
        with progress.task("Words", library.db.counts()["videos"]) as task:
            upkeep.rewrite_words(library.db, task.advance)
        job.result["vectors"] = len(rows)
    return {"library": str(library.path), "store": library.config.store or LOCAL, "vectors": len(rows)}


def move(library: Library, to: str, drop_old: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Fill another store, compare it with the arrays, and only then have the library use it. "local": the library's own.

    The old one is left as it is, unless it is to be dropped. A store that is in use already is filled and compared too. Raises
    UserError for one that does not give back what it was given.
    """
    to, progress = stores.address(to), progress or Silent()
    with library.writing(), library.job("move", {"to": to or LOCAL}) as job:
        before, stored = library.config, library.stored
        rows = library.db.rows(stored.revision)
        with contextlib.closing(library.store_of(stored, to)) as store:
            fill(library, stored, store, rows, progress)
            if differences := compare(library, stored, store, rows, progress):
                raise UserError(
                    to or library.path, f"does not give back what it was given: {differences[0]}", "the old store is kept"
                )
        if to != before.store:
            library.change(replace(before, store=to))
        old = before.store if to != stores.address(before.store) else ""  # a call that was killed may have left the local one
        if dropped := drop_old and to != old:
            drop(library, stored, old)
        job.result["vectors"] = len(rows)
    about = {"where": old or LOCAL, "dropped": dropped} if to != old else None
    return {"library": str(library.path), "store": to or LOCAL, "vectors": len(rows), "old": about}


def fill(library: Library, stored: Stored, store: Store, rows: Keys, progress: Progress) -> None:
    """Make a store hold just these rows of an array, and build it."""
    index.fill(library.db, store, stored, rows, progress)
    if isinstance(store, Builds):
        store.build(progress)


def compare(library: Library, stored: Stored, store: Store, rows: Keys, progress: Progress, full: bool = False) -> list[str]:
    """Return in how far a store is not what it should be: other keys, or other vectors (of a sample, unless `full`)."""
    keys = store.keys()
    found = []
    if len(lost := np.setdiff1d(rows, keys)):
        found.append(f"{len(lost)} vectors are missing")
    if len(extra := np.setdiff1d(keys, rows)):
        found.append(f"{len(extra)} vectors belong to no segment")
    if store.count() != len(keys):
        found.append(f"it counts {store.count()} vectors, and names {len(keys)}")
    known = np.intersect1d(rows, keys)
    rng = np.random.default_rng(0)
    if not full and len(known) > SAMPLE:
        known = np.sort(rng.choice(known, SAMPLE, replace=False))
    probes = rng.normal(size=(2, stored.dim)).astype(np.float32)  # other vectors have other products with these
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    wrong = 0
    with progress.task("Comparing vectors", len(known)) as task:
        for start in range(0, len(known), _TOGETHER):
            some = known[start : start + _TOGETHER]
            wrong += _wrong(store, probes, some, library.db.vectors(stored, some))
            task.advance(len(some))
    if wrong:
        found.append(f"{wrong} of {len(known)} vectors are others than in the array")
    return found


def _wrong(store: Store, probes: Floats, rows: Keys, vectors: Floats) -> int:
    """Return how many vectors the store has other products for than the array."""
    exact = vectors.astype(np.float64) @ probes.T.astype(np.float64)  # (n, probes)
    near = _CLOSE * np.maximum(np.linalg.norm(vectors.astype(np.float64), axis=1), 1e-6)
    right = np.ones(len(rows), np.bool_)
    for column, (keys, scores) in enumerate(store.search(probes, len(rows), rows)):
        said = np.full(len(rows), np.inf)
        there = np.isin(keys, rows)
        said[np.searchsorted(rows, keys[there])] = scores[there]
        right &= np.abs(said - exact[:, column]) <= near
    return int((~right).sum())


def discard(library: Library, stored: Stored) -> None:
    """Remove a generation: its store, and its array."""
    drop(library, stored)
    if (library.path / stored.name).exists():
        shutil.rmtree(library.path / stored.name)


def leave(library: Library, stored: Stored) -> None:
    """Remove a generation that is over. Where its store keeps it, the log says so in a line, and `prune` tries again."""
    try:
        discard(library, stored)
    except UserError as error:
        log.warning("%s: %s", stored.name, error)


def drop(library: Library, stored: Stored, where: str | None = None) -> None:
    """Remove the store of an array, at the library's address for stores or at another; the array stays."""
    where = library.config.store if where is None else where
    if where:
        store = library.store_of(stored, where)
        if isinstance(store, Drops):
            store.drop()
        else:
            store.delete(store.keys())
            store.close()
        return
    for path in (library.path / stored.name).glob("*"):
        if path.name not in (arrays.NAME, chunks.HERE):
            path.unlink()


def _link(library: Library, old: Stored) -> None:
    """Give the array's file its name in the next generation."""
    fresh = replace(old, generation=old.generation + 1)
    if library.db.objects:
        library.db.matrix(old).view(old.rows)  # all of it is needed, and here from now on
    mine, other = library.path / old.name / arrays.NAME, library.path / fresh.name / arrays.NAME
    if not mine.exists():
        raise UserError(mine, "is missing", "restore a backup with `hit library restore`")
    if other.exists() and other.samefile(mine):
        return  # a call that was killed has begun
    discard(library, fresh)
    other.parent.mkdir(parents=True)
    try:
        os.link(mine, other)
    except OSError:  # not every file system knows second names
        _copy(mine, other)
    files.sync_folder(other.parent)
    files.sync_folder(other.parent.parent)
    library.db.array(fresh).keep(library.db.pieces(old))


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
