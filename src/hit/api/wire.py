"""Connections: what is tolerated before there is a request. uvicorn's protocol has no limits there of its own."""

import logging
import resource
from asyncio import TimerHandle, Transport
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)
HEADER_SECONDS = 10.0  # from the first byte of a request, or from the connection's beginning, until its headers are whole
HEADER_BYTES = 32 * 1024  # of the address and all headers
HEADERS = 100
_RESERVE = 256  # open files that are not connections: the library's, and videos that are being sent


class Protocol(HttpToolsProtocol):
    """A connection whose headers come in time and are not too many.

    Where a process has as many connections as it may, the one that has asked for nothing for longest makes room: thousands that
    only stay connected keep nobody out.
    """

    most: ClassVar[int] = max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVE)
    idle: ClassVar[dict["Protocol", None]] = {}  # connections without a request, the oldest first

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._size = 0
        self._deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin, at the cost of another one if need be."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > self.most:
            oldest = next(iter(self.idle))
            oldest.idle.pop(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._go_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come. Headers that are not whole after it have a deadline."""
        super().data_received(data)
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self._wait()

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        super().on_message_begin()
        self._size = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        super().on_url(url)
        self._grow(len(url), "414 URI Too Long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        super().on_header(name, value)
        self._grow(len(name) + len(value), "431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        """Go over to the request."""
        self._go_on()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go over to the next one."""
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.idle[self] = None

    def _grow(self, size: int, status: str) -> None:
        self._size += size
        if (self._size > HEADER_BYTES or len(self.headers) > HEADERS) and not self.transport.is_closing():
            self.transport.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            self.transport.close()

    def _wait(self) -> None:
        self.idle[self] = None
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _go_on(self) -> None:
        self.idle.pop(self, None)
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
