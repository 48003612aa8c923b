"""Several servers over one library, each on a host of its own: whoever asks sees one service.

PostgreSQL, Milvus, an object store and the videos' folder are all that is common to them: each begins with nothing, and joins.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

import serve_replica
from hit import deployment
from hit.errors import UserError
from hit.library import KEY, Library
from hit.service.access import Access, Role
from hit.upkeep import shelves
from hit.upkeep.verify import verify
from milvus_server import Milvus, on_host
from netns import Host, bridge_ip, hosts
from postgres import Postgres, listening
from review_helpers import ask, new
from s3 import server
from serve_toy import PATIENCE, until
from toy import PLUGIN, ToyEncoder, render

PEOPLE: dict[str, Role] = {"al": "admin", "ann": "reviewer", "bob": "reviewer"}
PORT = 8000
PAUSE = 0.05  # seconds between two requests of those who ask on and on: the servers have one core, too


@dataclass
class Answer:
    """What a server answered; status 0: nothing."""

    status: int
    body: Any
    headers: dict[str, str]


def _lower(headers: "Message[str, str]") -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@dataclass
class Replica:
    """A server on a host, and the folder that it has."""

    host: Host
    folder: Path
    settings: dict[str, str]
    process: "subprocess.Popen[str] | None" = field(default=None)

    def start(self) -> "Replica":
        """Start it and wait until it answers."""
        roots = f"roots={[str(self.folder.parent / 'v')]}"
        words = [str(self.folder / "lib"), str(self.folder), f"host={self.host.ip}", f"port={PORT}", roots]
        with (self.folder / "stderr").open("a") as log:
            self.process = self.host.start(
                sys.executable, serve_replica.__file__, *words, env=self.settings, stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), (self.folder / "stderr").read_text()[-4000:]
        return self

    def end(self) -> int:
        """Have it end as an orchestrator does; return the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def call(self, method: str, path: str, body: Any = None, token: str = "", **headers: str) -> Answer:
        """Ask it something."""
        head = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        head |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.host.ip}:{PORT}{path}", data, head, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                data = answer.read()
                if data and "json" in answer.headers.get("content-type", ""):
                    data = json.loads(data)
                return Answer(answer.status, data, _lower(answer.headers))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read() or b"null"), _lower(error.headers))
        except (OSError, HTTPException):
            return Answer(0, None, {})


@dataclass
class Service:
    """Replicas, and what they stand on; `library` is opened by the test itself, as from a third machine."""

    one: Replica
    other: Replica
    postgres: Postgres
    milvus: Milvus
    library: Library
    tokens: dict[str, str]

    @property
    def both(self) -> list[Replica]:
        """All of them."""
        return [self.one, self.other]

    def search(self, at: Replica, **query: Any) -> Answer:
        """Search at a replica."""
        return at.call("POST", "/v1/search", {"query_text": "red", "limit": 5, **query}, self.tokens["al"])

    def ended(self, number: int, at: Replica) -> dict[str, Any]:
        """Wait for the end of a job and return it."""
        job: dict[str, Any] = {}

        def look() -> bool:
            nonlocal job
            job = at.call("GET", f"/v1/jobs/{number}", token=self.tokens["al"]).body or {}
            return job.get("state") in ("done", "failed", "cancelled")

        until(look)
        return job


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("replicas")
    for name in ("red", "green", "blue"):
        render(folder / "v" / f"{name}.mp4", [name])
    with contextlib.ExitStack() as stack:
        one, other, third = stack.enter_context(hosts(3))
        postgres = stack.enter_context(listening(bridge_ip(one)))
        milvus = stack.enter_context(on_host(third, folder / "milvus"))
        s3 = stack.enter_context(server(bridge_ip(one)))
        (folder / "hit.toml").write_text(
            f'[library]\ndatabase = "{postgres.url("postgres")}"\nstore = "{milvus.uri}"\nobjects = "{s3.bucket()}/library"\n'
            f'[roots]\nvideos = "{folder / "v"}"\n'
        )
        environment = {deployment.VARIABLE: str(folder / "hit.toml"), **s3.env}
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(PLUGIN))
        library = stack.enter_context(Library.create(folder / "first", encoder=ToyEncoder()))
        library.index([folder / "v"], workers=1)
        access = Access(library.db)
        tokens = {name: access.create(name, role)[0] for name, role in PEOPLE.items()}
        replicas = []
        for host, name in ((one, "one"), (other, "other")):
            (folder / name).mkdir()
            replicas.append(Replica(host, folder / name, {**environment, "PYTHONPATH": str(PLUGIN)}))
        with ThreadPoolExecutor() as pool:
            list(pool.map(Replica.start, replicas))
        yield Service(replicas[0], replicas[1], postgres, milvus, library, tokens)


# -- what holds across replicas


def test_a_session_that_began_at_one_is_known_at_the_other(service: Service) -> None:
    begun = service.one.call("POST", "/v1/login", {"token": service.tokens["ann"]})
    assert begun.status == 200, begun
    cookie = begun.headers["set-cookie"].split(";")[0]
    me = service.other.call("GET", "/v1/me", Cookie=cookie)
    assert (me.status, me.body["name"], me.body["csrf_token"]) == (200, "ann", begun.body["csrf_token"])
    assert service.other.call("POST", "/v1/logout", Cookie=cookie, X_CSRF_Token=me.body["csrf_token"]).status == 204
    assert service.one.call("GET", "/v1/me", Cookie=cookie).status == 401


def test_the_same_request_to_both_is_done_once(service: Service) -> None:
    body = {"name": "site", "url": "https://example.org/hook"}

    def post(at: Replica) -> Answer:
        return at.call("POST", "/v1/webhooks", body, service.tokens["al"], Idempotency_Key="k1")

    with ThreadPoolExecutor(2) as pool:
        first = list(pool.map(post, service.both))
    assert sorted(answer.status for answer in first) in ([201, 201], [201, 409]), first
    assert all(answer.headers["retry-after"] for answer in first if answer.status == 409)
    again = [post(service.one), post(service.other)]
    assert [answer.status for answer in again] == [201, 201]
    assert again[0].body == again[1].body == next(answer.body for answer in first if answer.status == 201)
    assert service.other.call("POST", "/v1/webhooks", {**body, "name": "more"}, service.tokens["al"]).status == 201
    assert service.one.call("POST", "/v1/webhooks", {**body, "name": "most"}, service.tokens["al"]).status == 201
    assert len({(at.folder / "lib" / KEY).read_bytes() for at in service.both}) == 1, "they sign alike"


def test_what_is_written_at_one_is_seen_at_the_other_at_once(service: Service) -> None:
    query = {"filter": "tag=seen"}
    (best, *_) = service.search(service.one).body["hits"]
    assert service.other.call("GET", best["thumbnail_url"], token=service.tokens["al"], Accept="image/jpeg").status == 200
    for at, before in [(service.one, service.other), (service.other, service.one)]:
        for change, found in [("add", {best["video_id"]}), ("remove", set())]:
            service.search(before, **query)  # which keeps what it found
            path = f"/v1/videos/{best['video_id']}/tags"
            assert at.call("POST", path, {change: ["seen"]}, service.tokens["al"]).status == 200
            assert {hit["video_id"] for hit in service.search(before, **query).body["hits"]} == found


def test_a_case_is_one_persons_wherever_they_ask(service: Service) -> None:
    videos = [card.video.id for card in service.library.db.videos()[0]][:2]
    for video in videos:
        ask(service.library.db, new(video))
    one, other = service.one, service.other

    def claim(at: Replica, who: str) -> Answer:
        return at.call("POST", "/v1/review/claim", {"hold": 1}, service.tokens[who])

    with ThreadPoolExecutor(2) as pool:
        mine, theirs = pool.map(claim, [one, other], ["ann", "bob"])
    assert (mine.status, theirs.status) == (200, 200)
    assert mine.body["id"] != theirs.body["id"]
    path = f"/v1/review/assignments/{mine.body['id']}"
    ruling = {"claim": mine.body["claim"], "action": "block", "reason": "it shows", "seconds": 1.0}
    beat = {"claim": mine.body["claim"]}
    assert other.call("POST", f"{path}/heartbeat", beat, service.tokens["ann"]).status == 200
    assert other.call("POST", f"{path}/decide", ruling, service.tokens["bob"]).status == 409, "not his, though he knows it"
    decided = other.call("POST", f"{path}/decide", ruling, service.tokens["ann"])
    assert decided.status == 200, decided
    assert one.call("POST", f"{path}/decide", ruling, service.tokens["ann"]).body == decided.body, "the same, not a second one"
    released = f"/v1/review/assignments/{theirs.body['id']}/release"
    assert one.call("POST", released, {"claim": theirs.body["claim"]}, service.tokens["bob"]).status == 204


def test_replicas_take_notice_when_the_library_moves(service: Service) -> None:
    elsewhere = f"{service.milvus.uri}?index=IVF_FLAT&nlist=16"
    seen = Counter[int]()
    before, done = service.library.config.store, threading.Event()

    def look() -> None:
        while not done.is_set():
            for at in service.both:
                seen[service.search(at).status] += 1
            done.wait(PAUSE)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            for store in (elsewhere, before):
                shelves.move(service.library, store, drop_old=True)  # what is dropped, nobody may ask any more
                for at in service.both:
                    assert len(service.search(at).body["hits"]) == 3
        finally:
            done.set()
        looking.result()
    assert set(seen) == {200}, seen


# -- faults


def test_a_rolling_restart_fails_no_request(service: Service) -> None:
    """Of a client that asks the other one where one did not answer."""
    turns, enough = service.both, threading.Event()
    seen, retried = Counter[int](), Counter[int]()

    def drive(number: int) -> None:
        while not enough.is_set():
            number += 1
            answer = service.search(turns[number % 2])
            if answer.status != 200:
                retried[answer.status] += 1
                answer = service.search(turns[(number + 1) % 2])
            seen[answer.status] += 1
            enough.wait(PAUSE)

    with ThreadPoolExecutor(2) as pool:
        drivers = [pool.submit(drive, number) for number in range(2)]
        try:
            for at in turns:
                assert at.end() == 0
                at.start()
        finally:
            enough.set()
        for driver in drivers:
            driver.result()
    assert set(seen) == {200}, (seen, retried)
    assert retried and seen[200] > 20, (seen, retried)


def test_a_database_that_is_away_is_a_503_and_nothing_else(service: Service) -> None:
    enough, back = threading.Event(), threading.Event()
    seen = Counter[tuple[int, bool]]()
    kept: list[Answer] = []

    def drive(at: Replica) -> None:
        while not enough.is_set():
            again = back.is_set()
            for answer in (
                service.search(at),
                at.call("GET", "/v1/videos", token=service.tokens["al"]),
                at.call("POST", "/v1/review/claim", {"hold": 1}, service.tokens["ann"], Idempotency_Key=f"k{time.monotonic()}"),
            ):
                seen[answer.status, again] += 1
                if answer.status == 503:
                    kept.append(answer)
            enough.wait(PAUSE)

    with ThreadPoolExecutor(2) as pool:
        drivers = [pool.submit(drive, at) for at in service.both]
        try:
            until(lambda: seen[200, False] > 4)
            service.postgres.crash()
            until(lambda: seen[503, False] > 8)
            assert service.one.call("GET", "/readyz").status == 503 and service.one.call("GET", "/livez").status == 200
            service.postgres.start()
            until(lambda: service.one.call("GET", "/readyz").status == service.other.call("GET", "/readyz").status == 200)
            back.set()
            until(lambda: seen[200, True] > 8)
        finally:
            enough.set()
        for driver in drivers:
            driver.result()
    assert {status for status, _ in seen} <= {200, 204, 503, 409}, seen  # 409: who has a case already
    for answer in kept:
        assert answer.headers["retry-after"] and answer.headers["content-type"] == "application/problem+json", answer
    assert not {"Traceback"} & set((service.one.folder / "stderr").read_text().split())


HOLD = """
import sys, time
from pathlib import Path
from hit.errors import UserError
from hit.library import KEY, Library
from toy import ToyEncoder
folder = Path(sys.argv[1])
try:
    with Library.open(folder / "lib", encoder=ToyEncoder(), mend=False) as library, library.writing():
        (folder / "held").touch()
        while not (folder / "go").exists():
            time.sleep(0.05)
        library.db.save_search("by who was cut off", {})
except UserError as error:
    print(type(error).__name__, error)
"""


def test_who_is_cut_off_while_it_writes_loses_its_turn(service: Service) -> None:
    """The server misses a host after 14 seconds, and another machine may write; the first one is told, and changes nothing."""
    host, folder = service.one.host, service.one.folder
    paths = os.pathsep.join([str(Path(__file__).parent), str(PLUGIN)])
    process = host.start(
        sys.executable, "-c", HOLD, folder, env={**service.one.settings, "PYTHONPATH": paths}, stdout=subprocess.PIPE
    )
    until((folder / "held").exists)
    with pytest.raises(UserError, match="another process is writing to it"), service.library.writing(0):
        raise AssertionError
    host.cut()
    begun = time.monotonic()
    with service.library.writing(60):
        took = time.monotonic() - begun
        service.library.db.save_search("by another one", {})
    host.join()
    (folder / "go").touch()
    said, _ = process.communicate(timeout=PATIENCE)
    assert said.startswith("AwayError") and said.count("\n") == 1, said
    assert set(service.library.db.saved_searches()) == {"by another one"}
    assert took < 40, took
    until(lambda: service.one.call("GET", "/readyz").status == 200)  # and serves on


# -- jobs: the last test, as it leaves one host without power


def test_a_job_is_done_once_and_another_one_takes_over_from_a_host_that_lost_its_power(service: Service) -> None:
    for name, colours in {"grey": ["grey"], "more": ["red", "green"]}.items():
        render(service.one.folder.parent / "v" / f"{name}.mp4", colours)
    sources, db = {"sources": [str(service.one.folder.parent / "v")]}, service.library.db
    with ThreadPoolExecutor(2) as pool:
        asked = pool.map(lambda at: at.call("POST", "/v1/videos", sources, service.tokens["al"]).body["id"], service.both)
        jobs = sorted(set(asked))  # one, unless it had begun when it was asked for again
    until(lambda: db.job(jobs[0]).state == "running")
    owner = (db.job(jobs[0]).owner or "").split(":")[1]
    (victim,) = [at for at in service.both if owner in at.host.pids()]
    (left,) = [at for at in service.both if at is not victim]
    victim.host.kill()
    assert (service.search(left).status, service.search(victim).status) == (200, 0)
    ended = [service.ended(job, left) for job in jobs]
    assert {job["state"] for job in ended} == {"done"}, ended
    assert sum(job["result"]["added"] for job in ended) == 2, ended
    assert db.job(jobs[0]).tries == 2
    found = [hit["video_id"] for hit in service.search(left, query_text="grey", limit=50).body["hits"]]
    assert found == [hit.clip.video for hit in service.library.search("grey", limit=50).hits]
    assert found[0] == db.named("videos:grey.mp4") and len(set(found)) == db.counts()["videos"] == 5
    assert verify(service.library)["sound"]
