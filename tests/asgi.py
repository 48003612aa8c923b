"""Requests to an application without a server: bodies that come piece by piece, clients that go, answers that never end."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

Headers = Mapping[str, str]


class Call:
    """One request. Await `begun` for its status, `done()` for all of it."""

    def __init__(self, app: Any, method: str, path: str, headers: Headers | None = None, body: Any = b"") -> None:
        self.status, self.headers, self.body, self.whole = 0, dict[str, str](), b"", False
        self.began, self.gone = asyncio.Event(), asyncio.Event()
        self._pieces = body if hasattr(body, "__aiter__") else _once(body)
        named = {"host": "127.0.0.1", **(headers or {})}
        if not hasattr(body, "__aiter__") and body and "content-length" not in named:
            named["content-length"] = str(len(body))
        path, _, query = path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()],
            "scheme": "http",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "http_version": "1.1",
            "root_path": "",
        }
        self.task = asyncio.ensure_future(app(self.scope, self._receive, self._send))

    async def done(self) -> "Call":
        """Wait for the end of the answer; raise what came out of the application."""
        await self.task
        return self

    async def begun(self) -> int:
        """Wait for the status."""
        waiting = asyncio.ensure_future(self.began.wait())
        await asyncio.wait({self.task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            self.task.result()
        return self.status

    async def leave(self) -> None:
        """Go away, and have the application ended."""
        self.gone.set()
        self.task.cancel()
        await asyncio.wait({self.task})

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    async def _receive(self) -> dict[str, Any]:
        async for piece, more in self._pieces:
            return {"type": "http.request", "body": piece, "more_body": more}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert not self.status, "two answers"
            self.status = message["status"]
            self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            self.began.set()
        else:
            assert self.status and not self.whole
            self.body += message.get("body", b"")
            self.whole = not message.get("more_body", False)


async def _once(body: bytes) -> AsyncIterator[tuple[bytes, bool]]:
    yield body, False
