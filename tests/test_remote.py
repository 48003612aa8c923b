"""Remote: real servers, good, slow, broken and hostile; copies that are whole, current, and inside their folder."""

import hashlib
import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hit import remote as module
from hit.errors import UserError
from hit.places import Places, fits
from hit.remote import Remote, _step, shown
from hit.sources import Videos, find
from nearby import here

CONTENT = bytes(range(256)) * 400  # 102,400 bytes


class Server(ThreadingHTTPServer):
    """Serves `files` by path, with ranges, entity tags and listings, as web servers and S3 do."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Callable[[BaseHTTPRequestHandler], bool]] = {}  # return whether that was the answer
        self.asked: list[tuple[str, str | None]] = []  # (path, Range) of each GET
        self.everything = False  # is a fault, that of a defaultdict
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients may hang up


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        asked = self.headers.get("Range")
        if self.command == "GET":
            self.server.asked.append((path, asked))
        if (path in self.server.faults or self.server.everything) and self.server.faults[path](self):
            return
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self.listing(path.strip("/"), query.get("prefix", [""])[0])
            return
        if path not in self.server.files:
            self.send_error(404)
            return
        self.file(self.server.files[path], asked)

    def file(self, content: bytes, asked: str | None) -> None:
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        if self.headers.get("If-Match", tag) != tag:
            self.send_error(412)
            return
        start, end = 0, len(content)
        if asked and self.headers.get("If-Range", tag) == tag:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", asked).groups()  # type: ignore[union-attr]
            start, end = int(first), min(int(last) + 1, end) if last else end
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", tag)
        self.send_header("Last-Modified", "Fri, 27 Nov 2026 08:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:end])

    def listing(self, bucket: str, prefix: str) -> None:
        keys = {
            path.removeprefix(f"/{bucket}/"): data for path, data in self.server.files.items() if path.startswith(f"/{bucket}/")
        }
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-27T08:00:00.000Z</LastModified>"
            f'<ETag>"{hashlib.md5(data).hexdigest()}"</ETag><Size>{len(data)}</Size></Contents>'
            for key, data in keys.items()
            if key.startswith(prefix)
        )
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.0))
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def s3(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    settings = {"ENDPOINT_URL": server.url, "ALLOW_HTTP": "true", "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "s3cret"}
    for name, value in (settings | {"REGION": "us-east-1"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return server


def fetch(folder: Path, *urls: str, limit: float = 20.0, http: bool = True) -> Videos:
    return find(urls, remote=Remote(folder / "copies", http=http, limit=limit), roots=Places())


def failed(videos: Videos) -> list[tuple[str, str]]:
    return [(one.path, one.reason) for one in videos.failed]


# -- web servers


def test_a_copy_is_whole_and_is_not_fetched_again_until_the_file_changes(server: Server, tmp_path: Path) -> None:
    server.files["/v/a b.mp4"] = CONTENT
    url = f"{server.url}/v/a%20b.mp4"
    [path] = fetch(tmp_path, url).paths
    assert path == tmp_path / "copies" / "http" / f"127.0.0.1%3A{server.server_port}" / "v" / "a b.mp4"
    assert path.read_bytes() == CONTENT
    look = path.stat()
    assert fetch(tmp_path, url).paths == [path] and path.stat() == look
    server.files["/v/a b.mp4"] = CONTENT[::-1]  # of the same length
    assert fetch(tmp_path, url).paths == [path] and path.read_bytes() == CONTENT[::-1]
    path.unlink()
    assert fetch(tmp_path, url).paths == [path] and path.read_bytes() == CONTENT[::-1]
    assert not list(path.parent.glob("*.part"))


def test_a_broken_transfer_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.files["/a.mp4"] = CONTENT

    def cut(handler: BaseHTTPRequestHandler) -> bool:
        """Send the first half of what is asked for, then hang up."""
        if len(server.asked) > 2:
            return False
        content = CONTENT[len(CONTENT) // 2 - 1 :] if handler.headers.get("Range") else CONTENT
        handler.send_response(206 if handler.headers.get("Range") else 200)
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("ETag", f'"{hashlib.md5(CONTENT).hexdigest()}"')
        handler.send_header("Content-Range", (handler.headers.get("Range") or "").replace("=", " ") + f"{len(CONTENT) - 1}/*")
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])
        return True

    server.faults["/a.mp4"] = cut
    [path] = fetch(tmp_path, f"{server.url}/a.mp4").paths
    assert here(path).read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 for _, asked in server.asked]
    assert len(starts) == 3 and starts == sorted(set(starts))


def test_a_part_of_another_version_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.files["/a.mp4"] = CONTENT
    [path] = fetch(tmp_path, f"{server.url}/a.mp4").paths
    here(path).with_name(".a.mp4.part").write_bytes(b"x" * 1000)
    here(path).with_name(".a.mp4.json").write_text('{"part": "\\"old\\"", "whole": "\\"older\\""}')
    [path] = fetch(tmp_path, f"{server.url}/a.mp4").paths
    assert here(path).read_bytes() == CONTENT and server.asked[-1][1] == "bytes=999-"


def answer(status: int, body: bytes = b"", /, **headers: str) -> Callable[[BaseHTTPRequestHandler], bool]:
    def act(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return act


@pytest.mark.parametrize(
    ("fault", "reason", "tries"),
    [
        (answer(404), "the server answered 404 Not Found", 1),
        (answer(403), "the server answered 403 Forbidden", 1),
        (answer(503), "the server answered 503 Service Unavailable", 3),
        (answer(200, CONTENT, Content_Length=str(2 * len(CONTENT))), "RemoteProtocolError: peer closed connection", 3),
        (answer(200, Content_Length=str(2**40)), "is larger than 0.001 GiB (raise --max-download)", 1),
        (answer(200, bytes(2**21)), "is larger than 0.001 GiB (raise --max-download)", 1),  # and does not say so
        (answer(302, Location="file:///etc/passwd"), "UnsupportedProtocol", 1),
        (answer(302, Location="ftp://127.0.0.1/a.mp4"), "UnsupportedProtocol", 1),
        (answer(302, Location="/a.mp4"), "TooManyRedirects", 1),
        (answer(206, CONTENT, Content_Range="bytes 7-9/10"), "another part than was asked for", 1),
    ],
)
def test_faults_have_their_reason_and_stop_nothing(
    server: Server, tmp_path: Path, fault: Callable[[BaseHTTPRequestHandler], bool], reason: str, tries: int
) -> None:
    server.faults["/a.mp4"] = fault
    server.files["/b.mp4"] = CONTENT
    videos = fetch(tmp_path, f"{server.url}/a.mp4", f"{server.url}/b.mp4", limit=0.001)
    [(url, why)] = failed(videos)
    assert url == f"{server.url}/a.mp4" and reason in why
    assert [path.name for path in videos.paths] == ["b.mp4"]
    if "Many" not in reason:
        assert [path for path, _ in server.asked].count("/a.mp4") == tries
    left = {path.name for path in (tmp_path / "copies").rglob("*a.mp4*")}
    assert left <= ({".a.mp4.json"} if "larger" in reason else {".a.mp4.json", ".a.mp4.part"})


def test_a_server_that_says_nothing_is_left(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    monkeypatch.setattr(module, "_PAUSES", ())
    over = threading.Event()
    server.faults["/a.mp4"] = lambda _: over.wait(20)
    videos = fetch(tmp_path, f"{server.url}/a.mp4")
    over.set()
    assert failed(videos) == [(f"{server.url}/a.mp4", "no answer within 0.2 seconds")]


def test_a_redirect_is_followed(server: Server, tmp_path: Path) -> None:
    server.faults["/a.mp4"] = answer(302, Location="/b.mp4")
    server.files["/b.mp4"] = CONTENT
    [path] = fetch(tmp_path, f"{server.url}/a.mp4").paths
    assert path.name == "a.mp4" and here(path).read_bytes() == CONTENT


def test_secrets_are_sent_and_nowhere_kept(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hit")
    server.files["/a.mp4"] = CONTENT
    seen = []
    server.faults["/a.mp4"] = lambda handler: bool(seen.append(handler.headers["Authorization"]))  # type: ignore[func-returns-value]
    bare = server.url.removeprefix("http://")
    videos = fetch(tmp_path, f"http://me:pa55@{bare}/a.mp4?token=t0ken", f"http://me:pa55@{bare}/none.mp4?token=t0ken")
    assert seen == ["Basic bWU6cGE1NQ=="]
    assert failed(videos) == [(f"{server.url}/none.mp4?...", "the server answered 404 Not Found")]
    kept = "".join(f"{path} {path.read_bytes()!r}" for path in tmp_path.rglob("*") if path.is_file()) + caplog.text
    assert "pa55" not in kept and "t0ken" not in kept


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("https://a.example/x.mp4", "web addresses are not fetched unless that is asked for (add --http)"),
        ("ftp://u:pa55@a.example/x.mp4", "ftp://a.example/x.mp4: no videos are fetched by 'ftp'"),
        ("file:///etc/passwd", "by 'file'"),
        ("s3://u:pa55@bucket/x.mp4", "s3://bucket/x.mp4: its credentials are not taken from a URL"),
    ],
)
def test_what_is_not_fetched_is_told_before_anything_is(tmp_path: Path, url: str, complaint: str) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)) as caught:
        fetch(tmp_path, url, http=False)
    assert "pa55" not in str(caught.value) and not (tmp_path / "copies").exists()


@pytest.mark.parametrize("url", ["http:///x.mp4", "http://[::1/x.mp4", "http://a:99999999/x", "http://a/\x00"])
def test_what_is_no_web_address_is_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="web address"):
        fetch(tmp_path, url)


def test_what_is_shown_of_a_url() -> None:
    assert shown("HTTPS://u:p@ss@host:1/a@b.mp4?k=1#f") == "HTTPS://host:1/a@b.mp4?..."
    assert shown("s3://bucket/a?b#c.mp4") == "s3://bucket/a?b#c.mp4"


# -- names of copies


@settings(deadline=None)
@given(raw=st.binary(max_size=400), query=st.text(max_size=5))
def test_a_step_stays_in_its_folder(raw: bytes, query: str) -> None:
    name = _step(raw, query)
    assert name and name.isprintable() and name.isascii() and "/" not in name and len(name) <= 200 and name[0] != "."


@settings(deadline=None)
@given(steps=st.sets(st.tuples(st.binary(max_size=3) | st.binary(min_size=180, max_size=200), st.sampled_from(["", "q", "r"]))))
def test_different_steps_have_different_names(steps: set[tuple[bytes, str]]) -> None:
    assert len({_step(*one) for one in steps}) == len(steps)


HOSTILE = ["/../../../x.mp4", "/%2e%2e/%2e%2e/x.mp4", "/a%2f..%2f..%2fx.mp4", "/a%00b.mp4", "//x.mp4", "/" + "y" * 400, "/", ""]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_names_stay_inside(server: Server, tmp_path: Path, path: str) -> None:
    server.faults = defaultdict(lambda: answer(200, CONTENT))
    server.everything = True
    [copy] = fetch(tmp_path, server.url + path).paths
    assert here(copy).read_bytes() == CONTENT and here(copy).resolve().is_relative_to(tmp_path / "copies" / "http")


# -- object stores


def test_a_bucket_a_folder_and_a_pattern(s3: Server, tmp_path: Path) -> None:
    for key in ("a.mp4", "v/b c.mp4", "v/ü/d.mkv", "v/ü/notes.txt", "v/.hidden/e.mp4", "vw/f.mp4"):
        s3.files[f"/bucket/{key}"] = key.encode() * 50

    def keys(*urls: str) -> list[str]:
        videos = fetch(tmp_path, *urls)
        assert videos.failed == []
        return [str(path).removeprefix("s3://bucket/") for path in videos.paths]

    assert keys("s3://bucket/v/ü/d.mkv", "s3://bucket/v/") == ["v/ü/d.mkv", "v/b c.mp4"]
    assert keys("s3://bucket") == ["a.mp4", "v/b c.mp4", "v/ü/d.mkv", "vw/f.mp4"]
    assert keys("s3://bucket/**/*.mp4") == ["a.mp4", "v/b c.mp4", "vw/f.mp4"]
    assert keys("s3://bucket/v*/?.mp4") == ["vw/f.mp4"]
    assert keys("s3://bucket/v/ü/notes.txt") == ["v/ü/notes.txt"]  # a file that is named is taken whatever its suffix
    s3.files["/bucket/v[w]/g.mp4"] = b"v[w]/g.mp4" * 50
    assert keys("s3://bucket/v[w]") == ["v[w]/g.mp4"]


def test_failures_of_a_store_stop_nothing(s3: Server, tmp_path: Path) -> None:
    s3.files["/bucket/a.mp4"] = CONTENT
    s3.faults["/shut/"] = s3.faults["/shut"] = s3.faults["/shut/a.mp4"] = answer(403)
    videos = fetch(tmp_path, "s3://shut/a.mp4", "s3://bucket/none/*.mp4", "s3://bucket/a.mp4")
    assert [path.name for path in videos.paths] == ["a.mp4"]
    (url, denied), (other, none) = failed(videos)
    assert (url, other) == ("s3://shut/a.mp4", "s3://bucket/none/*.mp4")
    assert "may not be used" in denied and "s3cret" not in denied and none.startswith("there is no such file")


def test_patterns_of_keys() -> None:
    assert fits(["a", "b", "c.mp4"], ["**", "*.mp4"]) and fits(["c.mp4"], ["**", "*.mp4"]) and fits(["a", "b"], ["a"])
    assert not fits(["a", "b"], ["b"]) and not fits(["a"], ["a", "b"]) and not fits(["ab", "c.mp4"], ["a", "*.mp4"])
