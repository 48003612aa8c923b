"""What people leave in the database: tags, saved searches."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from hit.db.keywords import refresh
from hit.db.labels import SOURCE
from hit.db.schema import File, SavedSearch, Tag, Video
from hit.db.session import Sessions
from hit.errors import NotFoundError, UserError

_LONGEST = 100  # characters of a name


def check(what: str, name: str) -> None:
    """Raise UserError for what cannot name a tag or a search."""
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST:
        raise UserError(what, f"must be of 1 to {_LONGEST} printable characters")


class Records(Sessions):
    """The part of a Database that holds them."""

    # -- tags

    def tag(self, videos: Iterable[str], add: Iterable[str] = (), remove: Iterable[str] = (), source: str = "user") -> None:
        """Give videos names, and take others from them. What a user gives is the user's, also where a label gave it before."""
        added, removed = set(add), set(remove)
        with self.write() as session:
            for video in set(videos):
                if source == "user":
                    own = sa.update(Tag).where(Tag.video_id == video, Tag.name.in_(added), Tag.source.startswith(SOURCE))
                    session.execute(own.values(source=source))
                session.execute(sa.delete(Tag).where(Tag.video_id == video, Tag.name.in_(removed)))
                there = set(session.scalars(sa.select(Tag.name).where(Tag.video_id == video)))
                session.add_all(Tag(video_id=video, name=name, source=source) for name in added - there)
                session.flush()
                refresh(session, [video])

    def tags(self, videos: Iterable[str]) -> dict[str, list[str]]:
        """Return the tags of videos, sorted; videos without any are left out."""
        found: dict[str, list[str]] = {}
        with self.read() as session:
            for tag in session.scalars(sa.select(Tag).where(Tag.video_id.in_(list(videos))).order_by(Tag.name)):
                found.setdefault(tag.video_id, []).append(tag.name)
        return found

    def tag_counts(self) -> dict[str, int]:
        """Return how many videos bear each tag."""
        query = sa.select(Tag.name, sa.func.count()).group_by(Tag.name).order_by(Tag.name)
        with self.read() as session:
            return {row[0]: row[1] for row in session.execute(query)}

    def named(self, name: str) -> str | None:
        """Return the id of the video with this id, or of a file that is called or lies so; see `hit.places`."""
        called = self.roots.names_of(name)
        with self.read() as session:
            found = session.scalar(sa.select(File.video_id).where(File.path.in_(called)))
            return found or session.scalar(sa.select(Video.id).where(Video.id == name))

    # -- saved searches

    def save_search(self, name: str, query: Mapping[str, Any]) -> None:
        """Save a search under a name; one that has it is replaced. Raises UserError for what cannot be a name."""
        check(f"the name '{name}'", name)
        if "/" in name:  # it is a part of an address
            raise UserError(f"the name '{name}'", "has a slash in it")
        with self.write() as session:
            session.merge(SavedSearch(name=name, query=dict(query), created_at=datetime.now(UTC)))

    def saved_searches(self) -> dict[str, SavedSearch]:
        """Return all saved searches by their names, sorted."""
        with self.read() as session:
            return {one.name: one for one in session.scalars(sa.select(SavedSearch).order_by(SavedSearch.name))}

    def saved_search(self, name: str) -> dict[str, Any]:
        """Return a saved search. Raises NotFoundError for one that is not there."""
        there = self.saved_searches()
        if name not in there:
            raise NotFoundError(f"@{name}", "no search is saved under this name", f"there are: {', '.join(there) or 'none'}")
        return dict(there[name].query)

    def forget_search(self, name: str) -> bool:
        """Drop a saved search; tell whether it was there."""
        with self.write() as session:
            found = session.get(SavedSearch, name)
            if found:
                session.delete(found)
            return found is not None
