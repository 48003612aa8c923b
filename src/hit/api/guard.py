"""Who is let in: hosts and origins, tokens and cookies. It stands before all routes, so that one that forgets to ask is shut too.

A browser goes wherever a page tells it to, with its cookies and from inside the network. So also a server that asks nobody for a
token answers only under its own names (else a page whose name is made to mean 127.0.0.1 could read it), and takes no orders from
pages of other origins (else any page could have videos removed).
"""

import asyncio
import hmac
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hit.api import problems
from hit.api.auth import LOCAL, Principal, principal
from hit.api.problems import Problem
from hit.errors import UserError
from hit.service import Service
from hit.service.access import csrf
from hit.service.config import guarded, is_loopback

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
COOKIE = "hit_session"
SAFE = ("GET", "HEAD", "OPTIONS")
OPEN = ("/login", "/v1/login", "/livez", "/readyz", "/favicon.ico")  # for whoever comes; and /static
_THREADS = 8  # that look tokens up, besides those that work on requests


class Guard:
    """Refuses whom it must, and notes who asks for those that come after it: `request.state.who`."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        config = service.config
        self._app, self._access, self._guarded = app, service.access, guarded(config)
        self._metrics_open = config.metrics_open
        self._origins = {origin.rstrip("/").lower() for origin in config.cors}
        own = () if is_loopback(config.host) else (socket.gethostname(),)
        self._hosts = {name.lower() for name in ("localhost", config.host, *own, *config.hosts)}
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._noting: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            check_host(request.headers, self._hosts)
            check_origin(request, self._origins)
            who = await self._who(request)
            request.state.who = who
            if who is None and not self._is_open(request):
                if request.method in ("GET", "HEAD") and not scope["path"].startswith(("/v1/", "/metrics")):
                    query = f"?{request.url.query}" if request.url.query else ""
                    login = f"/login?next={quote(own_path(request.url.path + query))}"
                    await RedirectResponse(login, 303)(scope, receive, send)
                    return
                principal(request)
        except Problem as problem:
            await problems.response(request, problem)(scope, receive, send)
        else:
            if who is not None and self._access.due(who):  # beside the request, which must not wait for a database that is busy
                noting = asyncio.create_task(self._ask(self._access.note, who))
                self._noting.add(noting)
                noting.add_done_callback(self._noting.discard)
            await self._app(scope, receive, send)

    def _is_open(self, request: Request) -> bool:
        path = request.scope["path"]
        preflight = request.method == "OPTIONS" and "access-control-request-method" in request.headers
        return path in OPEN or path.startswith("/static/") or (path == "/metrics" and self._metrics_open) or preflight

    async def _who(self, request: Request) -> Principal | None:
        if not self._guarded:
            return LOCAL
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind:
            return await self._ask(self._access.verify, secret.strip()) if kind.lower() == "bearer" else None
        cookie = request.cookies.get(COOKIE)
        who = await self._ask(self._access.session, cookie) if cookie else None
        if who and cookie and request.method not in SAFE:
            given = request.headers.get("x-csrf-token", "")
            if not hmac.compare_digest(given.encode(), csrf(cookie).encode()):
                why = "a browser's session takes the header X-CSRF-Token"
                raise Problem(403, "not asked by a page of ours", why, "send `csrf_token` of GET /v1/me")
        return who

    async def _ask(self, question: Callable[[T], R], about: T) -> R:
        try:
            return await anyio.to_thread.run_sync(question, about, limiter=self._threads)
        except UserError as error:  # of the database: whoever asks cannot mend that
            log.error("nobody can be let in: %s", error)
            why, again = "its database does not answer", {"Retry-After": problems.RETRY}
            raise Problem(503, "the library is out of reach", why, "try again later", again) from error


def check_host(headers: Headers, names: set[str]) -> None:
    """Raise Problem for a request to another host than `names`; numbers are always ours, as no page can be called so."""
    given = headers.getlist("host")
    name = _split(f"//{given[0]}").hostname if len(given) == 1 and _plain(given[0]) else None
    if name is None:
        raise Problem(400, "not a request", "it names no host, or several")
    if name not in names and not _is_number(name):
        fix = "name it in `hosts` of LIB/serve.toml if it is this server"
        raise Problem(421, "another host", f"this server does not go by the name {name}", fix)


def check_origin(request: Request, allowed: set[str]) -> None:
    """Raise Problem for what a page of another origin has its browser ask. Links from elsewhere may lead here."""
    headers = request.headers
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if origin is not None and origin.lower() in allowed:
        return
    followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if site not in ("same-origin", "none") and not (followed and request.method in ("GET", "HEAD")):
        raise Problem(403, "another origin", "a page of another server asks for this", "see `cors` of LIB/serve.toml")
    if origin is not None and _netloc(_split(origin).netloc) != _netloc(headers.get("host", "")):
        raise Problem(403, "another origin", "a page of another server asks for this", "see `cors` of LIB/serve.toml")


def own_path(text: str) -> str:
    """Return a path of this server, to which one may be sent; the first page for what would lead elsewhere."""
    return text if text.startswith("/") and not text.startswith("//") and _plain(text) and "\\" not in text else "/"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # half an address of the newer kind
        return SplitResult("", "", "", "", "")


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and "@" not in text.partition("/")[0]


def _netloc(text: str) -> str:
    return text.lower().removesuffix(":80").removesuffix(":443")


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
