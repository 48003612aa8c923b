"""Jobs over HTTP: lists, cancel, retry, and events as they happen."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from api_helpers import client
from hit.api import create_app
from hit.db import Database
from hit.service import ServeConfig, Service
from hit.service.access import Role
from toy import ToyEncoder

KINDS = ["index", "remove", "sprites"]


@pytest.fixture
def api(own: Path) -> Iterator[TestClient]:
    with client(own) as opened:
        opened.app.state.service.db.begin_job("backup", {"file": "/b.tar"}, "test")  # type: ignore[attr-defined]
        yield opened


@pytest.fixture
def db(api: TestClient) -> Database:
    found: Database = api.app.state.service.db  # type: ignore[attr-defined]
    return found


def test_jobs_are_listed_page_by_page(api: TestClient, db: Database) -> None:
    numbers = [db.submit_job("index", {"sources": [f"/{n}"]}, "ann").id for n in range(4)]
    first = api.get("/v1/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in first["jobs"]] == numbers[:0:-1]
    second = api.get("/v1/jobs", params={"limit": 3, "page_token": first["next_page_token"]}).json()
    assert [job["kind"] for job in second["jobs"]] == ["index", "backup"] + ["index"] * (len(second["jobs"]) - 2)
    assert [job["id"] for job in api.get("/v1/jobs", params={"state": "queued"}).json()["jobs"]] == numbers[::-1]
    assert [job["kind"] for job in api.get("/v1/jobs", params={"state": "running"}).json()["jobs"]] == ["backup"]
    job = api.get(f"/v1/jobs/{numbers[0]}").json()
    assert job["detail"] == {"sources": ["/0"]} and job["by"] == "ann" and job["created_at"].endswith("Z")
    assert job["progress"] == {"done": 0.0, "total": None, "note": "", "eta_seconds": None}


def test_progress_and_what_is_left(api: TestClient, db: Database) -> None:
    number = db.submit_job("index", {"sources": ["/v"]}).id
    db.claim_job("one", KINDS)
    db.beat_job(number, "one", 1, 4, "Indexing: red.mp4")
    found = api.get(f"/v1/jobs/{number}").json()["progress"]
    assert (found["done"], found["total"], found["note"]) == (1, 4, "Indexing: red.mp4") and found["eta_seconds"] >= 0


def test_cancel_and_retry(api: TestClient, db: Database) -> None:
    number = db.submit_job("index", {"sources": ["/v"]}).id
    assert api.post(f"/v1/jobs/{number}/retry").status_code == 409
    assert api.post(f"/v1/jobs/{number}/cancel").json()["state"] == "cancelled"
    again = api.post(f"/v1/jobs/{number}/retry")
    assert again.status_code == 202 and again.json()["detail"] == {"sources": ["/v"], "retry": True}
    db.claim_job("one", KINDS)
    db.end_job(again.json()["id"], "one", "done", {"added": 0})
    assert api.post(f"/v1/jobs/{again.json()['id']}/cancel").status_code == 409
    for url in ("/v1/jobs/99999", "/v1/jobs/99999/events"):
        assert api.get(url).status_code == 404
    assert api.get("/v1/jobs/99999999999").status_code == 422


def test_who_is_no_administrator_sees_no_paths(own: Path) -> None:
    with client(own, auth="on") as api:
        service: Service = api.app.state.service  # type: ignore[attr-defined]
        number = service.db.submit_job("index", {"sources": ["/home/ann/private"]}).id
        service.db.claim_job("one", KINDS)
        service.db.beat_job(number, "one", 1, 2, "Indexing: private.mp4")
        failures = {"failures": [{"path": "/home/ann/private/a.mp4", "reason": "x"}]}
        service.db.end_job(number, "one", "failed", failures, "/home/ann: no")
        roles: list[tuple[Role, bool]] = [("viewer", False), ("reviewer", False), ("admin", True)]
        for role, sees in roles:
            secret, _ = service.access.create(role, role)
            who = {"Authorization": f"Bearer {secret}"}
            for url in (f"/v1/jobs/{number}", "/v1/jobs", f"/v1/jobs/{number}/events"):
                answer = api.get(url, headers=who)
                assert answer.status_code == 200
                assert ("private" in answer.text) == ("/home" in answer.text) == sees, (role, url)
            for what in ("cancel", "retry"):
                assert api.post(f"/v1/jobs/{number}/{what}", headers=who).status_code in ((202, 409) if sees else (403,))
        assert api.get(f"/v1/jobs/{number}/events").status_code == 401


# -- events, from a server of its own: a test client waits for the end of an answer


@contextmanager
def serving(library: Path, **config: Any) -> Iterator[tuple[int, Service]]:
    """Serve a library at a port of this machine, in a thread."""
    service = Service(library, ServeConfig(jobs=False, **config), ToyEncoder())
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="warning", timeout_graceful_shutdown=20))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield sock.getsockname()[1], service
        finally:
            service.stopping.set()
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "listeners keep the server from ending"


class Listener:
    """Reads events."""

    def __init__(self, port: int, url: str, last: str = "", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._connection.request("GET", url, headers={"Last-Event-ID": last, **headers} if last else headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200 and self._answer.getheader("content-type", "").startswith("text/event-stream")

    def next(self) -> tuple[str, dict[str, Any], str] | None:
        """Return (event, data, id) of the next event; None at the end."""
        found: dict[str, str] = {}
        while line := self._answer.readline().decode().rstrip("\r\n") or (found and "-"):
            if line == "-":
                return found["event"], json.loads(found["data"]), found["id"]
            if not line.startswith(":"):
                key, _, value = line.partition(": ")
                found[key] = value
        return None

    def close(self) -> None:
        self._connection.close()


def test_events_of_a_job_until_it_ends(own: Path) -> None:
    with serving(own) as (port, service):
        number = service.db.submit_job("index", {"sources": ["/v"]}).id
        listener = Listener(port, f"/v1/jobs/{number}/events")
        event = listener.next()
        assert event and (event[0], event[1]["state"]) == ("progress", "queued")
        service.db.claim_job("one", KINDS)
        service.db.beat_job(number, "one", 1, 2, "Indexing")
        event = listener.next()
        assert event and event[1]["state"] == "running"
        service.db.end_job(number, "one", "done", {"added": 2})
        while event and event[0] == "progress":
            event = listener.next()
        assert event and (event[0], event[1]["result"]) == ("end", {"added": 2})
        assert listener.next() is None
        late = Listener(port, f"/v1/jobs/{number}/events")
        event = late.next()
        assert event and event[0] == "end" and late.next() is None


def test_events_of_all_jobs_with_one_look_for_all_who_listen(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(own) as (port, service):
        looks = 0
        real = service.jobs.list

        def count(*args: Any, **named: Any) -> Any:
            nonlocal looks
            looks += not named  # a look asks twice
            return real(*args, **named)

        monkeypatch.setattr(service.jobs, "list", count)
        number = service.db.submit_job("index", {"sources": ["/v"]}).id
        listeners = [Listener(port, "/v1/events") for _ in range(5)]
        for listener in listeners:
            event = listener.next()
            assert event and event[1]["id"] == number
        before = looks
        service.db.claim_job("one", KINDS)
        for listener in listeners:
            event = listener.next()
            assert event and event[1]["state"] == "running"
        assert looks - before <= 4  # not one for each
        for listener in listeners:
            listener.close()
        assert event
        service.db.end_job(number, "one", "done", {})
        other = Listener(port, "/v1/events", last=event[2])  # it was away when the job ended
        event = other.next()
        assert event and (event[0], event[1]["id"]) == ("end", number)
        service.stopping.set()
        assert other.next() is None


def test_what_runs_is_told_of_however_many_are_newer(own: Path) -> None:
    with serving(own) as (port, service):
        number = service.db.submit_job("index", {"sources": ["/v"]}).id
        for i in range(60):
            service.db.submit_job("index", {"sources": [f"/{i}"]})
        service.db.claim_job("one", KINDS)
        listener = Listener(port, f"/v1/jobs/{number}/events")
        event = listener.next()
        assert event and event[1]["state"] == "running"
        service.db.end_job(number, "one", "done", {})
        event = listener.next()
        assert event and event[0] == "end"
        listener.close()


@pytest.mark.parametrize("by", ["token", "cookie"])
def test_who_is_let_in_no_more_hears_no_more(own: Path, by: str) -> None:
    with serving(own, auth="on") as (port, service):
        secret, _ = service.access.create("ann", "viewer")
        begun = service.access.login(secret)
        assert begun
        head = {"Authorization": f"Bearer {secret}"} if by == "token" else {"Cookie": f"hit_session={begun[0]}"}
        number = service.db.submit_job("index", {"sources": ["/v"]}).id
        listeners = [Listener(port, url, **head) for url in ("/v1/events", f"/v1/jobs/{number}/events")]
        assert all(listener.next() for listener in listeners)
        service.access.revoke("ann")
        service.db.claim_job("one", KINDS)
        assert [listener.next() for listener in listeners] == [None, None]
