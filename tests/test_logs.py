"""Lines of the log: for people, for programs, and under one id from a request to all that was done for it."""

import io
import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api_helpers import client
from hit import journal, logs, traces
from hit.cli import main
from hit.db import Database
from hit.deployment import Log
from hit.errors import UserError
from hit.library import Library
from hit.moderation import lifecycle, webhooks
from hit.service import config
from odd_files import spoilt
from serve_toy import serving, until
from test_traces import GIVEN, TRACE, Collector, about, collector
from test_webhooks import Receiver, receiver
from toy import PLUGIN, ToyEncoder, render

__all__ = ["collector", "receiver"]  # fixtures


@pytest.fixture
def said() -> tuple[logging.Logger, io.StringIO, logging.Handler]:
    """Return a logger that pytest does not hear (lone surrogates break xdist), what it wrote, and its handler."""
    logger, stream = logging.Logger("hit.tested", logging.INFO), io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    return logger, stream, handler


def described(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> Path:
    """Have a hit.toml hold here."""
    path = folder / "hit.toml"
    path.write_text(text)
    monkeypatch.setenv("HIT_CONFIG", str(path))
    return path


def test_a_line_names_what_it_is_about_and_a_plain_one_is_as_it_was(said: Any) -> None:
    logger, stream, handler = said
    handler.setFormatter(logs.Line("%(levelname)s %(name)s: %(message)s"))
    logger.info("plain")
    with traces.about("r-1", 3):
        logger.info("both")
        logger.info("r-1 GET /x")  # which names it itself
        try:
            raise ValueError("why")
        except ValueError:
            logger.exception("wrong")
    lines = stream.getvalue().splitlines()
    assert lines[:4] == [
        "INFO hit.tested: plain",
        "INFO hit.tested: both (job 3, request r-1)",
        "INFO hit.tested: r-1 GET /x (job 3)",
        "ERROR hit.tested: wrong (job 3, request r-1)",
    ]
    assert lines[4] == "Traceback (most recent call last):" and lines[-1] == "ValueError: why"


def test_a_program_reads_each_line_whatever_is_in_it(said: Any) -> None:
    logger, stream, handler = said
    handler.setFormatter(logs.Json())
    with traces.about("r-1"):
        logger.info("two\nlines, \ud800 and \x1b[31m", extra={"fields": {"path": Path("/v"), "status": 200}})
        try:
            raise ValueError("why")
        except ValueError:
            logger.exception("wrong")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00") and first.pop("process")
    assert first == {
        "level": "info",
        "logger": "hit.tested",
        "message": "two\nlines, \ud800 and \x1b[31m",
        "request": "r-1",
        "path": "/v",
        "status": 200,
    }
    assert second["level"] == "error" and second["error"].endswith("ValueError: why")


def test_an_id_is_taken_where_it_may_be_one() -> None:
    found = []

    def work() -> None:  # in a thread, which has ids of its own
        found.append(traces.current_id())
        for given in ("abc-1.x_9", "", "a b", "x" * 65, "é", "a\n"):
            assert traces.take(given) == traces.current_id()
            found.append(traces.current_id())

    with traces.about("outside"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert traces.current_id() == "outside" and traces.passed_on() == {"request": "outside"}
    assert found[:2] == ["", "abc-1.x_9"] and traces.current_id() == "" and traces.passed_on() == {}
    assert len(set(found[2:])) == 5 and all(len(one) == 16 for one in found[2:])


def test_work_that_waits_is_the_same_whoever_asks_and_bears_who_asked_last(db: Database) -> None:
    with traces.about("one"):
        first = db.submit_job("index", {"sources": ["/v"]})
    with traces.about("two"):
        assert db.submit_job("index", {"sources": ["/v"]}).id == first.id
    assert db.job(first.id).detail == {"sources": ["/v"], "request": "one"}
    assert db.claim_job("me", ["index"])
    db.end_job(first.id, "me", "failed", {}, "why")
    with traces.about("three"):
        again = db.retry_job(first.id)
    assert again.id != first.id and again.detail == {"sources": ["/v"], "retry": True, "request": "three"}


def test_hit_toml_serves_over_serve_toml_and_under_the_command_line(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / "serve.toml").write_text("workers = 2\nport = 1\nqueued = 5\n")
    path = described(monkeypatch, tmp_path, "[serve]\nport = 2\nqueued = 6\n")
    found = config.read(own, ["queued=7"])
    assert (found.workers, found.port, found.queued) == (2, 2, 7)
    path.write_text("[serve]\nprot = 2\n")
    with pytest.raises(UserError, match=r"hit\.toml: serve: unknown key 'prot' \(did you mean 'port'\?\)"):
        config.read(own)
    path.write_text('[log]\nformat = "xml"\n')
    with pytest.raises(UserError, match=r"log: format.*'xml' is not one of 'line', 'json'"):
        config.read(own)


def test_commands_log_as_hit_toml_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list[Log]()
    monkeypatch.setattr(logs, "set_up", asked.append)  # which would take pytest's own handlers away
    monkeypatch.setattr(sys, "argv", ["hit", "library", "info", str(tmp_path / "none")])
    for text, level in (("", None), ('[log]\nformat = "json"\nlevel = "warning"\n', "warning")):
        described(monkeypatch, tmp_path, text)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2 and "not a library" in capsys.readouterr().err
        assert [one.level for one in asked] == ([level] if level else [])
    table = logs.config(asked[0])
    assert table["loggers"]["hit"]["level"] == "WARNING" and table["formatters"]["chosen"] == {"()": logs.Json}


def test_what_a_job_logs_of_its_files_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "library.log"
    logging.getLogger("hit").setLevel(logging.INFO)
    try:
        with journal.logged(path), traces.about("r-1", 2):
            logging.getLogger("hit.index").warning("a.mp4: broken")
            logging.getLogger("hit.index").info("begins")
    finally:
        logging.getLogger("hit").setLevel(logging.NOTSET)
    (line,) = path.read_text().splitlines()
    assert line.endswith(" WARNING hit.index: a.mp4: broken (job 2, request r-1)")


def test_a_problem_a_line_and_an_answer_bear_one_id(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    with client(own) as api, caplog.at_level(logging.INFO, "hit.access"):
        answer = api.get("/v1/videos/none?q=secret", headers={"X-Request-ID": "mine-1"})
        other = api.get("/v1/videos/none", headers={"X-Request-ID": "not mine"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-1"
    assert other.headers["x-request-id"] == other.json()["request_id"] != "not mine"
    fields = caplog.records[0].fields  # type: ignore[attr-defined]
    assert fields.pop("ms") >= 0 and fields == {
        "client": "testclient",
        "method": "GET",
        "path": "/v1/videos/none",
        "status": 404,
        "who": "local",
    }
    assert caplog.messages[0].startswith("mine-1 testclient GET /v1/videos/none 404 ") and "secret" not in caplog.text


def test_one_id_goes_from_a_request_to_every_hop_that_its_job_takes(
    own: Path, tmp_path: Path, receiver: Receiver, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server, queue, runner, job's process, pool's workers, webhooks; and one trace."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    render(tmp_path / "new" / "red.mp4", ["red"], seconds=1.0)
    spoilt([4])(tmp_path / "new" / "hurt.mp4")  # of which a worker has something to say
    (tmp_path / "new" / "broken.mp4").write_bytes(b"no video")
    with Library.open(own, encoder=ToyEncoder()) as library:
        lifecycle.draft(library, "reds", {"texts": ["red"], "block": {"score": 1.0}}, "ann")
        lifecycle.enter(library, "reds", "enforced", "ann")
        webhooks.add(library, "site", receiver.url, ["verdict.changed"], "ann", private=True)
    described(
        monkeypatch,
        tmp_path,
        f'trace = "{collector.url}"\n[log]\nformat = "json"\n[serve]\nroots = ["{tmp_path}"]\nallow_private = true\n',
    )
    with serving(own, tmp_path) as server:
        head = {"X-Request-ID": "hop-1", "traceparent": GIVEN}
        asked = httpx2.post(f"{server.url}v1/videos", json={"sources": [str(tmp_path / "new")]}, headers=head, timeout=60)
        assert asked.status_code == 202 and asked.json()["request_id"] == asked.headers["x-request-id"] == "hop-1"
        address = f"/v1/jobs/{asked.json()['id']}"
        until(lambda: server.get(address)["state"] not in ("queued", "running") and bool(receiver.got))
        until(lambda: bool(collector.named("job")))
        job = server.get(address)
        assert job["state"] == "done" and job["request_id"] == "hop-1" and set(job["detail"]).isdisjoint(traces.KEYS)
        server.end()
    lines = [json.loads(line) for line in (tmp_path / "stderr").read_text().splitlines()]
    mine = [line for line in lines if line.get("request") == "hop-1"]
    seen = {(line["logger"], line.get("job")) for line in mine}
    assert ("hit.access", None) in seen  # the server's own
    assert ("hit.jobs.work", job["id"]) in seen and ("hit.index", job["id"]) in seen  # the job's process
    (relayed,) = [line for line in mine if "damaged packets" in line["message"]]  # of a process that it began
    assert relayed["job"] == job["id"] and relayed["level"] == "warning"
    assert all(line["path"].startswith("/v1/") and line["ms"] >= 0 for line in lines if line["logger"] == "hit.access")
    assert not [line for line in lines if line["logger"] == "hit.access" and line is not mine[0] and line["request"] == "hop-1"]
    log = (own / "library.log").read_text().splitlines()
    assert log and all(f"(job {job['id']}, request hop-1)" in line for line in log), log
    headers, body = receiver.got[0]
    assert headers["x-request-id"] == json.loads(body)["data"]["request_id"] == "hop-1"
    (request,), (job_span,) = collector.named("POST /v1/videos"), collector.named("job")
    assert job_span.trace_id.hex() == TRACE and job_span.parent_span_id == request.span_id
    assert about(job_span) == {"kind": "index", "job.id": job["id"], "request.id": "hop-1"} and relayed["trace"] == TRACE
    files = collector.named("file")
    assert sorted(about(file)["status"] for file in files) == ["done", "done", "failed"]
    assert {file.parent_span_id for file in files} == {job_span.span_id}
    assert {"embed", "store", "database"} <= {span.name for span in collector.spans if span.parent_span_id == job_span.span_id}
