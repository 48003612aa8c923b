"""/v1/searches: searches that have a name, the same ones that `hit search LIB @NAME` asks."""

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hit import analysis, examples, filters
from hit.api.auth import Reviewer, Viewer
from hit.api.common import Served, router
from hit.api.schemas import Given, Limit, SearchAnswer, SearchRequest, Token, When
from hit.api.search import answer_json, find, likes
from hit.db import SavedSearch
from hit.errors import NotFoundError, UserError
from hit.service import Service

routes = router("saved searches", 404)
Name = Annotated[
    str, Path(min_length=1, max_length=100, description="1 to 100 printable characters, but for a slash.", examples=["dogs"])
]
_SAME = ("mode", "limit", "group_by", "level_weights", "mix", "exclude")  # called alike by both doors


class SearchToSave(Given):
    """A search. Its page token and `explain` are not kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": {"query_text": "a dog", "filter": "duration>=60"}}]})
    query: SearchRequest


class SavedSearchJson(BaseModel):
    """A search with a name. One that was saved at the command line may be none for here: `query` is null, `why` says so."""

    name: str
    query: SearchRequest | None
    why: str | None = Field(description="Why it can be asked at the command line only.")
    created_at: When


class SavedSearchList(BaseModel):
    """Saved searches by their names."""

    searches: list[SavedSearchJson]


class Run(Given):
    """How a saved search is to be asked this time."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limit": 5}]})
    limit: Limit | None = Field(default=None, description="How many hits, instead of as many as were saved.")
    page_token: Token | None = None
    explain: bool = False


@routes.get("/searches", response_model=SavedSearchList, response_model_exclude_unset=True)
def searches(served: Served, who: Viewer) -> dict[str, Any]:
    """List saved searches."""
    return {"searches": [_json(one, served) for one in served.db.saved_searches().values()]}


@routes.get("/searches/{name}", response_model=SavedSearchJson, response_model_exclude_unset=True)
def saved_search(name: Name, served: Served, who: Viewer) -> dict[str, Any]:
    """Return a saved search."""
    return _json(_find(name, served), served)


@routes.put("/searches/{name}", response_model=SavedSearchJson, response_model_exclude_unset=True)
def save_search(name: Name, given: SearchToSave, served: Served, who: Reviewer) -> dict[str, Any]:
    """Save a search under a name; one that has it is replaced."""
    served.db.save_search(name, stored(given.query, served))
    return _json(_find(name, served), served)


@routes.delete("/searches/{name}", status_code=204)
def forget_search(name: Name, served: Served, who: Reviewer) -> Response:
    """Forget a saved search."""
    if not served.db.forget_search(name):
        raise NotFoundError(f"@{name}", "no search is saved under this name")
    return Response(status_code=204)


@routes.post("/searches/{name}/run", response_model=SearchAnswer)
def run_search(name: Name, served: Served, who: Viewer, how: Run = Run()) -> dict[str, Any]:  # noqa: B008 (it is frozen in effect)
    """Find what a saved search finds now."""
    asked, why = told(served.db.saved_search(name), served)
    if asked is None:
        raise UserError(f"@{name}", str(why), f"ask it at the command line: hit search LIBRARY '@{name}'")
    changes = {"page_token": how.page_token, "explain": how.explain} | ({"limit": how.limit} if how.limit else {})
    return answer_json(find(asked.model_copy(update=changes), served), served, who)


def stored(asked: SearchRequest, served: Service) -> dict[str, Any]:
    """Return a search as the database keeps it: under the names of `Library.search`, with nothing that was not said.

    Raises UserError for one that cannot be asked, NotFoundError for one by a video that is not known.
    """
    filters.given(asked.filter)
    said: dict[str, Any] = {name: getattr(asked, name) for name in _SAME if name in asked.model_fields_set}
    said["texts"] = asked.texts
    for name, given in (("videos", asked.videos), ("exclude_videos", asked.exclude_videos)):
        found = likes(given, served)
        for one in found:
            served.db.video(one.video)
        said[name] = [examples.to_json(one) for one in found]
    said["where"] = json.dumps(asked.filter) if isinstance(asked.filter, dict) else asked.filter
    if not (said["texts"] or said["videos"]) or any(not text.strip() for text in (*said["texts"], *asked.exclude)):
        raise UserError("the query", "is empty", "give a text or a video")
    return {name: value for name, value in said.items() if value not in (None, [])}


def told(query: Mapping[str, Any], served: Service) -> tuple[SearchRequest | None, str | None]:
    """Return what `stored` has kept, or the command line has, as it is asked here; or None and why it cannot be."""
    asked: dict[str, Any] = {name: query[name] for name in _SAME if query.get(name) is not None}
    if query.get("texts"):
        asked["query_text"] = query["texts"] if len(query["texts"]) > 1 else query["texts"][0]
    if (where := query.get("where")) is not None:
        asked["filter"] = json.loads(where) if where.lstrip().startswith("{") else where
    try:
        if query.get("images"):
            raise UserError("it", "looks for images that are files on the server")
        for name, given in (("query_video", "videos"), ("exclude_videos", "exclude_videos")):
            if query.get(given):
                asked[name] = [_example(one, served) for one in query[given]]
        return SearchRequest.model_validate(asked), None
    except UserError as error:
        return None, error.why
    except ValidationError as error:
        first = error.errors()[0]
        return None, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _example(saved: str | Mapping[str, Any], served: Service) -> dict[str, Any]:
    like = examples.from_json(saved)
    if isinstance(like, str):
        path, (start, end) = analysis.stretch(like)
        video = served.db.named(path)
        if video is None:
            raise UserError("it", f"looks for a file that the library does not know: {FilePath(path).name}")
        like = examples.Like(video, start, end)
    named = {"video_id": like.video}
    return named if (like.start, like.end) == (0, float("inf")) else {**named, **_times(examples.to_json(like))}


def _times(table: Mapping[str, Any]) -> dict[str, float]:
    return {name: table[name] for name in ("start", "end") if table[name] is not None}


def _find(name: str, served: Service) -> SavedSearch:
    served.db.saved_search(name)
    return served.db.saved_searches()[name]


def _json(one: SavedSearch, served: Service) -> dict[str, Any]:
    asked, why = told(one.query, served)
    return {"name": one.name, "query": asked, "why": why, "created_at": one.created_at}
