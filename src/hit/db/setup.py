"""Engines of SQLite and PostgreSQL that behave alike, and the migrations."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hit.errors import UserError

HEAD = "0004"  # the newest migration
_LOCK = 0x4869_5421  # PostgreSQL's advisory lock of those who write
_FULL = ("disk is full", "No space left on device", "disk I/O error", "could not extend file")


def engines(url: str) -> tuple[sa.Engine, sa.Engine]:
    """Return an engine to read by and one to write by: of those who write, one is inside a transaction at a time."""
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise UserError(
            "the database", f"its URL is not understood: {error}", "for example postgresql+psycopg://host/name"
        ) from None
    if engine.dialect.name == "sqlite":
        _set_up_sqlite(engine)
        return engine, engine.execution_options(begin="BEGIN IMMEDIATE")
    writer = engine.execution_options(writes=True)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("writes"):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

    return engine, writer


@contextlib.contextmanager
def complaints(engine: sa.Engine) -> Iterator[None]:
    """Turn what a user can mend about a database into one line."""
    where = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except sa.exc.DBAPIError as error:
        text = str(error.orig)
        if any(sign in text for sign in _FULL):
            raise UserError(where, "there is no room left on its disk", "make room, and give the same command again") from error
        if "database is locked" in text:
            raise UserError(where, "another process is writing to it", "wait until it is done") from error
        if "malformed" in text or "not a database" in text:
            raise UserError(where, "is damaged", "restore a backup with `hit library restore`") from error
        raise


def migrate(engine: sa.Engine, folder: Path) -> None:
    """Bring a database to the newest schema; what an old one keeps in itself may move to `folder`, the library's."""
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    # Imported late: alembic takes longer to load than a library takes to open.
    from alembic import command, script, util
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.with_name("migrations")).replace("%", "%%"))
    with engine.begin() as connection:  # another process may have been quicker: what to do is decided inside
        found = _revision(connection)
        try:
            script.ScriptDirectory.from_config(config).get_revision(found or "base")
        except util.CommandError:
            what = engine.url.render_as_string(hide_password=True)
            raise UserError(what, f"its schema '{found}' is newer than this program's '{HEAD}'", "upgrade hit") from None
        config.attributes |= {"connection": connection, "folder": folder}
        command.upgrade(config, "head")


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


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision
