"""Filters in SQL let through what a plain reading of them lets through: libraries and filters made by chance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from filter_helpers import INSTANTS, LETTERS, NODES, NUMBERS, TEXTS, holds
from hit.db import where
from hit.db.schema import Base, Embedding, File, Line, Segment, Tag, Video
from hit.filters import FIELDS, And, Node, Not, Or, Term, parse
from hit.places import basename

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
FACTS = {"duration": NUMBERS, "width": st.sampled_from([0, 1, 2, 100]), "height": st.sampled_from([1, 100]), "rate": NUMBERS}


@dataclass
class Made:
    """A video with its files, tags and segments; a segment is its start, its length and its lines."""

    facts: dict[str, Any]
    paths: list[str]
    tags: list[str]
    segments: list[tuple[float, float, list[tuple[str, str]]]]


VIDEOS = st.builds(
    Made,
    st.fixed_dictionaries(
        {name: st.none() | values for name, values in FACTS.items()}
        | {"codec": st.none() | TEXTS, "has_audio": st.none() | st.booleans(), "added_at": INSTANTS}
    ),
    st.lists(st.text(LETTERS, min_size=1, max_size=6), max_size=2),
    st.lists(TEXTS, max_size=2, unique=True),
    st.lists(
        st.tuples(NUMBERS, NUMBERS, st.lists(st.tuples(st.sampled_from(["speech", "ocr", "other"]), TEXTS), max_size=2)),
        max_size=2,
    ),
)


def bare(path: str = "", tags: Sequence[str] = ()) -> Made:
    """Return a video of which next to nothing is known, with one segment."""
    facts = dict.fromkeys([*FACTS, "codec", "has_audio"]) | {"added_at": datetime(2026, 11, 1, tzinfo=UTC)}
    return Made(facts, [path] if path else [], list(tags), [(0.0, 1.0, [])])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    url = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    engine = sa.create_engine(url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def fill(session: Session, library: list[Made]) -> dict[int, dict[str, list[Any]]]:
    """Write a library; return what the fields of each segment are, by the row of its vector."""
    for table in reversed(Base.metadata.sorted_tables):
        session.execute(sa.delete(table))
    records: dict[int, dict[str, list[Any]]] = {}
    seen: set[str] = set()
    for number, made in enumerate(library):
        video = "ab"[number]
        session.add(Video(id=video, content_hash=video, status="ready", **made.facts))
        session.flush()
        paths = sorted(set(made.paths) - seen)  # a path is one file's
        seen |= set(paths)
        session.add_all(File(path=path, video_id=video, size=1, mtime_ns=1) for path in paths)
        session.add_all(Tag(video_id=video, name=name, source="user") for name in made.tags)
        facts = {name: [] if value is None else [value] for name, value in made.facts.items()}
        names = [basename(path) for path in paths]
        of_video = facts | {"audio": facts["has_audio"], "added": facts["added_at"]}
        of_video |= {"video": [video], "path": paths, "name": names, "tag": made.tags}
        for start, length, lines in made.segments:
            row = len(records)
            session.add(Segment(id=f"{video}{row}", video_id=video, start=start, end=start + length, seek=start))
            session.flush()
            session.add(Embedding(segment_id=f"{video}{row}", revision="r", row=row))
            session.add(Embedding(segment_id=f"{video}{row}", revision="other", row=row + 100))
            for n, (expert, text) in enumerate(lines):
                session.add(Line(segment_id=f"{video}{row}", number=n, expert=expert, start=start, end=start, text=text))
            spoken: dict[str, list[Any]] = {
                name: [text for expert, text in lines if name in (expert, "text")] for name in ("speech", "ocr", "text")
            }
            own: dict[str, list[Any]] = {"start": [start], "end": [start + length], "length": [start + length - start]}
            records[row] = of_video | own | spoken
    session.flush()
    return records


@SHARED
@given(st.lists(VIDEOS, max_size=2), st.lists(NODES, min_size=4, max_size=8))
def test_sql_lets_through_what_the_filter_says(engine: sa.Engine, library: list[Made], nodes: list[Node]) -> None:
    with Session(engine) as session:
        records = fill(session, library)
        for node in nodes:
            expected = [row for row, record in records.items() if holds(node, record)]
            assert session.scalars(where.rows("r", node)).all() == expected
            rest = [row for row in records if row not in expected]
            assert session.scalars(where.rows("r", Not(node))).all() == rest
        session.rollback()


@pytest.mark.parametrize("name", FIELDS)
def test_nothing_that_is_asked_is_ever_unknown(engine: sa.Engine, name: str) -> None:
    """Of a segment of which nothing is known, a term or its complement holds."""
    term = {"number": f"{name}<5", "seconds": f"{name}<5", "date": f"{name}=2026-11-02", "flag": f"{name}=yes"}
    node = parse(term.get(FIELDS[name].kind, f"{name}:x"))
    with Session(engine) as session:
        fill(session, [bare()])
        found = [session.scalars(where.rows("r", one)).all() for one in (node, Not(node), Not(Not(node)))]
        assert found in ([[], [0], []], [[0], [], [0]])
        session.rollback()


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("path:100%", ["/100%.mp4"]),
        ("path:a_b", ["/a_b.mp4"]),
        (r"path:a\b", [r"/a\b.mp4"]),
        ("path:ÜBER", ["/über.mp4"]),
        ("path:'über.mp4'", ["/über.mp4"]),
        ("path:MP4", ["/100%.mp4", "/a_b.mp4", r"/a\b.mp4", "/axb.mp4", "/über.mp4", "/mp4/x.mp4"]),
        ("name:mp4", ["/100%.mp4", "/a_b.mp4", r"/a\b.mp4", "/axb.mp4", "/über.mp4", "/mp4/x.mp4"]),
        ("name=x.mp4", ["/mp4/x.mp4"]),
        ("name:mp4/", []),
        ("path=/A_B.mp4", []),
        ('path:"\'; DROP TABLE files; --"', []),
    ],
)
def test_paths_and_names(engine: sa.Engine, text: str, paths: list[str]) -> None:
    known = ["/100%.mp4", "/a_b.mp4", r"/a\b.mp4", "/axb.mp4", "/über.mp4", "/mp4/x.mp4"]
    found = []
    with Session(engine) as session:
        for path in known:
            fill(session, [bare(path)])
            if session.scalars(where.rows("r", parse(text))).all():
                found.append(path)
        session.rollback()
    assert found == paths


DATES = st.lists(INSTANTS | INSTANTS.map(datetime.date), min_size=1, max_size=4)


@SHARED
@given(st.lists(VIDEOS, min_size=1, max_size=2), st.lists(DATES, min_size=4, max_size=8))
def test_long_lists_of_dates_mean_what_short_ones_mean(engine: sa.Engine, library: list[Made], lists: list[list[Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch, Session(engine) as session:
        patch.setattr(where, "_WIDE", 0)
        records = fill(session, library)
        for dates in lists:
            node = Term("added", "in", tuple(dates))
            expected = [row for row, record in records.items() if holds(node, record)]
            assert session.scalars(where.rows("r", node)).all() == expected
        session.rollback()


def test_the_largest_filters_are_answered(engine: sa.Engine) -> None:
    """SQLite binds 32,766 values and nests expressions 1,000 deep; PostgreSQL binds 65,535."""
    many = Term("video", "in", tuple("a" if n == 5_000 else str(n) for n in range(10_000)))
    wide = And(tuple(Or((Term("tag", "in", ("x",)), Not(Term("path", "contains", ("ä" * 1_000,))))) for _ in range(100)))
    deep: Node = Term("tag", "in", ("x",))
    for _ in range(20):
        deep = Not(deep)
    first = datetime(2004, 1, 1, tzinfo=UTC)
    days = Term("added", "in", tuple((first + timedelta(days=n)).date() for n in range(10_000)))
    times = Term("added", "in", tuple(first + timedelta(days=n) for n in range(10_000)))
    with Session(engine) as session:
        fill(session, [bare("/a", ["x"])])
        for node in (many, wide, deep, days, times):
            assert session.scalars(where.rows("r", node)).all() == [0]
        session.rollback()
