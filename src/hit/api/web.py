"""The pages: templates and static files of `hit/web`."""

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

import hit

WEB = Path(str(resources.files(hit))) / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; manifest-src 'self'"
)
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(WEB), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
routes = APIRouter(include_in_schema=False)


class Files(StaticFiles):
    """Static files that browsers keep, and ask about each time: a page never runs with the scripts of an earlier version."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:  # noqa: D102 (as its parent)
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def mount(app: FastAPI) -> None:
    """Serve the static files under /static."""
    app.mount("/static", Files(directory=WEB / "static"))


@cache
def scripts(name: str) -> tuple[str, ...]:
    """Return the scripts that a page's own one imports, and they in turn: told of all, a browser fetches them at once."""
    found: list[str] = []
    left = [f"{name}.js"] if (WEB / "static" / "js" / f"{name}.js").is_file() else []
    while left:
        text = (WEB / "static" / "js" / left.pop()).read_text()
        new = [one for one in re.findall(r' from "\./([\w-]+\.js)";', text) if one not in found]
        found += new
        left += new
    return tuple(found)


def page(name: str, status: int = 200, /, **values: object) -> HTMLResponse:
    """Return a page made of a template."""
    return HTMLResponse(
        _templates.get_template(f"{name}.html.j2").render(version=hit.__version__, scripts=scripts(name), **values),
        status,
        headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"},
    )


def missing(request: Request) -> HTMLResponse | None:
    """Return what a person is shown at an address that is none; None for a program."""
    person = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
    return page("missing", 404, active="missing") if person else None


@routes.get("/")
def search(request: Request) -> HTMLResponse:
    """Show the page on which one searches."""
    return page("search", active="search")


@routes.get("/videos/{video_id}")
def video(video_id: str, request: Request) -> HTMLResponse:
    """Show one video."""
    return page("video", active="search", video_id=video_id)


@routes.get("/library")
def library(request: Request) -> HTMLResponse:
    """Show what the library holds, and what goes on in it."""
    return page("library", active="library")


@routes.get("/evaluations")
def evaluations(request: Request) -> HTMLResponse:
    """Show how good the models are."""
    return page("evaluations", active="evaluations")


@routes.get("/evaluations/{evaluation_id}")
def evaluation(evaluation_id: str, request: Request) -> HTMLResponse:
    """Show one report."""
    return page("evaluation", active="evaluations", evaluation_id=evaluation_id)


@routes.get("/policies")
def policies(request: Request) -> HTMLResponse:
    """Show all policies."""
    return page("policies", active="policies")


@routes.get("/policies/bank")
def bank(request: Request) -> HTMLResponse:
    """Show the clips that are known to be bad."""
    return page("bank", active="policies")


@routes.get("/policies/webhooks")
def webhooks(request: Request) -> HTMLResponse:
    """Show who is told of what happens, and what could not be told."""
    return page("webhooks", active="policies")


@routes.get("/policies/{name}")
def policy(name: str, request: Request) -> HTMLResponse:
    """Show one policy: what it says, what it would do, and what it did."""
    return page("policy", active="policies", name=name)


@routes.get("/review")
def review(request: Request) -> HTMLResponse:
    """Show where one reviews."""
    return page("review", active="review")


@routes.get("/review/cases")
def cases(request: Request) -> HTMLResponse:
    """Show all cases."""
    return page("cases", active="review")


@routes.get("/review/cases/{number}")
def case(number: str, request: Request) -> HTMLResponse:
    """Show one case with its history."""
    return page("case", active="review", number=number)


@routes.get("/review/dashboard")
def dashboard(request: Request) -> HTMLResponse:
    """Show how review goes."""
    return page("dashboard", active="review")


@routes.get("/explore")
def explore(request: Request) -> HTMLResponse:
    """Show what is in the library: clusters, and near-duplicates."""
    return page("explore", active="explore")


@routes.get("/tags")
def labels(request: Request) -> HTMLResponse:
    """Show the sets of labels."""
    return page("labels", active="tags")


@routes.get("/tags/{name}")
def label_set(name: str, request: Request) -> HTMLResponse:
    """Show a set of labels: what they say, and what they would do."""
    return page("labelset", active="tags", name=name)


@routes.get("/tags/{name}/{label}")
def label(name: str, label: str, request: Request) -> HTMLResponse:
    """Show where a label begins: its threshold, and the clips at it."""
    return page("label", active="tags", name=name, label=label)


@routes.get("/login")
def login(request: Request) -> HTMLResponse:
    """Show where one logs in."""
    return page("login", active="login")
