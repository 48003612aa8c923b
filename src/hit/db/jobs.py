"""Jobs: long work on a library, as rows that outlive whoever does it.

A job waits in the queue until somebody claims it, who then beats: says again and again that it is being worked on. One whose
beat has stopped goes back into the queue, or, cut short too often, fails. What a command line does is never queued: it runs
from its beginning.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit import traces
from hit.db.schema import Job
from hit.db.session import Sessions
from hit.errors import NotFoundError, UserError
from hit.files import BusyError

STALE = 30.0  # seconds without a beat, after which nobody is taken to work on a job
WRITERS = frozenset(["index", "reindex", "remove", "rebuild", "move", "prune", "tag"])  # of these one runs at a time
_KEPT = 200  # how many of those that ended
_TRIES = 3
Ending = Literal["done", "failed", "cancelled"]
Wish = Literal["on", "cancel", "lost"]


class JobRecords(Sessions):
    """The part of a Database that holds jobs. `owner` names who works on one, and nobody else."""

    def submit_job(self, kind: str, detail: Mapping[str, Any], by: str = "") -> Job:
        """Put work into the queue, and return its job: the earlier one, where the same waits there already."""
        with self.write(content=False) as session:
            same = sa.select(Job).where(Job.state == "queued", Job.kind == kind).order_by(Job.id)
            found = next((job for job in session.scalars(same) if _work(job.detail) == _work(detail)), None)
            passed = {**_work(detail), **traces.passed_on()}
            return found or _add(session, Job(kind=kind, state="queued", created_at=_now(), by=by, detail=passed))

    def begin_job(self, kind: str, detail: Mapping[str, Any], owner: str = "") -> int:
        """Note that work begins at once, and return its number."""
        with self.write(content=False) as session:
            now, passed = _now(), {**detail, **traces.passed_on()}
            job = Job(kind=kind, state="running", created_at=now, begun_at=now, beat_at=now, owner=owner, detail=passed)
            return _add(session, job).id

    def claim_job(self, owner: str, kinds: Collection[str], stale: float = STALE) -> Job | None:
        """Take the oldest job that waits and may run now, if there is one. What was cut short is seen to first."""
        other = sa.orm.aliased(Job)
        writes = sa.exists().where(other.state == "running", other.kind.in_(WRITERS))
        waiting = sa.select(Job).where(Job.state == "queued", Job.kind.in_(kinds), Job.kind.not_in(WRITERS) | ~writes)
        waiting = waiting.order_by(Job.id).limit(1)
        with self.read() as session:  # nobody who writes is kept waiting for nothing
            if session.scalar(waiting) is None and session.scalar(_stale(stale)) is None:
                return None
        with self.write(content=False) as session:
            _sweep(session, stale)
            session.flush()
            job = session.scalar(waiting)
            if job:
                job.state, job.owner, job.begun_at, job.beat_at, job.tries = "running", owner, _now(), _now(), job.tries + 1
            return job

    def beat_job(self, number: int, owner: str, done: float | None = None, total: float | None = None, note: str = "") -> Wish:
        """Say that a job is being worked on, and, with `done`, how far it is. Return whether to go on."""
        with self.write(content=False) as session:
            job = _own(session, number, owner)
            if job is None:
                return "lost"
            job.beat_at = _now()
            if done is not None:
                job.done, job.total, job.note = done, total, note
            return "cancel" if job.cancel else "on"

    def end_job(self, number: int, owner: str, state: Ending, result: Mapping[str, Any], error: str = "") -> None:
        """Note how work ended, unless it has been given to somebody else."""
        with self.write(content=False) as session:
            job = session.get(Job, number)
            if job and job.owner == owner:
                before = {key: value for key, value in job.detail.items() if key != "error"}  # of one that was taken for dead
                job.detail = {**before, "result": dict(result)}
                _end(job, state, error)

    def free_job(self, number: int, owner: str, blameless: bool = False, why: str = "") -> None:
        """Put back a job that its owner, who may have died, has not ended; `blameless`: it does not count as a try."""
        with self.write(content=False) as session:
            if job := _own(session, number, owner):
                job.tries -= blameless
                _cut_short(job, why, blameless)

    def cut_short_jobs(self, stale: float = STALE) -> int:
        """See to jobs whose beat has stopped; return how many there were."""
        with self.write(content=False) as session:
            return _sweep(session, stale)

    def cancel_job(self, number: int) -> Job:
        """Have a job ended: at once where it waits. Raises NotFoundError, and BusyError for one that has ended otherwise."""
        with self.write(content=False) as session:
            job = _known(session, number)
            if job.state in ("done", "failed"):
                raise BusyError(f"job {number}", f"has ended already: it is {job.state}")
            if job.state == "queued":
                _end(job, "cancelled")
            job.cancel = True
            return job

    def retry_job(self, number: int, by: str = "") -> Job:
        """Put the work of a job that has ended into the queue anew. `index` then tries files that failed, too.

        Raises NotFoundError, BusyError for one that has not ended, and UserError for one that was never in the queue.
        """
        with self.read() as session:
            job = _known(session, number)
        if job.state in ("queued", "running"):
            raise BusyError(f"job {number}", f"has not ended yet: it is {job.state}")
        if _unqueued(job):
            raise UserError(f"job {number}", "was begun by a command line", "give that command again")
        detail = {key: value for key, value in job.detail.items() if key not in ("result", "error")}
        return self.submit_job(job.kind, {**detail, "retry": True} if job.kind == "index" else detail, by)

    def job(self, number: int) -> Job:
        """Return a job. Raises NotFoundError."""
        with self.read() as session:
            return _known(session, number)

    def jobs(self, limit: int = 10, before: int | None = None, state: str | None = None, kind: str | None = None) -> list[Job]:
        """Return the newest jobs, the newest first: of this state and kind, and older than the one with the number `before`."""
        query = sa.select(Job).order_by(Job.id.desc()).limit(limit)
        for column, value in ((Job.state, state), (Job.kind, kind)):
            query = query if value is None else query.where(column == value)
        with self.read() as session:
            return list(session.scalars(query if before is None else query.where(Job.id < before)))


def _work(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be done, whoever asked for it."""
    return {key: value for key, value in detail.items() if key not in traces.KEYS}


def _now() -> datetime:
    return datetime.now(UTC)


def _add(session: Session, job: Job) -> Job:
    """Record a job. Of those that ended, the oldest are forgotten."""
    session.add(job)
    session.flush()
    session.execute(sa.delete(Job).where(Job.id <= job.id - _KEPT, Job.state.not_in(("running", "queued"))))
    return job


def _known(session: Session, number: int) -> Job:
    if job := session.get(Job, number):
        return job
    raise NotFoundError(f"job {number}", "there is none of this number", "the newest are kept")


def _own(session: Session, number: int, owner: str) -> Job | None:
    """Return a job if it is its owner's still."""
    job = session.get(Job, number)
    return job if job and job.state == "running" and job.owner == owner else None


def _unqueued(job: Job) -> bool:
    """Tell whether nobody else can do the work: who began it did not take it from the queue."""
    return job.tries == 0 and job.owner is not None


def _stale(seconds: float) -> sa.Select[Any]:
    still = _now() - timedelta(seconds=seconds)
    return sa.select(Job).where(Job.state == "running", sa.or_(Job.beat_at.is_(None), Job.beat_at < still))


def _sweep(session: Session, seconds: float) -> int:
    cut = session.scalars(_stale(seconds)).all()
    for job in cut:
        _cut_short(job)
    return len(cut)


def _cut_short(job: Job, why: str = "", blameless: bool = False) -> None:
    if job.cancel:
        _end(job, "cancelled")
    elif not blameless and (_unqueued(job) or job.tries >= _TRIES):
        times = f" {job.tries} times" if job.tries else ""
        _end(job, "failed", f"was cut short{times}{why and f' ({why})'}")
    else:
        job.state, job.owner, job.begun_at, job.beat_at = "queued", None, None, None
        job.done, job.total, job.note = 0.0, None, ""


def _end(job: Job, state: Ending, error: str = "") -> None:
    job.state, job.ended_at = state, _now()
    if error:
        job.detail = {**job.detail, "error": error}
    if state == "done" and job.total is not None:
        job.done = job.total
