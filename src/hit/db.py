"""The library's database: which videos it holds, their segments and the embeddings. The only room of SQLAlchemy.

It is the truth: every vector store can be rebuilt from `embeddings`. What a store has not yet been told stands in `unsynced`,
written in the same transaction as the change itself, so that a crash between the two is made good at the next opening.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from hit.errors import UserError
from hit.types import Floats

HEAD = "0002"  # the newest migration
Status = Literal["pending", "indexing", "ready", "failed"]
T = TypeVar("T")
_BATCH = 500  # ids in one statement
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The schema, as the newest migration leaves it."""

    metadata = sa.MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: sa.Double()}  # SQLAlchemy 2.0 and 2.1 differ in their default


class Video(Base):
    """One content, however many files hold it. `revision` is that of the model it was last embedded with."""

    __tablename__ = "videos"
    __table_args__ = (sa.CheckConstraint("status IN ('pending', 'indexing', 'ready', 'failed')", name="status"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    content_hash: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(index=True)
    error: Mapped[str | None]
    revision: Mapped[str | None]
    duration: Mapped[float | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    rate: Mapped[float | None]
    codec: Mapped[str | None]
    has_audio: Mapped[bool | None]
    added_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))


class File(Base):
    """A path and what lay there when it was last looked at."""

    __tablename__ = "files"
    path: Mapped[str] = mapped_column(primary_key=True)
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id", ondelete="CASCADE"), index=True)
    size: Mapped[int] = mapped_column(sa.BigInteger)
    mtime_ns: Mapped[int] = mapped_column(sa.BigInteger)


class Segment(Base):
    """A stretch of a video: what is found and shown. `thumbnail` is relative to the library's thumbnails."""

    __tablename__ = "segments"
    id: Mapped[str] = mapped_column(primary_key=True)
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id", ondelete="CASCADE"), index=True)
    start: Mapped[float]
    end: Mapped[float]
    seek: Mapped[float]
    thumbnail: Mapped[str | None]


class Embedding(Base):
    """A segment's vector by one revision of the model: float32, little-endian."""

    __tablename__ = "embeddings"
    segment_id: Mapped[str] = mapped_column(sa.ForeignKey("segments.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True, index=True)
    vector: Mapped[bytes]


class Line(Base):
    """Words that an expert read or heard in a segment, from `start` to `end`; `number` counts a segment's lines."""

    __tablename__ = "lines"
    segment_id: Mapped[str] = mapped_column(sa.ForeignKey("segments.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    expert: Mapped[str]
    start: Mapped[float]
    end: Mapped[float]
    text: Mapped[str]


class Unsynced(Base):
    """A vector that changed in SQL and that the store has not acknowledged yet: to be put if it exists, else deleted."""

    __tablename__ = "unsynced"
    segment_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)


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


class Database:
    """An open database, brought to the newest schema. Raises UserError where a newer program wrote it."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            _set_up_sqlite(self._engine)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        _migrate(self._writer, url)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    # -- files and videos

    def files(self) -> dict[str, Known]:
        """Return every known file by its path."""
        query = sa.select(File, Video).join(Video, Video.id == File.video_id)
        with self._read() as session:
            return {
                f.path: Known(f.size, f.mtime_ns, v.content_hash, v.id, v.status, v.error, v.revision)  # type: ignore[arg-type]
                for f, v in session.execute(query)
            }

    def record_files(self, found: Sequence[Found], gone: Iterable[str] = ()) -> list[str]:
        """Note what lies at which path; new content becomes a pending video, content without a file is dropped.

        Returns the thumbnails of dropped segments.
        """
        with self._write() as session:
            for file in found:
                key = video_id(file.content_hash)
                if session.get(Video, key) is None:
                    now = datetime.now(UTC)
                    session.add(Video(id=key, content_hash=file.content_hash, status="pending", added_at=now))
                    session.flush()
                session.merge(File(path=file.path, video_id=key, size=file.size, mtime_ns=file.mtime_ns))
            session.flush()
            for paths in _batches(gone):
                session.execute(sa.delete(File).where(File.path.in_(paths)))
            lost = session.scalars(sa.select(Video.id).where(~sa.exists().where(File.video_id == Video.id))).all()
            thumbnails = [name for video in lost for name in _drop_segments(session, video)]
            for videos in _batches(lost):
                session.execute(sa.delete(Video).where(Video.id.in_(videos)))
            return thumbnails

    def begin(self, videos: Iterable[str]) -> None:
        """Mark videos as being worked on."""
        with self._write() as session:
            for some in _batches(videos):
                session.execute(sa.update(Video).where(Video.id.in_(some)).values(status="indexing", error=None))

    def fail(self, video: str, reason: str) -> list[str]:
        """Note why a video cannot be indexed; what it had is dropped. Returns the thumbnails of dropped segments."""
        with self._write() as session:
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
        blobs = [row.tobytes() for row in np.ascontiguousarray(vectors, "<f4")]
        with self._write() as session:
            thumbnails = _drop_segments(session, video, keep={segment.id for segment in segments})
            for segment, blob in zip(segments, blobs, strict=True):
                session.merge(segment)
                session.flush()  # the embedding's foreign key has no relationship that would order the two
                session.merge(Embedding(segment_id=segment.id, revision=revision, vector=blob))
                session.merge(Unsynced(segment_id=segment.id, revision=revision))
            for ids in _batches(segment.id for segment in segments):
                session.execute(sa.delete(Line).where(Line.segment_id.in_(ids)))
            session.add_all(lines)
            values = {"status": "ready", "error": None, "revision": revision, **facts}
            session.execute(sa.update(Video).where(Video.id == video).values(values))
            return thumbnails

    def counts(self) -> dict[str, int]:
        """Return how many videos are ready, and how many segments there are."""
        with self._read() as session:
            videos = session.scalar(sa.select(sa.func.count()).where(Video.status == "ready"))
            return {"videos": videos or 0, "segments": session.scalar(sa.select(sa.func.count(Segment.id))) or 0}

    # -- segments and vectors

    def places(self, segments: Iterable[str]) -> dict[str, Place]:
        """Return segments by id, each with the first file (by name) that holds its video; unknown ids are left out."""
        path = sa.select(sa.func.min(File.path)).where(File.video_id == Segment.video_id).scalar_subquery()
        found: dict[str, Place] = {}
        with self._read() as session:
            for ids in _batches(segments):
                for segment, name in session.execute(sa.select(Segment, path).where(Segment.id.in_(ids))):
                    found[segment.id] = Place(segment, Path(name))
        return found

    def lines(self, segments: Iterable[str]) -> dict[str, list[Line]]:
        """Return the lines of segments by their ids, in order; segments without words are left out."""
        found: dict[str, list[Line]] = {}
        with self._read() as session:
            for ids in _batches(segments):
                for line in session.scalars(
                    sa.select(Line).where(Line.segment_id.in_(ids)).order_by(Line.segment_id, Line.number)
                ):
                    found.setdefault(line.segment_id, []).append(line)
        return found

    def vector_ids(self, revision: str) -> set[str]:
        """Return the segments that have a vector by this revision."""
        with self._read() as session:
            return set(session.scalars(sa.select(Embedding.segment_id).where(Embedding.revision == revision)))

    def vector_count(self, revision: str) -> int:
        """Return how many segments have a vector by this revision."""
        with self._read() as session:
            return session.scalar(sa.select(sa.func.count()).where(Embedding.revision == revision)) or 0

    def vectors(self, revision: str, segments: Iterable[str]) -> dict[str, Floats]:
        """Return the vectors of segments by id; those without one are left out."""
        query = sa.select(Embedding.segment_id, Embedding.vector).where(Embedding.revision == revision)
        found: dict[str, Floats] = {}
        with self._read() as session:
            for ids in _batches(segments):
                for segment, blob in session.execute(query.where(Embedding.segment_id.in_(ids))):
                    found[segment] = np.frombuffer(blob, "<f4").astype(np.float32, copy=False)
        return found

    def unsynced(self, revision: str, limit: int) -> list[str]:
        """Return up to `limit` segments whose vector by this revision the store may not have as it is here."""
        query = sa.select(Unsynced.segment_id).where(Unsynced.revision == revision)
        with self._read() as session:
            return list(session.scalars(query.order_by(Unsynced.segment_id).limit(limit)))

    def synced(self, revision: str, segments: Iterable[str]) -> None:
        """Note that the store has these vectors as they are here."""
        with self._write() as session:
            for ids in _batches(segments):
                session.execute(sa.delete(Unsynced).where(Unsynced.revision == revision, Unsynced.segment_id.in_(ids)))

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session


def _drop_segments(session: Session, video: str, keep: Iterable[str] = ()) -> list[str]:
    """Delete a video's segments but `keep`, telling the stores; return their thumbnails."""
    kept = set(keep)
    dropped = [s for s in session.scalars(sa.select(Segment).where(Segment.video_id == video)) if s.id not in kept]
    for ids in _batches(segment.id for segment in dropped):
        pairs = session.execute(sa.select(Embedding.segment_id, Embedding.revision).where(Embedding.segment_id.in_(ids)))
        for segment, revision in pairs.all():
            session.merge(Unsynced(segment_id=segment, revision=revision))
        session.execute(sa.delete(Segment).where(Segment.id.in_(ids)))
    return [segment.thumbnail for segment in dropped if segment.thumbnail]


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _set_up_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # sqlite3 would begin transactions late, and never for a change of schema
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A reader that turns writer half way is refused at once where another writes; an immediate writer waits its turn.
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _migrate(engine: sa.Engine, url: str) -> None:
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    # Imported late: alembic takes longer to load than a library takes to open.
    from alembic import command, script, util
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    with engine.begin() as connection:  # another process may have been quicker: what to do is decided inside
        found = _revision(connection)
        try:
            script.ScriptDirectory.from_config(config).get_revision(found or "base")
        except util.CommandError:
            raise UserError(url, f"its schema '{found}' is newer than this program's '{HEAD}'", "upgrade hit") from None
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision
