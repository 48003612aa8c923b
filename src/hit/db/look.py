"""A database as it is, looked at from outside: nothing is migrated, made or changed."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from hit.db.setup import HEAD, complaints, engines, revision, shown
from hit.errors import UserError


@dataclass(frozen=True, slots=True)
class Seen:
    """What a database says of itself.

    schema: its migration, None where there is none yet; head: this program's. ahead: seconds by which its clock is ahead of
    ours, None for one without a clock of its own. used: connections that there are, of how many there may be.
    """

    kind: str
    version: str
    schema: str | None
    encoding: str = "UTF8"
    ahead: float | None = None
    used: tuple[int, int] | None = None
    head: str = HEAD


def look(url: str) -> Seen:
    """Look at a database, and write to it, in a transaction that is taken back. Raises UserError where that cannot be."""
    engine, writer = engines(url)
    try:
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():  # which connecting would make
            raise UserError(shown(engine), "there is no such file", "restore a backup with `hit library restore`")
        with complaints(engine), contextlib.closing(writer.connect()) as connection:
            transaction = connection.begin()
            try:
                return _look(connection)
            finally:
                transaction.rollback()
    finally:
        engine.dispose()


def _look(connection: sa.Connection) -> Seen:
    schema = revision(connection)
    if schema:
        connection.exec_driver_sql("UPDATE changes SET count = count + 1")
    else:
        connection.exec_driver_sql("CREATE TABLE hit_doctor (id INTEGER)")
    if connection.dialect.name == "sqlite":
        return Seen("sqlite", str(connection.exec_driver_sql("SELECT sqlite_version()").scalar()), schema)
    begun = time.time()
    theirs = float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
    ours = (begun + time.time()) / 2
    names = ("server_version", "server_encoding", "max_connections")
    version, encoding, most = (str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in names)
    used = int(connection.exec_driver_sql("SELECT count(*) FROM pg_stat_activity").scalar_one())
    return Seen(connection.dialect.name, version.split()[0], schema, encoding, theirs - ours, (used, int(most)))
