"""A library as a service keeps it open: what HTTP's handlers call, and nothing that knows of HTTP."""

from pathlib import Path
from types import TracebackType
from typing import Self

from hit.analysis import ServingEncoder
from hit.library import Library
from hit.service.config import ServeConfig
from hit.service.facts import Facts

__all__ = ["ServeConfig", "Service"]


class Service:
    """An open library and what serves it, one for each process; a context manager."""

    def __init__(self, path: Path, config: ServeConfig, encoder: ServingEncoder | None = None) -> None:
        self.path, self.config = path, config
        self.library = Library.open(path, encoder=encoder)
        self.db = self.library.db
        self.facts = Facts(self.library)

    def close(self) -> None:
        """Let go of everything."""
        self.library.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
