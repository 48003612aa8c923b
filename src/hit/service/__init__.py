"""A library as a service keeps it open: what HTTP's handlers call, and nothing that knows of HTTP."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from hit.analysis import ServingEncoder
from hit.library import Library
from hit.service.config import ServeConfig

__all__ = ["ServeConfig", "Service"]


class Service:
    """An open library and what serves it, one for each process; a context manager."""

    def __init__(self, path: Path, config: ServeConfig, encoder: ServingEncoder | None = None) -> None:
        self.path, self.config = path, config
        self.library = Library.open(path, encoder=encoder)
        self.db = self.library.db
        self.stopping = threading.Event()  # whoever streams without an end looks at it

    def warm(self) -> None:
        """Load what the first search would wait for. Raises UserError for a model or a store that is not there."""
        library = self.library
        library.encoder.embed_texts(["warm"])
        _ = library.store, library.judge

    def stop(self) -> None:
        """Have streams end, while other answers are finished."""
        self.stopping.set()

    def close(self) -> None:
        """Let go of everything."""
        self.library.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
