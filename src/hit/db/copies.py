"""A copy of a library's database as it was before a newer program changed its schema."""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from hit import files

FOLDER = "backups"
ENDS = ("", "-wal", "-shm", "-journal")  # of the names of a SQLite database's files
_KEPT = 3
log = logging.getLogger(__name__)


def keep(engine: sa.Engine, folder: Path, old: str, new: str) -> None:
    """Copy a SQLite database into `folder`/backups, and say so: its schema is about to go from one revision to another.

    The caller keeps writers out. To go back, the copy is put where the database was. What a PostgreSQL server holds is not
    copied; that is said too.
    """
    if engine.dialect.name != "sqlite":
        log.warning("The database goes from schema %s to %s. Only a dump of your own leads back.", old, new)
        return
    with files.room(folder):
        kept = folder / FOLDER
        kept.mkdir(exist_ok=True)
        copy = kept / f"library-{old}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.db"
        # A connection of its own, outside of the transaction that keeps the writers out: it reads what they have left.
        outside = sa.create_engine(engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with files.beside(copy) as part:
            with outside.connect() as connection:
                connection.exec_driver_sql("VACUUM INTO ?", (str(part),))
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        files.sync_folder(kept)
        for stale in sorted(kept.glob("library-*.db"), key=_age)[:-_KEPT]:
            stale.unlink(missing_ok=True)
    log.warning("The database goes from schema %s to %s; as it was: %s", old, new, copy)


def forget(database: Path) -> None:
    """Remove a SQLite database that nobody has open, and what it may have beside it."""
    for end in ENDS:
        database.with_name(database.name + end).unlink(missing_ok=True)


def _age(copy: Path) -> str:
    return copy.stem.split("-", 2)[2]
