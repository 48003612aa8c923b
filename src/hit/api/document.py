"""The OpenAPI document: what routes do not say of themselves. The roles that they take, the ways in, what their tags mean."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.routing import iter_route_contexts

from hit.api import web
from hit.api.auth import Viewer

routes = APIRouter(prefix="/v1", include_in_schema=False)

TAGS = {
    "search": "Text, videos, images become hits.",
    "saved searches": "Searches that have a name; `hit search LIB @NAME` asks the same ones.",
    "videos": "What the library holds.",
    "ingest": "What comes into the library and leaves it.",
    "media": "Videos as they are played, and pictures of them.",
    "labels": "Labels in plain words, what they tag and why, and what people say of it.",
    "jobs": "Long work, and how it goes.",
    "embeddings": "The model's vectors, for other tools.",
    "library": "Models and totals.",
    "evaluations": "How good the models are.",
    "policies": "What is to be reviewed or blocked, in plain words, and what each policy says of which video.",
    "bank": "Clips that are known to be bad.",
    "review": "Cases for people: who judges what, what was decided, and how it goes.",
    "webhooks": "Who is told of verdicts, decisions and changes of policies.",
    "access": "Who asks.",
    "health": "For whoever looks after the server.",
}
_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "What `hit token create` said."},
    "session": {"type": "apiKey", "in": "cookie", "name": "hit_session", "description": "A browser's, by POST /v1/login."},
}
PARAMETERS = {  # that several routes have
    "video_id": "A video's id, as lists and hits have it.",
    "segment_id": "A segment's id: `clip_id` of a hit.",
    "evaluation_id": "A report's id, as the list has it.",
    "limit": "How many at most.",
    "filter": "In the language of filters or as JSON: docs/filters.md.",
    "page_token": "`next_page_token` of the answer before, as it stands.",
    "q": "What to find.",
    "status": "Only videos in this state.",
    "sort": "Newest first, by title, or longest first.",
    "number": "Its number.",
    "format": "What kind of file.",
    "label": "A label's name.",
    "policy": "Only this policy.",
    "outcome": "Only cases of which this was decided.",
    "batch": "What the bulk decision was answered with.",
    "threshold": "A line to look at, instead of the label's own.",
    "state": "Only jobs in this state.",
    "kind": "Only jobs of this kind.",
    "t": "Seconds from the video's start.",
    "start": "Seconds from the video's start.",
    "end": "Seconds from the video's start.",
    "size": "Pixels of the shorter side.",
    "rendition": "The file as it is, or what a browser can play.",
    "last-event-id": "The id of the last event that was received; a browser sends it by itself.",
}
_ABOUT = """Find moments in videos by text, by image and by other videos.

Times are seconds from a video's start. What goes wrong is told as `application/problem+json`, with the id of the request. Where
the server listens to its own machine only, nobody is asked for a token. More is in docs/api.md."""


@routes.get("/docs")
def page(request: Request, who: Viewer) -> HTMLResponse:
    """Show the document as a page."""
    found: dict[str, Any] = request.app.openapi()
    return web.page("docs", active="docs", document=found)


def install(app: FastAPI) -> None:
    """Have an application's document say more than FastAPI has it say."""
    plain = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(plain(), app)
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]  # as FastAPI's own documents say


def _complete(document: dict[str, Any], app: FastAPI) -> dict[str, Any]:
    document["info"]["description"] = _ABOUT
    document["components"]["securitySchemes"] = _SCHEMES
    used = set()
    for route in iter_route_contexts(app.routes):
        for method in route.methods or ():
            operation = document["paths"].get(route.path_format, {}).get(method.lower())
            if operation is None:
                continue
            role = next((one.call.role for one in _dependencies(route) if hasattr(one.call, "role")), None)
            operation["operationId"] = str(route.name)
            first, _, rest = operation.get("description", "").partition(".")
            operation["summary"], operation["description"] = " ".join(first.split()), rest.strip()
            for parameter in operation.get("parameters", ()):
                parameter.setdefault("description", PARAMETERS.get(parameter["name"].lower(), ""))
            operation["x-role"] = role
            operation["security"] = [{name: []} for name in _SCHEMES] if role else []
            used |= set(operation.get("tags", ()))
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    return document


def _dependencies(route: Any) -> list[Any]:
    return list(route.dependant.dependencies)
