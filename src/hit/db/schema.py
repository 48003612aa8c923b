"""The tables, as the newest migration leaves them."""

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Text(sa.TypeDecorator[str]):
    """Text without zero characters, which PostgreSQL cannot hold, and which no word, path or message needs."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Leave them out of what is written or looked for."""
        return value.replace("\0", "") if value else value


class Base(DeclarativeBase):
    """The schema."""

    metadata = sa.MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {  # SQLAlchemy 2.0 and 2.1 differ in their default for float
        str: Text(),
        float: sa.Double(),
        datetime: sa.DateTime(timezone=True),
        dict[str, Any]: sa.JSON(),
    }


class Video(Base):
    """One content, however many files hold it. `revision` is that of the model it was last embedded with.

    title: the name that it was uploaded under; one without is called as its file is.
    """

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
    added_at: Mapped[datetime]
    title: Mapped[str | None] = mapped_column(default=None)


class File(Base):
    """What a file is called, see `hit.places`, and how it was when it was last looked at."""

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


class Array(Base):
    """Where the vectors of one revision of a model lie, and how many rows there count: see `hit.arrays`."""

    __tablename__ = "arrays"
    revision: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    dim: Mapped[int]
    rows: Mapped[int] = mapped_column(sa.BigInteger)


class Embedding(Base):
    """Which row of the revision's array is a segment's vector. A row is used once."""

    __tablename__ = "embeddings"
    __table_args__ = (sa.UniqueConstraint("revision", "row", name="uq_embeddings_revision"),)
    segment_id: Mapped[str] = mapped_column(sa.ForeignKey("segments.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)
    row: Mapped[int] = mapped_column(sa.BigInteger)


class Line(Base):
    """Words that an expert read or heard in a segment, from `start` to `end`; `number` counts a segment's lines."""

    __tablename__ = "lines"
    segment_id: Mapped[str] = mapped_column(sa.ForeignKey("segments.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    expert: Mapped[str]
    start: Mapped[float]
    end: Mapped[float]
    text: Mapped[str]


class Document(Base):
    """The words of a segment, for keyword search: see `hit.db.words`. Each database has an index of its own over them."""

    __tablename__ = "documents"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: Mapped[int] = mapped_column(primary_key=True)
    segment_id: Mapped[str] = mapped_column(sa.ForeignKey("segments.id", ondelete="CASCADE"), unique=True)
    words: Mapped[str]


class Tag(Base):
    """A name that a video bears, and who gave it: "user", or what decides by itself."""

    __tablename__ = "tags"
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, index=True)
    source: Mapped[str]


class SavedSearch(Base):
    """A search that somebody gave a name."""

    __tablename__ = "searches"
    name: Mapped[str] = mapped_column(primary_key=True)
    query: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Job(Base):
    """A long piece of work on the library, and how it goes or went.

    done, total and note are its progress. Whoever works on it (`owner`) says so at `beat_at` again and again; one whose beat has
    stopped was killed, and another may take it over. `cancel`: somebody wants it to end.
    """

    __tablename__ = "jobs"
    __table_args__ = (sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime]
    begun_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    beat_at: Mapped[datetime | None]
    owner: Mapped[str | None]
    by: Mapped[str] = mapped_column(default="")
    cancel: Mapped[bool] = mapped_column(default=False)
    tries: Mapped[int] = mapped_column(default=0)
    done: Mapped[float] = mapped_column(default=0.0)
    total: Mapped[float | None]
    note: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any]]


class Token(Base):
    """What somebody, or a program, shows to be let in: only the hash of it is known here."""

    __tablename__ = "tokens"
    __table_args__ = (sa.CheckConstraint("role IN ('viewer', 'reviewer', 'senior', 'admin')", name="role"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


class Login(Base):
    """A browser that somebody has logged in with; the cookie's hash."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(primary_key=True)
    token_id: Mapped[int] = mapped_column(sa.ForeignKey("tokens.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Answer(Base):
    """What was answered to a request that bears a key, so that the same one again is answered the same, and not done twice."""

    __tablename__ = "answers"
    who: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[Any] = mapped_column(sa.JSON(), nullable=True)
    created_at: Mapped[datetime] = mapped_column(index=True)


class Unsynced(Base):
    """A row that changed and that the store has not acknowledged yet: to be put if a segment has it, else deleted."""

    __tablename__ = "unsynced"
    revision: Mapped[str] = mapped_column(primary_key=True)
    row: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)


class Changes(Base):
    """How often the library was written to: one row. What was worked out from its content holds while that stays."""

    __tablename__ = "changes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(sa.BigInteger)


class Shared(Base):
    """What library.toml says, for all machines that have the library open: one row, where the database is a server's."""

    __tablename__ = "shared"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    settings: Mapped[dict[str, Any]]


class Chunk(Base):
    """Rows `first` to `last` (exclusive) of an array, as an object of the library's object store: see `hit.objects`."""

    __tablename__ = "chunks"
    revision: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column(sa.BigInteger)
    name: Mapped[str] = mapped_column(unique=True)
