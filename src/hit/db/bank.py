"""Hashes of frames: of the library's videos, and of what is known to be bad."""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from hit.db.schema import Video
from hit.db.schema_review import Banned, Print
from hit.db.session import Sessions, batches
from hit.errors import NotFoundError


class BankRecords(Sessions):
    """The part of a Database that holds them."""

    def prints(self, videos: Iterable[str], kind: str) -> dict[str, bytes]:
        """Return the hashes of videos' frames, where they were made as `kind` says."""
        found: dict[str, bytes] = {}
        with self.read() as session:
            for ids in batches(videos):
                query = sa.select(Print.video_id, Print.frames).where(Print.video_id.in_(ids), Print.kind == kind)
                found |= {row.video_id: row.frames for row in session.execute(query)}
        return found

    def put_prints(self, prints: Mapping[str, bytes], kind: str) -> None:
        """Keep the hashes of videos' frames; those of videos that are gone are not."""
        with self.write(content=False) as session:
            for video, frames in prints.items():
                if session.get(Video, video):
                    session.merge(Print(video_id=video, kind=kind, frames=frames))

    def bank(self) -> list[Banned]:
        """Return what is known to be bad, the newest first."""
        with self.read() as session:
            return list(session.scalars(sa.select(Banned).order_by(Banned.id.desc())))

    def ban(self, banned: Banned) -> Banned:
        """Add to it."""
        with self.write(content=False) as session:
            session.add(banned)
            session.flush()
        return banned

    def unban(self, number: int) -> None:
        """Take something from it. Raises NotFoundError."""
        with self.write(content=False) as session:
            found = session.get(Banned, number)
            if found is None:
                raise NotFoundError(f"bank entry {number}", "there is none of this number", "`hit bank list` names them")
            session.delete(found)

    def hashes(self, videos: Iterable[str]) -> dict[str, str]:
        """Return the hashes of videos' contents."""
        with self.read() as session:
            query = sa.select(Video.id, Video.content_hash)
            return {
                row.id: row.content_hash for ids in batches(videos) for row in session.execute(query.where(Video.id.in_(ids)))
            }
