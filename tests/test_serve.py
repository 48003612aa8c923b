"""`hit serve`: how it begins, what becomes of it when processes die, how it ends, and a library that changes meanwhile."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

import serve_toy
from api_helpers import client
from hit.api import run
from hit.cli import app
from hit.errors import UserError
from hit.library import Library
from hit.service import ServeConfig
from hit.upkeep import prune, remove, shelves
from serve_toy import PATIENCE, alive, children, serving, until
from toy import PLUGIN, ToyEncoder, render


def refusal(*words: object) -> str:
    """Return why the command line refuses to serve."""
    done = CliRunner().invoke(app, ["serve", *map(str, words)])
    assert isinstance(done.exception, UserError), done.output
    assert done.exception.code == 2
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_what_is_wrong_is_told_before_anything_begins(own: Path, tmp_path: Path) -> None:
    assert "not a library" in refusal(tmp_path / "none")
    assert "workers" in refusal(own, "worker=2")  # the nearest name
    assert "is none" in refusal(own, "--port", 70000)
    assert "no such folder" in refusal(own, "--root", tmp_path / "none")
    assert "open to everybody" in refusal(own, "host=0.0.0.0", "auth=off")
    assert "cannot be listened at" in refusal(own, "host=192.0.2.1", "auth=on")  # an address that is nobody's
    assert "cannot be listened at" in refusal(own, "host=no such host", "auth=on")
    with run.listen("127.0.0.1", 0) as taken:
        said = refusal(own, "--port", taken.getsockname()[1])
        assert "in use" in said
        assert "--port" in said
    (own / "serve.toml").write_text("port = 1\nwrkers = 2\n")
    assert "workers" in refusal(own)
    (own / "serve.toml").write_text("port = ")
    assert "TOML" in refusal(own)
    (own / "serve.toml").unlink()
    (own / "serve.toml").mkdir()
    assert "cannot be read" in refusal(own)


def test_settings_are_looked_at_alone(own: Path) -> None:
    (own / "serve.toml").write_text("workers = 3\nsession_hours = 1.5\n")
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    done = CliRunner().invoke(app, ["serve", str(own), "--check", "--port", "0", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["workers"], said["session_hours"], said["port"], said["auth"]) == (3, 1.5, 0, "auto")
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*")} == before
    assert "session_hours" in CliRunner().invoke(app, ["serve", str(own), "--check", "--port", "0"]).stdout


def test_an_address_is_one_that_a_browser_takes() -> None:
    for host, url in [
        ("127.0.0.1", "http://127.0.0.1:80/"),
        ("0.0.0.0", "http://127.0.0.1:80/"),
        ("::", "http://[::1]:80/"),
        ("::1", "http://[::1]:80/"),
        ("library.example", "http://library.example:80/"),
    ]:
        assert run.url_of(ServeConfig(host=host, port=80)) == url


def test_a_killed_worker_costs_its_requests_only_and_the_end_is_graceful(own: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(5) as clients, serving(own, tmp_path, "workers=2") as server:
        killed, enough = threading.Event(), threading.Event()
        seen = Counter[tuple[int, bool]]()  # statuses, before and after the kill

        def drive() -> None:
            while not enough.is_set() and server.process.poll() is None:
                status = server.search("red")
                seen[status, killed.is_set()] += 1

        drivers = [clients.submit(drive) for _ in range(3)]
        until(lambda: len(server.workers()) == 2)
        before = server.workers()
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        killed.set()
        until(lambda: len(server.workers()) == 2 and victim not in server.workers())
        until(lambda: seen[200, True] >= 50)
        enough.set()
        for driver in drivers:
            driver.result()
        assert {status for status, _ in seen} <= {200, 0}, seen
        assert sum(count for (status, _), count in seen.items() if not status) <= 3, seen  # one a client
        # Told to end, it answers what it has begun to, ends what would go on for ever, and answers nobody else.
        listener = clients.submit(server.events)
        last = clients.submit(server.search, "gate")
        until((tmp_path / "came").exists)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.status("/v1/tags") == 0)
        (tmp_path / "open").touch()
        assert last.result() == 200
        listener.result()
        assert server.process.wait(PATIENCE) == 0
        assert not [worker for worker in before if alive(worker)]
    assert f"worker {victim} ended (-9)" in (tmp_path / "stderr").read_text()
    assert not {"Traceback", "Cancel"} & set((tmp_path / "stderr").read_text().split())


@pytest.mark.slow  # nobody takes a job over before its worker has been silent for half a minute
def test_a_job_outlives_the_worker_that_does_it(own: Path, tmp_path: Path) -> None:
    render(tmp_path / "v" / "new.mp4", ["blue", "green"], seconds=20)
    with serving(own, tmp_path, "workers=2", f"roots={[str(tmp_path / 'v')]}") as server:
        job = server.post("/v1/videos", {"sources": [str(tmp_path / "v")]})
        until(lambda: any(children(worker) for worker in server.workers()))
        (victim,) = [worker for worker in server.workers() if children(worker)]
        (hand,) = children(victim)
        os.kill(victim, signal.SIGKILL)
        until(lambda: not alive(hand))
        until(lambda: server.get(f"/v1/jobs/{job['id']}")["state"] not in ("queued", "running"))
        assert server.get(f"/v1/jobs/{job['id']}")["state"] == "done"
        assert server.get("/v1/videos?q=new")["total"] == 1
        assert server.end() == 0


def test_workers_end_with_a_supervisor_that_is_killed(own: Path, tmp_path: Path) -> None:
    with serving(own, tmp_path, "workers=2") as server:
        until(lambda: len(server.workers()) == 2)
        workers = server.workers()
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not any(alive(worker) for worker in workers))
        run.listen("127.0.0.1", server.port).close()


def test_a_second_ctrl_c_ends_it_at_once(own: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as clients, serving(own, tmp_path) as server:
        waiting = clients.submit(server.search, "gate")
        until((tmp_path / "came").exists)
        server.process.send_signal(signal.SIGINT)
        until(lambda: server.status("/v1/tags") == 0)
        assert server.process.poll() is None  # it waits for the one
        assert server.end(signal.SIGINT) == 130
        assert waiting.result() == 0


def test_a_worker_that_cannot_begin_ends_all_in_one_line(own: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    words = [sys.executable, serve_toy.__file__, str(own), str(tmp_path), "port=0", "workers=2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert done.stderr == "the model: is broken (mend it)\n"


@contextlib.contextmanager
def watched(look: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Look again and again in a thread, and yield what waits until it has looked anew. Raises what a look raised."""
    done, looks = threading.Event(), Counter[str]()

    def work() -> None:
        while not done.wait(0.02):  # whoever changes things is to come on, too
            look()
            looks["all"] += 1

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)

        def anew() -> None:
            before = looks["all"]
            until(lambda: looks["all"] > before + 1 or working.done())

        try:
            yield anew
        finally:
            done.set()
        working.result()


def test_nobody_sees_that_a_library_changes(own: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line does to a library while it is served makes rows stale that an answer is being made of."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    shutil.copytree(made / "v", tmp_path / "v")
    copies = sorted((tmp_path / "v").rglob("*.mp4"))
    seen = Counter[int]()
    with client(own) as api, Library.open(own, encoder=ToyEncoder()) as library:

        def look() -> None:
            answer = api.post("/v1/search", json={"query_text": "red", "limit": 50, "group_by": "video"})
            seen[answer.status_code] += 1
            for hit in answer.json()["hits"] if answer.status_code == 200 else []:
                for path in (hit["thumbnail_url"], f"/v1/videos/{hit['video_id']}", f"/v1/videos/{hit['video_id']}/segments"):
                    seen[api.get(path).status_code] += 1

        with watched(look) as anew:
            for change in (
                lambda: remove.remove(library, [str(made / "v" / name) for name in ("red.mp4", "long.mp4")]),
                lambda: library.index([render(tmp_path / "new.mp4", ["blue", "red"])], workers=1),
                lambda: prune.prune(library),
                lambda: library.index(copies, workers=1),
                lambda: remove.remove(library, [str(one) for one in copies]),
                lambda: prune.prune(library),
            ):
                change()
                anew()
    assert seen[200]
    assert set(seen) <= {200, 404}, seen


def test_two_servers_share_a_library(own: Path) -> None:
    with client(own) as one, client(own) as other:
        (video,) = one.get("/v1/videos", params={"q": "red.mp4"}).json()["videos"]
        query = {"query_text": "red", "filter": "tag=seen", "limit": 5}
        assert other.post("/v1/search", json=query).json()["hits"] == []
        assert one.post(f"/v1/videos/{video['id']}/tags", json={"add": ["seen"]}).status_code == 200
        assert [hit["video_id"] for hit in other.post("/v1/search", json=query).json()["hits"]] == [video["id"]]
        assert other.post(f"/v1/videos/{video['id']}/tags", json={"remove": ["seen"]}).status_code == 200
        assert one.get("/v1/tags").json() == other.get("/v1/tags").json()
        assert one.post("/v1/search", json=query).json()["hits"] == []


def test_a_library_moves_to_another_store_while_it_is_served(own: Path, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    seen = Counter[int]()
    with client(own) as api, Library.open(own, encoder=ToyEncoder()) as library:

        def look() -> None:
            seen[api.post("/v1/search", json={"query_text": "red"}).status_code] += 1

        with watched(look) as anew:
            for store in (f"milvus+lite:{tmp_path / 'm.db'}", "local"):
                shelves.move(library, store)
                anew()
    assert set(seen) == {200}, seen
