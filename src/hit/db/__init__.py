"""The library's database: which videos it holds, their segments, words, tags and embeddings. The only room of SQLAlchemy.

It is the truth, together with the arrays of vectors (`hit.arrays`) whose rows it names: every vector store can be rebuilt from
them. Rows are written before the transaction that makes them count. What a store has not yet been told stands in `unsynced`,
written in the same transaction as the change itself, so that a crash between the two is made good at the next opening.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.arrays import Matrix
from hit.db import keywords, where
from hit.db.keywords import Match
from hit.db.records import Records
from hit.db.schema import Array, Base, Changes, Embedding, File, Job, Line, SavedSearch, Segment, Tag, Unsynced, Video
from hit.db.setup import HEAD, complaints, engines, migrate
from hit.db.words import words
from hit.errors import UserError
from hit.filters import Node, to_text
from hit.types import Floats, Keys

__all__ = [
    "HEAD",
    "Base",
    "Database",
    "Found",
    "Job",
    "Known",
    "Line",
    "Match",
    "Place",
    "SavedSearch",
    "Segment",
    "StaleError",
    "Stored",
    "Tag",
    "Video",
    "words",
]
Status = Literal["pending", "indexing", "ready", "failed"]
T = TypeVar("T")
_BATCH = 500  # ids in one statement
_FILTERS = 32  # whose rows are kept


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was looked at."""

    path: str
    size: int
    mtime_ns: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class Known:
    """A file that the library knows, and how its video fared."""

    size: int
    mtime_ns: int
    content_hash: str
    video: str
    status: Status
    error: str | None
    revision: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment is found: its row, and a file that holds its video."""

    segment: Segment
    path: Path


def video_id(content_hash: str) -> str:
    """Return the id of the video with this content."""
    return content_hash[:16]


class StaleError(Exception):
    """The rows of an array were numbered anew since its store was opened: open it again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The array of a revision's vectors: its generation counts up whenever its rows are numbered anew."""

    revision: str
    dim: int
    generation: int = 0
    rows: int = 0  # how many count, dead ones too

    @property
    def name(self) -> str:
        """Its folder, relative to the library."""
        return f"embeddings/{quote(self.revision, safe='')}/{self.generation}"


class Database(Records):
    """An open database, brought to the newest schema, and the arrays in the library's `folder`.

    Raises UserError where a newer program wrote it, and where it cannot be reached.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._engine, self._writer = engines(url)
        self._matrices: dict[str, Matrix] = {}
        self._allowed: dict[tuple[str, str, int], Keys] = {}
        with complaints(self._engine):
            migrate(self._writer, folder)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    # -- files and videos

    def files(self) -> dict[str, Known]:
        """Return every known file by its path."""
        query = sa.select(File, Video).join(Video, Video.id == File.video_id)
        with self.read() as session:
            return {
                f.path: Known(f.size, f.mtime_ns, v.content_hash, v.id, v.status, v.error, v.revision)  # type: ignore[arg-type]
                for f, v in session.execute(query)
            }

    def record_files(self, found: Sequence[Found], gone: Iterable[str] = ()) -> list[str]:
        """Note what lies at which path; new content becomes a pending video, content without a file is dropped.

        Returns the thumbnails of dropped segments.
        """
        gone = set(gone)
        paths = {file.path for file in found} | gone
        with self.write() as session:
            renamed = set(_owners(session, paths))
            for file in found:
                key = video_id(file.content_hash)
                if session.get(Video, key) is None:
                    now = datetime.now(UTC)
                    session.add(Video(id=key, content_hash=file.content_hash, status="pending", added_at=now))
                    session.flush()
                session.merge(File(path=file.path, video_id=key, size=file.size, mtime_ns=file.mtime_ns))
            session.flush()
            for some in batches(gone):
                session.execute(sa.delete(File).where(File.path.in_(some)))
            lost = session.scalars(sa.select(Video.id).where(~sa.exists().where(File.video_id == Video.id))).all()
            thumbnails = _drop_videos(session, lost)
            keywords.refresh(session, renamed.union(_owners(session, paths)))
            return thumbnails

    def remove(self, videos: Iterable[str]) -> list[str]:
        """Forget videos and all that is known of them. Returns the thumbnails of dropped segments."""
        with self.write() as session:
            return _drop_videos(session, videos)

    def begin(self, videos: Iterable[str]) -> None:
        """Mark videos as being worked on."""
        with self.write() as session:
            for some in batches(videos):
                session.execute(sa.update(Video).where(Video.id.in_(some)).values(status="indexing", error=None))

    def fail(self, video: str, reason: str) -> list[str]:
        """Note why a video cannot be indexed; what it had is dropped. Returns the thumbnails of dropped segments."""
        with self.write() as session:
            thumbnails = _drop_segments(session, video)
            session.execute(sa.update(Video).where(Video.id == video).values(status="failed", error=reason))
            return thumbnails

    def finish(
        self,
        video: str,
        facts: Mapping[str, Any],
        segments: Sequence[Segment],
        revision: str,
        vectors: Floats,
        lines: Iterable[Line] = (),
    ) -> list[str]:
        """Record a video's segments, their vectors (N, dim) and the words in them, all or nothing.

        `facts` are columns of `videos`. Returns the thumbnails of segments that it had before and has no longer.
        """
        ids = [segment.id for segment in segments]
        with self.write() as session:
            thumbnails = _drop_segments(session, video, keep=set(ids))
            for segment in segments:
                session.merge(segment)
            session.flush()
            for some in batches(ids):
                before = sa.select(Embedding.row).where(Embedding.revision == revision, Embedding.segment_id.in_(some))
                _note(session, revision, session.scalars(before).all())
                session.execute(sa.delete(Embedding).where(Embedding.revision == revision, Embedding.segment_id.in_(some)))
                session.execute(sa.delete(Line).where(Line.segment_id.in_(some)))
            rows = self._append(session, revision, vectors)
            session.add_all(Embedding(segment_id=key, revision=revision, row=row) for key, row in zip(ids, rows, strict=True))
            _note(session, revision, rows)
            session.add_all(lines)
            keywords.refresh(session, [video])
            values = {"status": "ready", "error": None, "revision": revision, **facts}
            session.execute(sa.update(Video).where(Video.id == video).values(values))
            return thumbnails

    def counts(self) -> dict[str, int]:
        """Return how many videos are ready, and how many segments there are."""
        with self.read() as session:
            videos = session.scalar(sa.select(sa.func.count()).where(Video.status == "ready"))
            return {"videos": videos or 0, "segments": session.scalar(sa.select(sa.func.count(Segment.id))) or 0}

    def changes(self) -> int:
        """Return how often the library was written to."""
        with self.read() as session:
            return session.scalars(sa.select(Changes.count)).one()

    # -- segments and vectors

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
                here = query.where(Embedding.revision == stored.revision, Segment.video_id.in_(some))
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
        return Stored(revision, found.dim, found.generation, found.rows) if found else Stored(revision, dim)

    def rows(self, revision: str) -> Keys:
        """Return the rows of all vectors by this revision, ascending."""
        with self.read() as session:
            found = session.scalars(sa.select(Embedding.row).where(Embedding.revision == revision).order_by(Embedding.row))
            return np.fromiter(found, np.int64)

    def vector_count(self, revision: str) -> int:
        """Return how many segments have a vector by this revision."""
        with self.read() as session:
            return session.scalar(sa.select(sa.func.count()).where(Embedding.revision == revision)) or 0

    def matrix(self, stored: Stored) -> Matrix:
        """Return the array itself."""
        if stored.name not in self._matrices:
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
            if key not in self._allowed:
                _check(session, stored)
                rows = session.scalars(where.rows(stored.revision, node)).all()
                while len(self._allowed) >= _FILTERS:
                    self._allowed.pop(next(iter(self._allowed)), None)
                self._allowed[key] = np.array(rows, np.int64)
            return self._allowed[key]

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
        try:
            self.matrix(Stored(revision, array.dim, array.generation)).write(rows, vectors)
        except OSError as error:
            raise UserError(
                self.folder, f"cannot be written to: {error.strerror}", "make room, and give the command again"
            ) from error
        array.rows += len(vectors)
        return rows.tolist()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that reads one state of the library."""
        with complaints(self._engine), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that writes, alone, and whose changes count once it ends without an error."""
        with complaints(self._engine), Session(self._writer, expire_on_commit=False) as session, session.begin():
            session.connection()  # waits for its turn here, and not at the first statement
            yield session
            session.execute(sa.update(Changes).values(count=Changes.count + 1))


def _check(session: Session, stored: Stored) -> None:
    generation = session.scalar(sa.select(Array.generation).where(Array.revision == stored.revision))
    if generation is not None and generation != stored.generation:
        raise StaleError


def _owners(session: Session, paths: Iterable[str]) -> Iterator[str]:
    """Yield the videos that these files hold."""
    for some in batches(paths):
        yield from session.scalars(sa.select(File.video_id).where(File.path.in_(some)))


def _note(session: Session, revision: str, rows: Iterable[int]) -> None:
    """Have the stores told of rows."""
    for some in batches(rows):
        query = sa.select(Unsynced.row).where(Unsynced.revision == revision, Unsynced.row.in_(some))
        there = set(session.scalars(query))
        session.add_all(Unsynced(revision=revision, row=row) for row in some if row not in there)


def _drop_segments(session: Session, video: str, keep: Iterable[str] = ()) -> list[str]:
    """Delete a video's segments but `keep`, telling the stores; return their thumbnails."""
    kept = set(keep)
    dropped = [s for s in session.scalars(sa.select(Segment).where(Segment.video_id == video)) if s.id not in kept]
    for ids in batches(segment.id for segment in dropped):
        pairs = session.execute(sa.select(Embedding.revision, Embedding.row).where(Embedding.segment_id.in_(ids)))
        for revision, row in pairs.all():
            _note(session, revision, [row])
        session.execute(sa.delete(Segment).where(Segment.id.in_(ids)))
    return [segment.thumbnail for segment in dropped if segment.thumbnail]


def _drop_videos(session: Session, videos: Iterable[str]) -> list[str]:
    """Delete videos, telling the stores; return the thumbnails of their segments."""
    lost = list(videos)
    thumbnails = [name for video in lost for name in _drop_segments(session, video)]
    for some in batches(lost):
        session.execute(sa.delete(Video).where(Video.id.in_(some)))
    return thumbnails


def _keys(rows: Iterable[int]) -> Keys:
    return np.fromiter(rows, np.int64)


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Divide items into lists that a statement can name."""
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
