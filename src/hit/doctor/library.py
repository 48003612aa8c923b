"""A library: its store, its model, its jobs, its folder."""

import contextlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hit import files, settings
from hit.db import shared
from hit.db.access import aware
from hit.db.load import load
from hit.db.look import look
from hit.doctor import services
from hit.doctor.finding import FAIL, OK, WARN, Finding
from hit.errors import UserError
from hit.library import KEY, Library
from hit.service import config as serving_
from hit.settings import LibraryConfig

_LATELY = timedelta(days=1)
_WAITED = 3600.0  # seconds that a job waits where somebody works on them
_SHOWN = 200  # jobs that are kept


def joining(path: Path, database: str) -> Iterator[Finding]:
    """Say which library a folder without a library.toml joins, as that of hit.toml's database."""
    settings.check(database)
    if told := shared.peek(database):
        what = f"{path} has none yet: the next command joins library {told[0]['id']} of hit.toml's database"
        yield Finding("library.toml", what, OK)
    else:
        mend = f"make one with `hit index {path} SOURCE`, or restore a backup"
        yield Finding("library.toml", f"{path} has none, and hit.toml's database holds no library", FAIL, mend)


def serving(path: Path) -> Iterator[Finding]:
    """Say what it is served with."""
    found = serving_.read(path)
    what = f"{found.host}:{found.port}, workers {found.workers}"
    yield Finding("serve", f"{what}, {'for who has a token' if serving_.guarded(found) else 'for who is at this machine'}", OK)


@contextlib.contextmanager
def _opened(path: Path, config: LibraryConfig) -> Iterator[Library | None]:
    """Open a library, unless that would change its schema: another check says so."""
    seen = look(settings.database_of(path.absolute(), config), write=False)
    if seen.schema != seen.head:
        yield None
        return
    with Library.open(path, mend=False) as library:
        yield library


def store(path: Path, config: LibraryConfig) -> Iterator[Finding]:
    """See that it has as many vectors as the database says."""
    if config.store:
        yield from services.milvus(config.store)
    with _opened(path, config) as library:
        if library is None:
            return
        there, wanted = library.store.count(), library.db.vector_count(library.stored.revision)
        what = f"{there} vectors of {wanted}"
        if there == wanted:
            yield Finding("store", what, OK)
        else:
            yield Finding("store", what, FAIL, f"hit library rebuild {path}, then hit library verify {path}")


def model(path: Path, config: LibraryConfig) -> Iterator[Finding]:
    """See that the model is there, is the one that made the vectors, and loads with all its experts."""
    reference = config.model
    if not reference.absolute:
        yield Finding("model", f"{reference.id} came without a folder: only the program that gave it can search", WARN)
        return
    mend = "put its folder back, or embed all anew with `hit index LIBRARY --model MODEL`"
    from hit.encoder import read_card  # late: whoever has a broken torch is to be told of the rest

    try:
        folder = settings.model_here(path, config)
        read_card(folder)
        with _opened(path, config) as library:
            if library is None:
                return
            revision = library.encoder.revision  # the hash of its files
            if revision != reference.revision:
                what = f"{folder} is of revision {revision}, the library's vectors are of {reference.revision}"
                yield Finding("model", what, FAIL, mend)
                return
            yield Finding("model", f"{reference.id}, revision {revision}, at {folder}", OK)
            experts = library.experts
            yield Finding("experts", f"{', '.join(experts)}: loaded", OK)
    except UserError as error:
        yield Finding("model", f"{error.what}: {error.why}", FAIL, error.fix or mend)


def jobs(path: Path, config: LibraryConfig) -> Iterator[Finding]:
    """Look for jobs that fail, wait too long, or whose worker is not heard of; and for who writes just now."""
    with _opened(path, config) as library:
        if library is None:
            return
        now = load(library.db)
        since = datetime.now(UTC) - _LATELY
        failed = [job for job in library.db.jobs(_SHOWN, state="failed") if job.ended_at and aware(job.ended_at) > since]
        oldest = max(now.oldest.values(), default=0.0)
        if now.stale:
            what = f"{now.stale} jobs run whose worker is not heard of"
            yield Finding("jobs", what, WARN, "a running `hit serve` takes them over within a minute: see that one runs")
        if oldest > _WAITED:
            what = f"the oldest job has waited for {oldest / 3600:.1f} hours"
            yield Finding("jobs", what, WARN, "see that a `hit serve` with jobs = true runs, and whether another job never ends")
        if failed:
            names = ", ".join(f"{job.id} ({job.kind})" for job in failed[:5])
            yield Finding("jobs", f"{len(failed)} failed within a day: {names}", WARN, "GET /v1/jobs/ID says why")
        if not (now.stale or failed or oldest > _WAITED):
            yield Finding("jobs", f"{sum(now.jobs.values())} are known, none is stuck, none failed within a day", OK)
        if dead := now.deliveries.get("dead", 0):
            yield Finding("webhooks", f"{dead} messages were given up", WARN, "hit webhook list; then have them tried again")
        yield from _key(library)
        where = " on this machine" if library.db.remote else ""
    try:
        with files.locked(path / ".lock", 0):
            yield Finding("lock", f"nobody{where} writes to the library just now", OK)
    except files.BusyError:
        yield Finding("lock", f"another process{where} writes to the library just now", OK)


def _key(library: Library) -> Iterator[Finding]:
    """See that what webhooks are signed with is there, and nobody else's to read."""
    path = library.path / KEY
    if path.exists():
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("webhooks", f"{path} may be read by others", WARN, f"chmod 600 {path}")
    elif library.db.endpoints():
        with contextlib.suppress(FileNotFoundError):
            if library.db.objects and library.db.objects.head(KEY):  # from where it is fetched when needed
                return
        mend = "bring it back from a backup, or remove all webhooks and add them again"
        yield Finding("webhooks", f"{path} is gone: nothing can be signed", FAIL, mend)


def folder(path: Path) -> Iterator[Finding]:
    """See that it may be written to."""
    probe = path / f".hit-doctor-{os.getpid()}"
    try:
        with probe.open("xb") as file:
            file.write(b"probe")
        probe.unlink()
        yield Finding("folder", f"{path} may be written to", OK)
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink()
        mend = "see who owns it, and that its disk is mounted for writing"
        yield Finding("folder", f"{path} cannot be written to: {error.strerror}", FAIL, mend)
