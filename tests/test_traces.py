"""Traces: what a collector is told of a request and its job; and that nothing is told, loaded or spent without one."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_helpers import client
from hit import traces
from hit.errors import UserError

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{PARENT}-01"


class Collector:
    """A server at 127.0.0.1 that keeps the spans that it is sent, as OpenTelemetry's own format has them."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.spans: list[Any] = []
        self.services: set[str] = set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    outer.services |= {
                        one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
                    }
                    outer.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def about(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk")
    made = Collector()
    yield made
    traces.stop()
    made.close()


def test_a_request_is_followed_to_its_parts(own: Path, collector: Collector) -> None:
    traces.start(collector.url)
    with client(own) as api:
        head = {"traceparent": GIVEN, "X-Request-ID": "r-1"}
        assert api.post("/v1/search", json={"query_text": "red secret"}, headers=head).status_code == 200
        assert api.get("/v1/videos/none").status_code == 404
    traces.stop()
    (request,) = collector.named("POST /v1/search")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert about(request) == {"request.id": "r-1", "http.response.status_code": 200}
    (search,) = collector.named("search")
    assert search.parent_span_id == request.span_id
    ours = [span for span in collector.spans if span.trace_id == request.trace_id]
    assert {"embed", "store", "database"} <= {span.name for span in ours if span.parent_span_id == search.span_id}
    assert all(
        search.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= search.end_time_unix_nano
        for span in ours
        if span.parent_span_id == search.span_id and span.name in ("embed", "store")
    )
    (other,) = collector.named("GET /v1/videos/{video_id}")
    assert other.trace_id != request.trace_id and not other.parent_span_id and about(other)["http.response.status_code"] == 404
    assert "secret" not in str(collector.spans) and collector.services == {"hit"}


def test_an_error_is_a_span_without_its_words(collector: Collector) -> None:
    traces.start(collector.url)
    with pytest.raises(UserError), traces.span("job", kind="index"), traces.part("store"):
        raise UserError("/home/ann/secret.mp4", "is broken")
    with traces.part("store"):  # inside of nothing: whoever polls is not followed
        traces.took("database", 1.0)
    traces.stop()
    assert [(span.name, span.status.code, span.status.message) for span in collector.spans] == [
        ("store", 2, "UserError"),
        ("job", 2, "UserError"),
    ]
    assert "secret" not in str(collector.spans)


def test_who_ends_waits_no_longer_for_a_collector_that_is_away(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "_SECONDS", 0.01)
    collector.close()
    traces.start(collector.url)
    with traces.span("lost"):
        pass
    traces.stop()
    assert traces.span("off") is traces.span("off")  # one for all: there is no tracer any more


def test_parts_are_told_to_who_watches_and_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[tuple[str, float]]()
    with traces.part("store"):
        pass
    with traces.watched(lambda part, seconds: told.append((part, seconds))):
        assert traces.watching()
        with traces.part("store"):
            pass
        traces.took("database", 2.5)
    traces.took("database", 1.0)
    assert not traces.watching()
    assert [part for part, _ in told] == ["store", "database"] and told[0][1] >= 0 and told[1][1] == 2.5


def test_nothing_is_loaded_without_a_collector(own: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hit.db import Database; from hit import traces; traces.start('')\n"
        f"db = Database('sqlite:///{own / 'library.db'}', Path({str(own)!r}))\n"
        "with traces.span('x'), traces.part('store'): db.ping()\n"
        "assert traces.passed_on() == {} and not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_extra_it_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(UserError, match=r"trace: needs the package opentelemetry.*hit-video\[trace\]"):
        traces.start("http://127.0.0.1:4318")
