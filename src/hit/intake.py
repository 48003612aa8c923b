"""What follows on indexing: new videos are tagged, and judged by the policies that are in force."""

from collections.abc import Iterable
from typing import Any

from hit import moderation, tagging
from hit.db import IN_FORCE
from hit.library import Library
from hit.moderation.document import read
from hit.types import Progress


def follow(library: Library, videos: Iterable[str] | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Tag and judge videos that are new or were cut anew, and those that policies in force have said nothing of; None: all.

    Labels first: a policy's scope may ask for them. Returns {tagged: as `tagging.refresh`, judged: as `moderation.judge`}.
    """
    new = None if videos is None else set(videos)
    tagged = tagging.refresh(library, new, progress)
    return {"tagged": tagged, "judged": moderation.judge(library, None if new is None else new | _waiting(library), progress)}


def _waiting(library: Library) -> set[str]:
    """Return the videos that a policy in force has not judged by the library's model: a run was killed before it came to them."""
    revision = library.stored.revision
    return {
        video
        for policy in library.db.policies(states=IN_FORCE)
        for video in library.db.unjudged(policy.name, policy.version, revision, read(policy.document).node)
    }
