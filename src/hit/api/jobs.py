"""/v1/jobs: long work, and what becomes of it, as events."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from hit.api.auth import Admin, Principal, Viewer
from hit.api.common import Served, router
from hit.api.schemas import Limit
from hit.db.access import aware
from hit.errors import NotFoundError, UserError
from hit.jobs import Job, Jobs, to_json
from hit.service import Service

log = logging.getLogger(__name__)
routes = router("jobs", 404, 409)
PAUSE = 0.5  # seconds between two looks at the jobs, while somebody listens
_WATCHED = 50  # the newest jobs, in which changes are seen, beside those that run
_WAITING = 100  # events that a slow listener may be behind
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Last = Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)]


class ProgressJson(BaseModel):
    """How far a job is; the total may not be known."""

    done: float
    total: float | None
    note: str
    eta_seconds: float | None


class JobJson(BaseModel):
    """A job. What names files on the server is shown to administrators."""

    id: int
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    by: str
    created_at: datetime
    begun_at: datetime | None
    ended_at: datetime | None
    progress: ProgressJson
    cancelling: bool
    detail: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    request_id: str | None = Field(default=None, description="Of the request that asked for it, as the log has it.")


class JobList(BaseModel):
    """A page of jobs, the newest first."""

    jobs: list[JobJson]
    next_page_token: str | None


class Watch:
    """Looks at a library's jobs for all who listen, as long as somebody does."""

    def __init__(self, served: Service) -> None:
        self._jobs, self._stopping = served.jobs, served.stopping
        self._listeners: set[asyncio.Queue[Job | None]] = set()
        self._seen: dict[int, Job] | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[asyncio.Queue[Job | None]]:
        """Open a queue of jobs that change from now on, each as it is then. None: there will be no more."""
        queue: asyncio.Queue[Job | None] = asyncio.Queue(_WAITING)
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._seen, self._ready = None, asyncio.Event()
            self._task = asyncio.create_task(self._look())
        try:
            await self._ready.wait()  # what is asked for after this misses nothing
            yield queue
        finally:
            self._listeners.discard(queue)
            if not self._listeners and self._task:
                self._task.cancel()
                self._task = None

    def _newest(self) -> dict[int, Job]:
        """Return what is watched: also what ran when it was looked at last, and is not among the newest any more."""
        found = {job.id: job for job in (*self._jobs.list(_WATCHED), *self._jobs.list(_WATCHED, state="running"))}
        for number, job in (self._seen or {}).items():
            if number not in found and job.state == "running":
                with contextlib.suppress(NotFoundError):
                    found[number] = self._jobs.get(number)
        return found

    async def _look(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._compare(await asyncio.to_thread(self._newest))
                    self._ready.set()
                except UserError as error:  # a database that is away for a moment
                    log.warning("jobs: %s", error)
                await asyncio.sleep(PAUSE)
        except Exception:  # those who listen are let go, and come again
            log.exception("jobs")
        self._ready.set()  # not after a cancel: whoever listens then has begun anew
        self._tell(None)

    def _compare(self, found: dict[int, Job]) -> None:
        before, self._seen = self._seen, found
        for number in sorted(found):
            if before is not None and (number not in before or _mark(before[number]) != _mark(found[number])):
                self._tell(found[number])

    def _tell(self, job: Job | None) -> None:
        for queue in self._listeners:
            if queue.full():  # too slow: what is newest is what counts
                queue.get_nowait()
            queue.put_nowait(job)


def watch(request: Request, served: Served) -> Watch:
    """Return the application's watch."""
    state = request.app.state
    if not hasattr(state, "watch"):
        state.watch = Watch(served)
    found: Watch = state.watch
    return found


def known(number: Number, served: Served) -> Job:
    """Return the job that is meant: unknown, it is a problem before any event is sent."""
    return served.jobs.get(number)


Watched = Annotated[Watch, Depends(watch)]
Known = Annotated[Job, Depends(known)]


@routes.get("/jobs", response_model=JobList)
def jobs(
    served: Served,
    who: Viewer,
    state: Literal["queued", "running", "done", "failed", "cancelled"] | None = None,
    kind: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = 50,
    page_token: Annotated[str | None, Query(pattern=r"^[0-9]{1,9}$")] = None,
) -> dict[str, Any]:
    """List jobs, the newest first. The 200 newest that ended are kept."""
    found = served.jobs.list(limit, int(page_token) if page_token else None, state, kind)
    token = str(found[-1].id) if len(found) == limit else None
    return {"jobs": [to_json(job, who.may("admin")) for job in found], "next_page_token": token}


@routes.get("/jobs/{number}", response_model=JobJson)
def job(found: Known, who: Viewer) -> dict[str, Any]:
    """Return one job."""
    return to_json(found, who.may("admin"))


@routes.post("/jobs/{number}/cancel", response_model=JobJson)
def cancel(number: Number, served: Served, who: Admin) -> dict[str, Any]:
    """Have a job ended; one that runs may take some seconds to."""
    return to_json(served.jobs.cancel(number))


@routes.post("/jobs/{number}/retry", response_model=JobJson, status_code=202)
def retry(number: Number, served: Served, who: Admin) -> dict[str, Any]:
    """Have the work of a job that has ended done anew, as a new job."""
    return to_json(served.jobs.retry(number, who.name))


@routes.get("/jobs/{number}/events", response_class=EventSourceResponse)
async def job_events(found: Known, served: Served, listening: Watched, who: Viewer) -> AsyncIterator[ServerSentEvent]:
    """Tell how one job goes: `progress` events with the job as JSON, and `end` as the last one."""
    async with listening.listen() as queue:
        now: Job | None = await asyncio.to_thread(served.jobs.get, found.id)  # it may have ended before we listened
        while now is not None:
            if now.id == found.id:
                if not await asyncio.to_thread(served.access.still, who):
                    return
                yield _event(now, who)
                if _ended(now):
                    return
            now = await queue.get()


@routes.get("/events", response_class=EventSourceResponse)
async def events(served: Served, listening: Watched, who: Viewer, last: Last = None) -> AsyncIterator[ServerSentEvent]:
    """Tell how all jobs go: those that have not ended first, and those that ended since the event `Last-Event-ID`."""
    since = float(last) / 1000 if last and last.isdecimal() else float("inf")
    async with listening.listen() as queue:
        for one in reversed(await asyncio.to_thread(served.jobs.list, _WATCHED)):
            if not _ended(one) or _moment(one) >= since:
                yield _event(one, who)
        while (now := await queue.get()) is not None and await asyncio.to_thread(served.access.still, who):
            yield _event(now, who)


def _event(job: Job, who: Principal) -> ServerSentEvent:
    kind = "end" if _ended(job) else "progress"
    return ServerSentEvent(
        event=kind, id=str(int(time.time() * 1000)), data=JobJson(**to_json(job, who.may("admin"))), retry=2000
    )


def _ended(job: Job) -> bool:
    return job.state not in ("queued", "running")


def _moment(job: Job) -> float:
    return aware(job.ended_at).timestamp() if job.ended_at else 0.0


def _mark(job: Job) -> tuple[Any, ...]:
    """Return what tells one state of a job from another; beats alone are none."""
    return job.state, job.begun_at, job.done, job.total, job.note, job.cancel


def submitted(jobs: Jobs, kind: str, detail: dict[str, Any], by: str) -> dict[str, Any]:
    """Submit work and return its job."""
    return to_json(jobs.submit(kind, detail, by))
