"""The queue of review under load: reviewers who claim, beat, die and decide, all at once, on a PostgreSQL of their own.

python benchmarks/review.py [--reviewers 200] [--cases 20000] [--processes 2] [--claims 2000] [--sqlite] [--tiny]

Up to 100,000 cases are worked through to the last by reviewers in threads of several processes, of which one is killed
(SIGKILL) and replaced meanwhile; then all is counted: `twice`, `lost`, `late` (decided after the lease had ended) and `findings`
(of the chain) must be 0. With more cases, claims and decisions of one reviewer at a time are measured among them all, and the
count of what waits; milliseconds of wall clock. `load` is the machine's load average at the end.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from hit.db import Assignment, Case, Database, Decision
from hit.db.decisions import Ruling
from hit.db.queue import Wanted
from hit.errors import UserError
from hit.files import BusyError
from hit.review import verify

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import postgres

WORKED = 100_000  # cases at most that are worked through
THREADS = 16  # of a process that serve reviewers
LEASE = 10.0  # seconds: the dead are to be seen
SENIORS = 0.1  # of the reviewers, and two of each process: where two disagree, a third must be left
DIES, LEAVES, TWICE = 0.03, 0.02, 0.02  # chances at each claim: never comes back; releases or skips; decides again
ANSWERS = ("pass", "block")


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reviewers", type=int, default=200)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--claims", type=int, default=2000)
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    if given.tiny:
        given.reviewers, given.cases, given.processes, given.claims = 6, min(given.cases, 60), 2, 40
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = None
        if given.sqlite:
            url = f"sqlite:///{folder / 'library.db'}"
        else:
            postgres.OPTIONS |= {
                "max_connections": "300",
                "shared_buffers": "256MB",
                "autovacuum": "on",
                "fsync": "on",
                "full_page_writes": "on",
            }
            server = postgres.Postgres(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1].parent)
            url = server.database()
        try:
            db = Database(url, folder)
            fill(db, given.cases)
            if given.cases <= WORKED:
                result = work(url, folder, given.reviewers, given.processes) | count(db)
            else:
                result = among(db, given.claims)
            db.close()
        finally:
            if server:
                server.stop()
    kind = "sqlite" if given.sqlite else "postgresql"
    facts = {"cases": given.cases, "database": kind, "load": round(os.getloadavg()[0], 2)}
    print(json.dumps({"benchmark": "review", **facts, **result}))


def fill(db: Database, cases: int) -> None:
    """Make cases: every tenth of two seats, severities of 1 to 5, three policies."""
    with db.write(content=False) as session:
        if session.get_bind().dialect.name == "sqlite":
            series = f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {cases}) "
            when, source, no = "datetime('2026-01-01', '+' || n || ' seconds') || '.000000'", "s", "0"
        else:
            series, source, no = "", f"generate_series(1, {cases}) AS s(n)", "false"
            when = "timestamptz '2026-01-01' + n * interval '1 second'"
        facts = f"{when}, 'video ' || n, 'case ' || n, 'p' || n % 3, 1, 'v' || n, 1 + n * 79 % 5, 'review', 0.5"
        rest = f"{no}, '[]', '[]', 's', 'r', CASE WHEN n % 10 = 0 THEN 2 ELSE 1 END"
        columns = "created_at, title, key, policy, version, video_id, severity, verdict, score, audit, evidence, matches"
        session.execute(
            sa.text(f"INSERT INTO cases ({columns}, segment_set, revision, seats) {series} SELECT {facts}, {rest} FROM {source}")
        )
        same = "policy, severity, 0.0, created_at FROM cases"
        into = "INSERT INTO assignments (case_id, seat, role, state, policy, severity, priority, created_at)"
        session.execute(sa.text(f"{into} SELECT id, 'first', 'reviewer', 'open', {same} ORDER BY id"))
        session.execute(sa.text(f"{into} SELECT id, 'second', 'reviewer', 'open', {same} WHERE seats = 2"))
    with db.write(content=False) as session:
        session.execute(sa.text("ANALYZE"))  # as the server does by itself, some minutes later


# -- worked through to the last


def work(url: str, folder: Path, reviewers: int, processes: int) -> dict[str, Any]:
    """Have reviewers work until nothing waits, and kill one process on the way; return how it went."""
    context = multiprocessing.get_context("spawn")
    each = reviewers // processes
    begun = time.perf_counter()

    def start(number: int) -> tuple[Any, Any]:
        told, tells = context.Pipe(duplex=False)  # of its own: who is killed in a shared one's lock would hold it for ever
        process = context.Process(target=crew, args=(url, folder, number, each, tells))
        process.start()
        tells.close()
        return process, told

    crews = [start(number) for number in range(processes)]
    process, told = crews[0]
    told.recv()  # somebody is at work
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    crews[0] = start(0)  # the same people, who know nothing of what they held
    total, spent = Counter[str](), list[float]()
    for process, told in crews:
        told.recv()
        tally, own = told.recv()
        total.update(tally)
        spent += own
        process.join()
    seconds = time.perf_counter() - begun
    return {
        "reviewers": reviewers,
        "processes": processes,
        **total,
        "seconds": round(seconds, 2),
        "decisions_per_s": round(total["decided"] / seconds, 1),
        **quantiles("claim", spent),
    }


def crew(url: str, folder: Path, number: int, reviewers: int, tells: Any) -> None:
    """Be some reviewers, each a thread; tell once that they are at work, and at the end what they did."""
    db = Database(url, folder)
    db.lease, db.golden_share = LEASE, 0.0
    served = Served(db)
    total, spent, begun = Counter[str](), list[float](), threading.Semaphore(1)

    def at_work() -> None:
        if begun.acquire(blocking=False):
            tells.send(None)

    def person(index: int) -> None:
        one = Reviewer(served, f"reviewer {number}.{index}", index < max(2, reviewers * SENIORS), at_work)
        one.work()
        total.update(one.tally)
        spent.extend(one.spent)

    threads = [threading.Thread(target=person, args=(index,)) for index in range(reviewers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    at_work()  # where others were quicker with all that waited
    tells.send((dict(total), spent))
    db.close()


class Served:
    """A database behind as many threads as a server has: whoever comes while all are at work waits for one."""

    def __init__(self, db: Database) -> None:
        self._db, self._room = db, threading.BoundedSemaphore(THREADS)

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            with self._room:
                return getattr(self._db, name)(*given, **named)

        return call

    def finished(self) -> bool:
        """Tell whether all seats are done."""
        with self._room, self._db.read() as session:
            left = sa.select(Assignment.id).where(Assignment.state.in_(("open", "claimed"))).limit(1)
            return session.scalar(left) is None


class Reviewer:
    """Somebody who takes what comes, and is not always reliable."""

    def __init__(self, db: Served, name: str, senior: bool, at_work: Any) -> None:
        self.db, self.name, self.wanted = db, name, Wanted(senior=senior)
        self.at_work, self.chance = at_work, random.Random(name)
        self.tally, self.spent = Counter[str](), list[float]()

    def work(self) -> None:
        """Work until nothing waits for anybody."""
        late: Assignment | None = None
        while True:
            begun = time.perf_counter()
            try:
                seat = self.db.claim_seat(self.name, self.wanted, hold=3)
            except BusyError:  # three that they died over
                time.sleep(LEASE / 4)
                continue
            self.spent.append(time.perf_counter() - begun)
            if seat is None:
                if self.db.finished():
                    return
                time.sleep(LEASE / 4)
                continue
            self.at_work()
            chance = self.chance.random()
            if chance < DIES:
                self.tally["died"] += 1
                late = seat
            elif chance < DIES + LEAVES:
                self.leave(seat)
            else:
                self.decide(seat)
            if late is not None and self.chance.random() < 0.05:
                self.decide(late)
                late = None

    def leave(self, seat: Assignment) -> None:
        """Give a seat back."""
        self.tally["left"] += 1
        try:
            self.db.release_seat(seat.id, seat.claim or "", self.name)
        except BusyError:
            self.tally["refused"] += 1

    def decide(self, seat: Assignment) -> None:
        """Decide, after a heartbeat; sometimes twice, as who got no answer."""
        ruling = Ruling(ANSWERS[self.chance.random() < 0.3], "load", seconds=1.0)  # type: ignore[arg-type]
        try:
            self.db.beat_seat(seat.id, seat.claim or "", self.name)
            link, _ = self.db.decide_seat(seat.id, seat.claim or "", self.name, ruling)
            self.tally["decided"] += 1
            if self.chance.random() < TWICE:
                again, _ = self.db.decide_seat(seat.id, seat.claim or "", self.name, ruling)
                assert again.number == link.number
        except UserError:  # too late: it is somebody else's
            self.tally["refused"] += 1


def count(db: Database) -> dict[str, int]:
    """Return what went wrong: nothing should have."""
    with db.read() as session:
        seats = session.execute(sa.select(Decision.assignment_id, sa.func.count()).group_by(Decision.assignment_id)).all()
        late = sa.select(sa.func.count()).where(Assignment.state == "done", Assignment.ended_at > Assignment.until)
        held = sa.select(sa.func.count()).where(Assignment.state.in_(("open", "claimed")))
        people = sa.select(Decision.case_id).group_by(Decision.case_id, Decision.reviewer).having(sa.func.count() > 1)
        found = {
            "twice": sum(times > 1 for _, times in seats),
            "late": session.scalar(late) or 0,
            "left_over": session.scalar(held) or 0,
            "not_blind": len(session.execute(people).all()),
        }
        found["lost"] = (session.scalar(sa.select(sa.func.count()).select_from(Case)) or 0) - db.cases(state="decided")[1]
    return {**found, "links": verify(db)["decisions"], "findings": len(verify(db)["findings"])}


# -- measured among a million


def among(db: Database, claims: int) -> dict[str, Any]:
    """Return how long claims, decisions and counts take among all cases."""
    db.golden_share = 0.0
    spent: dict[str, list[float]] = {"claim": [], "claim_of_policy": [], "decide": []}
    people = [f"reviewer {number}" for number in range(20)]
    for number in range(claims):
        person = people[number % len(people)]
        kind = "claim_of_policy" if number % 4 == 3 else "claim"
        wanted = Wanted("p1", 2) if kind == "claim_of_policy" else Wanted()
        begun = time.perf_counter()
        seat = db.claim_seat(person, wanted)
        taken = time.perf_counter()
        assert seat is not None
        db.decide_seat(seat.id, seat.claim or "", person, Ruling("pass", "measured"))
        spent["decide"].append(time.perf_counter() - taken)
        spent[kind].append(taken - begun)
    waits = []
    for _ in range(3):
        begun = time.perf_counter()
        db._count()
        waits.append(time.perf_counter() - begun)
    result = {name: value for kind, times in spent.items() for name, value in quantiles(kind, times).items()}
    return {"claims": claims, **result, "count_ms": round(1000 * float(np.median(waits)), 1)}


def quantiles(name: str, seconds: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile in milliseconds."""
    middle, high = (1000 * np.percentile(seconds, (50, 99))).tolist()
    return {f"{name}_ms": round(middle, 2), f"{name}_p99_ms": round(high, 2)}


if __name__ == "__main__":
    main()
