"""What every answer bears, whatever made it: a request's id, headers that keep browsers careful, a line in the log, a count."""

import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hit import traces
from hit.api import problems
from hit.api.metrics import Metrics, route_of
from hit.errors import UserError

log = logging.getLogger("hit.access")
_LONGEST = 200  # characters of a path in the log
_CAREFUL = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")  # for what is neither a page nor media
_ASKED_AGAIN = (b"cache-control", b"private, no-cache")
_ENCRYPTED = (b"strict-transport-security", b"max-age=31536000")
_MEDIA = (b"video/", b"audio/", b"image/")


class Envelope:
    """The outermost layer: what goes wrong inside becomes a problem here, and never a traceback for whoever asked."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0
        headers = Headers(scope=scope)
        number = scope.setdefault("state", {})["request_id"] = traces.take(headers.get("x-request-id", ""))

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                dress(scope, message)
                status = message["status"]
            await send(message)

        with traces.span(scope["method"], headers.get("traceparent", "")) as span:
            self._metrics.flying.inc()
            try:
                await self._answer(scope, receive, dressed, lambda: status)
            finally:
                took = time.perf_counter() - begun
                self._metrics.flying.dec()
                self._metrics.count(scope, status, took)
                if span is not traces.NONE:
                    span.say(f"{scope['method']} {route_of(scope)}", **{"http.response.status_code": status})
                _note(scope, number, status, took)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, begun: Callable[[], int]) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if begun():  # half an answer is out: nothing but the end of the connection tells that it is not whole
                raise
            request = Request(scope)
            answer = problems.response(request, problems.of(request, error)) if isinstance(error, UserError) else None
            await (answer or problems.unexpected(request, error))(scope, receive, send)


def _note(scope: Scope, number: str, status: int, took: float) -> None:
    """Write a line of the log, without what was asked for."""
    who, client = scope["state"].get("who"), scope["client"][0] if scope.get("client") else "-"
    path = scope.get("raw_path", scope["path"].encode()).decode("ascii", "backslashreplace")[:_LONGEST]
    said = {"client": client, "method": scope["method"], "path": path, "status": status, "ms": round(took * 1000, 1)}
    said["who"] = who.name if who else "-"
    log.info("%s %s %s %s %d %.1fms %s", number, *said.values(), extra={"fields": said})


def dress(scope: Scope, message: Message) -> None:
    """Give the beginning of an answer its headers. Raises ValueError for one that would break out of its line."""
    headers = list(message.get("headers", []))
    if any(mark in text for pair in headers for text in pair for mark in (b"\r", b"\n", b"\0")):
        raise ValueError("a header of the answer has a line break")
    there = dict(headers)
    extra = list(_CAREFUL)
    if not there.get(b"content-type", b"").startswith(_MEDIA):
        extra.append(_POLICY)
    if scope["path"].startswith("/v1/"):
        extra.append(_ASKED_AGAIN)
    if scope["scheme"] == "https":
        extra.append(_ENCRYPTED)
    headers += [pair for pair in extra if pair[0] not in there]
    message["headers"] = [*headers, (b"x-request-id", scope["state"]["request_id"].encode())]
