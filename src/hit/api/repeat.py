"""Requests that come again: lists that have not changed (ETag), and writes that must not be done twice (Idempotency-Key)."""

import contextlib
import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hit.api import problems
from hit.api.auth import Principal
from hit.api.limits import SEARCHES, Body
from hit.api.problems import Problem
from hit.db import Answer
from hit.errors import AwayError
from hit.service import Service

KEPT = timedelta(hours=24)
_UPLOAD_LOST = timedelta(hours=6)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_AGAIN = (401, 403, 408, 409, 429)  # answers that may be others the next time, beside the server's own failures
_LARGEST = 2**18  # bytes of an answer that is remembered


class Held:
    """An answer that is held back until it is whole, as long as it is JSON and comes in one piece."""

    def __init__(self, send: Send, done: Callable[[int, MutableHeaders, bytes], Any]) -> None:
        self._send, self._done = send, done
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Take a part of the answer."""
        if message["type"] == "http.response.start":
            kind = Headers(raw=message.get("headers", [])).get("content-type", "json")
            if "json" in kind:  # a stream of events begins before it has anything to say
                self._start = message
                return
        start, self._start = self._start, None
        if start is None:
            await self._send(message)
            return
        if message["type"] == "http.response.body" and not message.get("more_body"):
            headers = MutableHeaders(raw=list(start.get("headers", [])))
            changed = await self._done(start["status"], headers, message.get("body", b""))
            start, message = ({**start, "headers": headers.raw}, message) if changed is None else changed
        await self._send(start)
        await self._send(message)


class Unchanged:
    """Gives JSON that is read an ETag, and answers 304 to whoever has it already.

    The tag is weak, as what it stands for may travel compressed or not; it is a hash of the body all the same.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get("if-none-match", "")

        async def tag(status: int, headers: MutableHeaders, body: bytes) -> tuple[Message, Message] | None:
            if status != 200 or "etag" in headers or headers.get("content-type") != "application/json":
                return None
            if headers.get("cache-control") == "no-store":
                return None
            headers["ETag"] = own = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
            if own.removeprefix("W/") not in [one.strip().removeprefix("W/") for one in wanted.split(",")]:
                return None
            del headers["content-length"]
            del headers["content-type"]
            return {"type": "http.response.start", "status": 304, "headers": headers.raw}, {"type": "http.response.body"}

        await self._app(scope, receive, Held(send, tag))


class Once:
    """Does a write that bears an Idempotency-Key once, and answers the same whenever it comes again."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._db = app, service.db
        self._lost = timedelta(
            seconds=2 * service.config.timeout + 60
        )  # a request takes no longer, unless its process was killed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        key = Headers(scope=scope).get("idempotency-key") if scope["type"] == "http" else None
        who: Principal | None = scope.get("state", {}).get("who")
        unsafe = scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH", "DELETE")
        # Searches are sent by POST, but change nothing.
        if key is None or who is None or not unsafe or SEARCHES.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            if not _KEY.fullmatch(key):
                raise Problem(400, "Idempotency-Key", "must be of 1 to 255 printable characters without spaces")
            claim = Answer(who=who.key or who.name, key=key, request=_identity(scope, receive), status=None, body=None)
            claim.created_at = datetime.now(UTC)
            lost = self._lost if isinstance(receive, Body) else _UPLOAD_LOST
            there = await anyio.to_thread.run_sync(self._db.claim_answer, claim, lost, KEPT)
            answer = None if there is None else _again(there, claim)
        except Problem as problem:
            answer = problems.response(Request(scope), problem)
        if answer is None:
            await self._do(claim, scope, receive, send)
        else:
            await answer(scope, receive, send)

    async def _do(self, claim: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        kept = False

        async def keep(status: int, headers: MutableHeaders, body: bytes) -> None:
            nonlocal kept
            text = body.decode("utf-8", "replace")
            if status < 500 and status not in _AGAIN and len(body) <= _LARGEST and "set-cookie" not in headers:
                names = ("content-type", "location", "cache-control")
                said = {"text": text, "headers": {name: headers[name] for name in names if name in headers}}
                await anyio.to_thread.run_sync(self._db.keep_answer, claim, status, said)
                kept = True

        try:
            await self._app(scope, receive, Held(send, keep))
        finally:
            if not kept:
                # A database that is away keeps the claim until it is lost, as that of a process that was killed.
                with anyio.CancelScope(shield=True), contextlib.suppress(AwayError):
                    await anyio.to_thread.run_sync(self._db.drop_answer, claim)


def _again(there: Answer, claim: Answer) -> Response:
    """Return what was answered before. Raises Problem where there is no answer yet, or the key stood for something else."""
    if there.request != claim.request:
        raise Problem(422, "Idempotency-Key", "was sent with another request before", "make a new key for each request")
    if there.status is None:
        raise Problem(
            409, "Idempotency-Key", "the same request is being answered just now", "wait for its answer", {"Retry-After": "1"}
        )
    return Response(there.body["text"], there.status, {**there.body["headers"], "Idempotent-Replay": "true"})


def _identity(scope: Scope, receive: Receive) -> str:
    """Return the hash of what makes two requests the same one; of an upload all but its bytes."""
    headers = Headers(scope=scope)
    rest = receive.whole if isinstance(receive, Body) else headers.get("content-length", "").encode()
    parts = [scope["method"].encode(), scope["path"].encode(), scope["query_string"], rest]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
