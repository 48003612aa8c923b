"""Segments and their vectors: which row of which array is whose, and what the vector stores have yet to be told."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit import files
from hit.arrays import Matrix
from hit.db import keywords, where
from hit.db.keywords import Match
from hit.db.schema import Array, Changes, Embedding, File, Line, Segment, Unsynced
from hit.db.session import Sessions, batches
from hit.errors import UserError
from hit.filters import Node, to_text
from hit.types import Floats, Keys

_FILTERS = 32  # whose rows are kept


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment is found: its row, and a file that holds its video."""

    segment: Segment
    path: Path


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
    """The part of a Database that knows them."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        self._guard = threading.Lock()  # several threads may search
        self._matrices: dict[str, Matrix] = {}
        self._allowed: dict[tuple[str, str, int], Keys] = {}

    def places(self, stored: Stored, rows: Iterable[int]) -> dict[int, Place]:
        """Return segments by their rows, each with the first file (by name) that holds its video; unknown rows are left out.

        Raises StaleError where the rows have been numbered anew.
        """
        path = sa.select(sa.func.min(File.path)).where(File.video_id == Segment.video_id).scalar_subquery()
        query = sa.select(Embedding.row, Segment, path).join(Segment, Segment.id == Embedding.segment_id)
        found: dict[int, Place] = {}
        with self.read() as session:
            _check(session, stored)
            for some in batches(rows):
                here = query.where(Embedding.revision == stored.revision, Embedding.row.in_(some))
                for row, segment, name in session.execute(here):
                    found[row] = Place(segment, Path(name))
        return found

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

    def lines(self, segments: Iterable[str]) -> dict[str, list[Line]]:
        """Return the lines of segments by their ids, in order; segments without words are left out."""
        found: dict[str, list[Line]] = {}
        with self.read() as session:
            for ids in batches(segments):
                for line in session.scalars(
                    sa.select(Line).where(Line.segment_id.in_(ids)).order_by(Line.segment_id, Line.number)
                ):
                    found.setdefault(line.segment_id, []).append(line)
        return found

    def stored(self, revision: str, dim: int) -> Stored:
        """Return what the array of a revision's vectors is; an empty one where there is none yet."""
        with self.read() as session:
            found = session.get(Array, revision)
        return Stored.of(found) if found else Stored(revision, dim)

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
                self._matrices[stored.name] = Matrix(self.folder / stored.name, stored.dim)
            return self._matrices[stored.name]

    def vectors(self, stored: Stored, rows: Keys) -> Floats:
        """Return the vectors (N, dim) in these rows. Raises StaleError as `places` does, UserError where the array is shorter."""
        if not len(rows):
            return np.zeros((0, stored.dim), np.float32)
        try:
            found: Floats = np.array(self.matrix(stored).view(int(max(rows)) + 1)[rows], np.float32)
        except EOFError as error:
            with self.read() as session:
                _check(session, stored)  # an array of before is gone
            raise UserError(self.folder, f"is damaged: {error}", "restore a backup with `hit library restore`") from None
        return found

    def matches(self, stored: Stored, text: str, limit: int, allowed: Keys | None = None) -> list[Match]:
        """Return up to `limit` segments that have words of a text, best first: see `hit.db.keywords`.

        With `allowed`, ascending, only these rows. Raises StaleError as `places` does.
        """
        with self.read() as session:
            _check(session, stored)
            return keywords.search(session, text, stored.revision, limit, allowed)

    def allowed(self, stored: Stored, node: Node) -> Keys:
        """Return the rows, ascending, whose segments a filter lets through. Raises StaleError as `places` does.

        The last few filters' rows are kept until the library changes.
        """
        with self.read() as session:
            key = stored.name, to_text(node), session.scalars(sa.select(Changes.count)).one()
            if (known := self._allowed.get(key)) is not None:
                return known
            _check(session, stored)
            found = _listed(session, where.rows(stored.revision, node))
        with self._guard:
            while len(self._allowed) >= _FILTERS:
                self._allowed.pop(next(iter(self._allowed)))
            self._allowed[key] = found
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

    def _append(self, session: Session, revision: str, vectors: Floats) -> list[int]:
        """Write vectors (N, dim) to the end of their array, and return their rows; they count once the session commits."""
        array = session.get(Array, revision)
        if array is None:
            array = Array(revision=revision, generation=0, dim=vectors.shape[1], rows=0)
            session.add(array)
        rows = np.arange(array.rows, array.rows + len(vectors))
        with files.room(self.folder):
            self.matrix(Stored.of(array)).write(rows, vectors)
        array.rows += len(vectors)
        return rows.tolist()


def rows_in(session: Session, revision: str) -> Keys:
    """Return the rows of all vectors by a revision, ascending, as this session sees them."""
    return _listed(session, sa.select(Embedding.row).where(Embedding.revision == revision))


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
