"""A library as a service keeps it open: what HTTP's handlers call, and nothing that knows of HTTP."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from hit.analysis import ServingEncoder
from hit.batching import Batching
from hit.errors import UserError
from hit.jobs import Jobs, Runner
from hit.library import CACHE, Library
from hit.moderation.sending import Sender
from hit.objects import OWNER
from hit.service.access import Access
from hit.service.config import ServeConfig
from hit.service.facts import Facts
from hit.service.media import MediaCache
from hit.service.uploads import Uploads

__all__ = ["ServeConfig", "Service"]
log = logging.getLogger(__name__)
_HOLDS = 5.0  # seconds for which it is remembered whether a server answers: probes come from many sides
_PATIENCE = 3.0  # seconds that a probe waits for a server


class Service:
    """An open library and what serves it, one for each process; a context manager."""

    def __init__(self, path: Path, config: ServeConfig, encoder: ServingEncoder | None = None) -> None:
        self.path, self.config = path, config
        self.library = Library.open(path, encoder=encoder)
        self.batching: Batching | None = None  # the model, once it is loaded
        self.library.wrap = self._batch
        self.db = self.library.db
        self.access = Access(self.db, timedelta(hours=config.session_hours))
        self.facts = Facts(self.library)
        self.media = MediaCache(path / CACHE, config.cache_gib * 1024**3, self.db)
        self.uploads = Uploads(self.library, config)
        self.stopping = threading.Event()  # whoever streams without an end looks at it
        self.jobs = Jobs(self.library)
        self.runner = Runner(path, encoder, self.jobs.wake) if config.jobs else None
        self.sender = Sender(self.library, config.allow_private) if config.jobs else None
        self._looking = threading.Lock()
        self._store = _Far(lambda: self.library.asked(lambda shelf: shelf.store.count()))
        self._objects = _Far(self._head)

    def warm(self) -> None:
        """Load what the first search would wait for. Raises UserError for a model or a store that is not there."""
        library = self.library
        library.encoder.embed_texts(["warm"])
        _ = library.store, library.judge

    def _batch(self, encoder: ServingEncoder) -> ServingEncoder:
        self.batching = Batching(encoder)
        return self.batching

    def unready(self) -> dict[str, str]:
        """Return what keeps searches from being answered: a part, and what is wrong with it. Loads what is not loaded."""
        found: dict[str, str] = {}
        try:
            self.db.ping()
        except UserError as error:
            log.error("%s", error)
            found["database"] = "the database cannot be reached: the log says why"
        if not self._looking.acquire(blocking=False):
            return {**found, "model": "the model is being loaded"}
        try:
            _ = self.library.encoder, self.library.store
        except UserError as error:
            log.error("%s", error)
            found["model"] = "the model or the store cannot be opened: the log says why"
        finally:
            self._looking.release()
        if not found and self.library.config.store.startswith("http") and not self._store.answers():
            found["store"] = "the vector store does not answer: the log says why"
        if self.db.objects and not self._objects.answers():
            found["objects"] = "the object store does not answer: the log says why"
        return found

    def _head(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # which is an answer
            if self.db.objects:
                self.db.objects.head(OWNER)

    def stop(self) -> None:
        """Have streams end, while other answers are finished."""
        self.stopping.set()

    def close(self) -> None:
        """Let go of everything. Jobs that run here go back into the queue."""
        self.stop()
        if self.runner:
            self.runner.close()
        if self.sender:
            self.sender.close()
        self.library.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Far:
    """Whether a server answers `ask`: asked every few seconds at most, in a thread, for its client may try again for minutes."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask, self._turn = ask, threading.Lock()
        self._answer: Future[bool] | None = None
        self._began = 0.0

    def answers(self) -> bool:
        """Tell whether it does, or did a few seconds ago. One that has not said anything yet does not."""
        with self._turn:
            answer, now = self._answer, time.monotonic()
            if answer is None or (answer.done() and now >= self._began + _HOLDS):
                self._answer = answer = Future[bool]()
                self._began = now
                threading.Thread(target=self._look, args=[answer], name="ready", daemon=True).start()
        try:
            return answer.result(_PATIENCE)
        except LateError:
            log.error("a server has not answered within %g s", _PATIENCE)
            return False

    def _look(self, answer: "Future[bool]") -> None:
        try:
            self._ask()
        except Exception as error:  # of whatever client: it is told, and the next look may be another
            log.error("%s", error)
            answer.set_result(False)
        else:
            answer.set_result(True)
