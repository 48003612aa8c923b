"""Engines of SQLite and PostgreSQL that behave alike, and the migrations."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hit import traces
from hit.db import copies
from hit.errors import AwayError, UserError

HEAD = "0007"  # the newest migration
LOCK = 0x4869_5421  # PostgreSQL's advisory lock of those who write, and, of two numbers, the first of who has the turn
_WAIT = 30_000  # milliseconds for others who write
_POOL = 16  # connections that are kept, and as many again for a rush: a service has more threads than that, none for long
_PATIENCE = 10  # seconds to find a server, for a connection to be free, and for a server to say that it got what was sent
# How a server is noticed to be gone: by its silence, where nothing else tells.
_LASTING = {
    "connect_timeout": _PATIENCE,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * _PATIENCE,
}
_FULL = ("disk is full", "No space left on device", "disk I/O error", "could not extend file")


def engines(url: str) -> tuple[sa.Engine, sa.Engine]:
    """Return an engine to read by and one to write by: of those who write, one is inside a transaction at a time."""
    for short in (
        "postgres:",
        "postgresql:",
    ):  # as psql and others have it; without a driver SQLAlchemy's choice depends on its version
        url = f"postgresql+psycopg:{url.removeprefix(short)}" if url.startswith(short) else url
    lasting = {} if url.startswith("sqlite") else {"connect_args": _LASTING, "pool_pre_ping": True}
    try:
        engine = sa.create_engine(url, pool_size=_POOL, max_overflow=_POOL, pool_timeout=_PATIENCE, **lasting)
    except ModuleNotFoundError as error:
        what = f"needs the package {error.name}, which is not installed"
        raise UserError("the database", what, "pip install 'hit-video[postgres]'") from None
    except (sa.exc.ArgumentError, ValueError):  # whose words may show the password
        raise UserError("the database", "its URL is not understood", "for example postgresql://user@host/name") from None
    _time(engine)
    if engine.dialect.name == "sqlite":
        _set_up_sqlite(engine)
        return engine, engine.execution_options(begin="BEGIN IMMEDIATE")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("writes"):
            # Its snapshot is taken anew by each statement: what the one before wrote while this one waited is seen.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_WAIT}")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")

    # A reader sees one state, however many statements it needs.
    return engine.execution_options(isolation_level="REPEATABLE READ"), engine.execution_options(writes=True)


def _time(engine: sa.Engine) -> None:
    """Have those who watch told how long each statement takes, until its first rows are there."""

    @sa.event.listens_for(engine, "before_cursor_execute")
    def before(connection: sa.Connection, *_: Any) -> None:
        if traces.watching():
            connection.info["begun"] = time.perf_counter()

    @sa.event.listens_for(engine, "after_cursor_execute")
    def after(connection: sa.Connection, _: object, statement: str, *__: object) -> None:
        if (begun := connection.info.pop("begun", None)) is not None:
            took = time.perf_counter() - begun
            traces.took("database", took, **{"db.operation.name": statement.lstrip().partition(" ")[0][:20]})


@contextlib.contextmanager
def complaints(engine: sa.Engine) -> Iterator[None]:
    """Turn what a user can mend about a database into one line."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        where, text = shown(engine), str(error.orig)
        if any(sign in text for sign in _FULL):
            raise UserError(where, "there is no room left on its disk", "make room, and give the same command again") from error
        if "database is locked" in text or "lock timeout" in text:
            raise UserError(where, "another process is writing to it", "wait until it is done") from error
        if "unable to open database file" in text or "readonly database" in text:
            raise UserError(where, "cannot be written to", "see that its folder is there, and who may write to it") from error
        if "malformed" in text or "not a database" in text:
            raise UserError(where, "is damaged", "restore a backup with `hit library restore`") from error
        if isinstance(error, sa.exc.OperationalError) and engine.dialect.name == "postgresql":
            if error.connection_invalidated:
                raise AwayError(
                    where, "its connection was lost", "see that the server runs, and give the command again"
                ) from error
            if "connection" in text:
                why = " ".join(text.rpartition("FATAL:")[2].split())
                raise AwayError(where, f"cannot be opened: {why}", "see to its address, its user and PGPASSWORD") from error
        if "permission denied" in text:
            raise UserError(where, " ".join(text.split()), "have its owner grant it") from error
        raise
    except sa.exc.TimeoutError as error:
        raise AwayError(shown(engine), "all connections to it are in use", "ask again in a moment") from error


def migrate(engine: sa.Engine, folder: Path) -> None:
    """Bring a database to the newest schema, all or nothing, after a copy of it, see `hit.db.copies`.

    What an old one keeps in itself may move to `folder`, the library's.
    """
    with engine.connect().execution_options(begin="BEGIN", writes=False) as connection:  # without waiting for who writes
        if revision(connection) == HEAD:
            return
    # Imported late: alembic takes longer to load than a library takes to open.
    from alembic import command, script, util
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.with_name("migrations")).replace("%", "%%"))
    with engine.begin() as connection:  # another process may have been quicker: what to do is decided inside
        found = revision(connection)
        try:
            script.ScriptDirectory.from_config(config).get_revision(found or "base")
        except util.CommandError:
            raise UserError(shown(engine), f"its schema '{found}' is newer than this program's '{HEAD}'", "upgrade hit") from None
        if found == HEAD:
            return
        if found:
            copies.keep(engine, folder, found, HEAD)
        config.attributes |= {"connection": connection, "folder": folder}
        command.upgrade(config, "head")
        if engine.dialect.name == "postgresql":
            _sort_by_bytes(connection)


def _sort_by_bytes(connection: sa.Connection) -> None:
    """Have PostgreSQL sort text as SQLite does, and not by the rules of the language that the server was made for."""
    found = connection.exec_driver_sql(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()"
        " AND data_type IN ('character varying', 'text') AND collation_name IS NULL"
        " AND table_name NOT IN ('alembic_version', 'documents')"  # whose words nobody sorts, and an index is made of
    )
    for table, column, kind in found.all():
        connection.exec_driver_sql(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE {kind} COLLATE "C"')


def shown(engine: sa.Engine) -> str:
    """Return where a database is, without a password."""
    return engine.url.difference_update_query(["password"]).render_as_string(hide_password=True)


def _set_up_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # sqlite3 would begin transactions late, and never for a change of schema
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A reader that turns writer half way is refused at once where another writes; an immediate writer waits its turn.
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def revision(connection: sa.Connection) -> str | None:
    """Return the migration that a database is at, None before the first."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision
