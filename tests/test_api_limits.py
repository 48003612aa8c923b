"""How much one who asks may take, and what comes again: the layers around routes that a test can hold up."""

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from api_helpers import client
from asgi import Call
from hit.api import layers, problems
from hit.api.limits import BODY, Bodies
from hit.errors import UserError
from hit.service import ServeConfig, Service
from toy import ToyEncoder

Test = Callable[["Bench"], Awaitable[None]]


class Bench:
    """An application with the real layers around routes of the test's own, and what those routes wait for."""

    def __init__(self, library: Path, **config: Any) -> None:
        self.service = Service(library, ServeConfig(jobs=False, **config), ToyEncoder())
        self.app = FastAPI()
        self.app.state.service = self.service
        problems.install(self.app)
        layers.wrap(self.app, self.service)
        self.go, self.thread_go = asyncio.Event(), threading.Event()
        self.inside, self.runs = 0, 0
        self.app.add_api_route("/v1/search", self.heavy, methods=["GET", "POST"])
        self.app.add_api_route("/v1/search/upload", self.upload, methods=["POST"])
        self.app.add_api_route("/v1/describe", self.thread, methods=["GET"])
        self.app.add_api_route("/v1/light", self.light, methods=["GET", "POST", "PUT", "DELETE"])
        self.app.add_api_route("/v1/events", self.events)
        self.app.add_api_route("/v1/broken", self.broken, methods=["GET", "POST"])
        self.app.add_api_route("/v1/refused", self.refused, methods=["POST"])

    async def heavy(self) -> dict[str, int]:
        self.inside += 1
        await self.go.wait()
        self.inside -= 1
        return {"inside": self.inside}

    def thread(self) -> dict[str, str]:
        self.thread_go.wait(30)
        self.runs += 1
        return {}

    async def upload(self, request: Request) -> dict[str, int]:
        try:
            size = sum([len(piece) async for piece in request.stream()])
        except Exception as error:  # as a parser of forms might
            raise UserError("the form", "cannot be read") from error
        self.inside += 1
        await self.go.wait()
        self.inside -= 1
        return {"size": size}

    async def light(self, request: Request) -> dict[str, Any]:
        self.runs += 1
        return {"runs": self.runs, "size": len(await request.body())}

    async def events(self) -> StreamingResponse:
        async def forever() -> AsyncIterator[bytes]:
            while True:
                yield b"data: x" * 1000
                await asyncio.sleep(0)

        return StreamingResponse(forever(), media_type="text/event-stream")

    def broken(self) -> None:
        self.runs += 1
        raise RuntimeError("a secret word")

    def refused(self) -> None:
        self.runs += 1
        raise UserError("it", "cannot be done")

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = b"") -> Call:
        return Call(self.app, method, path, headers, body)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.001)


@pytest.fixture
def bench(own: Path) -> Iterator[Callable[..., None]]:
    """Return a function that runs a test's coroutine on a bench."""
    made: list[Bench] = []

    def run(test: Test, **config: Any) -> None:
        async def inside() -> None:
            made.append(Bench(own, **config))
            await test(made[-1])

        asyncio.run(inside())

    yield run
    for one in made:
        one.service.close()


def test_heavy_requests_take_turns_and_light_ones_do_not_wait(bench: Callable[..., None]) -> None:
    async def test(b: Bench) -> None:
        first = [b.call("POST", "/v1/search") for _ in range(2)]
        await b.until(lambda: b.inside == 2)
        waiting = [b.call("GET", "/v1/search?q=x") for _ in range(3)]
        text = b'hit_requests_waiting{pool="search"} 3.0'
        await b.until(lambda: text in b.app.state.metrics.text())
        refused = await b.call("POST", "/v1/search").done()
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
        assert (await b.call("GET", "/v1/light").done()).status == 200
        assert b.inside == 2
        b.go.set()
        for one in first + waiting:
            assert (await one.done()).status == 200
        assert (await b.call("POST", "/v1/search").done()).status == 200
        assert b'hit_requests_waiting{pool="search"} 0.0' in b.app.state.metrics.text()
        assert b'hit_requests_refused_total{pool="search"} 1.0' in b.app.state.metrics.text()

    bench(test, concurrent=2, queued=3)


def test_who_has_gone_is_not_waited_for(bench: Callable[..., None]) -> None:
    async def test(b: Bench) -> None:
        first = b.call("POST", "/v1/search")
        await b.until(lambda: b.inside == 1)
        gone, other = b.call("POST", "/v1/search"), b.call("POST", "/v1/search")
        await b.until(lambda: b'waiting{pool="search"} 2.0' in b.app.state.metrics.text())
        gone.gone.set()
        await gone.done()
        assert not gone.status
        b.go.set()
        assert [(await one.done()).status for one in (first, other)] == [200, 200]

    bench(test, concurrent=1, queued=2)


def test_what_takes_too_long_is_given_up_and_keeps_its_turn_until_it_is_through(bench: Callable[..., None]) -> None:
    async def test(b: Bench) -> None:
        late = await b.call("GET", "/v1/describe").done()
        assert late.status == 504 and late.whole
        busy = await b.call("GET", "/v1/describe").done()
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        b.thread_go.set()
        await b.until(lambda: b.runs == 1)
        assert (await b.call("GET", "/v1/describe").done()).status == 200

    bench(test, concurrent=1, timeout=0.3)


def test_a_slow_reader_keeps_no_turn(bench: Callable[..., None]) -> None:
    async def test(b: Bench) -> None:
        b.go.set()
        stuck, beginning = asyncio.Event(), asyncio.Event()

        async def send(message: Any) -> None:
            beginning.set()
            await stuck.wait()

        one = b.call("POST", "/v1/search")
        await one.done()
        slow = asyncio.ensure_future(b.app(dict(one.scope, state={}), _nothing, send))
        await beginning.wait()
        assert (await b.call("POST", "/v1/search").done()).status == 200
        stuck.set()
        await slow

    bench(test, concurrent=1, queued=0)


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def test_bodies_that_are_too_large_or_too_slow(bench: Callable[..., None]) -> None:
    async def endless(count: list[int]) -> AsyncIterator[tuple[bytes, bool]]:
        while True:
            count[0] += 1
            yield b"x" * 65536, True

    async def stalled() -> AsyncIterator[tuple[bytes, bool]]:
        yield b"{", True
        await asyncio.Event().wait()

    async def test(b: Bench) -> None:
        whole = await b.call("POST", "/v1/light", body=b"x" * BODY).done()
        assert whole.json()["size"] == BODY
        for headers, body in [({"content-length": str(BODY + 1)}, b""), ({"content-length": "9" * 30}, b"")]:
            assert (await b.call("POST", "/v1/light", headers, body).done()).status == 413
        count = [0]
        answer = await b.call("POST", "/v1/light", {"transfer-encoding": "chunked"}, endless(count)).done()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert count[0] == BODY // 65536 + 1  # not a byte more is taken
        assert (await b.call("POST", "/v1/search/upload", {"transfer-encoding": "chunked"}, endless(count)).done()).status == 413
        quick = Bodies(b.app, b.service.config, seconds=0.05, pause=0.05)
        runs = b.runs
        for path, headers in [("/v1/light", {"content-length": "9"}), ("/v1/search/upload", {})]:
            slow = await Call(layered(b, quick), "POST", path, headers, stalled()).done()
            assert (slow.status, slow.headers["connection"]) == (408, "close"), path
        assert b.runs == runs

    bench(test, upload_mib=1)


def layered(b: Bench, bodies: Bodies) -> Any:
    """Return an application that reads bodies by other limits, before those of its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"request_id": "1"}
        await bodies(scope, receive, send)

    return app


def test_an_upload_takes_its_turn_when_it_is_there(bench: Callable[..., None]) -> None:
    pieces: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()

    async def slowly() -> AsyncIterator[tuple[bytes, bool]]:
        while True:
            yield await pieces.get()

    async def test(b: Bench) -> None:
        slow = b.call("POST", "/v1/search/upload", body=slowly())
        await pieces.put((b"abc", True))
        search = b.call("POST", "/v1/search")
        await b.until(lambda: b.inside == 1)  # the upload holds no turn
        refused = await b.call("POST", "/v1/search/upload", body=b"x").done()
        assert refused.status == 429  # although its reader said something else
        b.go.set()
        await search.done()
        await pieces.put((b"d", False))
        assert (await slow.done()).json() == {"size": 4}

    bench(test, concurrent=1, queued=0)


def test_defects_are_problems_and_tell_nothing(bench: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    async def test(b: Bench) -> None:
        answer = await b.call("GET", "/v1/broken", {"x-request-id": "mine"}).done()
        assert answer.status == 500 and b"secret" not in answer.body
        assert answer.json()["request_id"] == "mine" == answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"

    bench(test)
    assert "a secret word" in caplog.text and "request mine" in caplog.text


def test_a_defect_in_an_upload_is_not_taken_for_a_slow_one(bench: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    async def test(b: Bench) -> None:
        async def broken(request: Request) -> None:
            raise ValueError(f"a secret word of {len(await request.body())}")

        b.app.add_api_route("/v1/videos/upload", broken, methods=["POST"])
        answer = await b.call("POST", "/v1/videos/upload", body=b"xyz").done()
        assert answer.status == 500 and b"secret" not in answer.body

    bench(test)
    assert "a secret word of 3" in caplog.text


def test_a_header_with_a_line_break_is_a_defect_and_not_a_header(bench: Callable[..., None]) -> None:
    async def test(b: Bench) -> None:
        async def bad() -> PlainTextResponse:
            return PlainTextResponse("x", headers={"X-Name": "a\r\nSet-Cookie: b"})

        b.app.add_api_route("/v1/bad", bad)
        answer = await b.call("GET", "/v1/bad").done()
        assert answer.status == 500 and "set-cookie" not in answer.headers

    bench(test)


def test_streams_are_neither_held_back_nor_compressed_nor_given_up(bench: Callable[..., None]) -> None:
    async def test(b: Bench) -> None:
        call = b.call("GET", "/v1/events", {"accept-encoding": "gzip"})
        assert await call.begun() == 200
        await b.until(lambda: len(call.body) > 10_000)
        assert "content-encoding" not in call.headers and call.body.startswith(b"data: x")
        await call.leave()

    bench(test, timeout=0.001)


def test_a_write_with_a_key_is_done_once(bench: Callable[..., None]) -> None:
    async def test(b: Bench) -> None:
        def send(key: str, method: str = "POST", path: str = "/v1/light", body: bytes = b"a") -> Call:
            return b.call(method, path, {"idempotency-key": key}, body)

        first = await send("k").done()
        again = await send("k").done()
        assert first.body == again.body and b.runs == 1
        assert "idempotent-replay" not in first.headers and again.headers["idempotent-replay"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        for other in (
            send("k", body=b"b"),
            send("k", path="/v1/light?x=1"),
            send("k", method="PUT"),
            send("k", path="/v1/broken"),
        ):
            assert (await other.done()).status == 422
        assert b.runs == 1
        assert (await send("l").done()).json()["runs"] == 2
        for bad in ("", " ", "a b", "x" * 256, "\x7f"):
            assert (await send(bad).done()).status == 400
        for path, code, runs in [("/v1/refused", 400, 1), ("/v1/broken", 500, 2)]:  # what failed may be tried again
            before = b.runs
            assert [(await send(path, path=path).done()).status for _ in range(2)] == [code, code]
            assert b.runs - before == runs, path
        await b.call("GET", "/v1/light", {"idempotency-key": "k"}).done()
        assert b.runs == 6
        both = [send("m"), send("m")]  # at the same time
        codes = sorted([(await one.done()).status for one in both])
        assert codes in ([200, 200], [200, 409]) and b.runs == 7

    bench(test)


def test_what_is_being_done_is_not_begun_again(bench: Callable[..., None]) -> None:
    async def test(b: Bench) -> None:
        b.app.add_api_route("/v1/slow", b.heavy, methods=["POST"])
        head = {"idempotency-key": "u"}
        first = b.call("POST", "/v1/slow", head)
        await b.until(lambda: b.inside == 1)
        second = await b.call("POST", "/v1/slow", head).done()
        assert (second.status, second.headers["retry-after"]) == (409, "1")
        b.go.set()
        assert (await first.done()).status == 200
        assert (await b.call("POST", "/v1/slow", head).done()).headers["idempotent-replay"] == "true"

    bench(test)


def test_lists_that_have_not_changed_are_not_sent_again(own: Path) -> None:
    with client(own) as api:
        for path in ("/v1/videos", "/v1/tags", "/v1/search?q=red"):
            first = api.get(path)
            tag = first.headers["etag"]
            assert tag.startswith('W/"') and first.headers["cache-control"] == "private, no-cache"
            for given in (tag, f'"x", {tag}', tag.removeprefix("W/")):
                again = api.get(path, headers={"If-None-Match": given})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), path
                assert "content-length" not in again.headers
            assert api.get(path, headers={"If-None-Match": 'W/"x"'}).status_code == 200
        video = api.get("/v1/videos").json()["videos"][0]["id"]
        tag = api.get("/v1/tags").headers["etag"]
        api.post(f"/v1/videos/{video}/tags", json={"add": ["new"]})
        assert api.get("/v1/tags", headers={"If-None-Match": tag}).status_code == 200
        assert "etag" not in api.get("/v1/me").headers and api.get("/v1/me").headers["cache-control"] == "no-store"
        assert "etag" not in api.get("/v1/videos/none").headers


def test_json_travels_compressed_and_pictures_do_not(own: Path) -> None:
    with client(own) as api:
        with api.stream("GET", "/v1/search?q=red", headers={"Accept-Encoding": "gzip"}) as answer:
            raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip" and "Accept-Encoding" in answer.headers["vary"]
        hits = json.loads(gzip.decompress(raw))["hits"]
        with api.stream("GET", hits[0]["thumbnail_url"], headers={"Accept-Encoding": "gzip"}) as picture:
            assert "content-encoding" not in picture.headers
            assert b"".join(picture.iter_raw())[:2] == b"\xff\xd8"
