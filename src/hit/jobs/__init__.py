"""Jobs: long work on a library, asked for by one process and done by another, which survives that either is killed."""

import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hit import traces
from hit.db import Job
from hit.db.access import aware
from hit.jobs.runner import Runner
from hit.jobs.work import KINDS, Kind
from hit.library import Library

__all__ = ["KINDS", "Job", "Jobs", "Kind", "Runner", "to_json"]


class Jobs:
    """The jobs of a library. Unknown numbers raise NotFoundError. `wake` is set whenever there is something to do."""

    def __init__(self, library: Library) -> None:
        self._db = library.db
        self.wake = threading.Event()

    def submit(self, kind: str, detail: Mapping[str, Any], by: str = "") -> Job:
        """Put work into the queue, unless the same waits there already; `detail` is plain JSON, see `hit.jobs.work`."""
        assert kind in KINDS, f"nobody can do a job of the kind {kind}"
        return self._waking(self._db.submit_job(kind, detail, by))

    def get(self, number: int) -> Job:
        """Return a job."""
        return self._db.job(number)

    def list(self, limit: int = 50, before: int | None = None, state: str | None = None, kind: str | None = None) -> list[Job]:
        """Return the newest jobs, the newest first: of this state and kind, and older than the one with the number `before`."""
        return self._db.jobs(limit, before, state, kind)

    def cancel(self, number: int) -> Job:
        """Have a job ended. Raises BusyError for one that has ended otherwise."""
        return self._db.cancel_job(number)

    def retry(self, number: int, by: str = "") -> Job:
        """Have the work of a job that has ended done anew. Raises BusyError for one that has not ended."""
        return self._waking(self._db.retry_job(number, by))

    def _waking(self, job: Job) -> Job:
        self.wake.set()
        return job


def to_json(job: Job, whole: bool = True) -> dict[str, Any]:
    """Return a job as it is shown to programs; not `whole`: without what names files on this machine."""
    detail = dict(job.detail)
    result, error = detail.pop("result", None), detail.pop("error", None)
    request, _ = (detail.pop(key, None) for key in traces.KEYS)
    if not whole:
        detail = {key: detail[key] for key in ("video", "videos", "title", "label_set", "version") if key in detail}
        result, error = None, error and "see an administrator"
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "by": job.by,
        "created_at": _time(job.created_at),
        "begun_at": _time(job.begun_at),
        "ended_at": _time(job.ended_at),
        "progress": {"done": job.done, "total": job.total, "note": job.note if whole else "", "eta_seconds": _left(job)},
        "cancelling": job.cancel and job.state == "running",
        "detail": detail,
        "result": result,
        "error": error,
        "request_id": request,
    }


def _left(job: Job) -> float | None:
    """Return in how many seconds a job ends if it goes on as it went."""
    if job.state != "running" or not job.begun_at or not job.total or not job.done:
        return None
    gone = time.time() - aware(job.begun_at).timestamp()
    return round(max(0.0, gone * (job.total - job.done) / job.done), 1)


def _time(value: datetime | None) -> str | None:
    return aware(value).isoformat(timespec="milliseconds") if value else None
