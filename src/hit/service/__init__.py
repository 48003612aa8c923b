"""A library as a service keeps it open: what HTTP's handlers call, and nothing that knows of HTTP."""

import logging
import threading
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from hit.analysis import ServingEncoder
from hit.errors import UserError
from hit.library import Library
from hit.service.access import Access
from hit.service.config import ServeConfig

__all__ = ["ServeConfig", "Service"]
log = logging.getLogger(__name__)


class Service:
    """An open library and what serves it, one for each process; a context manager."""

    def __init__(self, path: Path, config: ServeConfig, encoder: ServingEncoder | None = None) -> None:
        self.path, self.config = path, config
        self.library = Library.open(path, encoder=encoder)
        self.db = self.library.db
        self.access = Access(self.db, timedelta(hours=config.session_hours))
        self._looking = threading.Lock()

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
        return found

    def close(self) -> None:
        """Let go of everything."""
        self.library.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
