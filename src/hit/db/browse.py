"""Looking through a library: its videos page by page, and what a page shows of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit import pages
from hit.db import where
from hit.db.schema import File, Segment, Tag, Video
from hit.db.session import Sessions, batches
from hit.errors import NotFoundError
from hit.filters import Node
from hit.places import Places, basename

Order = Literal["added", "title", "duration"]


@dataclass(frozen=True, slots=True)
class Card:
    """A video as a list shows it.

    paths: where its files are. poster: the segment whose picture stands for it, that in the middle.
    """

    video: Video
    title: str
    paths: Sequence[str]
    tags: Sequence[str]
    segments: int
    poster: str | None


class Browse(Sessions):
    """The part of a Database that shows what there is."""

    def video(self, key: str) -> Card:
        """Return one video. Raises NotFoundError for an id that is not known."""
        with self.read() as session:
            found = session.get(Video, key)
            if found is None:
                raise NotFoundError(f"video {key}", "the library knows no video with this id")
            return _cards(session, self.roots, [found])[0]

    def titles(self, videos: Iterable[str]) -> dict[str, Card]:
        """Return videos by their ids, without their segments and posters; those that are not known are left out."""

        def load(session: Session, ids: list[str]) -> dict[str, Card]:
            found = [one for some in batches(ids) for one in session.scalars(sa.select(Video).where(Video.id.in_(some)))]
            return {card.video.id: card for card in _cards(session, self.roots, found, whole=False)}

        return self.known("cards", videos, load)

    def cards(self, videos: Iterable[str]) -> dict[str, Card]:
        """Return videos by their ids, whole; those that are not known are left out."""
        with self.read() as session:
            found = [one for some in batches(videos) for one in session.scalars(sa.select(Video).where(Video.id.in_(some)))]
            return {card.video.id: card for card in _cards(session, self.roots, found)}

    def videos(
        self,
        *,
        status: str | None = None,
        text: str = "",
        node: Node | None = None,
        order: Order = "added",
        limit: int = 50,
        page: str | None = None,
    ) -> tuple[list[Card], int, str | None]:
        """Return a page of videos, how many fit in all, and the next page's token.

        Newest first, by title, or longest first. text: what the title or a path must contain; node: a filter, through which a
        video goes if one of its segments does. Raises UserError for a token that is not of this list.
        """
        named = sa.select(sa.func.min(File.path)).where(File.video_id == Video.id).scalar_subquery()
        title = sa.func.coalesce(Video.title, where.basename(named), Video.id)
        keys: dict[Order, Any] = {"added": Video.added_at, "title": title, "duration": sa.func.coalesce(Video.duration, -1.0)}
        key = keys[order]
        fits = [] if status is None else [Video.status == status]
        if text:
            paths = sa.select(File.video_id).where(where.contains(File.path.expression, text))
            fits.append(where.contains(Video.title.expression, text).is_(True) | Video.id.in_(paths))
        if node is not None:
            fits.append(where.some(node))
        query = sa.select(Video, key).where(*fits)
        down = order != "title"
        if page is not None:
            last, after = _read(page, order)
            beyond = key < last if down else key > last
            query = query.where(beyond | ((key == last) & (Video.id > after)))
        with self.read() as session:
            total = session.scalar(sa.select(sa.func.count()).select_from(Video).where(*fits)) or 0
            rows = session.execute(query.order_by(key.desc() if down else key, Video.id).limit(limit)).all()
            cards = _cards(session, self.roots, [video for video, _ in rows])
        token = _token(order, rows[-1][1], rows[-1][0].id) if len(rows) == limit else None
        return cards, total, token

    def segment(self, key: str) -> Segment:
        """Return one segment. Raises NotFoundError for an id that is not known."""
        with self.read() as session:
            found = session.get(Segment, key)
        if found is None:
            raise NotFoundError(f"segment {key}", "the library knows no segment with this id")
        return found

    def segments_of(self, video: str) -> list[Segment]:
        """Return a video's segments in the order of time."""
        with self.read() as session:
            found = sa.select(Segment).where(Segment.video_id == video).order_by(Segment.start, Segment.id)
            return list(session.scalars(found))

    def files_of(self, video: str) -> list[tuple[str, int, int]]:
        """Return a video's files: name, see `hit.places`, and bytes and mtime_ns when they were last looked at."""
        with self.read() as session:
            found = sa.select(File.path, File.size, File.mtime_ns).where(File.video_id == video).order_by(File.path)
            return [(path, size, mtime) for path, size, mtime in session.execute(found)]


def _cards(session: Session, roots: Places, videos: Sequence[Video], whole: bool = True) -> list[Card]:
    paths: dict[str, list[str]] = {}
    tags: dict[str, list[str]] = {}
    segments: dict[str, tuple[int, str | None]] = {}
    for ids in batches(video.id for video in videos):
        for owner, path in session.execute(sa.select(File.video_id, File.path).where(File.video_id.in_(ids)).order_by(File.path)):
            paths.setdefault(owner, []).append(path)
        for owner, name in session.execute(sa.select(Tag.video_id, Tag.name).where(Tag.video_id.in_(ids)).order_by(Tag.name)):
            tags.setdefault(owner, []).append(name)
        counts = sa.select(Segment.video_id, sa.func.count()).where(Segment.video_id.in_(ids)).group_by(Segment.video_id)
        for owner, count in session.execute(counts).all() if whole else ():  # a few words for each, where all would be thousands
            middle = sa.select(Segment.id).where(Segment.video_id == owner).order_by(Segment.start, Segment.id)
            segments[owner] = count, session.scalar(middle.offset(count // 2).limit(1))
    cards = []
    for video in videos:
        files = paths.get(video.id, [])
        title = video.title or (basename(files[0]) if files else video.id)
        shown = [str(roots.seen(name)) for name in files]
        cards.append(Card(video, title, shown, tags.get(video.id, []), *segments.get(video.id, (0, None))))
    return cards


def _token(order: Order, last: Any, video: str) -> str:
    return pages.pack(order, last.isoformat() if isinstance(last, datetime) else last, video)


def _read(token: str, order: Order) -> tuple[Any, str]:
    kinds: dict[Order, type] = {"added": str, "title": str, "duration": float}
    try:
        made, last, video = pages.unpack(token)
        if made == order and isinstance(video, str) and isinstance(last, kinds[order]):
            return (datetime.fromisoformat(str(last)) if order == "added" else last), video
    except ValueError:
        pass
    raise pages.stray(f"{pages.AS_IT_STANDS}, with the same order")
