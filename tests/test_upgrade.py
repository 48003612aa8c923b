"""A library of an earlier program is brought to this one's schema, after a copy of it by which one goes back."""

import logging
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import hit.db
from hit.db import HEAD, Database, copies

OLD = "0004"


def make(url: str, folder: Path) -> None:
    """Make a database as a program before this one did, with a video and a job."""
    config = Config()
    config.set_main_option("script_location", str(Path(hit.db.__file__).parent.with_name("migrations")))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "folder": folder}
        command.upgrade(config, OLD)
        when = datetime(2026, 1, 1, tzinfo=UTC)
        rows: dict[str, dict[str, object]] = {
            "videos": {"id": "v", "content_hash": "a" * 64, "status": "ready", "added_at": when, "duration": 4.0},
            "files": {"path": "/a.mp4", "video_id": "v", "size": 10, "mtime_ns": 1},
            "jobs": {"id": 1, "kind": "index", "state": "done", "begun_at": when, "ended_at": when, "detail": {}},
        }
        for name, row in rows.items():
            table = sa.Table(name, sa.MetaData(), autoload_with=connection)
            connection.execute(table.insert().values(**row))
    engine.dispose()


def dump(path: Path) -> list[str]:
    """Return all that a SQLite database holds, schema and rows."""
    connection = sqlite3.connect(path)
    try:
        return sorted(connection.iterdump())
    finally:
        connection.close()


def kept(folder: Path) -> list[Path]:
    return sorted((folder / copies.FOLDER).iterdir())


def revision(url: str) -> Any:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    engine.dispose()
    return found


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return the database of a library of before."""
    path = tmp_path / "library.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")  # as hit has always done
    connection.close()
    make(f"sqlite:///{path}", tmp_path)
    return path


def test_what_was_there_is_there_and_the_copy_leads_back(old: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = dump(old)
    copied: set[Path] = set()
    for _ in range(copies._KEPT + 2):  # over and over
        caplog.clear()
        db = Database(f"sqlite:///{old}", tmp_path)
        assert [(path, file.video) for path, file in db.files().items()] == [("/a.mp4", "v")]
        assert [job.created_at for job in db.jobs(9)] == [datetime(2026, 1, 1)]
        db.close()
        (new,) = set(kept(tmp_path)) - copied
        copied.add(new)
        assert dump(new) == before
        (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert str(new) in line
        assert "\n" not in line
        # As docs/deploy.md says.
        for end in ("-wal", "-shm"):
            old.with_name(f"{old.name}{end}").unlink(missing_ok=True)
        shutil.copy(new, old)
        assert revision(f"sqlite:///{old}") == OLD
    assert kept(tmp_path) == sorted(copied)[-copies._KEPT :]  # the last ones


def test_a_new_library_and_one_that_is_up_to_date_are_not_copied(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        Database(f"sqlite:///{tmp_path / 'library.db'}", tmp_path).close()
    assert not (tmp_path / copies.FOLDER).exists()
    assert caplog.records == []


def test_a_migration_that_fails_changes_nothing(old: Path, tmp_path: Path) -> None:
    with sqlite3.connect(old) as connection:
        connection.execute("CREATE TABLE tokens (mine TEXT)")  # half way through, the migration meets this one
    connection.close()
    before = dump(old)
    with pytest.raises(sa.exc.DBAPIError, match="tokens already exists"):
        Database(f"sqlite:///{old}", tmp_path)
    assert dump(old) == before
    (copy,) = kept(tmp_path)
    assert dump(copy) == before
    with sqlite3.connect(old) as connection:
        connection.execute("DROP TABLE tokens")
    connection.close()
    Database(f"sqlite:///{old}", tmp_path).close()
    assert revision(f"sqlite:///{old}") == HEAD


def test_who_reads_meanwhile_goes_on(old: Path, tmp_path: Path) -> None:
    reader = sqlite3.connect(old, isolation_level=None)
    reader.execute("BEGIN")
    query = "SELECT * FROM jobs"
    before = reader.execute(query).fetchall()
    Database(f"sqlite:///{old}", tmp_path).close()
    assert reader.execute(query).fetchall() == before
    reader.execute("COMMIT")
    assert [row[: len(before[0])][0] for row in reader.execute(query)] == [1]
    reader.close()


def test_two_processes_migrate_once(old: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from hit.db import Database; Database(sys.argv[1], Path(sys.argv[2])).close()"
    words = [sys.executable, "-c", code, f"sqlite:///{old}", str(tmp_path)]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=100)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    (copy,) = kept(tmp_path)
    assert [str(copy) in one for one in sorted(said)] == [False, True]  # the one that did it says so, without any set-up
    assert revision(f"sqlite:///{old}") == HEAD


def test_what_another_server_holds_is_not_copied(database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(database_url, tmp_path)
    db = Database(database_url, tmp_path)
    assert list(db.files()) == ["/a.mp4"]
    db.close()
    there = (tmp_path / copies.FOLDER).exists()
    assert there == database_url.startswith("sqlite")
    assert ("dump of your own" in caplog.text) == (not there)
