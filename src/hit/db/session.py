"""Sessions of a library's database: what all parts of a Database stand on."""

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db.kept import Kept
from hit.db.schema import Changes
from hit.db.setup import complaints, engines, migrate
from hit.places import Places

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
_BATCH = 500  # ids in one statement


class Sessions:
    """An open database, brought to the newest schema, and the library's `folder`. `roots`: where the files are that it names."""

    roots = Places()

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._kept, self._held = Kept(), threading.local()
        self._engine, self._writer = engines(url)
        self._crowd = self._writer.execution_options(writes=False)
        with complaints(self._engine):
            migrate(self._writer, folder)

    @property
    def engine(self) -> sa.Engine:
        """What connections are made by."""
        return self._engine

    @property
    def remote(self) -> bool:
        """Whether other machines may have the same database open."""
        return self._engine.dialect.name != "sqlite"

    def ensured(self, ensure: Callable[[Session], None] | None) -> None:
        """Have `ensure` raise in this thread's transactions that change the content, before they do, where they may not."""
        self._held.ensure = ensure

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def ping(self) -> None:
        """Raise UserError where the database does not answer."""
        with self.read() as session:
            session.execute(sa.select(1))

    def lookups(self) -> tuple[int, int]:
        """Return how many values were looked for among those that are kept, and how many of them were there."""
        return self._kept.asked, self._kept.found

    def connections(self) -> int:
        """Return how many connections are in use."""
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, sa.QueuePool) else 0

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that reads one state of the library."""
        with complaints(self._engine), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, content: bool = True, alone: bool = True, turn: bool = False) -> Iterator[Session]:
        """Open a session that writes, and whose changes count once it ends without an error.

        content: whether what is found may be another after it, so that what was worked out before no longer holds.
        alone: whether others who write wait until then. Those who do not lock rows themselves; SQLite has all of them wait.
        turn: whether only who has the turn to write may do this, as with all content.
        """
        engine = self._writer if alone else self._crowd
        with complaints(self._engine), Session(engine, expire_on_commit=False) as session, session.begin():
            session.connection()  # waits for its turn here, and not at the first statement
            if (content or turn) and (ensure := getattr(self._held, "ensure", None)):
                ensure(session)
            yield session
            if content:
                session.execute(sa.update(Changes).values(count=Changes.count + 1))

    def state(self) -> int:
        """Return how often the content has changed."""
        if (held := getattr(self._held, "state", None)) is not None:
            return int(held)
        try:  # in every search, and a session would take ten times as long
            with closing(self._engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute("SELECT count FROM changes")
                ((count,),) = cursor.fetchall()
                return int(count)
        except (self._engine.dialect.loaded_dbapi.Error, sa.exc.TimeoutError):
            with self.read() as session:  # which says what is wrong
                return session.scalars(sa.select(Changes.count)).one()

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Have this thread take what is kept of the content for what it is now, without asking again."""
        self._held.state = self.state()
        try:
            yield
        finally:
            self._held.state = None

    def known(self, kind: Hashable, keys: Iterable[K], load: Callable[[Session, list[K]], Mapping[K, T]]) -> dict[K, T]:
        """Return what `load` finds for keys, or has found before in the same state of the content. None is nothing."""
        wanted = list(dict.fromkeys(keys))
        state = self.state()
        found: dict[K, T | None] = self._kept.find(state, kind, wanted)
        if lacking := [key for key in wanted if key not in found]:
            with self.read() as session:
                loaded = load(session, lacking)
            some = {key: loaded.get(key) for key in lacking}
            self._kept.keep(state, kind, some)
            found |= some
        return {key: value for key in wanted if (value := found[key]) is not None}


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Divide items into lists that a statement can name."""
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
