"""An S3 server for tests: moto's, a process of its own, that keeps its buckets in memory; and a small server that fails first."""

import contextlib
import http.client
import itertools
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

_buckets = itertools.count()
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class S3:
    """A server at `url`. `env`: what a process must be told to use it."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.process, self.url = process, url
        self.env = environment(url)

    def bucket(self, name: str = "") -> str:
        """Make a bucket, and return its URL."""
        name = name or f"bucket-{os.getpid()}-{next(_buckets)}"
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=10).close()
        return f"s3://{name}"

    def kill(self) -> None:
        """Kill it, with all that is in it."""
        self.process.kill()
        self.process.wait()


def environment(url: str) -> dict[str, str]:
    """Return the variables by which a server of S3 is used."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testkey",
        "AWS_SECRET_ACCESS_KEY": "s3cret-w0rd",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def server(host: str = "127.0.0.1", port: int = 0) -> Iterator[S3]:
    """Run a server at an address, of a namespace's bridge if need be."""
    if not port:
        import socket

        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", host, "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    url = f"http://{host}:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, f"moto's server ended with {process.returncode}"
                assert time.monotonic() < until, "moto's server did not come up"
                time.sleep(0.05)
        yield S3(process, url)
    finally:
        process.kill()
        process.wait()


def use(s3: "S3 | Gate", patch: pytest.MonkeyPatch) -> None:
    """Have this process, and those that it starts, use a server."""
    for name in PROXIES:
        patch.delenv(name, raising=False)
    for name, value in s3.env.items():
        patch.setenv(name, value)


@pytest.fixture(scope="session")
def moto() -> Iterator[S3]:
    """Return the run's server."""
    with server() as made:
        yield made


@pytest.fixture
def s3(moto: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """Return the run's server, which this process uses."""
    use(moto, monkeypatch)
    return moto


class Gate(ThreadingHTTPServer):
    """Passes requests on to a server, counts them, and answers as many as it is told by a failure instead.

    fail: how to answer the next requests: by a status, 0 hangs up, -1 passes on. asked: how many there were of each method. sent,
    got: bytes of bodies.
    """

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Through)
        self.behind = behind
        self.fail: list[int] = []
        self.shut = False  # hangs up on all
        self.asked: Counter[str] = Counter()
        self.lines: list[str] = []
        self.sent = self.got = 0
        self.env: Mapping[str, str] = environment(f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients may hang up


class _Through(BaseHTTPRequestHandler):
    server: Gate
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _pass(self) -> None:
        gate = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        gate.asked[self.command] += 1
        gate.lines.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        gate.sent += len(body)
        status = 0 if gate.shut else gate.fail.pop(0) if gate.fail else None
        if status == 0:
            self.close_connection = True
            return
        if status is not None and status > 0:
            self._answer(status, {}, b"<Error/>")
            return
        there = http.client.HTTPConnection(urlsplit(gate.behind).netloc, timeout=30)
        with contextlib.closing(there):
            there.request(
                self.command, self.path, body, {name: value for name, value in self.headers.items() if name != "connection"}
            )
            answer = there.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        length = str(len(body))
        for name, value in headers.items():
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.server.got += len(body)  # before it is there: who asked may look at once
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass


@pytest.fixture
def gate(moto: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Return a gate before the run's server, which this process uses."""
    with Gate(moto.url) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        use(made, monkeypatch)
        yield made
        made.shutdown()
        thread.join()
