"""The runner: takes jobs from the queue, and has each done in a process of its own."""

import logging
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

from hit import pulse, traces
from hit.analysis import ServingEncoder
from hit.db import Database, Job
from hit.db.jobs import WRITERS
from hit.errors import AwayError, UserError
from hit.jobs import work
from hit.library import Library

log = logging.getLogger(__name__)

_POLLS = 0.2, 2.0  # seconds between two looks into the queue: at first, and at last while there is nothing
_LOOK = 1.0  # seconds between two looks after a process
GRACE = 10.0  # seconds for a process that was told to end


class Runner:
    """Works on a library's jobs until it is closed: on one that writes the library and on another one at a time.

    Any number of runners, in any processes, share the work. `encoder`: instead of the library's model. `wake`: set where there
    is something to do; what other processes ask for is found within two seconds.
    """

    def __init__(self, path: Path, encoder: ServingEncoder | None = None, wake: threading.Event | None = None) -> None:
        self._library = Library.open(path, encoder=encoder, mend=False)
        self._encoder, self._wake = encoder, wake or threading.Event()
        self._closing, self._ending = threading.Event(), threading.Event()
        lanes = [frozenset(set(work.KINDS) & WRITERS), frozenset(set(work.KINDS) - WRITERS)]
        self._threads = [
            threading.Thread(target=self._lane, args=(kinds,), name=f"runner {number}", daemon=True)
            for number, kinds in enumerate(lanes)
            if kinds
        ]
        for thread in self._threads:
            thread.start()

    def close(self, wait: float = 0.0) -> None:
        """Begin nothing more, and leave jobs that do not end within `wait` seconds to others, by whom they are begun anew."""
        until = time.monotonic() + wait
        self._closing.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._library.close()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _db(self) -> Database:
        return self._library.db

    def _lane(self, kinds: frozenset[str]) -> None:
        owner, (pause, longest) = pulse.name(), _POLLS
        while not self._closing.is_set():
            job = None
            try:
                if job := self._db.claim_job(owner, kinds):
                    with traces.about(job.detail.get("request", ""), job.id):
                        self._do(job, owner)
            except AwayError as error:  # for a moment
                log.warning("job %s: %s", job.id if job else "queue", error)
            except Exception:  # a defect, which does not end the work on other jobs
                log.exception("job %s", job.id if job else "queue")
            if job:
                pause = _POLLS[0]
            elif self._wake.wait(pause):
                self._wake.clear()
                pause = _POLLS[0]
            else:
                pause = min(2 * pause, longest)

    def _do(self, job: Job, owner: str) -> None:
        context = multiprocessing.get_context("spawn")  # what is forked would inherit the server's threads' locks
        args = (self._library.path, job.id, owner, work.KINDS[job.kind], self._encoder)
        process = context.Process(target=work.main, args=args, name=f"job {job.id}", daemon=False)  # it has workers of its own
        try:
            process.start()
            self._watch(process, job.id, owner)
        finally:
            if process.pid is not None:  # else it could not be started
                process.kill()
            blameless = self._ending.is_set()
            self._db.free_job(job.id, owner, blameless, f"exit code {process.exitcode}")  # nothing, where it ended by itself

    def _watch(self, process: Any, number: int, owner: str) -> None:
        """Wait for a process; have it end where the job is to be cancelled or is somebody else's, or where we are to end."""
        told = None
        while process.is_alive():
            process.join(_LOOK)
            if told is None and self._unwanted(number, owner):
                process.terminate()
                told = time.monotonic()
            elif told is not None and time.monotonic() > told + GRACE:
                process.kill()

    def _unwanted(self, number: int, owner: str) -> bool:
        """Beat for a process, which may be slow to begin, or busy; tell whether it is to end."""
        try:
            wish = self._db.beat_job(number, owner)
        except UserError as error:  # a server that is away for a moment
            log.warning("job %d: %s", number, error)
            return self._ending.is_set()
        return wish != "on" or self._ending.is_set()
