"""Index: files and folders of videos become segments, embeddings and posters in a library.

Each content is decoded and embedded once, whatever its files are called. A run that was killed is completed by the next one;
what is written for a video is written in one transaction, and what its vector store lacks is made good by `sync`.
"""

import hashlib
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hit import files
from hit.analysis import Analyse, Analysis, Job, Piece
from hit.db import Database, Found, Known, Line, Segment
from hit.errors import UserError
from hit.types import Encoder, Progress, Silent, Store

log = logging.getLogger(__name__)

# What is taken from folders; a file that is named is tried whatever its suffix.
_BATCH = 64  # segments embedded at once, and so about as many as a kill can cost
_SYNC = 4096  # vectors given to the store at once
_HASHERS = 4  # threads


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be indexed."""

    path: str
    reason: str


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


@dataclass(frozen=True, slots=True)
class _Scan:
    jobs: dict[str, Job]  # by video
    paths: list[str]  # of all files that could be read
    unchanged: int
    moved: int
    failed: list[Failure]
    dropped: list[str]  # posters


def index(
    paths: Sequence[Path],
    *,
    db: Database,
    store: Store,
    encoder: Encoder,
    analyse: Analyse,
    posters: Path,
    retry: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Bring the videos at `paths` (files, and folders with all that is in them) into the library.

    A file that fails is reported with its reason and stops nothing; it is tried again when it has changed, or with `retry`.
    The caller keeps other writers out. Raises UserError for a path that does not exist.
    """
    begun, progress = time.monotonic(), progress or Silent()
    scan = _scan(paths, db, encoder.revision, retry, progress)
    work = _Work(db, store, encoder, posters)
    work.drop(scan.dropped)
    db.begin(scan.jobs)
    with progress.task("Indexing", len(scan.jobs)) as task:
        for job, result in analyse(list(scan.jobs.values())) if scan.jobs else ():
            work.add(job, result)
            task.advance(note=job.path.name)
        work.flush()
    sync(db, store, encoder.revision)
    known = db.files()
    broken = [Failure(path, known[path].error or "") for path in scan.paths if known[path].status == "failed"]
    counts = db.counts()
    return Report(
        videos=counts["videos"],
        segments=counts["segments"],
        added=work.added,
        unchanged=scan.unchanged,
        moved=scan.moved,
        duplicates=len(scan.paths) - work.added - scan.unchanged - scan.moved - len(broken),
        failed=tuple(sorted(scan.failed + broken, key=lambda failure: failure.path)),
        seconds=time.monotonic() - begun,
    )


def sync(db: Database, store: Store, revision: str) -> None:
    """Tell the store what has changed in the database since it was told last."""
    while changed := db.unsynced(revision, _SYNC):
        vectors = db.vectors(revision, changed)
        if vectors:
            store.put(list(vectors), np.stack(list(vectors.values())))
        store.delete(set(changed) - set(vectors))
        db.synced(revision, changed)


def repair(db: Database, store: Store, revision: str) -> None:
    """Make the store hold what the database says, whatever became of it."""
    sync(db, store, revision)
    if store.count() == db.vector_count(revision):
        return
    wanted, there = db.vector_ids(revision), set(store.ids())
    log.warning("the vector store lacks %d vectors and has %d too many: repaired", len(wanted - there), len(there - wanted))
    store.delete(there - wanted)
    lacking = sorted(wanted - there)
    for start in range(0, len(lacking), _SYNC):
        vectors = db.vectors(revision, lacking[start : start + _SYNC])
        store.put(list(vectors), np.stack(list(vectors.values())))


class _Work:
    """Takes analysed videos, embeds them in batches and records them."""

    def __init__(self, db: Database, store: Store, encoder: Encoder, posters: Path) -> None:
        self.db, self.store, self.encoder, self.posters = db, store, encoder, posters
        self.added = 0
        self.waiting: list[tuple[Job, Analysis]] = []

    def add(self, job: Job, result: Analysis | Exception) -> None:
        if isinstance(result, Exception):
            self.fail(job, result)
        elif _changed(job):
            self.fail(job, UserError(job.path, "changed while it was read", "index it again"))
        else:
            self.waiting.append((job, result))
            if sum(len(analysis.pieces) for _, analysis in self.waiting) >= _BATCH:
                self.flush()

    def flush(self) -> None:
        if self.waiting:
            self.record(self.waiting)
            sync(self.db, self.store, self.encoder.revision)
            self.waiting = []

    def record(self, batch: Sequence[tuple[Job, Analysis]]) -> None:
        try:
            vectors = self.encoder.embed_clips([piece.features for _, analysis in batch for piece in analysis.pieces])
        except UserError as error:
            if len(batch) == 1:
                self.fail(batch[0][0], error)
            else:  # one of them cannot be embedded: the others can
                for item in batch:
                    self.record([item])
            return
        assert np.isfinite(vectors).all(), f"{self.encoder.id} gave embeddings that are not finite"
        for job, analysis in batch:
            rows, vectors = vectors[: len(analysis.pieces)], vectors[len(analysis.pieces) :]
            segments = [self.segment(job, piece) for piece in analysis.pieces]
            info = analysis.info
            facts = {name: getattr(info, name) for name in ("duration", "width", "height", "rate", "codec", "has_audio")}
            lines = [line for piece in analysis.pieces for line in _lines(piece)]
            self.drop(self.db.finish(job.video, facts, segments, self.encoder.revision, rows, lines))
            self.added += 1

    def segment(self, job: Job, piece: Piece) -> Segment:
        name = f"{piece.clip.id[:2]}/{piece.clip.id}.jpg"
        path = self.posters / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, piece.poster)
        start, end = piece.clip.start, piece.clip.end
        return Segment(id=piece.clip.id, video_id=job.video, start=start, end=end, seek=start, thumbnail=name)

    def fail(self, job: Job, error: Exception) -> None:
        if isinstance(error, UserError):
            reason = f"{error.why} ({error.fix})" if error.fix else error.why
            log.warning("%s: %s", job.path, reason)
        else:
            reason = f"{type(error).__name__}: {error}"
            log.error("%s", job.path, exc_info=error)
        self.drop(self.db.fail(job.video, reason))

    def drop(self, names: Sequence[str]) -> None:
        for name in names:
            (self.posters / name).unlink(missing_ok=True)


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


def _scan(paths: Sequence[Path], db: Database, revision: str, retry: bool, progress: Progress) -> _Scan:
    failed: list[Failure] = []
    known = db.files()
    looks: dict[str, os.stat_result] = {}
    for file in _walk(paths, failed):
        try:
            str(file).encode()
            look = file.stat()
            if stat.S_ISREG(look.st_mode):
                looks[str(file)] = look
            else:  # to read a pipe or a device may never end
                failed.append(Failure(str(file), "is not a file but a pipe, a socket or a device"))
        except (OSError, UnicodeEncodeError) as error:
            failed.append(Failure(_printable(file), _why(error)))
    fresh = [path for path, look in looks.items() if path not in known or _differs(known[path], look)]
    found = _hash(fresh, looks, failed, progress)
    contents = {file.content_hash for file in found} | {known[path].content_hash for path in set(looks).difference(fresh)}
    gone = [p for p, k in known.items() if k.content_hash in contents and p not in looks and not Path(p).exists()]
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
            jobs.setdefault(entry.video, Job(entry.video, Path(path), entry.size, entry.mtime_ns))
        elif entry.status == "ready":
            unchanged += path in known and known[path].content_hash == entry.content_hash
            moved += path not in known and entry.content_hash in homeless
    return _Scan(jobs, readable, unchanged, moved, failed, dropped)


def _walk(paths: Sequence[Path], failed: list[Failure]) -> Iterator[Path]:
    """Yield each file once: those named, and in folders the videos, without hidden ones and round no circle of links."""
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise UserError(missing, "there is no such file or folder")
    seen: set[Path] = set()
    entered: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        failed.append(Failure(_printable(Path(error.filename)), _why(error)))

    for given in paths:
        top = Path(os.path.abspath(given))  # noqa: PTH100  # resolve() would follow links: names stay as they were given
        if not top.is_dir():
            found = [top]
        else:
            found = []
            for folder, folders, names in os.walk(top, followlinks=True, onerror=unreadable):
                look = Path(folder).stat()
                if (look.st_dev, look.st_ino) in entered:
                    folders.clear()
                    continue
                entered.add((look.st_dev, look.st_ino))
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                found += [Path(folder, name) for name in sorted(names) if _is_video(name)]
        yield from (path for path in found if path not in seen)
        seen.update(found)


def _is_video(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in files.VIDEO_SUFFIXES


def _hash(paths: Sequence[str], looks: Mapping[str, os.stat_result], failed: list[Failure], progress: Progress) -> list[Found]:
    found = []
    with progress.task("Reading files", len(paths)) as task, ThreadPoolExecutor(_HASHERS) as threads:
        for path, result in zip(paths, threads.map(_digest, paths), strict=True):
            task.advance(note=Path(path).name)
            if isinstance(result, OSError):
                failed.append(Failure(path, _why(result)))
            else:
                found.append(Found(path, looks[path].st_size, looks[path].st_mtime_ns, result))
    return found


def _digest(path: str) -> str | OSError:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error


def _differs(known: Known, look: os.stat_result) -> bool:
    return (known.size, known.mtime_ns) != (look.st_size, look.st_mtime_ns)


def _changed(job: Job) -> bool:
    try:
        look = job.path.stat()
    except OSError:
        return True
    return (job.size, job.mtime_ns) != (look.st_size, look.st_mtime_ns)


def _why(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "its name is not valid UTF-8"


def _printable(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")
