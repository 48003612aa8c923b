"""Sessions of a library's database: what all parts of a Database stand on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db.schema import Changes
from hit.db.setup import complaints, engines, migrate

T = TypeVar("T")
_BATCH = 500  # ids in one statement


class Sessions:
    """An open database, brought to the newest schema, and the library's `folder`."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._engine, self._writer = engines(url)
        with complaints(self._engine):
            migrate(self._writer, folder)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that reads one state of the library."""
        with complaints(self._engine), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, content: bool = True) -> Iterator[Session]:
        """Open a session that writes, alone, and whose changes count once it ends without an error.

        content: whether what is found may be another after it, so that what was worked out before no longer holds.
        """
        with complaints(self._engine), Session(self._writer, expire_on_commit=False) as session, session.begin():
            session.connection()  # waits for its turn here, and not at the first statement
            yield session
            if content:
                session.execute(sa.update(Changes).values(count=Changes.count + 1))


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Divide items into lists that a statement can name."""
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
