"""Who is let in by HTTP: roles route by route, cookies, origins, hosts, logins."""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from api_helpers import BASE, client
from asgi import Call
from hit.api.auth import RANK
from hit.api.guard import OPEN, own_path
from hit.api.login import Throttle
from hit.db import Token
from hit.errors import UserError

SHOWN = {"/v1/openapi.json"}  # to whoever is known, whatever their role
ROLES = tuple(RANK)


@dataclass(frozen=True)
class Served:
    api: TestClient
    app: FastAPI
    secrets: dict[str, str]  # by role; and "expired", "revoked"

    def head(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[who]}"}


def guarded_api(library: Path, **config: Any) -> Iterator[Served]:
    with client(library, auth="on", **config) as api:
        app: Any = api.app
        access = app.state.service.access
        secrets = {role: access.create(role, role)[0] for role in ROLES}
        secrets |= {name: access.create(name, "admin", days=1)[0] for name in ("expired", "revoked")}
        access.revoke("revoked")
        with app.state.service.db.write() as session:
            session.execute(sa.update(Token).where(Token.name == "expired").values(expires_at=sa.text("'2020-01-01 00:00:00'")))
        secrets |= {"garbage": "hit_" + "x" * 43, "empty": "", "long": "x" * 5000}
        yield Served(api, app, secrets)


@pytest.fixture
def served(own: Path) -> Iterator[Served]:
    yield from guarded_api(own)


@pytest.fixture
def browser(served: Served) -> TestClient:
    """Return a browser that has logged in as an admin."""
    assert served.api.post("/v1/login", json={"token": served.secrets["admin"]}).status_code == 200
    return served.api


def declared(context: Any) -> list[str]:
    """Return the roles that a route takes."""
    return [one.call.role for one in context.dependant.dependencies if hasattr(one.call, "role")]


def test_every_route_declares_a_role(served: Served) -> None:
    seen = 0
    for route in iter_route_contexts(served.app.routes):
        if (path := getattr(route, "path", None)) and path.startswith("/v1/") and path not in {*SHOWN, "/v1/login"}:
            seen += 1
            assert len(declared(route)) == 1, f"{path} declares no role, or several"
    assert seen > 8


async def status(app: FastAPI, method: str, path: str, headers: dict[str, str]) -> int:
    """Return the status of an answer, and wait for no more of it: it may never end."""
    call = Call(app, method, path, headers)
    found = await call.begun()
    await call.leave()
    return found


def test_roles_route_by_route(served: Served) -> None:
    async def all_of_them() -> int:
        count = 0
        for route in iter_route_contexts(served.app.routes):
            template = getattr(route, "path", None)
            if not template or not template.startswith("/v1/") or template == "/v1/login":
                continue
            path = re.sub(r"\{\w+(:\w+)?\}", "1", template)
            needed = RANK[declared(route)[0]] if template not in SHOWN else 0
            for method in route.methods or ():
                for who in (*ROLES, "expired", "revoked", "garbage", "empty", "long", None):
                    found = await status(served.app, method, path, served.head(who) if who else {})
                    rank = RANK.get(who or "", -1)
                    where = f"{method} {template} as {who}: {found}"
                    assert (found == 401) == (rank < 0), where
                    assert (found == 403) == (0 <= rank < needed), where
                    assert found < 500, where
                    count += 1
        return count

    assert asyncio.run(all_of_them()) > 100


def test_only_admins_see_paths(served: Served, made: Path) -> None:
    api, app = served.api, served.app
    hit = api.get("/v1/search", params={"q": "red"}, headers=served.head("viewer")).json()["hits"][0]
    found = {"video_id": hit["video_id"], "segment_id": hit["clip_id"], "number": "1", "name": "x"}
    seen: dict[str, list[str]] = {role: [] for role in ROLES}
    for route in iter_route_contexts(app.routes):
        template = getattr(route, "path", None)
        lasting = template and template.endswith(("/events", "/stream", "/clip", "openapi.json"))
        if not template or lasting or "GET" not in (route.methods or ()) or not template.startswith("/v1/"):
            continue
        path = re.sub(r"\{(\w+)(:\w+)?\}", lambda name: found.get(name[1], "1"), template)
        for role in ROLES:
            answer = api.get(path, params={"q": "red"}, headers=served.head(role))
            if str(made) in answer.text or str(app.state.service.path) in answer.text:
                seen[role].append(template)
    assert seen["viewer"] == seen["reviewer"] == []
    assert "/v1/videos" in seen["admin"] and "/v1/search" in seen["admin"]


def test_what_is_open_to_everybody(served: Served) -> None:
    for path in ("/livez", "/readyz"):
        assert served.api.get(path).status_code == 200
    assert served.api.get("/static/none.js").status_code == 404
    for path in ("/metrics", "/v1/none", "/v1/openapi.json", "/v1//login", "/v1/login/", "/V1/videos", "/%76%31/videos", "/x"):
        answer = served.api.get(path, follow_redirects=False)
        assert answer.status_code in (401, 303), path
    assert OPEN == ("/login", "/v1/login", "/livez", "/readyz", "/favicon.ico")
    answer = served.api.get("/v1/videos")
    assert answer.headers["www-authenticate"] == 'Bearer realm="hit"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hit token create" in answer.json()["fix"]


def test_kinds_of_credentials(served: Served) -> None:
    secret = served.secrets["viewer"]
    for given, code in [
        (f"bearer {secret}", 200),
        (f"Bearer  {secret}", 200),
        (f"Basic {secret}", 401),
        (secret, 401),
        (f"Bearer {secret} {secret}", 401),
        (f"Bearer {secret}\x7f", 401),
    ]:
        assert served.api.get("/v1/me", headers={"Authorization": given}).status_code == code, given
    assert served.api.get("/v1/me", params={"token": secret, "access_token": secret}).status_code == 401  # logs show addresses
    assert served.api.get("/v1/me", headers={"Cookie": f"hit_session={secret}"}).status_code == 401


def test_revoked_means_at_once(served: Served) -> None:
    assert served.api.get("/v1/me", headers=served.head("viewer")).status_code == 200
    served.app.state.service.access.revoke("viewer")
    assert served.api.get("/v1/me", headers=served.head("viewer")).status_code == 401


def test_use_is_noted(served: Served) -> None:
    access = served.app.state.service.access
    for _ in range(3):
        assert served.api.get("/v1/me", headers=served.head("viewer")).status_code == 200
    until = time.monotonic() + 20
    while not (used := {token.name: token.used_at for token in access.tokens()})["viewer"]:
        assert time.monotonic() < until
    assert used["admin"] is None


def test_who_is_no_admin_sees_no_paths_in_what_went_wrong(served: Served, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> None:
        raise UserError(own / "library.db", "is damaged", f"see {own}")

    db = served.app.state.service.db
    video = served.api.get("/v1/videos", headers=served.head("admin")).json()["videos"][0]
    db.fail(video["id"], f"OSError: [Errno 5] Input/output error: '{video['paths'][0]}'", video["revision"])
    monkeypatch.setattr(db, "tag_counts", damaged)
    for role in ROLES:
        told = served.api.get("/v1/tags", headers=served.head(role)).text
        assert (str(own) in told) == (role == "admin") and "is damaged" in told
        told = served.api.get(f"/v1/videos/{video['id']}", headers=served.head(role)).text
        assert (video["paths"][0] in told) == (role == "admin") and "Errno 5" in told


def test_a_browser_logs_in_and_out(served: Served) -> None:
    page = served.api.get("/videos/x", params={"t": "1.5", "q": "a b"}, follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/videos/x%3Ft%3D1.5%26q%3Da%2Bb")
    answer = served.api.post("/v1/login", json={"token": f" {served.secrets['reviewer']}\n", "next": "/library?a=1"})
    assert (answer.json()["name"], answer.json()["role"], answer.json()["next"]) == ("reviewer", "reviewer", "/library?a=1")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"hit_session=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", cookie), cookie
    assert served.secrets["reviewer"] not in answer.text + cookie
    me = served.api.get("/v1/me").json()
    assert me["role"] == "reviewer" and me["guarded"] and me["csrf_token"] == answer.json()["csrf_token"]
    assert served.api.get("/library").status_code == 200
    stale = dict(served.api.cookies)
    assert served.api.post("/v1/logout", headers={"X-CSRF-Token": me["csrf_token"]}).status_code == 204
    assert "hit_session" not in served.api.cookies
    served.api.cookies.update(stale)
    assert served.api.get("/v1/me").status_code == 401  # not only forgotten by the browser


def test_the_cookie_is_secure_unless_the_server_is_at_hand(own: Path) -> None:
    with client(own, auth="on", hosts=("films.example", "127.films.example")) as api:
        secret, _ = api.app.state.service.access.create("ann", "viewer")  # type: ignore[attr-defined]
        for base, secure in [
            ("http://127.0.0.1:8000", False),
            ("http://localhost", False),
            ("https://films.example", True),
            ("http://films.example", True),
            ("http://127.films.example", True),
        ]:
            answer = api.post(f"{base}/v1/login", json={"token": secret})
            assert ("; Secure" in answer.headers["set-cookie"]) == secure, base
        page = {"Origin": "http://films.example"}
        assert api.post("http://films.example/v1/login", json={"token": secret}, headers=page).status_code == 403
        assert "strict-transport-security" in api.get("https://films.example/livez").headers
        assert "strict-transport-security" not in api.get("http://films.example/livez").headers


def test_other_pages_have_nothing_done_with_ones_cookie(browser: TestClient) -> None:
    token = browser.get("/v1/me").json()["csrf_token"]
    video = browser.get("/v1/videos").json()["videos"][0]["id"]
    path, change = f"/v1/videos/{video}/tags", {"add": ["x"]}
    for given in ({}, {b"X-CSRF-Token": b""}, {b"X-CSRF-Token": "é".encode()}, {b"X-CSRF-Token": token[:-1].encode()}):
        assert browser.post(path, json=change, headers=given).status_code == 403
        assert browser.delete("/v1/searches/x", headers=given).status_code == 403
    assert browser.post(path, json=change, headers={"X-CSRF-Token": token}).status_code == 200


@pytest.mark.parametrize("auth", ["off", "on"])
def test_pages_of_other_origins_are_refused(own: Path, auth: str) -> None:
    for served in guarded_api(own) if auth == "on" else [None]:
        with client(own, auth="off", cors=("https://ours.example",)) if served is None else client(own, auth="on") as api:
            head = served.head("admin") if served else {}
            for headers, refused in [
                ({"Origin": "https://evil.example"}, True),
                ({"Origin": "null"}, True),
                ({"Origin": "http://127.0.0.1:9000"}, True),
                ({"Origin": f"{BASE}.evil.example"}, True),
                ({"Sec-Fetch-Site": "cross-site"}, True),
                ({"Sec-Fetch-Site": "same-site"}, True),
                ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, True),
                ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, True),
                ({"Sec-Fetch-Site": "same-origin", "Origin": BASE}, False),
                ({"Sec-Fetch-Site": "none"}, False),
            ]:
                for method, path in [("POST", "/v1/search"), ("GET", "/v1/videos"), ("POST", "/v1/login"), ("GET", "/")]:
                    answer = api.request(method, path, headers=headers | head, json={"query_text": "red"})
                    assert (answer.status_code == 403) == refused, (method, path, headers)
            link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
            assert api.get("/library", headers=link | head).status_code == 200
            assert api.post("/v1/logout", headers=link | head).status_code == 403  # a form of another page


def test_other_hosts_are_refused(own: Path) -> None:
    with client(own, hosts=("films.example",)) as api:
        for host, code in [
            ("127.0.0.1:8000", 200),
            ("localhost:1234", 200),
            ("[::1]:8000", 200),
            ("10.1.2.3", 200),
            ("FILMS.example:80", 200),
            ("evil.example", 421),
            ("films.example.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("evil.example#@localhost", 400),
            ("evil.example:80@localhost", 400),
            ("local host", 400),
            ("", 400),
            (":8000", 400),
            ("[::1", 400),
            ("a]", 400),
        ]:
            answer = api.get("/v1/videos", headers={"Host": host})
            assert answer.status_code == code, host
            assert answer.headers["x-request-id"]
        assert api.get("/v1/videos", headers={"Origin": "http://["}).status_code == 403


@pytest.mark.parametrize(
    "text",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "/\t/evil",
        "/a\r\nX: y",
        "",
        "é",
    ],
)
def test_after_a_login_nobody_is_sent_elsewhere(served: Served, text: str) -> None:
    assert own_path(text) == "/"
    answer = served.api.post("/v1/login", json={"token": served.secrets["viewer"], "next": text})
    assert answer.json()["next"] == "/"
    location = served.api.get("//evil.example/%0d%0aX:y", follow_redirects=False).headers.get("location", "/login")
    assert location.startswith("/login")


def test_logins_are_throttled(served: Served) -> None:
    codes = [served.api.post("/v1/login", json={"token": f"hit_{i:043}"}).status_code for i in range(14)]
    assert codes == [401] * 10 + [429] * 4
    answer = served.api.post("/v1/login", json={"token": served.secrets["viewer"]})
    assert answer.status_code == 429 and 0 < int(answer.headers["retry-after"]) <= 7
    assert served.api.get("/v1/me", headers=served.head("viewer")).status_code == 200  # whoever is in stays in


def test_a_throttle_is_refilled_and_does_not_grow() -> None:
    throttle = Throttle(burst=2, seconds=10, all_to_one=3)
    assert [throttle.take("1.2.3.4", 0) for _ in range(3)] == [0, 0, 10]
    assert throttle.take("1.2.3.4", 9) == pytest.approx(1) and throttle.take("1.2.3.4", 10) == 0
    assert throttle.take("5.6.7.8", 10) == 0
    throttle = Throttle(burst=2, seconds=10, all_to_one=3)
    waits = [throttle.take(f"2001:db8::{i}", 0) for i in range(4)]
    assert waits == [0, 0, 10, 10]  # one network
    assert [throttle.take(f"10.0.0.{i}", 0) > 0 for i in range(6)] == [False] * 4 + [True] * 2  # in all, six
    for i in range(20_000):
        throttle.take(f"10.{i // 65536}.{i // 256 % 256}.{i % 256}", 0)
    assert len(throttle._left) <= 10_001


def test_cors_is_for_those_that_are_named(own: Path) -> None:
    with client(own, auth="on", cors=("https://ours.example",)) as api:
        secret, _ = api.app.state.service.access.create("ann", "viewer")  # type: ignore[attr-defined]
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        ours = {"Origin": "https://ours.example", "Sec-Fetch-Site": "cross-site"}
        answer = api.options("/v1/search", headers=ours | asks)
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://ours.example"
        assert "access-control-allow-credentials" not in answer.headers
        answer = api.post("/v1/search", json={"query_text": "red"}, headers=ours | {"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://ours.example"
        assert api.get("/v1/videos", headers=ours).headers["access-control-allow-origin"]  # a page of ours may read why not
        evil = api.options("/v1/search", headers={"Origin": "https://evil.example"} | asks)
        assert "access-control-allow-origin" not in evil.headers
    with client(own) as api:
        assert "access-control-allow-origin" not in api.options("/v1/search", headers=ours | asks).headers


def test_every_answer_has_what_keeps_browsers_careful(served: Served) -> None:
    for answer in [
        served.api.get("/v1/videos", headers=served.head("viewer")),
        served.api.get("/v1/videos"),
        served.api.get("/", follow_redirects=False),
        served.api.get("/livez"),
        served.api.get("/v1/none", headers=served.head("viewer") | {"X-Request-ID": "mine-1"}),
        served.api.get("/livez", headers={"Host": "evil.example"}),
    ]:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-request-id"]
    assert served.api.get("/livez", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    for bad in ("a b", "x" * 65, 'a"b', "é"):
        found = served.api.get("/livez", headers={b"X-Request-ID": bad.encode()}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", found)


def test_the_log_tells_who_and_not_what(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "hit.access"):
        served.api.get("/v1/search", params={"q": "red"}, headers=served.head("viewer") | {"X-Request-ID": "mine-2"})
        served.api.post("/v1/login", json={"token": served.secrets["viewer"]})
        served.api.get("/v1/a%0d%0aForged")
    first, second, third = [record.getMessage() for record in caplog.records if record.name == "hit.access"]
    assert re.fullmatch(r"mine-2 testclient GET /v1/search 200 [\d.]+ms viewer", first), first
    assert "POST /v1/login 200" in second and not any(secret in second for secret in served.secrets.values() if secret)
    assert "\n" not in third and "Forged" in third


def test_health_and_metrics(own: Path, served: Served) -> None:
    assert served.api.get("/metrics").status_code == 401
    served.api.get("/v1/videos/none", headers=served.head("viewer"))
    served.api.get("/v1/none/1", headers=served.head("viewer"))
    text = served.api.get("/metrics", headers=served.head("viewer")).text
    for line in (
        'hit_requests_total{method="GET",route="/v1/videos/{video_id}",status="404"} 1.0',
        'hit_requests_total{method="GET",route="other",status="404"} 1.0',
        'hit_videos{status="ready"} 5.0',
        'hit_jobs{state="done"} 1.0',
        "hit_requests_in_flight 1.0",
    ):
        assert line in text, text
    assert re.search(r"^hit_segments [1-9]", text, re.MULTILINE)
    with client(own, auth="on", metrics_open=True) as api:
        assert api.get("/metrics").status_code == 200


def test_a_server_that_cannot_search_is_not_ready(own: Path) -> None:
    with client(own) as api:
        assert api.get("/readyz").status_code == 200
        with pytest.MonkeyPatch.context() as patch:
            service: Any = api.app.state.service  # type: ignore[attr-defined]
            url = service.db._engine.url
            service.db._engine.dispose()
            patch.setattr(service.db, "_engine", sa.create_engine(url.set(database="/nowhere/library.db")))
            answer = api.get("/readyz")
            assert answer.status_code == 503 and list(answer.json()["reasons"]) == ["database"]
            assert "nowhere" not in answer.text
            assert api.get("/livez").status_code == 200
