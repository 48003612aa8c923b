"""What PostgreSQL does otherwise than SQLite, made alike, and what is said when a server fails. `test_db.py` runs on both."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from hit.db import Database
from hit.db.setup import engines
from hit.errors import AwayError, UserError
from hit.filters import parse
from hit.library import Library
from library_helpers import dump
from postgres import Postgres
from test_db import A, B, add, found
from toy import PLUGIN, ToyEncoder, render


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


# -- both databases alike


def test_names_are_sorted_by_their_bytes(db: Database) -> None:
    """The server of the tests was made for English, where these come as ["_", "a", "B", "c", "ä", ...]."""
    names = ["c", "B", "ä", "a", "_", "Z", "é", "日", "b c", "b-c", "bc"]
    for name in names:
        db.save_search(name, {})
    db.record_files([found(f"/{name}.mp4", A) for name in names])
    add(db, "/B.mp4", A, ["s1"])
    assert list(db.saved_searches()) == sorted(names)
    assert db.places(db.stored("r1", 3), [0])[0].path == Path("/B.mp4")
    video = db.files()["/B.mp4"].video
    db.tag([video], add=names)
    assert db.tags([video])[video] == sorted(names) == list(db.tag_counts())


def test_upper_and_lower_case_are_two_names(db: Database) -> None:
    db.record_files([found("/a.mp4", A), found("/A.mp4", B)])
    db.save_search("a", {"limit": 1})
    db.save_search("A", {"limit": 2})
    assert len(db.files()) == 2 and db.saved_searches()["a"].query == {"limit": 1}


def test_zero_characters_are_left_out(db: Database) -> None:
    add(db, "/a.mp4", A, ["s1"])
    video = db.files()["/a.mp4"].video
    db.tag([video], add=["one\0two", "\0"])
    assert db.tags([video]) == {video: ["", "onetwo"]}
    db.fail(video, "bad byte \0 at 7", "r1")
    assert db.files()["/a.mp4"].error == "bad byte  at 7"
    assert db.named("/a.mp4\0") == video
    db.save_search("with", {"text": ["zero \0 inside", "ünï"]})
    assert db.saved_searches()["with"].query == {"text": ["zero \0 inside", "ünï"]}, "JSON has its own way of writing them"


def test_a_reader_sees_one_state_whatever_is_written_meanwhile(db: Database, database_url: str, tmp_path: Path) -> None:
    other = Database(database_url, tmp_path)
    with db.read() as session:
        count = sa.text("SELECT count(*) FROM files")
        assert session.scalar(count) == 0
        other.record_files([found("/a.mp4", A)])
        assert session.scalar(count) == 0
    with db.read() as session:
        assert session.scalar(count) == 1
    other.close()


def test_a_writer_that_waited_sees_what_the_other_wrote(db: Database, database_url: str, tmp_path: Path) -> None:
    other = Database(database_url, tmp_path)
    with db.write() as session:
        waiting = threading.Thread(target=other.save_search, args=("a", {"limit": 2}))
        waiting.start()
        session.execute(sa.text("INSERT INTO searches VALUES ('a', '{}', '2026-01-01 00:00:00')"))
    waiting.join(20)
    assert db.saved_searches()["a"].query == {"limit": 2}  # and no error that it is there already
    other.close()


def test_opening_does_not_wait_for_a_writer(db: Database, database_url: str, tmp_path: Path) -> None:
    with db.write():
        Database(database_url, tmp_path).close()


def test_a_library_is_the_same_on_both(tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """One history, with everything that index does to a file, and what is searched then."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    states: dict[str, list[object]] = {}
    for name in ("red", "green", "blue"):
        render(tmp_path / "first" / f"{name}.mp4", [name])
    new = render(tmp_path / "grey then red.mp4", ["grey", "red"])
    for kind, url in (("sqlite", ""), ("postgresql", postgres.database())):
        videos, path, seen = tmp_path / "videos", tmp_path / kind, list[object]()
        shutil.copytree(tmp_path / "first", videos)
        red, green, blue = (videos / f"{name}.mp4" for name in ("red", "green", "blue"))
        with Library.create(path, encoder=ToyEncoder(), database=url) as library:
            library.index([videos], workers=1)
            seen.append(dump(path, ToyEncoder()))
            red.rename(videos / "Rouge.mp4")
            green.write_text("no video any more")
            os.utime(green, (1, 1))
            shutil.copy2(new, blue)
            library.index([videos], workers=1)
            video = library.db.files()[str(blue)].video
            library.db.tag([video], add=["Ünï", "b", "B"])
            seen.append([[hit.to_json() for hit in library.search(text).hits] for text in ("red", "grey")])
            seen.append([hit.to_json() for hit in library.search("red", where=parse("tag = B and not path:rouge")).hits])
            seen.append(library.db.tags([video]))
        seen.append(dump(path, ToyEncoder()))
        states[kind] = json.loads(json.dumps(seen).replace(str(path), "LIBRARY"))
        shutil.rmtree(videos)
    assert states["postgresql"] == states["sqlite"]


# -- one that waits too long, a server that fails

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def test_who_waits_too_long_is_told(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db, other = Database(url, tmp_path), Database(url, tmp_path)
    monkeypatch.setattr("hit.db.setup._WAIT", 50)
    with db.write(), pytest.raises(UserError, match="another process is writing to it"):
        other.record_files([found("/a.mp4", A)])
    other.record_files([found("/a.mp4", A)])
    db.close()
    other.close()


def test_a_rush_that_finds_all_connections_in_use_is_told(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.db.setup._POOL", 1)
    monkeypatch.setattr("hit.db.setup._PATIENCE", 0.05)
    db = Database(url, tmp_path)
    with db.read() as one, db.read() as other:
        for session in (one, other):
            session.execute(sa.text("SELECT 1"))
        for act in (db.state, db.files, lambda: db.save_search("a", {})):
            with pytest.raises(AwayError, match="all connections to it are in use") as error:
                act()
            assert "\n" not in str(error.value)
    db.save_search("a", {})
    db.close()


def test_a_lost_connection_is_told_and_the_next_one_works(url: str, tmp_path: Path, postgres: Postgres) -> None:
    db = Database(url, tmp_path)
    with pytest.raises(UserError, match="its connection was lost") as error, db.write() as session:
        session.execute(sa.text("INSERT INTO searches VALUES ('a', '{}', now())"))
        postgres.execute(CUT)
        session.execute(sa.text("SELECT 1"))
    assert "\n" not in str(error.value)
    assert db.saved_searches() == {}
    postgres.execute(CUT)
    db.save_search("b", {})  # an idle connection that was lost is none's concern
    assert list(db.saved_searches()) == ["b"]
    db.close()


def test_a_server_that_crashes_loses_nothing_that_was_recorded(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.database()
    db = Database(url, tmp_path)
    db.record_files([found("/a.mp4", A)])
    postgres.crash()
    for act in (db.files, lambda: db.record_files([found("/b.mp4", B)]), lambda: Database(url, tmp_path)):
        with pytest.raises(UserError, match=r"cannot be opened|was lost") as error:
            act()
        assert "\n" not in str(error.value)
    postgres.start()
    assert list(db.files()) == ["/a.mp4"]
    db.close()


def test_what_keeps_a_database_from_being_opened_is_said_in_one_line(postgres: Postgres, tmp_path: Path) -> None:
    postgres.execute("CREATE ROLE locked LOGIN PASSWORD 'the right one'")
    url = postgres.url("postgres", "locked:the+wrong+one")
    beside = postgres.url("postgres", "locked") + "&password=the+wrong+one"
    for bad, complaint in [
        (url, 'cannot be opened: password authentication failed for user "locked"'),
        (beside, 'cannot be opened: password authentication failed for user "locked"'),
        (postgres.url("nowhere"), 'cannot be opened: database "nowhere" does not exist'),
        ("postgresql://hit:secret@127.0.0.1:1/name", "cannot be opened: .*refused"),
        ("postgresql://hit:secret@host:port/name", "is not understood"),
        ("postgresql+none://hit:secret@host/name", "is not understood"),
        ("secret", "is not understood"),
    ]:
        with pytest.raises(UserError, match=complaint) as error:
            Database(bad, tmp_path)
        text = str(error.value)
        assert "\n" not in text and "secret" not in text and "wrong" not in text, text


def test_a_user_who_may_not_make_tables_is_told(postgres: Postgres, tmp_path: Path) -> None:
    postgres.execute("CREATE ROLE reader LOGIN")
    url = postgres.url("postgres", "reader")
    with pytest.raises(UserError, match="permission denied for schema public") as error:
        Database(url, tmp_path)
    assert "\n" not in str(error.value)


def test_short_addresses_mean_the_driver_that_is_installed(postgres: Postgres) -> None:
    for short in ("postgres", "postgresql", "postgresql+psycopg"):
        assert engines(f"{short}://host/name")[0].url.drivername == "postgresql+psycopg"


def test_a_driver_that_is_missing_is_named() -> None:
    with pytest.raises(UserError, match=r"needs the package psycopg2, .*pip install 'hit-video\[postgres\]'"):
        engines("postgresql+psycopg2://host/name")


def test_two_libraries_do_not_share_a_database(url: str, tmp_path: Path) -> None:
    with Library.create(tmp_path / "one", encoder=ToyEncoder(), database=url) as library:
        library.db.record_files([found("/a.mp4", A)])
    with pytest.raises(UserError, match="records of another library"):
        Library.create(tmp_path / "two", encoder=ToyEncoder(), database=url)
    assert not (tmp_path / "two" / "library.toml").exists()


@pytest.mark.parametrize("secret", ["postgresql://me:pass@host/db", "postgresql://host/db?password=pass"])
def test_a_password_is_not_written_down(secret: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PGPASSWORD") as error:
        Library.create(tmp_path / "lib", encoder=ToyEncoder(), database=secret)
    assert "pass@" not in str(error.value) and not (tmp_path / "lib").exists()
