"""Index: files and folders of videos become segments, embeddings and posters in a library.

Each content is decoded and embedded once, whatever its files are called. A run that was killed is completed by the next one;
what is written for a video is written in one transaction, and what its vector store lacks is made good by `sync`.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hit import content, traces
from hit.analysis import Job, Piece
from hit.db import Database, Found, Line, Segment, Stored
from hit.errors import UserError
from hit.journal import Entry, Journal
from hit.sources import Failure, Videos, printable
from hit.types import Builds, Encoder, Floats, Keys, Progress, Silent, Store, Where
from hit.watch import End, follow

log = logging.getLogger(__name__)

POSTERS, JOURNAL = "thumbnails", "journal.jsonl"
_BATCH = 64  # segments embedded at once, and so about as many as a kill can cost
_SYNC = 4096  # vectors given to the store at once


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did to each file; `videos` and `segments` are the library's totals after it."""

    videos: int
    segments: int
    added: int
    unchanged: int
    moved: int  # known content at a new path, the old one gone
    duplicates: int  # further files with a content that is there
    failed: tuple[Failure, ...]
    seconds: float
    changed: tuple[str, ...] = ()  # videos that were embedded

    def to_json(self) -> dict[str, Any]:
        """Return it as the command line shows it."""
        return {name: value for name, value in asdict(self).items() if name != "changed"} | {"seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class _Scan:
    jobs: dict[str, Job]  # by video
    paths: list[str]  # of all files that could be read
    unchanged: int
    moved: int
    failed: list[Failure]
    dropped: list[str]  # posters


def index(
    videos: Videos,
    *,
    db: Database,
    store: Store,
    encoder: Encoder,
    look: Callable[[list[Job]], Iterator[tuple[Job, Any]]],
    folder: Path,
    retry: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Bring the videos that were found into the library.

    A file that fails is reported with its reason and stops nothing; it is tried again when it has changed, or with `retry`.
    `look` has the files looked at, as an `analysis.crew` does; posters and the journal go to `folder`. The caller keeps other
    writers out.
    """
    begun, progress = time.monotonic(), progress or Silent()
    scan = _scan(videos, db, encoder.revision, retry, progress)
    work = _Work(db, store, encoder, folder)
    work.drop(scan.dropped)
    db.begin(scan.jobs)
    with progress.task("Indexing", len(scan.jobs)) as task:
        follow(look(list(scan.jobs.values())) if scan.jobs else (), work, task)
    sync(db, store, db.stored(encoder.revision, encoder.dim))
    if isinstance(store, Builds) and store.due():
        store.build(progress)
    known = db.files()
    broken = [Failure(str(db.roots.seen(name)), known[name].error or "") for name in scan.paths if known[name].status == "failed"]
    counts = db.counts()
    return Report(
        videos=counts["videos"],
        segments=counts["segments"],
        added=len(work.changed),
        unchanged=scan.unchanged,
        moved=scan.moved,
        duplicates=len(scan.paths) - len(work.changed) - scan.unchanged - scan.moved - len(broken),
        failed=tuple(sorted(scan.failed + broken, key=lambda failure: failure.path)),
        seconds=time.monotonic() - begun,
        changed=tuple(work.changed),
    )


def sync(db: Database, store: Store, stored: Stored) -> None:
    """Tell the store what has changed in the database since it was told last."""
    while True:
        living, dead = db.unsynced(stored.revision, _SYNC)
        if not len(living) and not len(dead):
            return
        vectors = db.vectors(stored, living)
        with traces.part("store"):
            if len(living):
                store.put(living, vectors)
            if len(dead):
                store.delete(dead)
        db.synced(stored.revision, np.concatenate([living, dead]))


def repair(db: Database, store: Store, stored: Stored) -> None:
    """Make the store hold what the database says, whatever became of it."""
    sync(db, store, stored)
    if store.count() == db.vector_count(stored.revision):
        return
    lacked, extra = fill(db, store, stored, db.rows(stored.revision), Silent())
    log.warning("the vector store lacked %d vectors and had %d too many: repaired", lacked, extra)


def fill(db: Database, store: Store, stored: Stored, rows: Keys, progress: Progress) -> tuple[int, int]:
    """Make a store hold just these rows of an array; return how many it lacked, and how many it had too many."""
    there = store.keys()
    lacking, extra = np.setdiff1d(rows, there), np.setdiff1d(there, rows)
    store.delete(extra)
    with progress.task("Vectors into the store", len(lacking)) as task:
        for start in range(0, len(lacking), _SYNC):
            some = lacking[start : start + _SYNC]
            store.put(some, db.vectors(stored, some))
            task.advance(len(some))
    return len(lacking), len(extra)


@dataclass(frozen=True, slots=True)
class _Row:
    segment: Segment
    vector: Floats
    lines: Sequence[Line]


class _Work:
    """Takes segments as they come, embeds them in batches, and records each video once it is whole."""

    def __init__(self, db: Database, store: Store, encoder: Encoder, folder: Path) -> None:
        self.db, self.store, self.encoder = db, store, encoder
        self.journal = Journal(folder / JOURNAL)
        self.changed: list[str] = []  # videos
        self.waiting: dict[str, tuple[Job, Piece]] = {}  # segments to be embedded
        self.rows: defaultdict[str, dict[str, _Row]] = defaultdict(dict)  # by video and segment
        self.refused: dict[str, UserError] = {}  # by video: why the encoder embeds one of its segments not
        self.ended: list[tuple[Job, End]] = []

    def add(self, job: Job, piece: Piece) -> None:
        self.waiting[piece.clip.id] = job, piece  # told twice, it is one
        if len(self.waiting) >= _BATCH:
            self.flush()

    def end(self, job: Job, end: End) -> None:
        if end.error is None and content.changed(job.path, content.Look(job.size, job.mtime_ns)):
            end = End(end.info, end.seconds, UserError(job.path, "changed while it was read", "index it again"))
        self.ended.append((job, end))

    def flush(self) -> None:
        """Embed what waits, and record the videos that are whole."""
        batch = list(self.waiting.values())
        self.waiting.clear()
        self.db.home.write_all({f"{POSTERS}/{_name(piece)}": piece.poster for _, piece in batch})
        for (job, piece), vector in zip(batch, self.vectors(batch), strict=True):
            self.rows[job.video][piece.clip.id] = self.row(job, piece, vector)
        for job, end in self.ended:
            self.record(job, end)
        self.ended.clear()
        stored = self.db.stored(self.encoder.revision, self.encoder.dim)
        sync(self.db, self.store, stored)
        self.db.merge(stored)

    def vectors(self, batch: Sequence[tuple[Job, Piece]]) -> Sequence[Floats]:
        if not batch:
            return ()
        try:
            with traces.part("embed"):
                vectors = self.encoder.embed_clips([piece.features for _, piece in batch])
        except UserError as error:
            if len(batch) > 1:  # one of them cannot be embedded: the others can
                return [row for item in batch for row in self.vectors([item])]
            self.refused[batch[0][0].video] = error
            return [np.zeros(self.encoder.dim, np.float32)]
        assert np.isfinite(vectors).all(), f"{self.encoder.id} gave embeddings that are not finite"
        return list(vectors)

    def row(self, job: Job, piece: Piece, vector: Floats) -> _Row:
        start, end = piece.clip.start, piece.clip.end
        segment = Segment(id=piece.clip.id, video_id=job.video, start=start, end=end, seek=start, thumbnail=_name(piece))
        return _Row(segment, vector, _lines(piece))

    def record(self, job: Job, end: End) -> None:
        rows = sorted(self.rows.pop(job.video, {}).values(), key=lambda row: row.segment.start)
        error = end.error or self.refused.pop(job.video, None)
        if error is None and not rows:
            error = UserError(job.path, "nothing of it could be decoded", "the file is damaged or incomplete")
        info, reason = end.info, ""
        if error or not info:
            assert error, "a file without information ends in an error"
            self.drop([str(row.segment.thumbnail) for row in rows])
            reason = self.fail(job, error)
        else:
            facts = {name: getattr(info, name) for name in ("duration", "width", "height", "rate", "codec", "has_audio")}
            vectors, lines = np.stack([row.vector for row in rows]), [line for row in rows for line in row.lines]
            segments = [row.segment for row in rows]
            self.drop(self.db.finish(job.video, facts, segments, self.encoder.revision, vectors, lines))
            self.changed.append(job.video)
        seconds, duration = round(end.seconds, 3), info.duration if info else 0.0
        traces.took("file", end.seconds, video=job.video, status="failed" if reason else "done")
        self.journal.write(Entry(self.db.roots.portable(job.path), "failed" if reason else "done", reason, seconds, duration))

    def fail(self, job: Job, error: Exception) -> str:
        if isinstance(error, UserError):
            reason = f"{error.why} ({error.fix})" if error.fix else error.why
            log.warning("%s: %s", job.path, reason)
        else:
            reason = f"{type(error).__name__}: {error}"
            log.error("%s", job.path, exc_info=error)
        self.drop(self.db.fail(job.video, reason, self.encoder.revision))
        return reason

    def drop(self, names: Sequence[str]) -> None:
        if names:
            self.db.home.delete(f"{POSTERS}/{name}" for name in names)


def _name(piece: Piece) -> str:
    """Return what the poster of a segment is called."""
    return f"{piece.clip.id[:2]}/{piece.clip.id}.jpg"


def _lines(piece: Piece) -> list[Line]:
    """Return what experts read or heard in a segment, in the order of time."""
    found = [
        (start, end, name, text.encode(errors="replace").decode())  # a plugin may give what no database takes
        for name, features in piece.features.items()
        for (start, end), text in zip(features.times.tolist(), features.texts or (), strict=False)
    ]
    return [
        Line(segment_id=piece.clip.id, number=number, expert=name, start=start, end=end, text=text)
        for number, (start, end, name, text) in enumerate(sorted(found))
    ]


# -- which files there are, and what is new about them


def _scan(videos: Videos, db: Database, revision: str, retry: bool, progress: Progress) -> _Scan:
    failed = list(videos.failed)
    known = db.files()
    if renamed := {old: name for old in known if (name := db.roots.current(old)) != old}:
        db.rename(renamed)
        known = db.files()
    looks: dict[str, content.Look] = {}
    places: dict[str, Where] = {}
    for file in videos.paths:
        try:
            str(file).encode()
            name = db.roots.name_of(file)
            looks[name], places[name] = content.look(file), file
        except (OSError, UnicodeEncodeError, UserError) as error:
            failed.append(Failure(printable(str(file)), _why(error)))
    noted = {path: content.Look(file.size, file.mtime_ns) for path, file in known.items()}
    fresh = [path for path, look in looks.items() if noted.get(path) != look]
    found = _hash({name: places[name] for name in fresh}, looks, failed, progress)
    contents = {file.content_hash for file in found} | {known[path].content_hash for path in set(looks).difference(fresh)}
    gone = [p for p, k in known.items() if k.content_hash in contents and p not in looks and db.roots.gone(p)]
    homeless = {known[path].content_hash for path in gone}
    dropped = db.record_files(found, gone)
    now, touched = db.files(), {file.path for file in found}
    readable = [path for path in looks if path in now and (path in touched or path not in fresh)]
    jobs: dict[str, Job] = {}
    unchanged = moved = 0
    for path in readable:
        entry = now[path]
        done = entry.revision == revision if entry.status == "ready" else entry.status == "failed" and path not in touched
        if not done or (retry and entry.status == "failed"):
            jobs.setdefault(entry.video, Job(entry.video, places[path], entry.size, entry.mtime_ns, path))
        elif entry.status == "ready":
            unchanged += path in known and known[path].content_hash == entry.content_hash
            moved += path not in known and entry.content_hash in homeless
    return _Scan(jobs, readable, unchanged, moved, failed, dropped)


def _hash(
    paths: Mapping[str, Where], looks: Mapping[str, content.Look], failed: list[Failure], progress: Progress
) -> list[Found]:
    found = []
    for name, (path, result) in zip(paths, content.digests(list(paths.values()), progress), strict=True):
        if isinstance(result, Exception):
            failed.append(Failure(str(path), _why(result)))
        else:
            found.append(Found(name, looks[name].size, looks[name].mtime_ns, result))
    return found


def _why(error: Exception) -> str:
    if isinstance(error, UserError):
        return error.why
    return str(error.strerror) if isinstance(error, OSError) else "its name is not valid UTF-8"
