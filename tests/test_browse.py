"""Lists of videos, page by page: none is left out, none comes twice, whatever is known of them; on either database."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hit import filters
from hit.db import Database, Segment, Video
from hit.db.browse import Order
from hit.db.schema import File, Tag
from hit.errors import UserError

NAMES = ["a\u202fb", None, "b", None, "Ä", "b"]  # None: neither a title nor a file


@pytest.fixture
def db(database_url: str, tmp_path: Path) -> Iterator[Database]:
    made = Database(database_url, tmp_path)
    now = datetime.now(UTC)
    with made.write() as session:
        for i, name in enumerate(NAMES):
            video = Video(id=f"v{i}", content_hash=f"h{i}", status="ready", added_at=now, title=name)
            video.duration = float(i) if i else None
            session.add(video)
            session.flush()
            session.add_all(Segment(id=f"s{i}-{n}", video_id=f"v{i}", start=float(n), end=n + 1.0, seek=0.0) for n in range(i))
        session.add(File(path="/f/c.mp4", video_id="v5", size=1, mtime_ns=1))
        session.add(Tag(video_id="v4", name="x", source="user"))
    yield made
    made.close()


@pytest.mark.parametrize("order", ["added", "title", "duration"])
def test_pages_have_each_video_once(db: Database, order: Order) -> None:
    whole, total, _ = db.videos(order=order)
    found, page = [], None
    while True:
        cards, number, page = db.videos(order=order, limit=1, page=page)
        assert number == total == len(NAMES)
        found += cards
        if page is None:
            break
    assert [one.video.id for one in found] == [one.video.id for one in whole]
    assert {one.video.id for one in found} == {f"v{i}" for i in range(len(NAMES))}
    if order == "title":
        assert [one.title for one in whole] == sorted(one.title for one in whole)


def test_a_poster_is_that_of_the_middle(db: Database) -> None:
    cards = {card.video.id: card for card in db.videos()[0]}
    assert [(cards[f"v{i}"].segments, cards[f"v{i}"].poster) for i in range(4)] == [
        (0, None),
        (1, "s1-0"),
        (2, "s2-1"),
        (3, "s3-1"),
    ]
    assert db.video("v3").poster == "s3-1"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("duration>=0", "12345"),  # v0 has no segments, and no duration
        ("not duration>=3", "12"),
        ("tag=x or name=c.mp4", "45"),
        ("not tag=x and duration>1", "235"),
        ("start>=3", "45"),
        ("start<1 and tag=x", "4"),
        ("not (start<1 and tag=x)", "12345"),  # others of its segments go through
    ],
)
def test_a_filter_lets_videos_through_of_which_a_segment_goes(db: Database, text: str, found: str) -> None:
    assert "".join(sorted(card.video.id[1:] for card in db.videos(node=filters.given(text))[0])) == found


def test_a_token_that_was_made_up_is_refused(db: Database) -> None:
    with pytest.raises(UserError, match="page token"):  # ["title", half a character, "x"]
        db.videos(order="title", page="WyJ0aXRsZSIsICJcdWQ4MDAiLCAieCJd")
