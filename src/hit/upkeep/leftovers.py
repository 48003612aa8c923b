"""Files in a library's folder that nothing in it names: what runs that were killed left there, and what has had its time."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from hit.db import Stored, copies, upkeep
from hit.files import PART
from hit.index import POSTERS
from hit.library import CACHE, COPIES, UPLOADS, Library
from hit.objects import Entry
from hit.places import basename
from hit.upkeep import pieces, sizes

_FRESH = 86_400.0  # seconds in which an upload ends


@dataclass(frozen=True, slots=True)
class Leftover:
    """Files or folders of one kind, on the disk or in the object store, and their bytes."""

    what: str
    paths: list[Path]
    objects: Sequence[Entry] = ()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.paths) + len(self.objects)

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(sizes.of(path) for path in self.paths) + sum(entry.size for entry in self.objects)


def find(library: Library) -> list[Leftover]:
    """Return what may go without loss. The caller keeps writers out: what they are about to name would be found too."""
    files = library.db.files()
    videos = {file.video for file in files.values()}
    return [
        Leftover("thumbnails that no segment has", [] if library.db.objects else list(_thumbnails(library))),
        Leftover("files in the object store that nothing names", [], pieces.orphans(library, time.time() - _FRESH)),
        Leftover("copies of remote videos that nothing names", list(_copies(library, files))),
        Leftover("uploads that broke off, or that nothing names", list(_uploads(library, files))),
        Leftover("what was made of videos that are gone", [path for video, path in made(library) if video not in videos]),
        Leftover("arrays that nothing names", [library.path / stored.name for stored in generations(library)]),
        Leftover("unfinished files of runs that were killed", list(_parts(library))),
        Leftover("vectors in the form of an earlier program", [path for path in [library.path / "vectors"] if path.exists()]),
    ]


def generations(library: Library) -> list[Stored]:
    """Return the arrays on the disk that the database knows nothing of, as far as their folders tell what they are."""
    known = {stored.name: stored for stored in (library.stored, *upkeep.arrays(library.db))}
    revisions = {Path(name).parent.name: stored for name, stored in known.items()}
    found = []
    for folder in sorted((library.path / "embeddings").glob("*/*")):
        name = f"embeddings/{folder.parent.name}/{folder.name}"
        if name not in known and folder.name.isdecimal():
            # A revision that the database has forgotten was dropped from a store elsewhere before that.
            here = revisions.get(folder.parent.name)
            revision, dim = (here.revision, here.dim) if here else (unquote(folder.parent.name), library.config.model.dim)
            found.append(Stored(revision, dim, int(folder.name)))
    return found


def made(library: Library) -> Iterator[tuple[str, Path]]:
    """Yield what was made of videos to show them, each after its video's id, with which its name begins."""
    for path in sizes.tree(library.path / CACHE):
        if not path.name.startswith("."):  # a lock, or unfinished
            yield path.name[:16], path


def _thumbnails(library: Library) -> Iterator[Path]:
    folder = library.path / POSTERS
    named = {folder / name for name in pieces.thumbnails(library)}
    yield from (path for path in sizes.tree(folder) if path not in named)


def _copies(library: Library, files: Iterable[str]) -> Iterator[Path]:
    folder = library.path / COPIES
    named = {str(library.db.roots.seen(name)) for name in files}
    for path in sizes.tree(folder):
        own = path  # `hit.remote` keeps .NAME.json and .NAME.part beside the copy NAME
        if path.name.startswith(".") and path.suffix in (".json", ".part"):
            own = path.with_name(path.name[1 : -len(path.suffix)])
        if str(own.absolute()) not in named:
            yield path


def _uploads(library: Library, files: Iterable[str]) -> Iterator[Path]:
    """Yield what is no video's file, but for what may be on its way still."""
    named = {basename(path) for path in files}  # drawn by chance, and so known wherever the library lies
    fresh = time.time() - _FRESH
    for path in sizes.tree(library.path / UPLOADS):
        if path.name not in named and path.lstat().st_mtime < fresh:
            yield path


def _parts(library: Library) -> Iterator[Path]:
    for folder in (library.path, library.path / copies.FOLDER, *(library.path / "embeddings").rglob("*")):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if PART.fullmatch(path.name))
