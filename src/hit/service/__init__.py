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

        self._warm: threading.Thread | None = None
        self._lacks: dict[str, str] = {}

    def warm(self) -> None:
        """Begin to load what searches need, so that the first one need not wait for it."""
        self._lacks = {"model": "the model is being loaded"}
        self._warm = threading.Thread(target=self._load, name="hit-warm", daemon=True)
        self._warm.start()

    def _load(self) -> None:
        try:
            _ = self.library.encoder, self.library.store
        except Exception:
            log.exception("the model or the store cannot be opened")
            self._lacks = {"model": "the model or the store cannot be opened: the log says why"}
        else:
            self._lacks = {}

    def unready(self) -> dict[str, str]:
        """Return what keeps searches from being answered: a part, and what is wrong with it."""
        if self._lacks and not (self._warm and self._warm.is_alive()):
            self.warm()  # what failed may have been mended
        try:
            self.db.ping()
        except UserError as error:
            log.error("%s", error)
            return {**self._lacks, "database": "the database cannot be reached: the log says why"}
        return self._lacks

    def close(self) -> None:
        """Let go of everything."""
        if self._warm:
            self._warm.join()
        self.library.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
