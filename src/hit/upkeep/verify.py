"""Whether a library is sound, and what mends it where it is not."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from hit import content, index
from hit.arrays import NAME
from hit.db import Stored, upkeep
from hit.errors import UserError
from hit.library import Library
from hit.types import Encoder, Floats, Keys, Progress, Silent
from hit.upkeep import leftovers, pieces, shelves

_BLOCK = 4096  # vectors looked at at once
_UNIT = 1e-5  # how far a part's length may be off
_NAMED = 5  # of many, so many are named
REBUILD, RESTORE, PRUNE = "hit library rebuild", "hit library restore", "hit library prune"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, and what mends it. A note is no damage."""

    part: str
    what: str
    mend: str
    note: bool = False


def verify(library: Library, full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Look at all of a library, at every vector of its store too if `full`; it is "sound" where there are only notes.

    The library is best opened with `mend=False`: what opening would make good is then found. Only what the database itself knows
    that the store has not been told is told first. Other writers are kept out.
    """
    progress = progress or Silent()
    found: list[Finding] = []
    with library.writing():
        checks: list[Callable[[Library, Progress], Iterable[Finding]]] = [_database, _words, _model, _videos]
        checks += [partial(_arrays, full=full), partial(_store, full=full), _thumbnails, _files, _leftovers]
        with progress.task("Verifying", len(checks)) as task:
            for check in checks:
                try:
                    found += check(library, progress)
                except UserError as error:  # what cannot even be looked at
                    found.append(Finding("database", str(error), RESTORE))
                task.advance()
    errors = [finding for finding in found if not finding.note]
    return {"library": str(library.path), "sound": not errors, "findings": [asdict(finding) for finding in found]}


def _database(library: Library, progress: Progress) -> Iterator[Finding]:
    for line in upkeep.complaints(library.db):
        yield Finding("database", line, RESTORE)


def _words(library: Library, progress: Progress) -> Iterator[Finding]:
    with progress.task("Words", library.db.counts()["videos"]) as task:
        for line in upkeep.words_complaints(library.db, task.advance):
            yield Finding("words", line, REBUILD)


def _model(library: Library, progress: Progress) -> Iterator[Finding]:
    try:
        revision = library.encoder.revision
    except UserError as error:
        yield Finding("model", str(error), "put its folder back, or name another with `hit index LIBRARY --model MODEL`")
        return
    if revision != library.config.model.revision:
        what = f"the model is of revision {revision}, the library's vectors of {library.config.model.revision}"
        yield Finding("model", what, "put the model back, or embed all anew with `hit index LIBRARY --model MODEL`")


def _videos(library: Library, progress: Progress) -> Iterator[Finding]:
    revision = library.config.model.revision
    lack = upkeep.incomplete(library.db, revision)
    again = "hit library remove LIBRARY VIDEO, then index it again"
    for key, what in (("segments", "have no segments"), ("vectors", "have segments without a vector")):
        if lack[key]:
            yield Finding("videos", f"{len(lack[key])} videos {what}: {_few(lack[key])}", again)
    if lack["embedded"]:
        what = f"{len(lack['embedded'])} videos are embedded by another model only: {_few(lack['embedded'])}"
        yield Finding("videos", what, "finish `hit index LIBRARY --model MODEL`", note=True)
    waiting = upkeep.totals(library.db)["videos"]
    if count := waiting["pending"] + waiting["indexing"]:
        yield Finding("videos", f"{count} videos wait to be indexed", "hit index LIBRARY SOURCE", note=True)


def _arrays(library: Library, progress: Progress, full: bool) -> Iterator[Finding]:
    for revision, count in upkeep.outside(library.db).items():
        yield Finding("vectors", f"{count} vectors of revision {revision} lie outside its array", RESTORE)
    for stored, living in upkeep.arrays(library.db).items():
        if library.db.objects:
            for what, here in pieces.complaints(library, stored, full, progress):
                yield Finding(
                    "vectors", what, f"hit library move LIBRARY --objects {library.config.objects}" if here else RESTORE
                )
            if not full:  # which fetches all of it
                continue
        path = library.path / stored.name / NAME
        there = path.stat().st_size // (4 * stored.dim) if path.exists() else 0
        if there < stored.rows:
            yield Finding("vectors", f"{path} holds {there} vectors, and should hold {stored.rows}", RESTORE)
            continue
        wrong = _unsound(library, stored, library.db.rows(stored.revision), progress)
        if len(wrong):
            what = f"{len(wrong)} of {living} vectors of revision {stored.revision} are none: rows {_few(wrong.tolist())}"
            yield Finding("vectors", what, RESTORE)


def _unsound(library: Library, stored: Stored, rows: Keys, progress: Progress) -> Keys:
    """Return the rows whose vectors are not finite, or not made of parts of unit length or zero."""
    encoder = _encoder(library, stored.revision)
    wrong = [np.zeros(0, np.int64)]
    rows = rows[(rows >= 0) & (rows < stored.rows)]
    with progress.task(f"Vectors of {stored.revision}", len(rows)) as task:
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            wrong.append(some[~_sound(library.db.vectors(stored, some), encoder)])
            task.advance(len(some))
    return np.concatenate(wrong)


def _encoder(library: Library, revision: str) -> Encoder | None:
    try:
        return library.encoder if library.encoder.revision == revision else None
    except UserError:  # a finding of its own
        return None


def _sound(vectors: Floats, encoder: Encoder | None) -> Any:
    finite = np.isfinite(vectors).all(axis=1)
    if encoder is None:
        return finite & vectors.any(axis=1)
    lengths = np.stack([np.linalg.norm(vectors[:, part].astype(np.float64), axis=1) for part in encoder.parts.values()])
    return finite & ((np.abs(lengths - 1) < _UNIT) | (lengths == 0)).all(axis=0)


def _store(library: Library, progress: Progress, full: bool) -> Iterator[Finding]:
    stored = library.stored
    try:
        index.sync(library.db, library.store, stored)  # what is on its way to the store is not lost
        rows = library.db.rows(stored.revision)
        rows = rows[rows < stored.rows]
        for line in shelves.compare(library, stored, library.store, rows, progress, full):
            yield Finding("store", line, REBUILD)
    except UserError as error:
        yield Finding("store", str(error), REBUILD)


def _thumbnails(library: Library, progress: Progress) -> Iterator[Finding]:
    there = {entry.name for entry in library.db.home.list(index.POSTERS)}
    lost = [name for name in pieces.thumbnails(library) if f"{index.POSTERS}/{name}" not in there]
    if lost:
        what = f"{len(lost)} thumbnails are missing: {_few(lost)}"
        yield Finding("thumbnails", what, "hit library remove LIBRARY VIDEO, then index it again")


def _files(library: Library, progress: Progress) -> Iterator[Finding]:
    gone, changed = [], []
    for path, known in library.db.files().items():
        try:
            look = content.look(library.db.roots.locate(path))
        except (OSError, UserError):
            gone.append(path)
            continue
        if look != content.Look(known.size, known.mtime_ns):
            changed.append(path)
    if gone:
        what = f"{len(gone)} files are not where they were: {_few(gone)}"
        yield Finding("files", what, "hit library remove LIBRARY --missing", note=True)
    if changed:
        yield Finding("files", f"{len(changed)} files have changed: {_few(changed)}", "hit index LIBRARY SOURCE", note=True)


def _leftovers(library: Library, progress: Progress) -> Iterator[Finding]:
    for one in leftovers.find(library):
        if one.count:
            yield Finding("leftovers", f"{one.count} {one.what}", PRUNE, note=True)


def _few(names: Iterable[object]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(json.dumps(str(name), ensure_ascii=False).strip('"') for name in names[:_NAMED]) + more
