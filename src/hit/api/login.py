"""/v1/login, /v1/logout, /v1/me: a browser's session."""

import time
from collections import OrderedDict
from ipaddress import ip_address
from urllib.parse import urlsplit

import anyio
from fastapi import Request, Response
from pydantic import BaseModel, Field

import hit
from hit.api.auth import Principal, Role, Viewer
from hit.api.common import Served, router
from hit.api.guard import COOKIE, own_path
from hit.api.problems import Problem
from hit.api.schemas import Given
from hit.service.access import csrf
from hit.service.config import guarded, is_loopback

routes = router("access")
_ADDRESSES = 10_000  # that are remembered


class LoginRequest(Given):
    """A token, and where to go once it is accepted."""

    token: str = Field(max_length=200, examples=["hit_" + "x" * 43])
    next: str = Field(default="/", max_length=4000)


class Me(BaseModel):
    """Who asks."""

    name: str
    role: Role
    csrf_token: str | None = Field(description="For the header X-CSRF-Token of what a browser's session changes.")
    guarded: bool = Field(description="Whether those who ask must say who they are.")
    version: str
    next: str | None = Field(default=None, description="After a login: the page of this server to go to.")


class Throttle:
    """Attempts: `burst` at once, then one each `seconds`; a tenth as many for each address as for all."""

    def __init__(self, burst: float = 10.0, seconds: float = 6.0, all_to_one: float = 10.0) -> None:
        self._burst, self._rate, self._factor = burst, 1 / seconds, all_to_one
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by address: how many are left, and since when

    def take(self, address: str, now: float) -> float:
        """Count an attempt and return 0, or return the seconds until there may be another. `now` is in seconds."""
        waits = []
        for key, factor in (("", self._factor), (_network(address), 1.0)):
            left, since = self._left.get(key, (self._burst * factor, now))
            left = min(self._burst * factor, left + (now - since) * self._rate * factor)
            waits.append(max(0.0, (1 - left) / (self._rate * factor)))
            self._left[key] = left, now
        if max(waits) <= 0:
            for key in ("", _network(address)):
                left, since = self._left[key]
                self._left[key] = left - 1, since
        self._left.move_to_end(_network(address))
        self._left.move_to_end("")
        while len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        return max(waits)

    def give_back(self, address: str) -> None:
        """Do not count the last attempt: it was right."""
        for key in ("", _network(address)):
            if key in self._left:
                left, since = self._left[key]
                self._left[key] = left + 1, since


@routes.post("/login", response_model=Me, responses={401: {}, 429: {}})
async def login(asked: LoginRequest, request: Request, response: Response, served: Served) -> Me:
    """Begin a browser's session by a token. The answer sets a cookie that no page can read."""
    if (urlsplit(request.headers.get("origin", "")).scheme == "http") and not _is_near(request):
        raise Problem(
            403, "not encrypted", "a browser keeps the cookie only if it came by https", "put a proxy with TLS before it"
        )
    throttle: Throttle = request.app.state.throttle
    address = request.client.host if request.client else ""
    if (wait := throttle.take(address, time.monotonic())) > 0:
        headers = {"Retry-After": str(int(wait) + 1)}
        raise Problem(429, "too many attempts", "somebody tries one token after another", "wait a minute", headers)
    begun = await anyio.to_thread.run_sync(served.access.login, asked.token.strip())
    if begun is None:
        raise Problem(
            401, "not let in", "this token is not valid: mistyped, expired or revoked", "ask who runs the server for one"
        )
    throttle.give_back(address)
    cookie, who, seconds = begun
    secure = not (request.url.scheme == "http" and _is_near(request))
    response.set_cookie(COOKIE, cookie, max_age=int(seconds), path="/", secure=secure, httponly=True, samesite="strict")
    return _me(who, served, csrf(cookie), own_path(asked.next))


@routes.post("/logout", status_code=204)
def logout(request: Request, response: Response, served: Served, who: Viewer) -> None:
    """End the browser's session, and have the browser forget what it was shown."""
    served.access.logout(who)
    response.delete_cookie(COOKIE, path="/")
    response.headers["Clear-Site-Data"] = '"cache"'


@routes.get("/me", response_model=Me)
async def me(request: Request, response: Response, served: Served, who: Viewer) -> Me:
    """Say who asks, and what they may do."""
    response.headers["Cache-Control"] = "no-store"
    cookie = request.cookies.get(COOKIE) if who.session else None
    return _me(who, served, csrf(cookie) if cookie else None)


def _me(who: Principal, served: Served, token: str | None, after: str | None = None) -> Me:
    return Me(
        name=who.name,
        role=who.role,
        csrf_token=token,
        guarded=guarded(served.config),
        version=hit.__version__,
        next=after,
    )


def _is_near(request: Request) -> bool:
    """Tell whether the browser reached this server under a name that means its own machine."""
    return is_loopback(request.url.hostname or "")


def _network(address: str) -> str:
    """Return what counts as one address: of the newer kind everybody has 2**64."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(found) if found.version == 4 else found.exploded[:19]
