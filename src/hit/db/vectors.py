"""Segments and their vectors: which row of which array is whose, and what the vector stores have yet to be told."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit import chunks, files, objects, places, stock
from hit.arrays import Matrix
from hit.chunks import Chunked, Piece
from hit.db import keywords, where
from hit.db.keywords import Match
from hit.db.schema import Array, Chunk, Embedding, File, Line, Segment, Unsynced
from hit.db.session import Sessions, batches
from hit.errors import UserError
from hit.filters import Node, to_text
from hit.objects import Folder
from hit.stock import Stock
from hit.types import Far, Floats, Keys, Where


class Stretch(NamedTuple):
    """A segment as it is shown; see `schema.Segment`."""

    id: str
    video_id: str
    start: float
    end: float
    seek: float
    thumbnail: str | None


class Place(NamedTuple):
    """Where a segment is found: what it is, and a file that holds its video."""

    segment: Stretch
    path: Where


class Said(NamedTuple):
    """A line as it is shown; see `schema.Line`."""

    segment_id: str
    number: int
    expert: str
    start: float
    end: float
    text: str


class StaleError(Exception):
    """The rows of an array were numbered anew since its store was opened: open it again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The array of a revision's vectors: its generation counts up whenever its rows are numbered anew."""

    revision: str
    dim: int
    generation: int = 0
    rows: int = 0  # how many count, dead ones too

    @classmethod
    def of(cls, array: Array) -> "Stored":
        """Return what a line of the table of arrays says."""
        return cls(array.revision, array.dim, array.generation, array.rows)

    @property
    def name(self) -> str:
        """Its folder, relative to the library."""
        return f"embeddings/{quote(self.revision, safe='')}/{self.generation}"


class Vectors(Sessions):
    """The part of a Database that knows them, and where the files are that its records name.

    objects: their folder in an object store, if they are there; home: their folder anyway, and top: what it is called. stock: to
    read what is small and never changes, such as thumbnails.
    """

    objects: Folder | None
    home: Folder
    top: Where
    stock: Stock

    def __init__(self, url: str, folder: Path, place: str = "") -> None:
        super().__init__(url, folder)
        self._guard = threading.Lock()  # several threads may search
        self._matrices: dict[str, Matrix] = {}
        self._coming: tuple[str, list[Piece]] = "", []
        self.keep_in(place)

    def keep_in(self, place: str) -> None:
        """Look for arrays, and all other files, in an object store, by URL; empty: in the library's folder."""
        with self._guard:
            self.roots = places.deployed(self.folder.absolute(), place)
            self.objects = objects.folder(place) if place else None
            self.home = self.objects or objects.folder(self.folder)
            self.top = Far(place) if place else self.folder.absolute()
            self.stock = Stock(self.home, self.folder / stock.FETCHED if place else None)
            self._matrices = {}

    def places(self, stored: Stored, rows: Iterable[int]) -> dict[int, Place]:
        """Return segments by their rows, each with the first file (by name) that holds its video; unknown rows are left out.

        Raises StaleError where the rows have been numbered anew.
        """

        def load(session: Session, lacking: list[int]) -> dict[int, Place]:
            _check(session, stored)
            found: dict[int, Place] = {}
            paths: dict[str, Where] = {}
            for some in batches(lacking):
                here = _PLACES.where(Embedding.revision == stored.revision, Embedding.row.in_(some))
                for row, name, *segment in session.execute(here):
                    found[row] = Place(Stretch(*segment), paths.get(name) or paths.setdefault(name, self.roots.seen(name)))
            return found

        return self.known((stored.name, "places"), rows, load)

    def segments(self, stored: Stored, videos: Iterable[str]) -> dict[str, dict[int, Segment]]:
        """Return the segments of videos by their rows, in the order of time. Raises StaleError as `places` does."""
        query = sa.select(Embedding.row, Segment).join(Segment, Segment.id == Embedding.segment_id)
        found: dict[str, dict[int, Segment]] = {}
        with self.read() as session:
            _check(session, stored)
            for some in batches(videos):
                here = query.where(where.of(stored.revision), Segment.video_id.in_(some))
                for row, segment in session.execute(here.order_by(Segment.start, Embedding.row)):
                    found.setdefault(segment.video_id, {})[row] = segment
        return found

    def filmed(self, revision: str) -> list[str]:
        """Return the videos that have vectors by this revision, in the order of their ids."""
        query = sa.select(Segment.video_id).join(Embedding, Embedding.segment_id == Segment.id).where(where.of(revision))
        with self.read() as session:
            return list(session.scalars(query.distinct().order_by(Segment.video_id)))

    def owners(self, stored: Stored) -> tuple[Keys, list[str]]:
        """Return the rows (N,) of all vectors and the video of each, in the order of videos and of time.

        Raises StaleError as `places` does.
        """
        query = sa.select(Embedding.row, Segment.video_id).join(Segment, Segment.id == Embedding.segment_id)
        with self.read() as session:
            _check(session, stored)
            found = session.execute(query.where(where.of(stored.revision)).order_by(Segment.video_id, Segment.start, Segment.id))
            pairs = found.all()
        return _keys(row for row, _ in pairs), [video for _, video in pairs]

    def lines(self, segments: Iterable[str]) -> dict[str, list[Said]]:
        """Return the lines of segments by their ids, in order; segments without words are left out."""

        def load(session: Session, lacking: list[str]) -> dict[str, list[Said]]:
            found: dict[str, list[Said]] = {}
            for ids in batches(lacking):
                for row in session.execute(_LINES.where(Line.segment_id.in_(ids))):
                    found.setdefault(row.segment_id, []).append(Said(*row))
            return found

        return self.known("lines", segments, load)

    def stored(self, revision: str, dim: int) -> Stored:
        """Return what the array of a revision's vectors is; an empty one where there is none yet."""

        def load(session: Session, _: list[str]) -> dict[str, Stored]:
            found = session.get(Array, revision)
            return {revision: Stored.of(found)} if found else {}

        return self.known("array", [revision], load).get(revision) or Stored(revision, dim)

    def rows(self, revision: str) -> Keys:
        """Return the rows of all vectors by this revision, ascending."""
        with self.read() as session:
            return rows_in(session, revision)

    def vector_count(self, revision: str) -> int:
        """Return how many segments have a vector by this revision."""
        with self.read() as session:
            return session.scalar(sa.select(sa.func.count()).where(Embedding.revision == revision)) or 0

    def matrix(self, stored: Stored) -> Matrix:
        """Return the array itself."""
        with self._guard:
            if stored.name not in self._matrices:
                of = f"{stored.name.rpartition('/')[0]}/"  # whose rows of before no longer hold their file, which may be gone
                self._matrices = {name: kept for name, kept in self._matrices.items() if not name.startswith(of)}
                self._matrices[stored.name] = self.array(stored)
            return self._matrices[stored.name]

    def array(self, stored: Stored) -> Matrix:
        """Open an array, apart from those that are kept open."""
        folder = self.folder / stored.name
        if not self.objects:
            return Matrix(folder, stored.dim)

        def find(first: int, last: int) -> list[Piece]:
            name, coming = self._coming
            if name == stored.name:
                return [piece for piece in coming if piece.last > first and piece.first < last]
            return self.pieces(stored, first, last)

        return Chunked(folder, stored.dim, self.objects, find)

    @contextmanager
    def coming(self, stored: Stored, pieces: Iterable[Piece]) -> Iterator[None]:
        """Have these be the pieces of an array that the database does not know yet."""
        self._coming = stored.name, list(pieces)
        try:
            yield
        finally:
            self._coming = "", []

    def pieces(self, stored: Stored, first: int = 0, last: int | None = None) -> list[Piece]:
        """Return the pieces of an array in the object store, or those that have any of the rows FIRST to LAST, in order."""
        query = sa.select(Chunk.first, Chunk.last, Chunk.name).order_by(Chunk.first)
        query = query.where(Chunk.revision == stored.revision, Chunk.generation == stored.generation, Chunk.last > first)
        with self.read() as session:
            return [Piece(*row) for row in session.execute(query if last is None else query.where(Chunk.first < last))]

    def piece_names(self) -> set[str]:
        """Return the names of the pieces of all arrays."""
        with self.read() as session:
            return set(session.scalars(sa.select(Chunk.name)))

    def set_pieces(self, stored: Stored, pieces: Iterable[Piece]) -> None:
        """Have these be the pieces of an array."""
        with self.write(content=False, turn=True) as session:
            session.execute(sa.delete(Chunk).where(Chunk.revision == stored.revision))
            session.add_all(note(stored, piece) for piece in pieces)

    def merge(self, stored: Stored) -> None:
        """Make large pieces of small ones, where there are many. The caller keeps other writers out.

        Raises StaleError where they were not kept out: then nothing that the table names is removed.
        """
        matrix = self.matrix(stored)
        if not self.objects or not isinstance(matrix, Chunked):
            return
        old: list[str] = []
        for run in chunks.due(self.pieces(stored), stored.dim):
            first, last = run[0].first, run[-1].last
            name = chunks.send(self.objects, stored.revision, np.concatenate([matrix.whole(piece) for piece in run]))
            own = (Chunk.revision == stored.revision, Chunk.generation == stored.generation)
            names = [piece.name for piece in run]
            with self.write(content=False, turn=True) as session:
                gone = sa.delete(Chunk).where(*own, Chunk.name.in_(names)).returning(Chunk.name)
                if len(session.execute(gone).all()) != len(run):
                    raise StaleError  # another generation may name them by now
                session.add(note(stored, Piece(first, last, name)))
            old += names
        self.objects.delete(old)  # readers that are about to look at one of these look for it anew

    def vectors(self, stored: Stored, rows: Keys) -> Floats:
        """Return the vectors (N, dim) in these rows. Raises StaleError as `places` does, UserError where the array is shorter."""
        if not len(rows):
            return np.zeros((0, stored.dim), np.float32)
        try:
            found = self.matrix(stored).take(rows)
        except EOFError as error:
            with self.read() as session:
                _check(session, stored)  # an array of before is gone
            raise UserError(self.folder, f"is damaged: {error}", "restore a backup with `hit library restore`") from None
        return found

    def segment_vectors(self, stored: Stored, segments: Iterable[str]) -> dict[str, Floats]:
        """Return the vectors (dim,) of segments by their ids; those without one are left out. Raises StaleError as `places`."""
        query = sa.select(Embedding.segment_id, Embedding.row).where(Embedding.revision == stored.revision)
        with self.read() as session:
            _check(session, stored)
            pairs = [pair for some in batches(segments) for pair in session.execute(query.where(Embedding.segment_id.in_(some)))]
        found = self.vectors(stored, _keys(row for _, row in pairs))
        return {key: vector for (key, _), vector in zip(pairs, found, strict=True)}

    def stretches(self, segments: Iterable[str]) -> dict[str, Stretch]:
        """Return segments by their ids; those that are not known are left out."""

        def load(session: Session, lacking: list[str]) -> dict[str, Stretch]:
            query = sa.select(Segment.id, Segment.video_id, Segment.start, Segment.end, Segment.seek, Segment.thumbnail)
            found = [row for some in batches(lacking) for row in session.execute(query.where(Segment.id.in_(some)))]
            return {row[0]: Stretch(*row) for row in found}

        return self.known("stretches", segments, load)

    def matches(self, stored: Stored, text: str, limit: int, allowed: Keys | None = None) -> list[Match]:
        """Return up to `limit` segments that have words of a text, best first: see `hit.db.keywords`.

        With `allowed`, ascending, only these rows. Raises StaleError as `places` does.
        """

        def known(kind: str, keys: Sequence[Any], load: keywords.Load) -> Mapping[Any, Any]:
            def checked(session: Session, lacking: list[Any]) -> Mapping[Any, Any]:
                _check(session, stored)
                return load(session, lacking)

            return self.known((stored.name, kind), keys, checked)

        with self.read() as session:
            return keywords.search(session, text, stored.revision, limit, allowed, known)

    def allowed(self, stored: Stored, node: Node) -> Keys:
        """Return the rows, ascending, whose segments a filter lets through. Raises StaleError as `places` does."""

        def load(session: Session, texts: list[str]) -> dict[str, Keys]:
            _check(session, stored)
            return {texts[0]: _listed(session, where.rows(stored.revision, node))}

        (found,) = self.known((stored.name, "filter"), [to_text(node)], load).values()
        return found

    def unsynced(self, revision: str, limit: int) -> tuple[Keys, Keys]:
        """Return up to `limit` rows that the store may not have as they are here: those that live, and those that do not."""
        query = sa.select(Unsynced.row, Embedding.segment_id).where(Unsynced.revision == revision)
        same = (Embedding.revision == Unsynced.revision) & (Embedding.row == Unsynced.row)
        with self.read() as session:
            pairs = session.execute(query.outerjoin(Embedding, same).order_by(Unsynced.row).limit(limit)).all()
        return _keys(row for row, segment in pairs if segment), _keys(row for row, segment in pairs if not segment)

    def synced(self, revision: str, rows: Keys) -> None:
        """Note that the store has these rows as they are here."""
        with self.write() as session:
            for some in batches(rows.tolist()):
                session.execute(sa.delete(Unsynced).where(Unsynced.revision == revision, Unsynced.row.in_(some)))

    def _send(self, revision: str, vectors: Floats) -> str:
        """Write vectors (N, dim) to the object store, if arrays are there, and return the name that `_append` is to be told.

        Before a transaction begins: nobody is to wait for an object store.
        """
        return chunks.send(self.objects, revision, vectors) if self.objects and len(vectors) else ""

    def _append(self, session: Session, revision: str, vectors: Floats, sent: str = "") -> list[int]:
        """Write vectors (N, dim) to the end of their array, and return their rows; they count once the session commits."""
        array = session.get(Array, revision)
        if array is None:
            array = Array(revision=revision, generation=0, dim=vectors.shape[1], rows=0)
            session.add(array)
        first, last = array.rows, array.rows + len(vectors)
        matrix = self.matrix(Stored.of(array))
        if not self.objects:
            _reach(matrix, first)
        with files.room(self.folder):
            matrix.write(np.arange(first, last), vectors)
        array.rows = last
        if sent:
            piece = Piece(first, last, sent)
            session.add(note(Stored.of(array), piece))
            sa.event.listen(session, "after_commit", lambda _: matrix.keep([piece]), once=True)
        return list(range(first, last))


_LINES = sa.select(*(getattr(Line, name) for name in Said._fields)).order_by(Line.segment_id, Line.number)
_PLACES = sa.select(
    Embedding.row,
    sa.select(sa.func.min(File.path)).where(File.video_id == Segment.video_id).scalar_subquery(),
    *(getattr(Segment, name) for name in Stretch._fields),
).join(Segment, Segment.id == Embedding.segment_id)


def note(stored: Stored, piece: Piece) -> Chunk:
    """Return what the table of pieces says of one."""
    return Chunk(revision=stored.revision, generation=stored.generation, first=piece.first, last=piece.last, name=piece.name)


def rows_in(session: Session, revision: str) -> Keys:
    """Return the rows of all vectors by a revision, ascending, as this session sees them."""
    return _listed(session, sa.select(Embedding.row).where(Embedding.revision == revision))


def _reach(matrix: Matrix, rows: int) -> None:
    try:
        matrix.view(rows)
    except EOFError as error:  # what is added would lie behind a hole, that reads as zeros
        fix = "restore a backup; or share the folder `embeddings` of the machine that has them, or move it to an object store"
        raise UserError(matrix.path.parent, f"its vectors are not on this machine: {error}", fix) from None


def _listed(session: Session, query: sa.Select[Any]) -> Keys:
    """Return what a query for rows finds, ascending: as one text, since a million single answers take seconds."""
    rows = query.order_by(None).subquery()
    text = session.scalar(sa.select(sa.func.aggregate_strings(sa.cast(rows.c.row, sa.String), ",")))
    return np.sort(np.fromstring(text or "", np.int64, sep=","))


def _check(session: Session, stored: Stored) -> None:
    generation = session.scalar(sa.select(Array.generation).where(Array.revision == stored.revision))
    if generation is not None and generation != stored.generation:
        raise StaleError


def _keys(rows: Iterable[int]) -> Keys:
    return np.fromiter(rows, np.int64)
