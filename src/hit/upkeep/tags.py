"""Names that videos bear."""

from collections.abc import Sequence
from typing import Any

from hit.db.records import check
from hit.errors import UserError
from hit.library import Library
from hit.upkeep import remove


def tag(library: Library, names: Sequence[str], add: Sequence[str] = (), remove_: Sequence[str] = ()) -> dict[str, Any]:
    """Give videos tags and take tags from them; return the tags of these videos, or, where none are named, all tags.

    Raises UserError for videos that are not known, and for what cannot be a tag.
    """
    if not names:
        if add or remove_:
            raise UserError("hit library tag", "no videos are given", "name those that the tag is for")
        return {"library": str(library.path), "videos": None, "tags": library.db.tag_counts()}
    videos = remove.videos(library, names)
    for name in add:
        check(f"the tag '{name}'", name)
    if add or remove_:
        library.db.tag(videos, [" ".join(name.split()) for name in add], [" ".join(name.split()) for name in remove_])
    found = library.db.tags(videos)
    return {
        "library": str(library.path),
        "videos": {video: found.get(video, []) for video in videos},
        "tags": library.db.tag_counts(),
    }
