"""Keyword search finds what a plain reading of the rules finds, and follows every change of the library."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

import hit.db
from hit.db import Database, Found, Line, Match, Segment, Stored, keywords, video_id
from hit.db.schema import Document, Embedding, Video
from hit.db.words import COMMON, asked, begins, normalise
from hit.types import Keys
from library_helpers import forget

A, B = (letter * 64 for letter in "ab")
VOCABULARY = ["red", "Blue", "green", "the", "猫が好き", "猫", "x", "7", "ü", "GoalKick"]


def add(db: Database, path: str, content: str, lines: dict[str, list[str]], revision: str = "r") -> None:
    """Add a video whose segments have these lines; the first vector of a library is row 0."""
    db.record_files([Found(path, 10, 1, content)])
    segments = [
        Segment(id=name, video_id=video_id(content), start=float(n), end=n + 1.0, seek=0.0) for n, name in enumerate(lines)
    ]
    said = [
        Line(segment_id=name, number=n, expert="speech", start=0.0, end=1.0, text=text)
        for name, texts in lines.items()
        for n, text in enumerate(texts)
    ]
    db.finish(video_id(content), {}, segments, revision, np.ones((len(segments), 2), np.float32), said)


def found(db: Database, text: str, limit: int = 100, allowed: list[int] | None = None, revision: str = "r") -> list[str]:
    """Return the segments that are found, best first."""
    rows: Keys | None = None if allowed is None else np.array(allowed, np.int64)
    stored = Stored(revision, 2)
    matches = [match.row for match in db.matches(stored, text, limit, rows)]
    places = db.places(stored, matches)
    return [places[row].segment.id for row in matches]


def consistent(db: Database) -> None:
    """SQLite's own check that the index is that of the documents; PostgreSQL's is a column of theirs."""
    with db.write() as session:
        if session.get_bind().dialect.name == "sqlite":
            session.execute(sa.text("INSERT INTO documents_fts (documents_fts, rank) VALUES ('integrity-check', 1)"))


# -- what is found


def has(document: list[str], phrase: list[str]) -> bool:
    for at in range(len(document) - len(phrase) + 1):
        there = document[at : at + len(phrase)]
        if there == phrase or (begins(phrase) and there[:-1] == phrase[:-1] and there[-1].startswith(phrase[-1])):
            return True
    return False


def expected(documents: list[str], query: str, many: int) -> dict[int, tuple[int, set[str]]]:
    """Return the documents that match a query, with how many of its words they have, and which."""
    wanted, phrases = asked(query)
    lists = [document.split() for document in documents]
    frequent = {word for word in wanted if sum(has(one, [word]) for one in lists) > many}
    rare = set(wanted) - frequent
    matching = {}
    for n, one in enumerate(lists):
        here = {word for word in wanted if has(one, [word])}
        enough = len(here & rare) >= (len(rare) + 1) // 2 if rare else here == frequent
        if (wanted or phrases) and enough and all(has(one, phrase) for phrase in phrases):
            matching[n] = len(here), here
    return matching


TEXTS = st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join)


@st.composite
def queries(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.tuples(TEXTS, st.booleans()), min_size=1, max_size=3))
    return " ".join(f'"{text}"' if quoted else text for text, quoted in parts)


def fill(session: Session, documents: list[str]) -> None:
    session.execute(sa.delete(Video))
    session.execute(sa.insert(Video).values(id="v", content_hash="v", status="ready", added_at=datetime.now(UTC)))
    rows = [{"segment_id": f"s{row}", "row": row, "words": text} for row, text in enumerate(documents)]
    segments = [{"id": one["segment_id"], "video_id": "v", "start": 0.0, "end": 1.0, "seek": 0.0} for one in rows]
    vectors = [{"segment_id": one["segment_id"], "revision": "r", "row": one["row"]} for one in rows]
    for table, values in ((Segment, segments), (Document, rows), (Embedding, vectors)):
        names = {column.name for column in table.__table__.columns}
        if values:
            session.execute(sa.insert(table), [{k: v for k, v in one.items() if k in names} for one in values])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    st.lists(TEXTS.map(lambda text: " ".join(normalise(text))), max_size=8),
    st.lists(queries(), min_size=2, max_size=4),
    st.integers(0, 4),
)
@example(["red", "red blue", "green", "red blue green 7"], ["red blue green", '"blue green" 7'], 4)
@example(["red", "red blue", "green", "green blue", "red green"], ["red blue green", "red green"], 2)
def test_search_finds_what_the_rules_say(
    db: Database, monkeypatch: pytest.MonkeyPatch, documents: list[str], texts: list[str], many: int
) -> None:
    monkeypatch.setattr(keywords, "MANY", many)
    monkeypatch.setattr(keywords, "_PAGE", 2)
    with Session(db._engine) as session:
        fill(session, documents)
        for text in texts:
            matching = expected(documents, text, many)
            matches = keywords.search(session, text, "r", 100)
            assert {match.row: (len(match.words), set(match.words)) for match in matches} == matching
            counts = [len(match.words) for match in matches]
            assert counts == sorted(counts, reverse=True)
            places = [match.place for match in matches]
            assert all(place in (before, n) for n, (before, place) in enumerate(zip([0, *places], places, strict=False), 1))
            assert all(match.whole == (len(match.words) == len(asked(text)[0])) for match in matches)
            assert keywords.search(session, text, "r", 2) == matches[:2]
            even = [match for match in matches if match.row % 2 == 0]
            some = keywords.search(session, text, "r", 2, np.arange(0, 100, 2))
            assert [match.row for match in some] == [match.row for match in even[:2]]
        session.rollback()


def test_rare_words_and_short_documents_come_first(db: Database) -> None:
    lines = {f"s{n}": ["red " + "filler " * n] for n in range(6)} | {"t": ["blue " + "filler " * 3]}
    add(db, "/a.mp4", A, lines)
    order = found(db, "red blue")
    assert order.index("t") < order.index("s3")
    assert [name for name in order if name != "t"] == [f"s{n}" for n in range(6)]
    assert [match.place for match in db.matches(Stored("r", 2), "red", 3)] == [1, 2, 3]


def test_those_that_nothing_tells_apart_share_a_place(db: Database) -> None:
    add(db, "/a.mp4", A, {f"s{n}": ["red car"] for n in range(3)} | {"t": ["blue"]})
    matches = db.matches(Stored("r", 2), "red blue car", 9)
    assert [(match.row, match.place) for match in matches] == [(0, 1), (1, 1), (2, 1)]
    assert matches[0] == Match(0, ("red", "car"), False, 1)


@pytest.mark.parametrize(
    "text",
    [
        'red"',
        "red*",
        "re*",
        "red AND blue",
        "NOT red",
        "words:red",
        "{words}: red",
        "^red",
        "NEAR(red blue)",
        "red + blue",
        "(red",
        "red'; DROP --",
        "red' & !'blue",
        "red\0blue",
        ":* <-> red \\",
        "-red",
        '"red" OR "',
    ],
)
def test_what_means_something_to_the_index_means_nothing_here(db: Database, text: str) -> None:
    add(db, "/a.mp4", A, {"s1": ["a red and blue thing"], "s2": ["nothing"]})
    assert found(db, text) == ([] if text == "re*" else ["s1"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.text() | st.text("\"'*:^(){}+-&|!<>\\\0 aé猫"))
def test_any_query_is_answered(db: Database, text: str) -> None:
    with db.read() as session:
        assert keywords.search(session, text, "r", 5) == []


@pytest.mark.parametrize("text", ["", " ", "?!", '""', " ".join(COMMON), "a b c", '"?"'])
def test_a_query_without_words_finds_nothing(db: Database, text: str) -> None:
    add(db, "/a.mp4", A, {"s1": ["the cat is on the mat, a b c"]})
    assert found(db, text) == []


def test_a_query_of_a_thousand_words(db: Database) -> None:
    add(db, "/a.mp4", A, {"s1": [" ".join(f"word{n}" for n in range(16))]})
    assert found(db, " ".join(f"word{n}" for n in range(100_000))) == ["s1"]


# -- what is searched, and that it follows the library


def test_lines_names_and_tags_are_found(db: Database) -> None:
    add(db, "/films/GoalKeeper_Training.mp4", A, {"s1": ["Über alles"], "s2": ["東京タワー"]})
    db.tag([video_id(A)], add=["Winter Sports"])
    assert found(db, "uber") == ["s1"]
    assert found(db, "京タワ") == found(db, "タ") == ["s2"]
    assert found(db, "京塔") == []
    assert found(db, "goal keeper") == found(db, "goalkeeper") == found(db, '"keeper training"') == ["s1", "s2"]
    assert found(db, "winter") == ["s1", "s2"]
    assert found(db, "films") == found(db, "mp4") == []
    assert found(db, "training uber") == ["s1", "s2"]


def test_every_change_is_followed(db: Database) -> None:
    add(db, "/first.mp4", A, {"s1": ["red"], "s2": ["blue"]})
    add(db, "/second.mp4", B, {"t1": ["red"]})
    assert found(db, "red") == ["s1", "t1"]
    add(db, "/first.mp4", A, {"s1": ["green"], "s3": ["red"]})  # embedded anew, cut otherwise
    assert (found(db, "red"), found(db, "green"), found(db, "blue")) == (["t1", "s3"], ["s1"], [])
    db.record_files([Found("/renamed.mp4", 10, 1, A)], gone=["/first.mp4"])
    assert (found(db, "first"), found(db, "renamed")) == ([], ["s1", "s3"])
    db.record_files([Found("/also.mp4", 10, 1, A)])
    assert found(db, "also") == ["s1", "s3"]
    db.record_files([Found("/also.mp4", 10, 2, B)])  # another content at the same path
    assert found(db, "also") == ["t1"]
    db.tag([video_id(A)], add=["loud"])
    assert found(db, "loud") == ["s1", "s3"]
    db.tag([video_id(A)], remove=["loud"])
    assert found(db, "loud") == []
    consistent(db)
    db.fail(video_id(B), "broken", "r")
    assert found(db, "red") == ["s3"]
    forget(db, [video_id(A)])
    assert found(db, "red green renamed") == []
    with db.read() as session:
        assert session.scalars(sa.select(Document.words)).all() == []
    consistent(db)


def test_what_is_deleted_with_its_video_leaves_the_index(db: Database) -> None:
    """Rows that a foreign key takes along fire triggers too."""
    add(db, "/a.mp4", A, {"s1": ["red"]})
    with db.write() as session:
        session.execute(sa.delete(Video))
    assert found(db, "red") == []
    consistent(db)


def test_only_vectors_of_the_revision_and_allowed_rows_are_found(db: Database) -> None:
    add(db, "/a.mp4", A, {f"s{n}": ["red"] for n in range(5)})
    add(db, "/b.mp4", B, {"t": ["red"]}, revision="other")
    assert found(db, "red", revision="other") == ["t"]
    assert found(db, "red", allowed=[1, 3, 99]) == ["s1", "s3"]
    assert found(db, "red", allowed=[1, 3], limit=1) == ["s1"]
    assert found(db, "red", allowed=[]) == []
    assert found(db, "red", limit=2) == ["s0", "s1"]


# -- the migration


def test_a_library_from_before_is_found_by_its_words(database_url: str, tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(hit.db.__file__).parent.with_name("migrations")))
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "folder": tmp_path}
        command.upgrade(config, "0003")
    insert: list[tuple[str, list[tuple[Any, ...]]]] = [
        ("videos (id, content_hash, status, added_at)", [("v", A, "ready", "2026-01-01"), ("w", B, "ready", "2026-01-01")]),
        ("files", [("/x/MyFilm.mp4", "v", 1, 1), ("/b.mp4", "w", 1, 1)]),
        ('segments (id, video_id, start, "end", seek)', [("s1", "v", 0, 1, 0), ("s2", "v", 1, 2, 0), ("t", "w", 0, 1, 0)]),
        ("embeddings", [("s1", "r", 0), ("s2", "r", 1), ("t", "r", 2)]),
        ("lines", [("s1", 0, "ocr", 0, 1, "EXIT here"), ("t", 0, "speech", 0, 1, "exit")]),
        ("tags", [("w", "Sport", "user")]),
    ]
    with engine.begin() as connection:
        for table, rows in insert:
            values = ", ".join(f"({', '.join(map(repr, row))})" for row in rows)
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES {values}")
    engine.dispose()
    db = Database(database_url, tmp_path)
    assert sorted(found(db, "exit")) == ["s1", "t"]
    assert found(db, "film exit") == ["s1", "s2", "t"]
    assert found(db, "sport") == ["t"]
    consistent(db)
    with db.write() as session:
        before = [(one.segment_id, one.words) for one in session.scalars(sa.select(Document).order_by(Document.id))]
        keywords.refresh(session, ["v", "w"])
        assert [(one.segment_id, one.words) for one in session.scalars(sa.select(Document).order_by(Document.id))] == before
