"""How much one who asks may take: bytes and seconds of a body, seconds of an answer, turns of the processor.

What is too much is refused at once, so that what is let in is answered in time, however many ask: a queue that grows answers
nobody. Light requests (lists, health, files as they lie there) never wait behind heavy ones.
"""

import asyncio
import logging
import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hit.api import problems
from hit.api.metrics import Metrics
from hit.api.problems import Problem
from hit.service import ServeConfig

log = logging.getLogger(__name__)
SEARCHES = re.compile(
    r"/v1/(search(/upload)?|searches/.+/run|describe|clusters|duplicates|embeddings|embed/\w+|videos/[^/]+/(moments|rank)"
    r"|label-sets/[^/]+/(preview|labels/[^/]+)|policies/[^/]+/test)"
)
PICTURES = re.compile(
    r"/v1/(videos/[^/]+/(thumbnail|sprites\.jpg|clip)|evaluations/.+/poster)"
)  # decoded when they are asked for
UPLOADS = re.compile(r"/v1/(search|videos)/upload")
LASTING = re.compile(r"/v1/(.+/)?(stream|clip|sprites\.jpg|events|upload)")  # as long as it takes
BODY = 2**20  # bytes of what is not an upload
_BODY_SECONDS = 20.0  # for all of it
_PAUSE = 30.0  # seconds without a byte, in an upload
_RATE = 8192.0  # bytes/s of an upload on the whole, after a first pause
_SLACK = 2**20  # bytes of an upload that are not the file


class Body:
    """A body that was read: what is inside receives it, and after it the end of the connection. `gone` waits for that only."""

    def __init__(self, whole: bytes, gone: Receive) -> None:
        self.whole, self.gone, self._given = whole, gone, False

    async def __call__(self) -> Message:
        """Return the body, once."""
        if self._given:
            return await self.gone()
        self._given = True
        return {"type": "http.request", "body": self.whole, "more_body": False}


class Bodies:
    """Reads bodies before anything is done about them; has uploads flow at a pace."""

    def __init__(self, app: ASGIApp, config: ServeConfig, seconds: float = _BODY_SECONDS, pause: float = _PAUSE) -> None:
        self._app, self._most = app, config.upload_mib * 2**20 + _SLACK
        self._seconds, self._pause = seconds, pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on with its body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        upload = UPLOADS.fullmatch(scope["path"]) and scope["method"] in ("POST", "PUT")
        most = self._most if upload else BODY
        try:
            if int(headers.get("content-length", "0")) > most:
                raise _too_large(most)
            if not upload:
                async with asyncio.timeout(self._seconds):
                    receive = Body(await _read(receive, most), receive)
        except (TimeoutError, ValueError):
            await _refuse(_slow(), scope, receive, send)
        except ConnectionResetError:
            return  # nobody is there to be answered
        except Problem as problem:
            await _refuse(problem, scope, receive, send)
        else:
            await (self._flow if upload else self._app)(scope, receive, send)

    async def _flow(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch an upload while it is received. Whatever its reader makes of an error here, whoever asked is told of it."""
        loop = asyncio.get_running_loop()
        seen, waited = 0, 0.0
        problem: Problem | None = None

        async def paced() -> Message:
            nonlocal seen, waited, problem
            since = loop.time()
            try:
                async with asyncio.timeout(self._pause):
                    message = await receive()
            except TimeoutError:
                problem = _slow()
                raise problem from None
            waited += loop.time() - since
            seen += len(message.get("body", b""))
            if seen > self._most:
                problem = _too_large(self._most)
            elif message.get("more_body") and seen < _RATE * (waited - self._pause):
                problem = _slow()
            if problem:
                raise problem
            return message

        await _unless(self._app, scope, paced, send, lambda: problem and _closing(problem))


class Pool:
    """Turns for requests of a kind: `turns` at once, `places` to wait in."""

    def __init__(self, name: str, turns: int, places: int) -> None:
        self.name, self.places, self.waiting, self.free = name, places, 0, asyncio.Semaphore(turns)

    def full(self) -> bool:
        """Tell whether another one cannot even wait."""
        return self.free.locked() and self.waiting >= self.places


class Turns:
    """Has heavy requests take turns, and gives requests up that take too long."""

    def __init__(self, app: ASGIApp, config: ServeConfig, metrics: Metrics) -> None:
        self._app, self._seconds, self._metrics = app, config.timeout or None, metrics
        self._searches = Pool("search", config.concurrent, config.queued)
        self._pictures = Pool("pictures", max(2, config.concurrent // 4), config.queued)
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request in its turn and in time, or say why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        pool = self._searches if SEARCHES.fullmatch(path) else self._pictures if PICTURES.fullmatch(path) else None
        seconds = None if LASTING.fullmatch(path) else self._seconds
        end = None if seconds is None else asyncio.get_running_loop().time() + seconds
        try:
            if pool and isinstance(receive, Body):
                await self._turn(pool, receive, end)
        except Problem as problem:
            await problems.response(Request(scope), problem)(scope, receive, send)
        except ConnectionResetError:
            return
        else:
            if pool and not isinstance(receive, Body):  # an upload takes its turn once it is there
                await self._answer_upload(scope, receive, send, pool)
            else:
                await self._answer(scope, receive, send, end, pool.free.release if pool else None)

    async def _turn(self, pool: Pool, receive: Body | None, end: float | None) -> None:
        """Wait for a turn. Raises Problem where that is in vain, ConnectionResetError where whoever asked has gone."""
        if pool.full():
            self._metrics.refused.labels(pool.name).inc()
            raise _busy("too many are being answered and wait already", 429)
        if not pool.free.locked():
            await pool.free.acquire()
            return
        held, turn = False, asyncio.ensure_future(pool.free.acquire())
        gone = asyncio.ensure_future(receive.gone()) if receive else None
        pool.waiting += 1
        self._metrics.waiting.labels(pool.name).inc()
        try:
            seconds = None if end is None else max(0.0, end - asyncio.get_running_loop().time())
            await asyncio.wait({turn, gone} if gone else {turn}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if turn.done():
                held = True
                return
            if gone and gone.done():
                raise ConnectionResetError
            raise _busy("no turn came in time", 503)
        finally:
            pool.waiting -= 1
            self._metrics.waiting.labels(pool.name).dec()
            if gone:
                gone.cancel()
            if not held and not turn.cancel():
                pool.free.release()

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, end: float | None, release: Callable[[], None] | None
    ) -> None:
        """Answer until `end`. The turn ends as the answer begins: how slowly that is read is nobody else's concern."""
        begun = late = False

        def over() -> None:
            nonlocal release
            if release:
                release()
                release = None

        async def answer(message: Message) -> None:
            nonlocal begun
            over()
            if not late:
                begun = True
                await send(message)

        async def work() -> None:
            try:
                await self._app(scope, receive, answer)
            finally:
                over()

        if end is None:
            await work()
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(work())
        try:
            await asyncio.wait({task}, timeout=max(0.0, end - loop.time()))
            if task.done() or begun:
                await task
                return
        except asyncio.CancelledError:
            task.cancel()
            raise
        late = True  # a thread cannot be ended: it keeps its turn until it is through, and what it says is not heard
        self._late.add(task)
        task.add_done_callback(self._note)
        problem = Problem(504, "it takes too long", f"no answer within {self._seconds:g} seconds", "ask for less")
        await problems.response(Request(scope), problem)(scope, receive, send)

    async def _answer_upload(self, scope: Scope, receive: Receive, send: Send, pool: Pool) -> None:
        """Answer a request whose body is received by what answers it."""
        held = False
        refused: Problem | None = None

        async def last() -> Message:
            nonlocal held, refused
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and not held:
                try:
                    await self._turn(pool, None, None)
                except Problem as problem:
                    refused = problem
                    raise
                held = True
            return message

        try:
            await _unless(self._app, scope, last, send, lambda: refused)
        finally:
            if held:
                pool.free.release()

    def _note(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a request that was given up failed", exc_info=error)


async def _read(receive: Receive, most: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return b"".join(parts)


async def _unless(app: ASGIApp, scope: Scope, receive: Receive, send: Send, wrong: Callable[[], Problem | None]) -> None:
    """Answer a request, or with what turned out to be wrong while it was received, whatever its reader made of that."""
    begun = False

    async def answer(message: Message) -> None:
        nonlocal begun
        if wrong() is None:
            begun = True
            await send(message)

    try:
        await app(scope, receive, answer)
    except Exception:
        if wrong() is None:
            raise
    if not begun and (problem := wrong()) is not None:
        await problems.response(Request(scope), problem)(scope, receive, send)


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    await problems.response(Request(scope), _closing(problem))(scope, receive, send)


def _closing(problem: Problem) -> Problem:
    """Return a problem that ends the connection: what is still sent over it is not read."""
    problem.headers = {**(problem.headers or {}), "Connection": "close"}
    return problem


def _too_large(most: int) -> Problem:
    return Problem(413, "too large", f"a request of this kind has {most} bytes at most", "send less at once")


def _slow() -> Problem:
    return Problem(408, "too slow", "the rest of the request did not come in time", "send it again")


def _busy(why: str, status: int) -> Problem:
    return Problem(status, "too much at once", why, "try again a little later", {"Retry-After": "1"})
