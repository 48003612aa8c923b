"""A database as it is, looked at from outside: nothing is migrated, made or changed."""

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from hit.db.setup import HEAD, complaints, engines, revision, shown
from hit.errors import UserError

_WAIT = 2000  # milliseconds for others who write


@dataclass(frozen=True, slots=True)
class Seen:
    """What a database says of itself.

    schema: its migration, None where there is none yet; head: this program's. busy: others write so long that it was not tried.
    ahead: seconds by which its clock is ahead of ours, None for one without a clock of its own. used: connections that there
    are, of how many there may be.
    """

    kind: str
    version: str
    schema: str | None
    encoding: str = "UTF8"
    ahead: float | None = None
    used: tuple[int, int] | None = None
    head: str = HEAD
    busy: bool = False


def look(url: str, write: bool = True) -> Seen:
    """Look at a database, and `write` to it, in a transaction that is taken back. Raises UserError where that cannot be."""
    engine, writer = engines(url)
    try:
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():  # which connecting would make
            raise UserError(shown(engine), "there is no such file", "restore a backup with `hit library restore`")
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", lambda connection, _: connection.execute(f"PRAGMA busy_timeout = {_WAIT}"))
        with complaints(engine):
            with contextlib.closing(engine.connect()) as connection:
                seen = _look(connection)
            if not write:
                return seen
            with contextlib.closing(writer.execution_options(writes=False).connect()) as connection:  # without the turn
                return replace(seen, busy=not _write(connection, seen.schema))
    finally:
        engine.dispose()


def _write(connection: sa.Connection, schema: str | None) -> bool:
    """Write, and take it back; tell whether nobody else writes for long."""
    try:
        with connection.begin() as transaction:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_WAIT}")
            table = "CREATE TABLE hit_doctor (id INTEGER)"
            connection.exec_driver_sql("UPDATE changes SET count = count + 1" if schema else table)
            transaction.rollback()
    except sa.exc.OperationalError as error:
        if "database is locked" not in str(error.orig) and "lock timeout" not in str(error.orig):
            raise
        return False
    return True


def _look(connection: sa.Connection) -> Seen:
    schema = revision(connection)
    if connection.dialect.name == "sqlite":
        return Seen("sqlite", str(connection.exec_driver_sql("SELECT sqlite_version()").scalar()), schema)
    begun = time.time()
    theirs = float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
    ours = (begun + time.time()) / 2
    names = ("server_version", "server_encoding", "max_connections")
    version, encoding, most = (str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in names)
    used = int(connection.exec_driver_sql("SELECT count(*) FROM pg_stat_activity").scalar_one())
    return Seen(connection.dialect.name, version.split()[0], schema, encoding, theirs - ours, (used, int(most)))
