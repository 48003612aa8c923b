"""What all machines share that have one library open: its settings, and the turn to write. SQLite is one machine's."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db.schema import Array, Shared
from hit.db.session import Sessions
from hit.db.setup import LOCK, complaints, engines
from hit.db.vectors import Stored
from hit.errors import AwayError
from hit.files import BusyError

# The server ends a connection that has been silent for 5 + 3 * 3 seconds, or it would hold the turn for a host that has lost its
# power; of its own it would wait for two hours.
_KEPT_ALIVE = {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 3, "tcp_keepalives_count": 3, "tcp_user_timeout": 14_000}
_HOLDS = sa.text(
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND l.classid = :kind AND l.objid = :number AND l.objsubid = 2"
)


def settings(db: Sessions) -> dict[str, Any] | None:
    """Return the settings of the library; None where the database is one machine's, or has none yet."""
    if not db.remote:
        return None

    def load(session: Session, _: list[str]) -> dict[str, dict[str, Any]]:
        found = session.get(Shared, 1)
        return {"": found.settings} if found else {}

    return db.known("settings", [""], load).get("")


def change(db: Sessions, table: Mapping[str, Any], first: bool = False) -> None:
    """Have these be the settings; with `first` only where there are none. Nothing where the database is one machine's."""
    if not db.remote:
        return
    with db.write() as session:
        if (found := session.get(Shared, 1)) is None:
            session.add(Shared(id=1, settings=dict(table)))
        elif not first:
            found.settings = dict(table)


def peek(url: str) -> tuple[dict[str, Any], list[Stored]] | None:
    """Return the settings and the arrays of the library that a database holds; None where it holds none.

    Nothing is made or changed there.
    """
    engine, _ = engines(url)
    try:
        if engine.dialect.name == "sqlite":  # which is one machine's, and connecting would make it
            return None
        with complaints(engine), Session(engine) as session:
            if not sa.inspect(session.connection()).has_table(Shared.__tablename__):
                return None
            if (found := session.get(Shared, 1)) is None:
                return None
            return found.settings, [Stored.of(one) for one in session.scalars(sa.select(Array).order_by(Array.revision))]
    finally:
        engine.dispose()


@contextlib.contextmanager
def writing(db: Sessions, library: str, wait: float) -> Iterator[None]:
    """Be the one writer of a library (its id), of all machines; nothing where the database is one machine's.

    The turn is a connection's: it goes with the process, and with the host. This thread's transactions make sure of it: where
    the connection was lost they raise AwayError, as another machine may have the turn by then. Raises BusyError where another one
    has it for longer than `wait` seconds.
    """
    if not db.remote:
        yield
        return
    number = int(library or "0", 16)
    with complaints(db.engine):
        connection = db.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # from the pool: it ends with the turn
    try:
        with complaints(db.engine):
            mark = _take(db, connection, number, wait)
        db.ensured(lambda session: _ensure(session, number, mark))
        yield
    finally:
        db.ensured(None)
        connection.close()


def _take(db: Sessions, connection: sa.Connection, number: int, wait: float) -> str:
    """Take the turn, and return what the connection is called."""
    for name, value in _KEPT_ALIVE.items():
        connection.exec_driver_sql(f"SET {name} = {value}")
    began = connection.scalar(sa.text("SELECT pg_backend_pid() || ' ' || extract(epoch FROM clock_timestamp())"))
    mark = f"hit {socket.gethostname()[:20]}:{os.getpid()} {began}"[:63]
    connection.execute(sa.select(sa.func.set_config("application_name", mark, False)))
    connection.exec_driver_sql(f"SET lock_timeout = {max(1, round(1000 * wait))}")
    try:
        connection.execute(sa.text("SELECT pg_advisory_lock(:kind, :number)"), {"kind": LOCK, "number": _signed(number)})
    except sa.exc.OperationalError as error:
        if "lock timeout" not in str(error.orig):
            raise
        who = connection.scalar(_HOLDS, {"kind": LOCK, "number": number}) or ""
        where = who.split(" ")[1] if who.startswith("hit ") else "another machine"
        raise BusyError(db.folder, f"another process is writing to it: {where}", "wait until it is done") from None
    return mark


def _ensure(session: Session, number: int, mark: str) -> None:
    if session.scalar(_HOLDS, {"kind": LOCK, "number": number}) != mark:
        what = "the connection by which this machine alone might write was lost"
        raise AwayError("the database", what, "see that the server runs, and give the command again")


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number
