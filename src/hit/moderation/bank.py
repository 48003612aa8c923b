"""The bank: clips that are known to be bad, found again by their bytes or by hashes of their frames."""

import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hit import trail
from hit.db import Banned
from hit.errors import NotFoundError, UserError
from hit.library import Library
from hit.moderation import prints
from hit.moderation.prints import KIND, Known, Prints
from hit.types import Progress, Silent

log = logging.getLogger(__name__)
NEAR = 24  # bits of 256 by which two frames may differ: chosen by benchmarks/prints.py
SHARE = 0.5  # of the frames of the shorter of two videos, which must be so near
_FRAMES = 50  # told of a match


class Bank:
    """What is known, opened to be compared with videos. missed: videos of which no hashes could be made."""

    def __init__(self, entries: list[Banned]) -> None:
        self._entries = {one.id: one for one in entries}
        self._known = Known({one.id: Prints.unpack(one.frames) for one in entries if one.kind == KIND})
        self.missed: list[str] = []

    def matches(
        self, library: Library, hashes: Mapping[str, str], progress: Progress | None = None, decode: bool = True
    ) -> dict[str, list[dict[str, Any]]]:
        """Return what in the bank each of these videos is like, given the hashes of their contents; those without are left out.

        decode: whether hashes of frames that there are none of yet are made, and kept.
        """
        if not self._entries:
            return {}
        kept = library.db.prints(hashes, KIND)
        lacking = [video for video in hashes if video not in kept]
        if decode and lacking:
            kept |= self._make(library, lacking, progress or Silent())
        found = {}
        for video, content in hashes.items():
            exact = [one for one in self._entries.values() if one.content_hash == content]
            rows = [self._json(one.id, 1.0, 0.0, ()) for one in exact]
            near = self._known.find(Prints.unpack(kept[video]), NEAR, SHARE) if video in kept else []
            same = {one.id for one in exact}
            rows += [self._json(one.entry, one.share, one.distance, one.frames) for one in near if one.entry not in same]
            if rows:
                found[video] = rows
        return found

    def _make(self, library: Library, videos: list[str], progress: Progress) -> dict[str, bytes]:
        made = {}
        with progress.task("Hashing frames", len(videos)) as task:
            for video in videos:
                try:
                    made[video] = prints.make(trail.source(library, video)).pack()
                    library.db.put_prints({video: made[video]}, KIND)
                except UserError as error:  # its file is away, or is damaged since it was indexed
                    log.warning("video %s: its frames have no hashes: %s", video, error)
                    self.missed.append(video)
                task.advance()
        return made

    def _json(self, number: int, share: float, distance: float, frames: Any) -> dict[str, Any]:
        one = self._entries[number]
        told = {"bank_id": number, "title": one.title, "note": one.note, "share": share, "distance": distance}
        return {**told, "frames": list(frames)[:_FRAMES]}


def open_bank(library: Library) -> Bank:
    """Open the bank as it is now."""
    return Bank(library.db.bank())


def add(library: Library, video: str, note: str, by: str, start: float = 0.0, end: float = math.inf) -> Banned:
    """Have a video of the library, or a stretch of it, be known from now on: also when it is gone itself.

    Raises NotFoundError for a video that is not known or whose file is away, UserError for one that cannot be read, and for a
    stretch of which no frame has enough detail to be known again.
    """
    card = library.db.video(video)
    if not 0 <= start < end:
        raise UserError("the stretch", "ends before it begins", "give start < end, in seconds")
    kept = library.db.prints([video], KIND).get(video)
    made = Prints.unpack(kept).within(start, end) if kept else prints.make(trail.source(library, video), start, end)
    whole = start <= 0 and end >= (card.video.duration or math.inf)
    if not len(made.times) and not whole:
        raise UserError(f"video {video}", "shows nothing in this stretch that could be known again", "name another stretch")
    banned = Banned(title=card.title, note=note, content_hash=card.video.content_hash, kind=KIND, frames=made.pack(), by=by)
    banned.added_at = datetime.now(UTC)
    return library.db.ban(banned)


def matches_of(library: Library, video: str) -> list[dict[str, Any]]:
    """Return what in the bank a video is like; its frames are hashed where they are not yet. Raises NotFoundError."""
    hashes = library.db.hashes([video])
    if not hashes:
        raise NotFoundError(f"video {video}", "the library knows no video with this id")
    return open_bank(library).matches(library, hashes).get(video, [])


def to_json(one: Banned) -> dict[str, Any]:
    """Return an entry as it is listed."""
    frames = len(Prints.unpack(one.frames).times)
    return {"id": one.id, "title": one.title, "note": one.note, "frames": frames, "by": one.by, "added_at": one.added_at}
