"""/v1/search: text, videos of the library, and uploads become hits."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

from hit import filters
from hit.api.auth import Principal, Viewer
from hit.api.common import Served, hit_json, router
from hit.api.schemas import Example, Id, Limit, MomentsAnswer, SearchAnswer, SearchRequest, Text
from hit.errors import UserError
from hit.examples import Like
from hit.search import Answer
from hit.service import Service

routes = router("search")


@routes.post("/search", response_model=SearchAnswer)
def search(asked: SearchRequest, served: Served, who: Viewer) -> dict[str, Any]:
    """Find the moments that fit texts and videos of the library best."""
    return answer_json(find(asked, served), served, who)


@routes.get("/search", response_model=SearchAnswer)
def search_simply(
    q: Annotated[str, Query(max_length=2000, description="What to find.")],
    served: Served,
    who: Viewer,
    limit: Limit = 20,
    filter: Annotated[str | None, Query(max_length=20_000)] = None,  # noqa: A002
    page_token: Annotated[str | None, Query(max_length=2000)] = None,
) -> dict[str, Any]:
    """Find the moments that fit a text best."""
    asked = SearchRequest(query_text=q, limit=limit, filter=filter, page_token=page_token)
    return answer_json(find(asked, served), served, who)


@routes.get("/videos/{video_id}/moments", response_model=MomentsAnswer)
def moments(video_id: Id, q: Text, served: Served, who: Viewer) -> dict[str, Any]:
    """Find where in one video a text fits."""
    served.db.video(video_id)
    asked = SearchRequest(query_text=q, filter={"field": "video", "eq": video_id}, group_by="video", mode="meaning", limit=1)
    found = find(asked, served)
    hits = [hit.to_json() for hit in found.hits]
    first = hits[0] if hits else {"moments": [], "curve": []}
    model = {"id": found.model, "revision": found.revision}
    return {"moments": first["moments"], "curve": first["curve"], "model": model}


def find(asked: SearchRequest, served: Service, **files: Any) -> Answer:
    """Answer a request; `files` are images and videos that came with it, as `Library.search` takes them."""
    return served.library.search(
        asked.texts,
        videos=[*likes(asked.videos, served), *files.get("videos", ())],
        images=files.get("images", ()),
        exclude=asked.exclude,
        exclude_videos=likes(asked.exclude_videos, served),
        level_weights=asked.level_weights,
        mix=asked.mix,
        where=filters.given(asked.filter),
        mode=asked.mode,
        limit=asked.limit,
        group_by=asked.group_by,
        page=asked.page_token,
        explain=asked.explain,
    )


def answer_json(answer: Answer, served: Service, who: Principal) -> dict[str, Any]:
    """Return an answer as `schemas.SearchAnswer` has it."""
    cards = served.db.titles(hit.clip.video for hit in answer.hits)
    judge = served.library.judge if answer.no_good_match is not None else None
    return {
        **answer.to_json(),
        "hits": [hit_json(hit, cards[hit.clip.video], who) for hit in answer.hits if hit.clip.video in cards],
        "threshold": judge.threshold if judge else None,
    }


def likes(asked: Sequence[Example], served: Service) -> list[Like]:
    """Return examples as the library takes them. Raises NotFoundError for a segment that it does not know."""
    found = []
    for one in asked:
        if (one.video_id is None) == (one.segment_id is None):
            raise UserError("an example", "names both a video and a segment, or neither", "give video_id or segment_id")
        if one.segment_id is not None:
            segment = served.db.segment(one.segment_id)
            found.append(Like(segment.video_id, segment.start, segment.end))
        else:
            found.append(Like(str(one.video_id), one.start, float("inf") if one.end is None else one.end))
    return found
