"""What was read from the database is kept as long as its content stays, and no longer."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from hit.db import Database, Found, StaleError, Stored, video_id
from hit.db.kept import Kept
from hit.db.schema import Array
from hit.errors import UserError
from test_keywords import A, B, add

KEYS = st.sampled_from("abcd")
STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["x", "y"]), st.lists(KEYS, max_size=4), st.integers(0, 9)))


@given(STEPS, st.sampled_from([0, 300, 1000, 10**6]))
def test_what_is_found_was_kept_of_this_state(steps: list[tuple[int, str, list[str], int]], most: int) -> None:
    kept, said = Kept(most), dict[tuple[int, str, str], int]()
    state = -1
    for now, kind, keys, value in steps:
        found = kept.find(now, kind, keys)
        if now != state:
            said, state = {}, now
            assert not found
        assert all(said[now, kind, key] == one for key, one in found.items())
        if most == 10**6:
            assert set(found) == {key for key in keys if (now, kind, key) in said}
        kept.keep(now, kind, dict.fromkeys(keys, value))
        said |= {(now, kind, key): value for key in keys}
        assert 0 <= kept.bytes <= most


def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    kept = Kept()
    assert not kept.find(1, "x", ["a"])
    assert not kept.find(2, "x", ["a"])  # another thread has seen the change
    kept.keep(1, "x", {"a": "old"})
    assert not kept.find(2, "x", ["a"])
    kept.keep(2, "x", {"a": "new"})
    assert kept.find(2, "x", ["a"]) == {"a": "new"}
    assert not kept.find(1, "x", ["a"])


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    kept = Kept(4000)
    kept.find(1, "x", [])
    for name in "abc":
        kept.keep(1, "x", {name: np.zeros(100)})  # 800 bytes and what holds them
        kept.find(1, "x", "a")
    assert set(kept.find(1, "x", "abc")) == {"a", "c"}
    kept.keep(1, "x", {"d": np.zeros(10**6)})  # too large for all that there may be
    assert not kept.find(1, "x", "abcd")
    assert kept.bytes == 0


def asked(db: Database, keys: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return what is known of keys, and which were loaded for that."""
    loaded: list[str] = []

    def load(session: Session, lacking: list[str]) -> dict[str, str]:
        loaded.extend(lacking)
        return {key: key.upper() for key in lacking if key != "nothing"}

    return db.known("letters", keys, load), loaded


def test_nothing_is_loaded_twice_until_something_changes(db: Database) -> None:
    assert asked(db, ["b", "a", "b", "nothing"]) == ({"b": "B", "a": "A"}, ["b", "a", "nothing"])
    assert asked(db, ["c", "a", "nothing"]) == ({"c": "C", "a": "A"}, ["c"])
    with db.write(content=False):  # as a token is used
        pass
    assert asked(db, ["a"]) == ({"a": "A"}, [])
    db.record_files([Found("/a.mp4", 1, 1, A)])
    assert asked(db, ["a", "nothing"]) == ({"a": "A"}, ["a", "nothing"])


def test_a_change_by_another_process_is_noticed(db: Database, database_url: str, tmp_path: Path) -> None:
    other = Database(database_url, tmp_path)
    before = db.state()
    assert asked(db, ["a"])[1] == ["a"]
    other.record_files([Found("/a.mp4", 1, 1, A)])
    assert db.state() == before + 1
    assert asked(db, ["a"])[1] == ["a"]
    other.close()


def test_a_thread_may_hold_on_to_a_state_and_others_do_not(db: Database) -> None:
    before, seen = db.state(), list[int]()
    with db.steady():
        db.record_files([Found("/a.mp4", 1, 1, A)])
        assert db.state() == before
        other = threading.Thread(target=lambda: seen.append(db.state()))
        other.start()
        other.join()
    assert seen == [before + 1] == [db.state()]


def test_rows_with_other_numbers_are_noticed_though_they_are_kept(db: Database) -> None:
    """Places, words and filters of an array that was rewritten are asked for by its old name."""
    add(db, "/a.mp4", A, {"s1": ["red"]})
    old = db.stored("r", 2)
    assert db.places(old, [0]) and db.matches(old, "red", 5)
    with db.write() as session:
        session.get_one(Array, "r").generation += 1
    assert db.stored("r", 2) == Stored("r", 2, 1, 1)
    for ask in (lambda: db.places(old, [0]), lambda: db.matches(old, "red", 5)):
        with pytest.raises(StaleError):
            ask()
    assert db.places(db.stored("r", 2), [0])[0].segment.id == "s1"


def test_what_is_kept_follows_files_lines_and_tags(db: Database) -> None:
    add(db, "/a.mp4", A, {"s1": ["red"]})
    stored, video = db.stored("r", 2), video_id(A)

    def shown() -> tuple[Any, ...]:
        card = db.titles([video])[video]
        return db.places(stored, [0])[0].path.name, db.lines(["s1"])["s1"][0].text, card.title, list(card.tags)

    assert shown() == shown() == ("a.mp4", "red", "a.mp4", [])
    db.record_files([Found("/0.mp4", 1, 1, A)])
    db.tag([video], add=["new"])
    assert shown() == ("0.mp4", "red", "0.mp4", ["new"])
    add(db, "/b.mp4", B, {"t": ["blue"]})
    assert set(db.places(db.stored("r", 2), [0, 1, 7])) == {0, 1}


def test_a_database_that_went_away_is_told_in_one_line(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}", tmp_path)
    db._engine.dispose()
    (tmp_path / "x.db").write_bytes(b"no database" * 1000)
    for name in ("x.db-wal", "x.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="is damaged"):
        db.state()
    db.close()
