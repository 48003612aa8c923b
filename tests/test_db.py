"""The database: its migrations, its transactions, and what it tells the stores."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import hit.db
from hit.db import HEAD, Base, Database, Found, Line, Segment, StaleError, Stored, video_id
from hit.db.schema import Changes
from hit.errors import UserError
from hit.types import Keys

A, B, C = (letter * 64 for letter in "abc")


def execute(url: str, *statements: str) -> None:
    """Execute statements behind the program's back."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def found(path: str, content: str, mtime_ns: int = 1) -> Found:
    return Found(path, 10, mtime_ns, content)


def segment(name: str, content: str, start: float = 0.0) -> Segment:
    return Segment(id=name, video_id=video_id(content), start=start, end=start + 2, seek=start, thumbnail=f"{name}.jpg")


def add(db: Database, path: str, content: str, names: list[str], revision: str = "r1") -> None:
    db.record_files([found(path, content)])
    vectors = np.arange(3 * len(names), dtype=np.float32).reshape(-1, 3)
    facts = {"duration": 4.0, "width": 64, "height": 48, "rate": 25.0, "codec": "h264", "has_audio": False}
    db.finish(video_id(content), facts, [segment(name, content) for name in names], revision, vectors)


def vectors(db: Database, revision: str = "r1") -> dict[str, list[float]]:
    """Return every vector by its segment, in the order of their rows."""
    stored = db.stored(revision, 3)
    rows = db.rows(revision)
    places = db.places(stored, rows.tolist())
    return {places[row].segment.id: vector for row, vector in zip(rows.tolist(), db.vectors(stored, rows).tolist(), strict=True)}


def unsynced(db: Database, revision: str = "r1", limit: int = 9999) -> tuple[list[int], list[int]]:
    living, dead = db.unsynced(revision, limit)
    return living.tolist(), dead.tolist()


def keys(*rows: int) -> Keys:
    return np.array(rows, np.int64)


# -- migrations


def apart_from_full_text(name: str | None, _: str, parents: object) -> bool:
    """Each database's own index over `documents` is none of the schema's: its tables in SQLite, its column in PostgreSQL."""
    return name is None or not (name.startswith("documents_fts") or name in ("fts", "ix_documents_fts"))


def apart_from_falling(_: object, name: str | None, *__: object) -> bool:
    """Alembic cannot compare indexes that go down in some columns on SQLite: `test_cases.py` sees that these serve."""
    return name not in ("ix_assignments_policy", "ix_assignments_queue")


def test_migrations_lead_to_the_schema(db: Database) -> None:
    with db._engine.connect() as connection:
        opts = {"compare_type": True, "compare_server_default": True, "include_name": apart_from_full_text}
        opts["include_object"] = apart_from_falling
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []


def test_head_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(Path(hit.db.__file__).parent.with_name("migrations")))
    assert scripts.get_heads() == [HEAD]


def test_a_library_of_a_newer_program_is_refused_in_one_line(database_url: str, tmp_path: Path) -> None:
    Database(database_url, tmp_path).close()
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    file = tmp_path / "library.db"
    before = file.read_bytes() if file.exists() else b""
    with pytest.raises(UserError, match="'9999' is newer than this program's") as error:
        Database(database_url, tmp_path)
    assert "\n" not in str(error.value)
    assert (file.read_bytes() if file.exists() else b"") == before


def test_an_older_library_is_migrated(database_url: str, tmp_path: Path) -> None:
    execute(database_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")  # before the first migration
    db = Database(database_url, tmp_path)
    assert db.counts() == {"videos": 0, "segments": 0}


def test_a_library_of_blobs_keeps_its_vectors(database_url: str, tmp_path: Path) -> None:
    """Until migration 0003 vectors stood in the database itself."""
    config = Config()
    config.set_main_option("script_location", str(Path(hit.db.__file__).parent.with_name("migrations")))
    blobs = np.arange(6, dtype="<f4").reshape(2, 3)
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "folder": tmp_path}
        command.upgrade(config, "0002")
        content: dict[str, list[tuple[object, ...]]] = {
            "videos": [("v", A, "ready", None, "r/1", 4, 64, 48, 25, "h264", False, datetime(2026, 1, 1, tzinfo=UTC))],
            "files": [("/a.mp4", "v", 10, 1)],
            "segments": [("s2", "v", 0, 2, 0, None), ("s1", "v", 0, 2, 0, None)],
            "embeddings": [(name, "r/1", blob.tobytes()) for name, blob in zip(("s1", "s2"), blobs, strict=True)],
            "lines": [("s1", 0, "ocr", 0, 1, "EXIT")],
        }
        for table, rows in content.items():
            there = sa.Table(table, sa.MetaData(), autoload_with=connection)
            connection.execute(there.insert(), [dict(zip(there.columns.keys(), row, strict=True)) for row in rows])
    engine.dispose()
    db = Database(database_url, tmp_path)
    assert vectors(db, "r/1") == {"s1": [0, 1, 2], "s2": [3, 4, 5]}
    assert unsynced(db, "r/1") == ([0, 1], [])
    assert [line.text for line in db.lines(["s1"])["s1"]] == ["EXIT"]
    test_migrations_lead_to_the_schema(db)
    db.close()


def test_opening_a_library_that_is_up_to_date_loads_no_alembic(database_url: str, tmp_path: Path) -> None:
    Database(database_url, tmp_path).close()
    code = f"import sys; from pathlib import Path; from hit.db import Database; Database({database_url!r}, Path()); "
    code += "assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_many_make_the_same_library_at_once(database_url: str, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def make() -> None:
        try:
            db = Database(database_url, tmp_path)
            db.record_files([found("/a", A)])
            db.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    db = Database(database_url, tmp_path)
    assert list(db.files()) == ["/a"]
    db.close()


def test_a_kill_while_migrating_leaves_nothing_half_made(database_url: str, tmp_path: Path) -> None:
    code = f"""
import os, signal
from alembic import op
make = op.create_table
def create_table(name, *columns):
    if name == "segments":
        os.kill(os.getpid(), signal.SIGKILL)
    make(name, *columns)
op.create_table = create_table
from pathlib import Path
from hit.db import Database
Database({database_url!r}, Path({str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -signal.SIGKILL
    db = Database(database_url, tmp_path)
    assert db.counts() == {"videos": 0, "segments": 0}
    db.close()


def test_sqlite_is_set_up_to_last(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'library.db'}", tmp_path)
    with db._engine.connect() as connection:
        settings = {
            name: connection.scalar(sa.text(f"PRAGMA {name}")) for name in ("journal_mode", "foreign_keys", "synchronous")
        }
        assert settings == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}
        assert (connection.scalar(sa.text("PRAGMA busy_timeout")) or 0) >= 10_000


# -- files and videos


def test_files_with_one_content_are_one_video(db: Database) -> None:
    db.record_files([found("/b.mp4", A), found("/a.mp4", A), found("/c.mp4", B)])
    files = db.files()
    assert {path: known.video for path, known in files.items()} == {
        "/a.mp4": video_id(A),
        "/b.mp4": video_id(A),
        "/c.mp4": video_id(B),
    }
    assert {known.status for known in files.values()} == {"pending"}


def test_a_file_with_new_content_drops_the_old(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1", "s2"])
    assert db.record_files([found("/a.mp4", B, 2)]) == ["s1.jpg", "s2.jpg"]
    assert db.files()["/a.mp4"].video == video_id(B)
    assert db.counts() == {"videos": 0, "segments": 0}
    assert vectors(db) == {}
    assert unsynced(db) == ([], [0, 1])  # so the store will delete them


def test_a_moved_file_keeps_its_segments(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1"])
    assert db.record_files([found("/z.mp4", A)], gone=["/a.mp4"]) == []
    assert db.places(db.stored("r1", 3), [0, 7])[0].path == Path("/z.mp4")


def test_failing_and_finishing(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1"])
    db.begin([video_id(A)])
    assert db.files()["/a.mp4"].status == "indexing"
    assert db.fail(video_id(A), "is broken", "r1") == ["s1.jpg"]
    known = db.files()["/a.mp4"]
    assert (known.status, known.error, db.counts()["segments"]) == ("failed", "is broken", 0)
    add(db, "/a.mp4", A, ["s2"])
    known = db.files()["/a.mp4"]
    assert (known.status, known.error, known.revision) == ("ready", None, "r1")


def test_what_another_model_made_of_a_video_outlives_a_failure(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1", "s2"])
    db.finish(video_id(A), {}, [segment("s1", A), segment("s2", A)], "r2", np.ones((2, 3), np.float32))
    assert db.fail(video_id(A), "is broken", "r2") == []
    assert (list(vectors(db)), vectors(db, "r2"), unsynced(db, "r2")) == (["s1", "s2"], {}, ([], [0, 1]))
    assert db.fail(video_id(A), "is broken", "r1") == ["s1.jpg", "s2.jpg"]


def test_a_video_is_recorded_whole_or_not_at_all(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1"])
    with pytest.raises(ValueError, match="zip"):
        db.finish(video_id(A), {}, [segment("s2", A), segment("s3", A)], "r1", np.zeros((1, 3), np.float32))
    with pytest.raises(sa.exc.IntegrityError):  # no such video
        db.finish(video_id(C), {}, [segment("s2", C)], "r1", np.zeros((1, 3), np.float32))
    assert vectors(db) == {"s1": [0, 1, 2]}
    add(db, "/b.mp4", B, ["s4"])
    assert vectors(db) == {"s1": [0, 1, 2], "s4": [0, 1, 2]}, "what failed left no gap and no trace"
    assert db.stored("r1", 3).rows == 2


def test_recording_again_replaces_and_drops_what_is_no_longer(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1", "s2"])
    db.synced("r1", keys(0, 1))
    changed = np.full((2, 3), 7, np.float32)
    assert db.finish(video_id(A), {}, [segment("s2", A, 1.0), segment("s3", A)], "r1", changed) == ["s1.jpg"]
    assert unsynced(db) == ([2, 3], [0, 1]), "a row is used once"
    assert vectors(db) == {"s2": [7, 7, 7], "s3": [7, 7, 7]}
    assert db.places(db.stored("r1", 3), [2])[2].segment.start == 1.0


def test_words_go_with_their_segments(db: Database) -> None:
    def finish(name: str, *texts: str) -> None:
        lines = [Line(segment_id=name, number=n, expert="ocr", start=n, end=n + 1, text=text) for n, text in enumerate(texts)]
        db.finish(video_id(A), {}, [segment(name, A)], "r1", np.zeros((1, 3), np.float32), lines)

    def texts(*names: str) -> dict[str, list[str]]:
        return {name: [line.text for line in lines] for name, lines in db.lines(names).items()}

    db.record_files([found("/a.mp4", A)])
    finish("s1", "EXIT", "naïve 日本 '\"\n", "")
    assert texts("s1", "s2") == {"s1": ["EXIT", "naïve 日本 '\"\n", ""]}
    finish("s1", "other")
    assert texts("s1") == {"s1": ["other"]}, "what was read before is not kept beside it"
    with pytest.raises(sa.exc.IntegrityError):
        stray = Line(segment_id="s9", number=0, expert="ocr", start=0, end=1, text="of no segment")
        db.finish(video_id(A), {}, [segment("s1", A)], "r1", np.zeros((1, 3), np.float32), [stray])
    assert texts("s1") == {"s1": ["other"]}, "all or nothing"
    finish("s2", "new")
    assert texts("s1", "s2") == {"s2": ["new"]}
    db.fail(video_id(A), "is broken", "r1")
    assert texts("s1", "s2") == {}


def test_vectors_of_two_revisions_stand_side_by_side(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1"])
    db.synced("r1", keys(0))
    db.finish(video_id(A), {}, [segment("s1", A)], "r2", np.ones((1, 3), np.float32))
    assert (vectors(db, "r1"), vectors(db, "r2")) == ({"s1": [0, 1, 2]}, {"s1": [1, 1, 1]})
    assert (unsynced(db, "r1"), unsynced(db, "r2")) == (([], []), ([0], []))
    assert (db.vector_count("r1"), db.vector_count("r2"), db.vector_count("r3")) == (1, 1, 0)


def test_more_ids_than_fit_one_statement(db: Database) -> None:
    names = [f"s{i:05d}" for i in range(1203)]
    add(db, "/a.mp4", A, names)
    assert list(vectors(db)) == names and len(db.places(db.stored("r1", 3), range(1203))) == 1203
    assert unsynced(db, limit=1000) == ([*range(1000)], [])
    db.synced("r1", np.arange(1100))
    assert unsynced(db, limit=1000) == ([*range(1100, 1203)], [])


def test_rows_that_were_numbered_anew_are_not_mistaken(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1"])
    old = db.stored("r1", 3)
    with db.write() as session:
        session.execute(sa.text("UPDATE arrays SET generation = 1"))
    for ask in (lambda: db.places(old, [0]), lambda: db.segments(old, [video_id(A)])):
        with pytest.raises(StaleError):
            ask()
    assert db.stored("r1", 3) == Stored("r1", 3, 1, 1)


def test_an_array_that_was_cut_off_is_told(db: Database, database_url: str) -> None:
    add(db, "/a.mp4", A, ["s1", "s2"])
    stored = db.stored("r1", 3)
    os.truncate(db.matrix(stored).path, 12)
    again = Database(database_url, db.folder)
    with pytest.raises(UserError, match=r"holds 1 rows, not 2.*restore"):
        again.vectors(stored, keys(0, 1))


def test_every_change_counts(db: Database) -> None:
    def changes() -> int:
        with db.read() as session:
            return session.scalars(sa.select(Changes.count)).one()

    before = changes()
    add(db, "/a.mp4", A, ["s1"])
    assert changes() == before + 2


def test_odd_names_come_back_as_they_were(db: Database) -> None:
    names = ["/ünï/cødé 動画.mp4", "/new\nline.mp4", "/'; DROP TABLE files; --.mp4", "/per%cent.mp4"]
    db.record_files([found(name, A) for name in names])
    assert sorted(db.files()) == sorted(names)


def test_a_reader_does_not_wait_for_a_writer_and_a_writer_waits_for_its_turn(database_url: str, tmp_path: Path) -> None:
    db, other = Database(database_url, tmp_path), Database(database_url, tmp_path)
    with db.write():
        assert other.files() == {}
        waiting = threading.Thread(target=other.record_files, args=([found("/a", A)],))
        waiting.start()
    waiting.join(20)
    assert list(db.files()) == ["/a"]


def test_a_kill_in_a_transaction_undoes_it(db: Database, database_url: str, tmp_path: Path) -> None:
    db.record_files([found("/a", A)])
    code = f"""
import os, signal, sqlalchemy as sa
from pathlib import Path
from hit.db import Database, Found
db = Database({database_url!r}, Path({str(tmp_path)!r}))
with db.write() as session:
    session.execute(sa.text("DELETE FROM files"))
    print(session.scalar(sa.text("SELECT count(*) FROM files")), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (-signal.SIGKILL, "0")
    db.record_files([found("/b", B)])  # nobody holds the lock
    assert list(db.files()) == ["/a", "/b"]
    assert not os.path.exists(tmp_path / "library.db-journal")  # noqa: PTH110
