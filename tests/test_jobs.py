"""Jobs: what the queue promises to those who ask and to those who work, on either database; and with real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from hit import pulse
from hit.db import Database, Job
from hit.db.schema import Changes
from hit.errors import AwayError, EndedError, NotFoundError, UserError
from hit.files import BusyError
from hit.jobs import Jobs, Runner, runner, to_json, work
from hit.library import Library
from hit.pulse import Pulse, working
from job_kinds import hold, stumble
from toy import PLUGIN, ToyEncoder, render
from upkeep_helpers import library as make

INDEX = {"sources": ["/videos"]}


def silence(db: Database, number: int) -> None:
    """Have a job's last beat be long ago."""
    with db.write() as session:
        session.get_one(Job, number).beat_at = datetime.now(UTC) - timedelta(minutes=1)


KINDS = ["index", "remove", "sprites"]


# -- the queue


def test_the_oldest_that_may_run_is_claimed_once(db: Database) -> None:
    first = db.submit_job("index", INDEX, "ann")
    second = db.submit_job("remove", {"videos": ["a"]})
    beside = db.submit_job("sprites", {"video": "a"})
    assert [job.id for job in db.jobs()] == [beside.id, second.id, first.id]
    claimed = db.claim_job("one", KINDS)
    assert claimed and (claimed.id, claimed.state, claimed.owner, claimed.tries, claimed.by) == (
        first.id,
        "running",
        "one",
        1,
        "ann",
    )
    other = db.claim_job("two", KINDS)  # not the second one: one that writes is at work
    assert other and other.id == beside.id
    assert db.claim_job("three", KINDS) is None
    db.end_job(first.id, "one", "done", {"added": 1})
    assert db.claim_job("three", ["sprites"]) is None
    third = db.claim_job("three", KINDS)
    assert third and third.id == second.id


def test_of_many_who_claim_one_gets_it(db: Database) -> None:
    for number in range(6):
        db.submit_job("sprites", {"video": str(number)})
    got: list[int] = []
    barrier = threading.Barrier(4)

    def claim(owner: str) -> None:
        barrier.wait()
        while job := db.claim_job(owner, KINDS):
            got.append(job.id)

    threads = [threading.Thread(target=claim, args=(f"owner {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6 and len(set(got)) == 6


def test_the_same_work_waits_once(db: Database) -> None:
    first = db.submit_job("index", INDEX)
    assert db.submit_job("index", INDEX).id == first.id
    assert db.submit_job("index", {"sources": ["/other"]}).id != first.id
    db.claim_job("one", KINDS)
    assert db.submit_job("index", INDEX).id != first.id  # what runs may have passed by what is new


def test_a_beat_tells_how_far_it_is_and_hears_of_a_cancel(db: Database) -> None:
    job = db.submit_job("index", INDEX)
    assert db.beat_job(job.id, "one", 1, 2, "") == "lost"  # it is not running
    db.claim_job("one", KINDS)
    assert db.beat_job(job.id, "one", 3, 7, "red.mp4") == "on"
    assert db.beat_job(job.id, "two", 9, 9, "") == "lost"
    found = db.job(job.id)
    assert (found.done, found.total, found.note) == (3, 7, "red.mp4")
    assert db.cancel_job(job.id).state == "running"
    assert db.beat_job(job.id, "one", 3, 7, "red.mp4") == "cancel"
    db.free_job(job.id, "one")
    assert db.job(job.id).state == "cancelled" and db.claim_job("two", KINDS) is None


def test_whose_beat_has_stopped_is_taken_over_and_fails_at_last(db: Database) -> None:
    number = db.submit_job("index", INDEX).id
    for owner in ("one", "two", "three"):
        job = db.claim_job(owner, KINDS)
        assert job and job.id == number
        assert db.claim_job("other", KINDS) is None  # as long as it beats
        silence(db, number)
    assert db.claim_job("four", KINDS) is None
    job = db.job(number)
    assert (job.state, job.tries, job.detail["error"]) == ("failed", 3, "was cut short 3 times")
    assert job.ended_at is not None


def test_who_was_taken_for_dead_does_no_harm(db: Database) -> None:
    number = db.submit_job("index", INDEX).id
    db.claim_job("one", KINDS)
    silence(db, number)
    db.claim_job("two", KINDS)
    assert db.beat_job(number, "one", 0, None, "") == "lost"
    db.end_job(number, "one", "failed", {}, "late")
    db.free_job(number, "one")
    assert (db.job(number).state, db.job(number).owner) == ("running", "two")


def test_what_is_given_back_without_blame_is_no_try(db: Database) -> None:
    number = db.submit_job("index", INDEX).id
    for _ in range(5):
        assert db.claim_job("one", KINDS)
        db.free_job(number, "one", blameless=True)
    assert (db.job(number).state, db.job(number).tries, db.job(number).begun_at) == ("queued", 0, None)


def test_a_job_that_waits_is_cancelled_at_once(db: Database) -> None:
    number = db.submit_job("index", INDEX).id
    assert db.cancel_job(number).state == "cancelled"
    assert db.cancel_job(number).state == "cancelled"
    assert db.claim_job("one", KINDS) is None
    with pytest.raises(NotFoundError):
        db.cancel_job(number + 1)
    again = db.retry_job(number, "ann")
    assert (again.state, again.detail, again.by) == ("queued", {**INDEX, "retry": True}, "ann")
    with pytest.raises(BusyError, match="has not ended"):
        db.retry_job(again.id)
    db.claim_job("one", KINDS)
    db.end_job(again.id, "one", "failed", {"added": 0}, "no room")
    assert db.job(again.id).detail == {**INDEX, "retry": True, "result": {"added": 0}, "error": "no room"}
    assert db.retry_job(again.id).detail == {**INDEX, "retry": True}
    with pytest.raises(BusyError, match="has ended already"):
        db.cancel_job(again.id)


def test_pages_of_jobs(db: Database) -> None:
    numbers = [db.submit_job(kind, {"n": i}).id for i, kind in enumerate(["index", "sprites", "index", "index"])]
    db.cancel_job(numbers[2])
    assert [job.id for job in db.jobs(2)] == [numbers[3], numbers[2]]
    assert [job.id for job in db.jobs(2, before=numbers[2])] == [numbers[1], numbers[0]]
    assert [job.id for job in db.jobs(kind="index", state="queued")] == [numbers[3], numbers[0]]


def test_the_oldest_that_ended_are_forgotten_and_no_other(db: Database) -> None:
    waits = db.submit_job("index", INDEX).id
    ended = db.submit_job("sprites", {}).id
    db.cancel_job(ended)
    last = [db.begin_job("backup", {}) for _ in range(200)][-1]
    assert last == ended + 200
    assert db.job(waits).state == "queued"
    with pytest.raises(NotFoundError):
        db.job(ended)


def test_jobs_change_nothing_that_is_found(db: Database) -> None:
    def changes() -> int | None:
        with db.read() as session:
            return session.scalar(sa.select(Changes.count))

    before = changes()
    number = db.submit_job("index", INDEX).id
    db.claim_job("one", KINDS)
    db.beat_job(number, "one", 1, 2, "")
    db.end_job(number, "one", "done", {})
    assert changes() == before


# -- the pulse


def test_what_a_command_does_is_a_job_that_nobody_takes_over(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PAUSE", 0.01)
    with working(db, "index", INDEX) as job:
        with job.watched().task("Indexing", 5) as task:
            task.advance(2, "red.mp4")
            wait_for(lambda: db.job(job.number).done == 2)
            assert db.job(job.number).note == "Indexing: red.mp4"
        job.result["added"] = 1
    found = db.job(job.number)
    assert found.state == "done" and found.detail["result"] == {"added": 1} and "error" not in found.detail
    with pytest.raises(UserError, match="command line"):
        db.retry_job(found.id)


def test_a_command_that_is_cancelled_ends_at_its_next_step(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PAUSE", 0.01)
    with (
        pytest.raises(EndedError, match="was cancelled"),
        working(db, "index", INDEX) as job,
        job.watched().task("x", None) as task,
    ):
        task.advance()
        db.cancel_job(job.number)
        wait_for(lambda: bool(job._cancelled))
        task.advance()
    assert db.job(job.number).state == "cancelled"


def test_a_command_that_was_killed_has_failed(db: Database) -> None:
    number = db.begin_job("index", INDEX, "one")
    silence(db, number)
    queued = db.submit_job("remove", {"videos": []})
    claimed = db.claim_job("two", KINDS)
    assert claimed and claimed.id == queued.id
    assert (db.job(number).state, db.job(number).detail["error"]) == ("failed", "was cut short")


def test_who_has_lost_a_job_is_told(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PAUSE", 0.01)
    number = db.submit_job("index", INDEX).id
    db.claim_job("one", KINDS)
    lost = threading.Event()
    with Pulse(db, number, "another", lost.set):
        assert lost.wait(20)


# -- the runner, with processes of its own


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a library's path; the kinds of job_kinds.py can be done."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setitem(work.KINDS, "index-like", hold)
    monkeypatch.setitem(work.KINDS, "stumble", stumble)
    make(tmp_path / "lib", videos=3).close()
    return tmp_path / "lib"


@pytest.fixture
def jobs(path: Path) -> Iterator[Jobs]:
    with Library.open(path, encoder=ToyEncoder()) as library:
        yield Jobs(library)


def ended(jobs: Jobs, number: int) -> bool:
    return jobs.get(number).state not in ("queued", "running")


def test_a_runner_indexes_looks_again_and_removes(jobs: Jobs, path: Path, tmp_path: Path) -> None:
    render(tmp_path / "in" / "red.mp4", ["red"])
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    number = jobs.submit("index", {"sources": [str(tmp_path / "in")]}, "ann").id
    with Runner(path, ToyEncoder(), jobs.wake), Library.open(path, encoder=ToyEncoder()) as library:
        wait_for(lambda: ended(jobs, number))
        job = to_json(jobs.get(number))
        assert (job["state"], job["by"], job["error"], job["progress"]["done"]) == ("done", "ann", None, 2.0), job
        assert (job["result"]["added"], job["result"]["failed"]) == (1, 1)
        (failure,) = job["result"]["failures"]
        assert failure["path"].endswith("broken.mp4") and failure["reason"]
        assert [one.kind for one in jobs.list()] == ["index"]  # what the library does within it is no job of its own
        video = library.db.named(str(tmp_path / "in" / "red.mp4"))
        assert video
        library.db.tag([video], ["goal"])
        again = jobs.submit("reindex", {"videos": [video]}).id
        wait_for(lambda: ended(jobs, again))
        assert jobs.get(again).state == "done" and jobs.get(again).detail["result"]["added"] == 1
        assert library.db.tags([video]) == {video: ["goal"]} and library.search("red").hits[0].clip.video == video
        gone = jobs.submit("remove", {"videos": [video, "never there"]}).id
        wait_for(lambda: ended(jobs, gone))
        assert jobs.get(gone).detail["result"]["removed"] == [video] and library.db.named(video) is None


def test_failures_say_why(jobs: Jobs, path: Path) -> None:
    wrong = jobs.submit("index", {"sources": ["/no/such/folder"]}).id
    defect = jobs.submit("stumble", {}).id
    with Runner(path, ToyEncoder(), jobs.wake):
        wait_for(lambda: ended(jobs, wrong) and ended(jobs, defect))
    found = to_json(jobs.get(wrong))
    assert (found["state"], found["error"]) == ("failed", "/no/such/folder: there is no such file or folder")
    assert to_json(jobs.get(wrong), whole=False)["detail"] == {}
    assert jobs.get(defect).detail["error"] == "ZeroDivisionError: a defect"
    assert "in stumble" in (path / "library.log").read_text()


def test_work_whose_server_is_away_waits_and_fails_at_last(path: Path) -> None:
    def away(*_: object) -> dict[str, object]:
        raise AwayError("the database", "is away", "ask again")

    with Library.open(path, encoder=ToyEncoder()) as library:
        number = library.db.submit_job("stumble", {}).id
        for state in ("queued", "queued", "failed"):
            assert library.db.claim_job("ann", ["stumble"]) is not None
            work._run(away, library, Pulse(library.db, number, "ann"), {})()
            assert library.db.job(number).state == state
        assert "cut short 3 times" in library.db.job(number).detail["error"]
        assert "is away" in library.db.job(number).detail["error"]


def test_a_process_that_cannot_be_begun_is_told(jobs: Jobs, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(work.KINDS, "stumble", lambda *_: {})  # which cannot be sent to a process
    number = jobs.submit("stumble", {}).id
    with Runner(path, ToyEncoder(), jobs.wake):
        wait_for(lambda: ended(jobs, number))
    assert jobs.get(number).detail["error"].startswith("was cut short 3 times")


def holding(jobs: Jobs, tmp_path: Path, **more: object) -> tuple[int, int]:
    """Submit a job that goes on until it is let go, and wait until it runs; return its number and its process."""
    pid = tmp_path / "pid"
    pid.unlink(missing_ok=True)
    number = jobs.submit("index-like", {"pid": str(pid), "go": str(tmp_path / "go"), **more}).id
    wait_for(pid.exists)
    return number, int(pid.read_text())


def test_a_process_that_is_killed_costs_a_try_and_nothing_else(jobs: Jobs, path: Path, tmp_path: Path) -> None:
    with Runner(path, ToyEncoder(), jobs.wake):
        number, process = holding(jobs, tmp_path)
        (tmp_path / "pid").unlink()
        os.kill(process, signal.SIGKILL)
        wait_for((tmp_path / "pid").exists)
        assert jobs.get(number).tries == 2
        (tmp_path / "go").touch()
        wait_for(lambda: ended(jobs, number))
    assert (jobs.get(number).state, jobs.get(number).detail["result"]) == ("done", {"held": True})


@pytest.mark.parametrize("deaf", [False, True])
def test_what_runs_is_cancelled(jobs: Jobs, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: bool) -> None:
    monkeypatch.setattr(runner, "GRACE", 0.2)
    with Runner(path, ToyEncoder(), jobs.wake):
        number, process = holding(jobs, tmp_path, deaf=deaf)
        jobs.cancel(number)
        wait_for(lambda: ended(jobs, number))
    assert jobs.get(number).state == "cancelled"
    assert not Path(f"/proc/{process}").exists()
    with Library.open(path, encoder=ToyEncoder()) as library, library.writing(0):
        pass


def test_a_runner_that_closes_leaves_its_job_to_others(jobs: Jobs, path: Path, tmp_path: Path) -> None:
    with Runner(path, ToyEncoder(), jobs.wake):
        number, process = holding(jobs, tmp_path)
    assert (jobs.get(number).state, jobs.get(number).tries) == ("queued", 0)
    assert not Path(f"/proc/{process}").exists()


RUNNER = """
import signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from hit.jobs import Runner, work
from job_kinds import hold
from toy import ToyEncoder
if __name__ == "__main__":
    work.KINDS["index-like"] = hold
    with Runner(Path(sys.argv[1]), ToyEncoder()):
        signal.pause()
"""


def test_a_runner_that_is_killed_takes_its_process_with_it_and_another_goes_on(jobs: Jobs, path: Path, tmp_path: Path) -> None:
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    first = subprocess.Popen([sys.executable, script, path, Path(__file__).parent, PLUGIN])
    try:
        number, process = holding(jobs, tmp_path)
    finally:
        first.kill()
        first.wait()
    wait_for(lambda: not Path(f"/proc/{process}").exists() or "zombie" in Path(f"/proc/{process}/status").read_text())
    assert jobs.get(number).state == "running"
    with Library.open(path, encoder=ToyEncoder()) as library:
        silence(library.db, number)
    (tmp_path / "go").touch()
    with Runner(path, ToyEncoder(), jobs.wake):
        wait_for(lambda: ended(jobs, number))
    assert (jobs.get(number).state, jobs.get(number).tries) == ("done", 2)


def wait_for(true: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "in vain"
        time.sleep(0.01)
