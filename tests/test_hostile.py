"""Those who mean harm, against a real server: slow and endless clients, names that would be paths, JSON without a bottom."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
import uvicorn

from hit.api import create_app, wire
from hit.api.wire import Protocol
from hit.db import Video
from hit.service import ServeConfig, Service
from toy import ToyEncoder

SECRET = "root:x:0:0"  # of what no answer may have a trace: /etc/passwd


@dataclass(frozen=True)
class Server:
    port: int
    service: Service
    http: httpx2.Client

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        made.settimeout(20)
        return made

    def raw(self, *pieces: bytes) -> bytes:
        """Send bytes and return all that comes until the server ends the connection."""
        with self.connect() as made:
            with contextlib.suppress(ConnectionError):  # refused before all of it was sent
                for piece in pieces:
                    made.sendall(piece)
            return everything(made)


def everything(made: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := made.recv(65536):
            parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def running(library: Path, **config: Any) -> Iterator[Server]:
    """Serve a library at a port of its own, as `hit serve` does, from a thread."""
    service = Service(library, ServeConfig(**{"jobs": False, "auth": "off", **config}), ToyEncoder())
    options: dict[str, Any] = {"http": Protocol, "log_config": None, "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(create_app(service), **options))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        port = listening.getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            assert http.get("/readyz").status_code == 200
            yield Server(port, service, http)
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = shutil.copytree(made / "lib", tmp_path_factory.mktemp("hostile") / "lib")
    with running(own) as found:
        yield found


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as found:
        yield found


def post(path: str, headers: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}\r\n".encode()


def test_hundreds_that_send_nothing_keep_nobody_out(server: Server) -> None:
    slow = [server.connect() for _ in range(300)]
    try:
        for i, one in enumerate(slow):
            one.sendall(
                (
                    b"",
                    b"GET /v1/videos HT",
                    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n",
                    post("/v1/search", "Content-Length: 9\r\n") + b"{",
                )[i % 4]
            )
        assert server.http.get("/v1/search", params={"q": "red"}).status_code == 200
        assert server.http.get("/livez").status_code == 200
    finally:
        for one in slow:
            one.close()


def test_the_oldest_that_asks_for_nothing_makes_room(server: Server, patch: pytest.MonkeyPatch) -> None:
    with server.connect() as first:
        patch.setattr(Protocol, "most", 20)
        others = [server.connect() for _ in range(40)]
        assert everything(first) == b""
        assert server.http.get("/v1/search", params={"q": "red"}).status_code == 200
        for one in others:
            one.close()


def test_headers_have_a_deadline(server: Server, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(wire, "HEADER_SECONDS", 0.2)
    begun = time.monotonic()
    assert server.raw(b"").startswith(b"HTTP/1.1 408")
    assert server.raw(b"GET / HTTP/1.1\r\nHost: x\r\nX-").startswith(b"HTTP/1.1 408")
    with server.connect() as made:
        made.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert made.recv(65536).startswith(b"HTTP/1.1 200")
        made.sendall(b"GET /livez HTT")  # a second request on it
        assert b"HTTP/1.1 408" in everything(made)
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: b\r\n" * 500 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http://evil.example/v1/videos HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"421"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET /v1/\x00videos HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"400"),
        (post("/v1/search", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n", b"400"),
        (post("/v1/search", "Content-Length: -1\r\n"), b"400"),
        (post("/v1/search", "Content-Length: 99999999999\r\n"), b"413"),
        (post("/v1/search", "Transfer-Encoding: chunked\r\n") + b"80000\r\n" + b" " * 0x80000 + b"\r\n", None),
    ],
)
def test_what_is_no_request_is_refused(server: Server, request_: bytes, status: bytes | None, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(wire, "HEADER_SECONDS", 5.0)
    closing = request_.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1)
    if status is None:  # an endless body, piece by piece and without a length
        answer = server.raw(closing, *[b"80000\r\n" + b" " * 0x80000 + b"\r\n"] * 4)
        assert answer.startswith(b"HTTP/1.1 413") or answer == b""  # the answer may be lost where the client goes on sending
    else:
        assert server.raw(closing)[9:12] == status
    assert server.http.get("/livez").status_code == 200


def test_a_body_that_stops_is_given_up(made: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("hit.api.limits.Bodies.__init__.__defaults__", (0.3, 0.3))
    with running(made / "lib") as server:
        assert server.raw(post("/v1/search", "Content-Length: 50\r\n") + b"{").startswith(b"HTTP/1.1 408")
        form = "Content-Length: 50\r\n".replace("application/json", "")
        head = (
            f"POST /v1/search/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n{form}\r\n"
        )
        assert server.raw(head.encode() + b"--x\r\n").startswith(b"HTTP/1.1 408")


PATHS = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "%2fetc%2fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "%00",
    "x%00.jpg",
    "%0d%0aX-Split:%201",
    "%c0%ae%c0%ae%c0%afetc",
    "%ff%fe",
    "%ed%a0%80",
    "a" * 5000,
    "*",
    "%27%20OR%201%3d1--",
]


def test_no_parameter_of_an_address_is_a_path(server: Server) -> None:
    schema = server.http.get("/v1/openapi.json").json()
    templates = [path for path, methods in schema["paths"].items() if "get" in methods and "{" in path]
    assert len(templates) > 8
    video = server.http.get("/v1/videos").json()["videos"][0]["id"]
    others = ["/static/{x}", "/videos/{x}", "/{x}", f"/v1/videos/{video}/thumbnail?t={{x}}", "/v1/roots/0/folders?path={x}"]
    for template in [*templates, *others]:
        if template.endswith("/events"):
            continue
        before, _, rest = template.partition("{")
        after = rest.partition("}")[2].replace("{number}", "0")
        for bad in PATHS:
            answer = server.raw(f"GET {before}{bad}{after} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            head, _, body = answer.partition(b"\r\n\r\n")
            where = f"{before}{bad[:40]}{after}: {answer[:100]!r}"
            assert head[9:10] in (b"2", b"3", b"4"), where
            assert SECRET.encode() not in body and b"x-split" not in head.lower(), where
            if head[9:10] == b"2":
                assert not template.startswith("/v1/") or "searches" in template or "thumbnail" in template, where


@pytest.mark.parametrize(
    "name", ["a\r\nSet-Cookie: x=y", 'a"; filename="b', "a\nb", "../../b", "é\u2028\u202e", "a;b=c", "x" * 200]
)
def test_titles_and_tags_split_no_header(server: Server, name: str) -> None:
    video = server.http.get("/v1/videos").json()["videos"][0]["id"]
    server.http.post(f"/v1/videos/{video}/tags", json={"add": [name]})
    with server.service.db.write() as session:
        session.execute(sa.update(Video).where(Video.id == video).values(title=f"{name}.mp4"))
    for path in (f"/v1/videos/{video}/clip?start=0&end=1", f"/v1/videos/{video}/stream", f"/v1/videos/{video}"):
        answer = server.http.get(path)
        assert answer.status_code in (200, 400, 409, 422), answer.text
        assert "set-cookie" not in answer.headers
        disposition = answer.headers.get("content-disposition", "")
        assert re.fullmatch(r"|\w+; filename(=\"[^\"\\]*\"|\*=utf-8''[\w.%~-]+)", disposition, re.ASCII), disposition
    assert server.http.get("/v1/tags").status_code == 200


def test_json_that_is_deep_huge_or_odd(server: Server) -> None:
    deep = '{"not":' * 900 + '{"field":"tag","eq":"x"}' + "}" * 900
    bodies = [
        b"[" * 100_000,
        b'{"query_text":' * 50_000,
        f'{{"query_text":"red","filter":{deep}}}'.encode(),
        b'{"query_text":"red","filter":"' + b"(" * 15_000 + b'"}',
        b'{"query_text":"red","filter":"' + b"not " * 4_000 + b'tag=x"}',
        b'{"query_text":"red","limit":1e400}',
        b'{"query_text":"red","limit":' + b"9" * 5000 + b"}",
        b'{"query_text":"red","level_weights":[NaN,Infinity]}',
        b'{"query_text":"\\ud800"}',
        b'{"query_text":"a\\u0000b"}',
        b'{"query_text":"\xff\xfe"}',
        b'{"query_text":"red","query_text":["red"]}',
        b'"' + b"x" * 1_000_000 + b'"',
        b"null",
        b"",
        b"\x00" * 1000,
        json.dumps({"query_text": ["x" * 2000] * 16, "exclude": ["y" * 2000] * 16}).encode(),
        json.dumps({"query_text": "red", "page_token": "A" * 2000}).encode(),
    ]
    for body in bodies:
        answer = server.http.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (body[:80], answer.text[:300])
        assert answer.headers["content-type"].startswith("application/")
        assert len(answer.content) < 100_000


def test_guessing_tokens_is_in_vain(made: Path, tmp_path: Path) -> None:
    with running(shutil.copytree(made / "lib", tmp_path / "lib"), auth="on") as server:
        secret, _ = server.service.access.create("ann", "admin")
        for i in range(100):
            guess = secret[:-2] + f"{i:02}" if not secret.endswith(f"{i:02}") else "hit_"
            assert server.http.get("/v1/me", headers={"Authorization": f"Bearer {guess}"}).status_code == 401
        codes = [server.http.post("/v1/login", json={"token": f"hit_{i:043}"}).status_code for i in range(12)]
        assert codes[-1] == 429
        assert server.http.get("/v1/me", headers={"Authorization": f"Bearer {secret}"}).status_code == 200


CLIENTS = """
import socket, sys
made = []
for i in range(int(sys.argv[2])):
    one = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
    one.sendall(b"GET /v1/videos HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nX-Slow: ")
    made.append(one)
print(len(made), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_ten_thousand_slow_clients(server: Server) -> None:
    count = 10_000
    with subprocess.Popen(
        [sys.executable, "-c", CLIENTS, str(server.port), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as crowd:
        assert crowd.stdout and crowd.stdin and crowd.stdout.readline().strip() == str(count)
        took = []
        for _ in range(20):
            begun = time.monotonic()
            assert server.http.get("/v1/search", params={"q": "red"}).status_code == 200
            took.append(time.monotonic() - begun)
        print(f"open: {len(Protocol.idle)}; a search: {sorted(took)[10] * 1000:.1f} ms")
        crowd.stdin.close()
