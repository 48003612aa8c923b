"""/v1/videos, /v1/segments, /v1/tags: what the library holds."""

from typing import Annotated, Any, Literal

from fastapi import Query, Response

from hit import filters
from hit.api.auth import Reviewer, Viewer
from hit.api.common import Served, poster_url, router, video_json
from hit.api.problems import Problem
from hit.api.schemas import Id, Limit, SegmentJson, SegmentList, TagChange, VideoJson, VideoList
from hit.db import Said, Segment
from hit.db.records import check
from hit.index import POSTERS

routes = router("videos", 404)
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}  # for what is named by its content


@routes.get("/videos", response_model=VideoList)
def videos(
    served: Served,
    who: Viewer,
    status: Literal["pending", "indexing", "ready", "failed"] | None = None,
    q: Annotated[str, Query(max_length=200, description="What the title or the path contains.")] = "",
    filter: Annotated[str | None, Query(max_length=20_000)] = None,  # noqa: A002
    sort: Literal["added", "title", "duration"] = "added",
    limit: Limit = 50,
    page_token: Annotated[str | None, Query(max_length=2000)] = None,
) -> dict[str, Any]:
    """List videos, page by page: newest first, by title, or longest first."""
    node = filters.given(filter)
    cards, total, token = served.db.videos(status=status, text=q, node=node, order=sort, limit=limit, page=page_token)
    return {"videos": [video_json(card, who) for card in cards], "total": total, "next_page_token": token}


@routes.get("/videos/{video_id}", response_model=VideoJson)
def video(video_id: Id, served: Served, who: Viewer) -> dict[str, Any]:
    """Return one video."""
    return video_json(served.db.video(video_id), who)


@routes.get("/videos/{video_id}/segments", response_model=SegmentList)
def segments(video_id: Id, served: Served, who: Viewer) -> dict[str, Any]:
    """Return a video's segments in the order of time, with the words that were read and heard in them."""
    served.db.video(video_id)
    found = served.db.segments_of(video_id)
    lines = served.db.lines(one.id for one in found)
    return {"segments": [_segment(one, lines.get(one.id, [])) for one in found]}


@routes.post("/videos/{video_id}/tags", response_model=VideoJson)
def tag(video_id: Id, change: TagChange, served: Served, who: Reviewer) -> dict[str, Any]:
    """Give a video tags, and take tags from it."""
    for name in (*change.add, *change.remove):
        check(f"the tag '{name}'", name)
    served.db.video(video_id)
    served.db.tag([video_id], change.add, change.remove)
    return video_json(served.db.video(video_id), who)


@routes.get("/tags")
def tags(served: Served, who: Viewer) -> dict[str, int]:
    """Return how many videos bear each tag."""
    return served.db.tag_counts()


@routes.get("/segments/{segment_id}", response_model=SegmentJson)
def segment(segment_id: Id, served: Served, who: Viewer) -> dict[str, Any]:
    """Return one segment."""
    return _segment(served.db.segment(segment_id), served.db.lines([segment_id]).get(segment_id, []))


@routes.get("/segments/{segment_id}/poster", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
def poster(segment_id: Id, served: Served, who: Viewer) -> Response:
    """Return a segment's picture, a JPEG."""
    name = served.db.segment(segment_id).thumbnail
    try:
        image = served.db.stock.read(f"{POSTERS}/{name}") if name else b""
    except FileNotFoundError:
        image = b""
    if not image:
        raise Problem(404, f"segment {segment_id}", "has no picture", "see `hit library verify`")
    return Response(image, media_type="image/jpeg", headers=FOREVER)


def _segment(found: Segment, lines: list[Said]) -> dict[str, Any]:
    words = [{"expert": one.expert, "start": one.start, "end": one.end, "text": one.text} for one in lines]
    times = {"start": found.start, "end": found.end, "seek": found.seek}
    poster = poster_url(found.id if found.thumbnail else None)
    return {"id": found.id, "video_id": found.video_id, **times, "poster_url": poster, "lines": words}
