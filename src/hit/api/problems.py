"""Errors as problem+json [RFC 9457], each with the id of its request."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from hit.api import web
from hit.errors import AwayError, NotFoundError, UserError
from hit.files import BusyError

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_STATUS = {NotFoundError: 404, BusyError: 409, AwayError: 503}
RETRY = "2"  # seconds after which who was told that a server is away may ask again


class Problem(Exception):  # noqa: N818 (the standard's own word)
    """What only HTTP knows to be wrong; anything a user can mend is a UserError."""

    def __init__(
        self, status: int, title: str, detail: str = "", fix: str = "", headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        self.status, self.title, self.detail, self.fix, self.headers, self.extra = status, title, detail, fix, headers, extra
        super().__init__(f"{status} {title}: {detail}")


class Where(BaseModel):
    """A part of a request that does not fit."""

    where: str
    why: str


class ProblemJson(BaseModel):
    """What went wrong, why, and what mends it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    fix: str | None = None
    instance: str
    request_id: str
    errors: list[Where] | None = Field(default=None, description="What does not fit in the request, part by part.")


def response(request: Request, problem: Problem) -> JSONResponse:
    """Return a problem as an answer."""
    state = getattr(request.state, "request_id", "")
    body = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **({"fix": problem.fix} if problem.fix else {}),
        "instance": request.url.path,
        "request_id": state,
        **problem.extra,
    }
    headers = dict(problem.headers or {})
    return JSONResponse(body, problem.status, headers, media_type=MEDIA_TYPE)


def of(request: Request, error: UserError) -> Problem:
    """Return what a user can mend as a problem; who is no admin sees no folder.

    404 for what is not there, 409 where another is at work, 503 where a server is away that may soon be back, else 400.
    """
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)
    words = [error.what, error.why, error.fix]
    if (who := getattr(request.state, "who", None)) is None or not who.may("admin"):
        words = [one.replace(str(request.app.state.service.path), "the library") for one in words]
    return Problem(status, words[0], words[1], words[2], {"Retry-After": RETRY} if status == 503 else None)


def install(app: FastAPI) -> None:
    """Have every error of an application answered as a problem."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return response(request, error)

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        return response(request, of(request, error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [{"where": ".".join(map(str, one["loc"])), "why": one["msg"]} for one in error.errors()]
        return response(request, Problem(422, "the request does not fit", errors[0]["why"] if errors else "", errors=errors))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and (page := web.missing(request)) is not None:
            return page
        phrase = HTTPStatus(error.status_code).phrase
        detail = error.detail if error.detail != phrase else ""
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(request))
        return response(request, Problem(error.status_code, phrase, detail, headers=headers))


def _methods(request: Request) -> list[str]:
    """Return what can be done at a path: Starlette names the methods of one of its routes only."""
    found: dict[str, set[str]] = {}
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path and compile_path(route.path)[0].match(request.url.path):
            found.setdefault(route.path, set()).update(route.methods)
    best = min(found, key=lambda path: path.count("{"), default="")  # /videos/upload is no video with this id
    return sorted(found.get(best, ()))


def unexpected(request: Request, error: Exception) -> JSONResponse:
    """Note a defect of ours in the log, and return what is told of it."""
    log.error("%s %s (request %s)", request.method, request.url.path, request.state.request_id, exc_info=error)
    return response(request, Problem(500, "a defect of the server", "its log says more, under this request's id"))
