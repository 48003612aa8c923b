"""A library as a service keeps it open: what HTTP's handlers call, and nothing that knows of HTTP."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from hit.analysis import ServingEncoder
from hit.jobs import Jobs, Runner
from hit.library import Library
from hit.service.config import ServeConfig
from hit.service.uploads import Uploads

__all__ = ["ServeConfig", "Service"]


class Service:
    """An open library and what serves it, one for each process; a context manager."""

    def __init__(self, path: Path, config: ServeConfig, encoder: ServingEncoder | None = None) -> None:
        self.path, self.config = path, config
        self.library = Library.open(path, encoder=encoder)
        self.db = self.library.db
        self.stopping = threading.Event()  # whoever waits for news is to leave
        self.jobs = Jobs(self.library)
        self.uploads = Uploads(self.library, config)
        self.runner = Runner(path, encoder, self.jobs.wake) if config.jobs else None

    def close(self) -> None:
        """Let go of everything. Jobs that run here go back into the queue."""
        self.stopping.set()
        if self.runner:
            self.runner.close()
        self.library.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
