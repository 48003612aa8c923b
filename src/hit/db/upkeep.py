"""What those who look after a library ask of its database: totals, checks, other numbers for rows, whole copies."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.chunks import Piece
from hit.db import Database, Stored, keywords
from hit.db.schema import Array, Base, Changes, Chunk, Embedding, File, Job, Line, Segment, Shared, Tag, Unsynced, Video
from hit.db.session import batches
from hit.db.vectors import note
from hit.errors import UserError
from hit.places import LIBRARY
from hit.types import Keys

_MANY = 10_000  # rows in one statement that is given its values one by one


def totals(db: Database) -> dict[str, Any]:
    """Return how many videos, by their state, files, segments, lines and tags there are."""
    with db.read() as session:
        states = dict(session.execute(sa.select(Video.status, sa.func.count()).group_by(Video.status)).all())
        tables = {"files": File, "segments": Segment, "lines": Line}
        counts = {name: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for name, table in tables.items()}
        tags = session.scalar(sa.select(sa.func.count(sa.distinct(Tag.name)))) or 0
        seconds = session.scalar(sa.select(sa.func.sum(Video.duration))) or 0.0
    names = ("ready", "indexing", "pending", "failed")
    return {"videos": {name: states.get(name, 0) for name in names}, **counts, "tags": tags, "seconds": seconds}


def kind(db: Database) -> dict[str, str]:
    """Return what the database is, and its schema."""
    with db.read() as session:
        name = session.get_bind().dialect.name
        return {"kind": name, "schema": session.scalar(sa.text("SELECT version_num FROM alembic_version")) or ""}


def arrays(db: Database) -> dict[Stored, int]:
    """Return the arrays of all revisions, and how many vectors live in each."""
    with db.read() as session:
        return arrays_in(session)


# -- checks


def complaints(db: Database) -> list[str]:
    """Return what the database's own checks find: damaged pages, rows that refer to nothing."""
    with db.read() as session:
        if session.get_bind().dialect.name != "sqlite":
            return []
        found = [str(line) for line in session.scalars(sa.text("PRAGMA integrity_check")) if line != "ok"]
        loose = session.execute(sa.text("PRAGMA foreign_key_check")).all()
        return found + [
            f"a row of the table {table} refers to one of {parent} that is not there" for table, _, parent, _ in loose
        ]


def words_complaints(db: Database, advance: Callable[[float], None]) -> list[str]:
    """Return what keeps segments from being found by their words; `advance` is told of videos. Nothing is changed."""
    wrong = 0
    with db.read() as session:
        try:
            if session.get_bind().dialect.name == "sqlite":
                session.execute(sa.text("INSERT INTO documents_fts (documents_fts, rank) VALUES ('integrity-check', 1)"))

            @sa.event.listens_for(session, "before_flush")
            def count(*_: object) -> None:
                nonlocal wrong
                wrong += len(session.new) + sum(session.is_modified(one) for one in session.dirty)

            for some in batches(_indexed(session)):
                keywords.refresh(session, some)
                session.rollback()
                advance(len(some))
        except sa.exc.DatabaseError as error:
            return [f"the index of words is damaged: {error.orig}"]
        finally:
            session.rollback()
    return [f"{wrong} segments are not found by their words"] if wrong else []


def rewrite_words(db: Database, advance: Callable[[float], None]) -> None:
    """Make what segments are found by anew; `advance` is told of videos."""
    with db.write() as session:
        if session.get_bind().dialect.name == "sqlite":
            session.execute(sa.text("INSERT INTO documents_fts (documents_fts) VALUES ('rebuild')"))
    with db.read() as session:
        videos = _indexed(session)
    for some in batches(videos):
        with db.write() as session:
            keywords.refresh(session, some)
        advance(len(some))


def _indexed(session: Session) -> list[str]:
    return list(session.scalars(sa.select(Video.id).where(Video.status == "ready").order_by(Video.id)))


def _grouped(pairs: Iterable[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def incomplete(db: Database, revision: str) -> dict[str, list[str]]:
    """Return the ready videos that cannot be found as they should, by what they lack.

    "segments": any; "vectors": of this revision for each of their segments; "embedded": the same, where their last embedding
    was by another revision, as is so while a library goes over to another model.
    """
    has = sa.exists().where(Embedding.segment_id == Segment.id, Embedding.revision == revision)
    lacks = sa.exists().where(Segment.video_id == Video.id, ~has)
    ready = sa.select(Video.id).where(Video.status == "ready").order_by(Video.id)
    own = Video.revision == revision
    with db.read() as session:
        return {
            "segments": list(session.scalars(ready.where(~sa.exists().where(Segment.video_id == Video.id)))),
            "vectors": list(session.scalars(ready.where(lacks, own))),
            "embedded": list(session.scalars(ready.where(lacks, ~own))),
        }


def outside(db: Database) -> dict[str, int]:
    """Return for each revision how many vectors have a row that its array does not have."""
    query = (
        sa.select(Embedding.revision, sa.func.count())
        .outerjoin(Array, Array.revision == Embedding.revision)
        .where(sa.or_(Array.revision.is_(None), Embedding.row < 0, Embedding.row >= Array.rows))
        .group_by(Embedding.revision)
    )
    with db.read() as session:
        return dict(session.execute(query).all())


# -- rows with other numbers, and revisions that go


def turn(db: Database, stored: Stored, rows: Keys | None = None, pieces: Iterable[Piece] = ()) -> Stored:
    """Go over to the next generation of an array, whose vectors and store are there, complete, and return it.

    In it `rows`, ascending, are 0, 1, 2, ..., in these `pieces` in an object store; without them every row has the number that
    it had, and lies where it lay.
    """
    changes = [] if rows is None else [(old, new) for new, old in enumerate(rows.tolist()) if old != new]
    fresh = Stored(stored.revision, stored.dim, stored.generation + 1, stored.rows if rows is None else len(rows))
    move = sa.update(Embedding.__table__).where(  # type: ignore[arg-type]
        Embedding.revision == stored.revision, Embedding.row == sa.bindparam("old")
    )
    with db.write() as session:
        for start in range(0, len(changes), _MANY):  # upwards: each number is free by the time that it is taken
            some = [{"old": old, "new": new} for old, new in changes[start : start + _MANY]]
            session.connection().execute(move.values(row=sa.bindparam("new")), some)
        array = session.get_one(Array, stored.revision)
        assert array.generation == stored.generation, "whoever turns keeps other writers out"
        array.generation, array.rows = fresh.generation, fresh.rows
        own = Chunk.revision == stored.revision
        if rows is None:
            session.execute(
                sa.update(Chunk).where(own, Chunk.generation == stored.generation).values(generation=fresh.generation)
            )
        else:
            session.execute(sa.delete(Chunk).where(own))
            session.add_all(note(fresh, piece) for piece in pieces)
        session.execute(sa.delete(Unsynced).where(Unsynced.revision == stored.revision))
    return fresh


def drop_revisions(db: Database, revision: str) -> None:
    """Forget the vectors of all revisions but one. Videos that this one has not embedded whole are to be indexed again."""
    with db.write() as session:
        for table in (Embedding, Unsynced, Array, Chunk):
            session.execute(sa.delete(table).where(table.revision != revision))
        has = sa.exists().where(Embedding.segment_id == Segment.id)
        lacks = sa.exists().where(Segment.video_id == Video.id, ~has)
        strayed = sa.update(Video).where(Video.status == "ready", Video.revision != revision)
        session.execute(strayed.where(lacks).values(status="pending"))
        session.execute(strayed.where(~lacks).values(revision=revision))


# -- whole copies, and tables for others


@contextmanager
def snapshot(db: Database) -> Iterator[Session]:
    """Open a session that sees one state of the library, whatever is written meanwhile."""
    with db.read() as session:
        if session.get_bind().dialect.name != "sqlite":  # there a transaction that reads is one as it is
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        session.execute(sa.select(Changes.count)).all()
        yield session


def size(session: Session) -> int:
    """Return how many rows all tables have."""
    return sum(session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in Base.metadata.sorted_tables)


def copy(session: Session, target: Database, advance: Callable[[float], None]) -> None:
    """Write a library's tables into an empty database, all or nothing; `advance` is told of rows.

    Jobs that run wait there again, but for those that are to end and those of command lines, which are left out. Its store is
    taken to hold everything, arrays are in the library's folder, and its settings are told to it later.
    """
    with target.write() as out:
        for table in reversed(Base.metadata.sorted_tables):
            out.execute(sa.delete(table))
        for table in Base.metadata.sorted_tables:
            for some in session.execute(sa.select(table).execution_options(yield_per=1000)).partitions():
                out.execute(table.insert(), [dict(row._mapping) for row in some])
                advance(len(some))
        for own in (Unsynced, Shared, Chunk):
            out.execute(sa.delete(own))
        running, fresh = Job.state == "running", {"owner": None, "begun_at": None, "beat_at": None, "total": None}
        out.execute(sa.delete(Job).where(running, Job.cancel | (Job.tries == 0)))  # those from the queue have been tried
        back = sa.update(Job).where(running).values(state="queued", done=0.0, note="", tries=Job.tries - 1, **fresh)
        out.execute(back)
        if out.get_bind().dialect.name == "postgresql":
            _count_on(out)


def _count_on(session: Session) -> None:
    """Have PostgreSQL give numbers that are free."""
    for table in Base.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is not None and isinstance(column.type, sa.Integer) and column.autoincrement == "auto":
            sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
            session.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(sa.func.max(column), 0) + 1, False)))


def empty(db: Database) -> bool:
    """Tell whether nothing is recorded yet."""
    with db.read() as session:
        return not any(session.scalar(sa.select(sa.func.count()).select_from(table)) for table in (Video, Array, Tag))


def arrays_in(session: Session) -> dict[Stored, int]:
    """Return what `arrays` does, as this session sees it."""
    living = dict(session.execute(sa.select(Embedding.revision, sa.func.count()).group_by(Embedding.revision)).all())
    found = session.scalars(sa.select(Array).order_by(Array.revision))
    return {Stored.of(one): living.get(one.revision, 0) for one in found}


def thumbnails(session: Session) -> list[str]:
    """Return the names of all segments' thumbnails, as this session sees them. Raises UserError for one that is elsewhere."""
    query = sa.select(Segment.thumbnail).where(Segment.thumbnail.is_not(None)).order_by(Segment.id)
    found = [str(name) for name in session.scalars(query)]
    for name in found:
        if name.startswith("/") or ".." in name.split("/"):  # whoever removes the segment would remove that file
            raise UserError(name, "is no name of a thumbnail: somebody has changed the records", "restore a backup of your own")
    return found


def names_in(session: Session) -> set[str]:
    """Return what the files that this session knows are called, in whatever folder."""
    return {PurePath(path).name for path in session.scalars(sa.select(File.path))}


def look_again(db: Database, looks: Mapping[str, tuple[int, int]]) -> None:
    """Note how files look now: size and mtime_ns by name."""
    with db.write() as session:
        for name, (size, mtime_ns) in looks.items():
            session.execute(sa.update(File).where(File.path == name).values(size=size, mtime_ns=mtime_ns))


def rehome(db: Database, looks: Mapping[str, tuple[int, int]], home: str) -> None:
    """Have files, whose names are like no others, be known by these sizes and times in the library's folder `home`."""
    with db.write() as session:
        for name in sorted(set(looks) & names_in(session)):
            for file in session.scalars(sa.select(File).where(File.path.endswith(f"/{name}", autoescape=True))):
                file.path, (file.size, file.mtime_ns) = f"{LIBRARY}:{home}/{name}", looks[name]


def segments_in(session: Session, revision: str) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the segments with a vector of a revision, in the order of its rows."""
    path = sa.select(sa.func.min(File.path)).where(File.video_id == Segment.video_id).scalar_subquery()
    query = (
        sa.select(
            Segment.id.label("segment"),
            Segment.video_id.label("video"),
            Segment.start,
            Segment.end,
            Segment.seek,
            path.label("path"),
        )
        .join(Embedding, Embedding.segment_id == Segment.id)
        .where(Embedding.revision == revision)
        .order_by(Embedding.row)
    )
    for some in session.execute(query.execution_options(yield_per=1000)).partitions():
        tags: dict[str, list[str]] = {}
        for videos in batches({row.video for row in some}):
            here = sa.select(Tag.video_id, Tag.name).where(Tag.video_id.in_(videos)).order_by(Tag.name)
            for video, name in session.execute(here):
                tags.setdefault(video, []).append(name)
        yield [{**row._mapping, "tags": tags.get(row.video, [])} for row in some]


def videos_in(session: Session) -> Iterator[list[Mapping[str, Any]]]:
    """Yield all videos with their files and tags, in the order of their ids."""
    columns = [Video.id.label("video"), *(column for column in Video.__table__.columns if column.name != "id")]
    query = sa.select(*columns).order_by(Video.id).execution_options(yield_per=500)
    for some in session.execute(query).partitions():
        ids = [row.video for row in some]
        files, tags = (
            _grouped(session.execute(sa.select(table.video_id, value).where(table.video_id.in_(ids)).order_by(value)))
            for table, value in ((File, File.path), (Tag, Tag.name))
        )
        yield [{**row._mapping, "paths": files.get(row.video, []), "tags": tags.get(row.video, [])} for row in some]


def lines_in(session: Session) -> Iterator[list[Mapping[str, Any]]]:
    """Yield all lines, by segment and in order."""
    columns = (Line.segment_id.label("segment"), Line.number, Line.expert, Line.start, Line.end, Line.text)
    query = sa.select(*columns).order_by(Line.segment_id, Line.number).execution_options(yield_per=1000)
    for some in session.execute(query).partitions():
        yield [dict(row._mapping) for row in some]
