"""What of a library lies in an object store: whether it is all there, what nothing names, and how it gets there and back."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from hit import chunks, content, files, models, objects, settings
from hit.chunks import Chunked, Piece
from hit.db import Stored, upkeep
from hit.errors import UserError
from hit.index import POSTERS
from hit.library import CACHE, COPIES, KEY, UPLOADS, Library
from hit.objects import OWNER, Entry, Folder
from hit.places import LIBRARY
from hit.stock import FETCHED
from hit.stores import LOCAL
from hit.types import Far, Progress, Silent

MADE = {"renditions": ".mp4", "sprites": ".jpg"}  # of videos to show them, in the object store too
_TOGETHER = 64  # files that are read, and written, at once
_LARGE = 8 << 20  # bytes of a file that goes by way of the disk
_FILES = (POSTERS, UPLOADS, COPIES)
_ANEW = re.compile(  # what the library has written, and can be had anew
    rf"{chunks.TOP}/[^/]+/[0-9a-f]{{16}}-[0-9a-f]{{8}}\.f32|{CACHE}/(renditions|sprites)/[0-9a-f]{{16}}[^/]*\.(mp4|jpg)"
)


def complaints(library: Library, stored: Stored, full: bool, progress: Progress) -> Iterator[tuple[str, bool]]:
    """Yield what is wrong with an array's pieces, and whether this machine's copy mends it; `full`: all bytes are looked at."""
    folder, matrix = library.db.objects, library.db.matrix(stored)
    assert folder and isinstance(matrix, Chunked), "asked of a library with its arrays in an object store"
    there = folder.sizes(chunks.TOP)
    reached = 0
    pieces = library.db.pieces(stored)
    with progress.task(f"Vectors of {stored.revision}", len(pieces)) as task:
        for piece in pieces:
            if piece.first != reached:
                yield f"rows {reached} to {piece.first} of revision {stored.revision} are in no piece", False
            reached = piece.last
            if (size := there.get(piece.name)) is None:
                yield f"{folder.url}/{piece.name} is missing", matrix.copy(piece) is not None
            elif size != chunks.size(piece, stored.dim) or (
                full and not chunks.sound(piece, folder.read(piece.name), stored.dim)
            ):
                yield f"{folder.url}/{piece.name} is damaged", matrix.copy(piece) is not None
            task.advance()
    if reached != stored.rows:
        yield f"rows {reached} to {stored.rows} of revision {stored.revision} are in no piece", False


def orphans(library: Library, fresh: float) -> list[Entry]:
    """Return the files in the object store that nothing in the library names; of uploads, those from before the time `fresh`."""
    folder = library.db.objects
    if not folder:
        return []
    known = library.db.files()
    videos = {file.video for file in known.values()}
    uploads = {PurePosixPath(path).name for path in known}
    kept = {quote(stored.revision, safe="") for stored in (library.stored, *upkeep.arrays(library.db))}
    named = {f"{POSTERS}/{name}" for name in thumbnails(library)} | library.db.piece_names()

    def loose(entry: Entry) -> bool:
        top, last = entry.name.partition("/")[0], entry.name.rpartition("/")[2]
        if top in (POSTERS, chunks.TOP):
            return entry.name not in named
        if top == UPLOADS:
            return last not in uploads and entry.modified.timestamp() < fresh
        if top == models.TOP:
            return entry.name.split("/")[1] not in kept
        if top == COPIES:
            return f"{LIBRARY}:{entry.name}" not in known
        return top == CACHE and last[:16] not in videos

    return [entry for entry in folder.list() if loose(entry)]


def thumbnails(library: Library) -> list[str]:
    """Return the names of all thumbnails that segments have."""
    with library.db.read() as session:
        return upkeep.thumbnails(session)


# -- there and back


def move(library: Library, to: str, drop_old: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Bring a library's arrays, thumbnails and uploads to a folder in an object store, and have it use them there.

    "local": the library's own folder. Before the library goes over, the sizes of all files are compared; what is there already,
    of its size, is not sent again, so that a call that was killed is gone on with, and one to where the files are brings back
    what is lost there and was copied here. The old files are left as they are, unless they are to be dropped: these are what was
    brought over and what can be had anew, and nothing else that lies there. Raises UserError for a folder that is another
    library's, and for what is lost.
    """
    progress = progress or Silent()
    with library.writing(), library.job("move", {"objects": to}) as job:
        before, source = library.config, library.db.home
        url = "" if to == LOCAL else objects.check(to)
        if url:
            objects.claim(url, before.id)
        target = objects.folder(url or library.path)
        held = list(upkeep.arrays(library.db))
        sent: list[str] = []
        if target.url != source.url:
            sent = _files(library, source, target, progress)
        with progress.task("Arrays", len(held)) as task:
            for stored in held:
                _array(library, stored, source, target if url else None)
                task.advance()
        shared = _shared(library, source, target, url) if target.url != source.url else []
        settings.share_model(library.path, replace(before, objects=url))
        if url != before.objects:
            library.change(replace(before, objects=url))
            late = _files(library, source, target, progress, [UPLOADS])  # some may have come meanwhile: no turn is taken for them
            sent = sorted({*sent, *late})
        settle(library)
        for stored in held if not url else ():
            library.db.set_pieces(stored, [])
        old = before.objects or LOCAL
        dropped = drop_old and url != before.objects
        if dropped:
            _drop(library, source, sent, shared, before.objects)
        job.result["files"] = len(sent)
    about = {"where": old, "dropped": dropped} if url != before.objects else None
    return {"library": str(library.path), "objects": url or LOCAL, "files": len(sent), "arrays": len(held), "old": about}


def settle(library: Library) -> None:
    """Have uploads and copies be known by what tells whether they change where they are now."""

    def look(entry: Entry) -> tuple[int, int]:
        where = library.db.top / entry.name
        found = content.look(replace(where, size=entry.size, mark=entry.mark) if isinstance(where, Far) else where)
        return found.size, found.mtime_ns

    home = library.db.home
    upkeep.rehome(library.db, {PurePosixPath(one.name).name: look(one) for one in home.list(UPLOADS)}, UPLOADS)
    upkeep.look_again(library.db, {f"{LIBRARY}:{one.name}": look(one) for one in home.list(COPIES)})


def _files(library: Library, source: Folder, target: Folder, progress: Progress, tops: Sequence[str] = _FILES) -> list[str]:
    """Copy thumbnails, uploads and what was fetched, and compare their sizes; return their names."""
    wanted = {f"{POSTERS}/{name}" for name in thumbnails(library)}
    wanted.update(name.partition(":")[2] for name in library.db.files() if name.startswith(f"{LIBRARY}:{COPIES}/"))
    here = {name: size for name, size in source.sizes(*tops).items() if name.startswith(f"{UPLOADS}/") or name in wanted}
    there = target.sizes(*tops)
    lacking = iter(name for name, size in here.items() if there.get(name) != size)
    with progress.task("Files", len(here)) as task, ThreadPoolExecutor(_TOGETHER) as pool:
        while some := list(islice(lacking, _TOGETHER)):
            small = [name for name in some if here[name] < _LARGE]
            target.write_all(dict(zip(small, pool.map(source.read, small), strict=True)))
            for name in set(some).difference(small):
                _hand(library, source, target, name)
            task.advance(len(some))
    there = target.sizes(*tops)
    if wrong := [name for name, size in here.items() if there.get(name) != size]:
        raise UserError(f"{target.url}/{wrong[0]}", "is not what was sent", "give the same command again")
    return list(here)


def _shared(library: Library, source: Folder, target: Folder, url: str) -> list[str]:
    """Have the key of webhooks and the model in the target, or here without a URL; return what the source has of these."""
    key, before = library.path / KEY, library.config
    ((_, secret),) = contents(source, [KEY])
    found = [KEY] if secret else []
    if secret is None and key.exists():
        secret = key.read_bytes()
    if secret and url:
        target.write(KEY, secret)
    elif secret and not key.exists():
        files.create(key, secret, 0o600)
    if not before.objects:
        return found
    own = f"{models.TOP}/{quote(before.model.revision, safe='')}" if not url else models.TOP
    sizes = source.sizes(own)
    if not url:
        here = bool(sizes) and settings.revision(settings.model_here(library.path, before)) == before.model.revision
        return [*found, *sizes] if here else found
    there = target.sizes(models.TOP)
    for name in sorted(sizes, key=lambda name: (name.endswith("/card.json"), name)):  # which says that all of it is there
        if there.get(name) != sizes[name]:
            _hand(library, source, target, name)
    return [*found, *sizes]


def _hand(library: Library, source: Folder, target: Folder, name: str) -> None:
    """Copy a large file, by way of this machine's disk."""
    way = library.path / FETCHED / f".{PurePosixPath(name).name}.part"
    way.parent.mkdir(exist_ok=True)
    try:
        source.download(name, way)
        target.upload(name, way)
    finally:
        way.unlink(missing_ok=True)


def _array(library: Library, stored: Stored, source: Folder, target: Folder | None) -> None:
    """Have an array's pieces in the target, or all of it in the library's folder where that is None."""
    matrix = library.db.matrix(stored)
    if target is None:
        _whole(matrix, stored)
    elif not library.db.objects:
        fresh = list(chunks.send_all(target, stored.revision, _whole(matrix, stored), 0, stored.rows))
        library.db.set_pieces(stored, fresh)
        Chunked(library.path / stored.name, stored.dim, target, lambda *_: fresh).keep(fresh)
    else:
        _mend(matrix, library.db.pieces(stored), stored.dim, source, target)


def _whole(matrix: Any, stored: Stored) -> Any:
    try:
        matrix.view(stored.rows)
    except EOFError as error:
        raise UserError(matrix.path, f"is damaged: {error}", "run `hit library verify`") from None
    return matrix


def _mend(matrix: Any, pieces: Iterable[Piece], dim: int, source: Folder, target: Folder) -> None:
    """Write the pieces that the target lacks, from the source or, where it has them not, from this machine's copy."""
    there = target.sizes(chunks.TOP)
    for piece in pieces:
        there_whole = there.get(piece.name) == chunks.size(piece, dim)
        if there_whole and (target.url != source.url or chunks.sound(piece, target.read(piece.name), dim)):
            continue
        data = None
        with contextlib.suppress(FileNotFoundError):
            data = source.read(piece.name)
        if data is None or not chunks.sound(piece, data, dim):
            data = matrix.copy(piece)
        if data is None:
            raise UserError(f"{source.url}/{piece.name}", "is lost, and there is no copy of it here", "restore a backup")
        target.write(piece.name, data)


def _drop(library: Library, source: Folder, sent: Iterable[str], shared: Sequence[str], url: str) -> None:
    """Remove from where it was what was sent, so far as the library's records name it, and what can be had anew.

    All else in a folder of an object store may be somebody else's; in the library's own, copies of remote videos stay.
    """
    known = {name.removeprefix(f"{LIBRARY}:") for name in library.db.files()}
    gone = [name for name in sent if name in known or name.startswith(f"{POSTERS}/")]
    if url:
        made = (entry.name for top in (chunks.TOP, CACHE) for entry in source.list(top))
        names = chain(gone, shared, filter(_ANEW.fullmatch, made), [OWNER])
    else:
        names = chain([name for name in gone if not name.startswith(f"{COPIES}/")])
    while some := list(islice(names, 1000)):
        source.delete(some)


def contents(folder: Folder, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield files of a folder, read several at once; None for those that are not there."""

    def read(name: str) -> bytes | None:
        try:
            return folder.read(name)
        except FileNotFoundError:
            return None

    waiting = iter(names)
    with ThreadPoolExecutor(16) as pool:
        while some := list(islice(waiting, _TOGETHER)):
            yield from zip(some, pool.map(read, some), strict=True)
