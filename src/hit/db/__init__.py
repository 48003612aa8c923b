"""The library's database: which videos it holds, their segments, words, tags and embeddings. The only room of SQLAlchemy.

It is the truth, together with the arrays of vectors (`hit.arrays`) whose rows it names: every vector store can be rebuilt from
them. Rows are written before the transaction that makes them count. What a store has not yet been told stands in `unsynced`,
written in the same transaction as the change itself, so that a crash between the two is made good at the next opening.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db import keywords
from hit.db.access import AccessRecords
from hit.db.browse import Browse, Card
from hit.db.cases import ReviewRecords, withdraw_videos
from hit.db.jobs import JobRecords
from hit.db.keywords import Match
from hit.db.labels import LabelRecords
from hit.db.policies import IN_FORCE, Judged, PolicyRecords, Verdicts
from hit.db.records import Records
from hit.db.schema import (
    Answer,
    Base,
    Embedding,
    File,
    Job,
    Line,
    Login,
    SavedSearch,
    Segment,
    Tag,
    Token,
    Unsynced,
    Video,
)
from hit.db.schema_review import (
    Assignment,
    Banned,
    Case,
    Chain,
    Decision,
    Delivery,
    Endpoint,
    LabelAnswer,
    LabelSet,
    Policy,
    PolicyChange,
    Print,
    Skip,
    Tagged,
    Verdict,
)
from hit.db.session import batches
from hit.db.setup import HEAD
from hit.db.vectors import Place, Said, StaleError, Stored, Vectors
from hit.db.words import words
from hit.types import Floats

__all__ = [
    "HEAD",
    "IN_FORCE",
    "Answer",
    "Assignment",
    "Banned",
    "Base",
    "Card",
    "Case",
    "Chain",
    "Database",
    "Decision",
    "Delivery",
    "Endpoint",
    "Found",
    "Job",
    "Judged",
    "Known",
    "LabelAnswer",
    "LabelSet",
    "Line",
    "Login",
    "Match",
    "Place",
    "Policy",
    "PolicyChange",
    "Print",
    "Said",
    "SavedSearch",
    "Segment",
    "Skip",
    "StaleError",
    "Stored",
    "Tag",
    "Tagged",
    "Token",
    "Verdict",
    "Verdicts",
    "Video",
    "words",
]
Status = Literal["pending", "indexing", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was looked at. `path`: its name, see `hit.places`."""

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


def video_id(content_hash: str) -> str:
    """Return the id of the video with this content."""
    return content_hash[:16]


class Database(AccessRecords, Browse, JobRecords, LabelRecords, PolicyRecords, Records, ReviewRecords, Vectors):
    """An open database, brought to the newest schema, and the arrays in the library's `folder`.

    Raises UserError where a newer program wrote it, and where it cannot be reached.
    """

    # -- files and videos

    def files(self) -> dict[str, Known]:
        """Return every known file by its name, see `hit.places`."""
        query = sa.select(File, Video).join(Video, Video.id == File.video_id)
        with self.read() as session:
            return {
                f.path: Known(f.size, f.mtime_ns, v.content_hash, v.id, v.status, v.error, v.revision)  # type: ignore[arg-type]
                for f, v in session.execute(query)
            }

    def record_files(
        self, found: Sequence[Found], gone: Iterable[str] = (), titles: Mapping[str, str] | None = None
    ) -> list[str]:
        """Note what lies at which path; new content becomes a pending video, content without a file is dropped.

        titles: of the videos at these paths. Returns the thumbnails of dropped segments.
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
                if titles and file.path in titles:
                    session.get_one(Video, key).title = titles[file.path]
                session.merge(File(path=file.path, video_id=key, size=file.size, mtime_ns=file.mtime_ns))
            session.flush()
            for some in batches(gone):
                session.execute(sa.delete(File).where(File.path.in_(some)))
            lost = session.scalars(sa.select(Video.id).where(~sa.exists().where(File.video_id == Video.id))).all()
            thumbnails = _drop_videos(session, lost)
            keywords.refresh(session, renamed.union(_owners(session, paths)))
            return thumbnails

    def rename(self, names: Mapping[str, str]) -> None:
        """Call files by other names; one whose new name is known already goes."""
        with self.write() as session:
            for old, new in names.items():
                if session.get(File, new) is None:
                    session.execute(sa.update(File).where(File.path == old).values(path=new))
                else:
                    session.execute(sa.delete(File).where(File.path == old))

    def begin(self, videos: Iterable[str]) -> None:
        """Mark videos as being worked on."""
        with self.write() as session:
            for some in batches(videos):
                session.execute(sa.update(Video).where(Video.id.in_(some)).values(status="indexing", error=None))

    def set_back(self, videos: Iterable[str]) -> None:
        """Have videos that were indexed, or failed, wait to be indexed anew. What they have is found until then."""
        with self.write() as session:
            for some in batches(videos):
                session.execute(sa.update(Video).where(Video.id.in_(some)).values(status="pending", error=None))

    def fail(self, video: str, reason: str, revision: str) -> list[str]:
        """Note why a video cannot be indexed by a revision of the model; what it had by that one is dropped.

        What another revision made of it stays as long as that one is searched. Returns the thumbnails of dropped segments.
        """
        own = sa.select(Embedding).join(Segment, Segment.id == Embedding.segment_id).where(Segment.video_id == video)
        with self.write() as session:
            kept = set()
            for embedding in session.scalars(own).all():
                if embedding.revision == revision:
                    _note(session, revision, [embedding.row])
                    session.delete(embedding)
                else:
                    kept.add(embedding.segment_id)
            session.flush()
            thumbnails = _drop_segments(session, video, kept)
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
        sent = self._send(revision, vectors)
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
            rows = self._append(session, revision, vectors, sent)
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

    def tallies(self) -> dict[str, dict[str, int]]:
        """Return how many "videos" there are by status and "jobs" by state; and all "segments", under the empty word."""
        with self.read() as session:
            found = {
                name: {row[0]: row[1] for row in session.execute(sa.select(column, sa.func.count()).group_by(column))}
                for name, column in (("videos", Video.status), ("jobs", Job.state))
            }
            return {**found, "segments": {"": session.scalar(sa.select(sa.func.count(Segment.id))) or 0}}


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
        rows: dict[str, list[int]] = {}
        for revision, row in pairs:
            rows.setdefault(revision, []).append(row)
        for revision, some in rows.items():
            _note(session, revision, some)
        session.execute(sa.delete(Segment).where(Segment.id.in_(ids)))
    return [segment.thumbnail for segment in dropped if segment.thumbnail]


def _drop_videos(session: Session, videos: Iterable[str]) -> list[str]:
    """Delete videos, telling the stores; return the thumbnails of their segments."""
    lost = list(videos)
    thumbnails = [name for video in lost for name in _drop_segments(session, video)]
    for some in batches(lost):
        withdraw_videos(session, some)
        session.execute(sa.delete(Video).where(Video.id.in_(some)))
    return thumbnails
