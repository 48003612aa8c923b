"""The queue of review, against an oracle in plain Python; its clock, its indexes, what opens and withdraws cases."""

import dataclasses
import itertools
import math
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from hit.db import Database, Decision, chain
from hit.db.clock import Clock
from hit.db.decisions import Ruling
from hit.db.queue import _FIRST, LEASE, Wanted, _open
from hit.errors import NotFoundError, UserError
from hit.files import BusyError
from hit.review import NewCase, feedback
from hit.review.cases import decided
from hit.review.stats import agreement, recall, share, stats
from library_helpers import forget
from review_helpers import ask, claimed, judge, new
from upkeep_helpers import library

PEOPLE = ("ann", "bob", "eve", "sue", "kim")
SENIORS = ("sue", "kim")
START = datetime(2026, 6, 1, tzinfo=UTC)


# -- the oracle: what docs/review.md says, without a database


@dataclasses.dataclass
class Seat:
    id: int
    case: int
    name: str
    priority: float
    created: float
    state: str = "open"
    owner: str | None = None
    claim: str | None = None
    until: float = 0.0
    action: str | None = None
    number: int = 0

    @property
    def senior(self) -> bool:
        return self.name in ("senior", "appeal")


@dataclasses.dataclass
class Oracle:
    """All cases and seats as lists. `links`: (case, kind, person), in order."""

    cases: list[NewCase] = dataclasses.field(default_factory=list)
    seats: list[Seat] = dataclasses.field(default_factory=list)
    skips: set[tuple[int, str]] = dataclasses.field(default_factory=set)
    links: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)
    now: float = 0.0

    def of(self, case: int) -> list[Seat]:
        return [seat for seat in self.seats if seat.case == case and seat.state != "withdrawn"]

    def state(self, case: int) -> str:
        states = {seat.state for seat in self.of(case)}
        return "open" if states & {"open", "claimed"} else "decided" if "done" in states else "withdrawn"

    def outcome(self, case: int) -> str | None:
        seats = self.of(case)
        if any(seat.state in ("open", "claimed") and seat.name != "appeal" for seat in seats):
            return None
        done = sorted((seat for seat in seats if seat.state == "done"), key=lambda seat: seat.number)
        return done[-1].action if done else None

    def open_seat(self, case: int, name: str, priority: float) -> None:
        self.seats.append(Seat(len(self.seats) + 1, case, name, priority, self.now))

    def needed(self, case: int, priority: float) -> None:
        done = {seat.name for seat in self.of(case) if seat.state == "done"}
        lacking = [name for name in ("first", "second")[: self.cases[case - 1].seats] if name not in done]
        for name in lacking or ["senior"]:
            self.open_seat(case, name, priority)

    def open(self, new: NewCase, priority: float) -> int:
        same = [i for i, one in enumerate(self.cases, 1) if (one.policy, one.video_id) == (new.policy, new.video_id)]
        own = next((i for i in same if _key(self.cases[i - 1]) == _key(new)), None)
        if own and self.state(own) != "withdrawn":
            return 0
        for i in same:
            if self.outcome(i) is not None and self.cases[i - 1].segment_set == new.segment_set:
                return 0
            if self.state(i) == "open" and self.cases[i - 1].version > new.version:
                return 0
        for i in same:
            if self.state(i) == "open" and self.outcome(i) is None:
                self.withdraw(i)
        if own is None:
            self.cases.append(new)
            own = len(self.cases)
        for name in ("first", "second")[: self.cases[own - 1].seats]:
            self.open_seat(own, name, priority)
        return 1

    def withdraw(self, case: int, states: tuple[str, ...] = ("open", "claimed", "done")) -> None:
        for seat in self.of(case):
            if seat.state in states:
                seat.state, seat.claim = "withdrawn", None

    def lapse(self) -> None:
        for seat in self.seats:
            if seat.state == "claimed" and seat.until <= self.now:
                self.free(seat)

    def free(self, seat: Seat) -> None:
        seat.state, seat.owner, seat.claim = "open", None, None

    def may(self, person: str, seat: Seat) -> bool:
        return not (
            (seat.case, person) in self.skips
            or any(one.owner == person and one.state in ("claimed", "done") for one in self.of(seat.case))
            or any(case == seat.case and who == person and kind not in ("reopen", "undo") for case, kind, who in self.links)
        )

    def first(self, person: str, wanted: Wanted) -> Seat | None:
        def order(seat: Seat) -> tuple[Any, ...]:
            return not seat.senior, -self.cases[seat.case - 1].severity, -seat.priority, seat.created, seat.id

        fits = [
            seat
            for seat in self.seats
            if seat.state == "open"
            and (wanted.senior or not seat.senior)
            and wanted.policy in (None, self.cases[seat.case - 1].policy)
            and self.cases[seat.case - 1].severity >= wanted.severity_min
            and self.may(person, seat)
        ]
        return min(fits, key=order, default=None)

    def link(self, case: int, kind: str, person: str) -> int:
        self.links.append((case, kind, person))
        return len(self.links)

    def decide(self, seat: Seat, person: str, action: str) -> str:
        kind = "decide"
        if seat.name == "appeal":
            kind = "uphold" if self.outcome(seat.case) == action else "overturn"
        seat.state, seat.owner, seat.action = "done", person, action
        seat.number = self.link(seat.case, kind, person)
        if seat.name in ("senior", "appeal"):
            return action
        pair = [one.action for one in self.of(seat.case) if one.state == "done" and one.name in ("first", "second")]
        if len(pair) < self.cases[seat.case - 1].seats:
            return "pending"
        if len(set(pair)) > 1:
            self.open_seat(seat.case, "senior", seat.priority)
            return "disagreed"
        return action


def _key(case: NewCase) -> tuple[Any, ...]:
    return case.policy, case.version, case.video_id, case.segment_set, case.revision


class Machine(RuleBasedStateMachine):
    """Does the same to both, and compares."""

    make: Any  # returns an empty database, and where to open it again

    def __init__(self) -> None:
        super().__init__()
        self.db, self.again = type(self).make()
        self.oracle, self.time = Oracle(), 0.0
        self.wall = START.timestamp()
        self.claims: list[tuple[int, str, str]] = []  # every one that there ever was, with its seat and owner
        self.rulings: dict[str, tuple[Ruling, int]] = {}
        self.batches: dict[str, list[int]] = {}
        self.begin()

    def begin(self) -> None:
        self.db.golden_share = 0.0
        latest = self.db.clock._ahead if "clock" in vars(self.db) else None
        assert latest is None
        self.db.wall = lambda: self.wall
        vars(self.db)["clock"] = Clock(START + timedelta(seconds=self.time), self.db.wall, lambda: self.time)
        self.offset = self.db.clock.now().timestamp() - self.time

    def teardown(self) -> None:
        self.alike()
        self.db.close()

    person = st.sampled_from(PEOPLE)
    action = st.sampled_from(("pass", "block"))

    @rule(
        video=st.sampled_from("abc"),
        policy=st.sampled_from("pq"),
        version=st.integers(1, 2),
        seats=st.integers(1, 2),
        severity=st.integers(1, 3),
        segments=st.sampled_from("st"),
        priority=st.sampled_from((0.0, 1.0)),
    )
    def open(self, video: str, priority: float, segments: str, **facts: Any) -> None:
        case = new(video, segment_set=segments, priority=priority, **facts)
        self.oracle.now = self.time
        assert ask(self.db, case) == self.oracle.open(case, priority)

    @rule(
        person=person,
        policy=st.sampled_from((None, "p", "q")),
        severity=st.sampled_from((0, 2)),
        hold=st.integers(1, 3),
    )
    def claim(self, person: str, policy: str | None, severity: int, hold: int) -> None:
        wanted = Wanted(policy, severity, person in SENIORS)
        self.oracle.now = self.time
        self.oracle.lapse()
        held = [seat for seat in self.oracle.seats if seat.owner == person and seat.state == "claimed"]
        if len(held) >= hold:
            with pytest.raises(BusyError, match="you hold"):
                self.db.claim_seat(person, wanted, hold)
            return
        found, expected = self.db.claim_seat(person, wanted, hold), self.oracle.first(person, wanted)
        assert (found and found.id) == (expected and expected.id)
        if found is not None and expected is not None:
            assert found.claim is not None
            assert found.claim not in [claim for _, claim, _ in self.claims]
            expected.state, expected.owner, expected.claim, expected.until = "claimed", person, found.claim, self.time + LEASE
            self.claims.append((found.id, found.claim, person))

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        what=st.sampled_from(("beat", "release", "skip", "decide", "decide", "decide")),
        action=action,
        stranger=st.booleans(),
    )
    def act(self, data: st.DataObject, what: str, action: Any, stranger: bool) -> None:
        """Do something with a claim, of now or of long ago, in one's own name or in another's."""
        number, claim, owner = self.claims[-1 - data.draw(st.integers(0, min(5, len(self.claims) - 1)))]
        person = next(one for one in PEOPLE if one != owner) if stranger and what != "decide" else owner
        self.oracle.now = self.time
        seat = self.oracle.seats[number - 1]
        live = seat.state == "claimed" and seat.claim == claim and seat.until > self.time and person == owner
        ruling = Ruling(action, "why", evidence=[action])
        if what == "decide" and claim in self.rulings:
            before, link = self.rulings[claim]
            if before == ruling:
                assert self.db.decide_seat(number, claim, person, ruling)[0].number == link
            else:
                with pytest.raises(BusyError, match="otherwise"):
                    self.db.decide_seat(number, claim, person, ruling)
            return
        calls: dict[str, Any] = {
            "beat": lambda: self.db.beat_seat(number, claim, person),
            "release": lambda: self.db.release_seat(number, claim, person),
            "skip": lambda: self.db.skip_seat(number, claim, person, "mine"),
            "decide": lambda: self.db.decide_seat(number, claim, person, ruling),
        }
        if not live:
            with pytest.raises(BusyError, match="lease has ended"):
                calls[what]()
            return
        done = calls[what]()
        if what == "beat":
            seat.until = self.time + LEASE
        elif what == "decide":
            assert done[1] == self.oracle.decide(seat, person, action)
            assert (done[0].number, done[0].kind) == (len(self.oracle.links), self.oracle.links[-1][1])
            self.rulings[claim] = ruling, done[0].number
        else:
            self.oracle.free(seat)
            if what == "skip":
                self.oracle.skips.add((seat.case, person))

    @rule(seconds=st.sampled_from((1.0, 60.0, LEASE - 1, LEASE, 2 * LEASE)))
    def tick(self, seconds: float) -> None:
        self.time += seconds
        self.wall += seconds

    @rule(back=st.sampled_from((0.0, 3600.0, 1e8)))
    def restart(self, back: float) -> None:
        """The process ends, the machine's clock is set back, another process begins: to it no less time has passed."""
        self.wall -= back
        before = self.db.clock.now()
        self.db.close()
        self.db = self.again()
        self.begin()
        assert self.db.clock.now() >= before

    @precondition(lambda self: self.oracle.cases)
    @rule(data=st.data(), what=st.sampled_from(("appeal", "reopen")), person=person)
    def again_(self, data: st.DataObject, what: str, person: str) -> None:
        case = data.draw(st.integers(1, len(self.oracle.cases)))
        seats, self.oracle.now = self.oracle.of(case), self.time
        call = self.db.appeal_case if what == "appeal" else self.db.reopen_case
        appealed = what == "appeal" and any(seat.name == "appeal" for seat in seats)
        if self.oracle.state(case) != "decided" or appealed:
            with pytest.raises(BusyError):
                call(case, person, "why")
            return
        priority = max(seat.priority for seat in seats)
        call(case, person, "why")
        self.oracle.link(case, what, person)
        if what == "appeal":
            self.oracle.open_seat(case, "appeal", priority)
        else:
            self.oracle.withdraw(case)
            self.oracle.needed(case, priority)

    @precondition(lambda self: self.oracle.cases)
    @rule(data=st.data(), person=st.sampled_from(SENIORS), action=action)
    def bulk(self, data: st.DataObject, person: str, action: Any) -> None:
        cases = data.draw(st.sets(st.integers(1, len(self.oracle.cases)), min_size=1, max_size=3))
        self.oracle.now = self.time
        batch, count = self.db.decide_cases(cases, person, action, "all of them")
        made = self.batches.setdefault(batch, [])
        for case in sorted(cases):
            if self.oracle.state(case) != "open":
                continue
            seats, before = self.oracle.of(case), self.oracle.outcome(case)
            name = "appeal" if any(seat.name == "appeal" for seat in seats) else "senior"
            priority = max(seat.priority for seat in seats)
            self.oracle.withdraw(case, ("open", "claimed"))
            self.oracle.open_seat(case, name, priority)
            seat = self.oracle.seats[-1]
            seat.state, seat.owner, seat.action = "done", person, action
            kind = "decide" if name == "senior" else "uphold" if before == action else "overturn"
            seat.number = self.oracle.link(case, kind, person)
            made.append(seat.id)
        assert count == len(made)

    @precondition(lambda self: any(self.batches.values()))
    @rule(data=st.data(), person=st.sampled_from(SENIORS))
    def undo(self, data: st.DataObject, person: str) -> None:
        batch = data.draw(st.sampled_from([name for name, made in self.batches.items() if made]))
        self.oracle.now = self.time
        count = 0
        for number in self.batches[batch]:
            seat = self.oracle.seats[number - 1]
            later = [one for one in self.oracle.of(seat.case) if one.id > seat.id]
            if seat.state != "done" or later or self.oracle.state(seat.case) != "decided":
                continue
            seat.state = "withdrawn"
            self.oracle.link(seat.case, "undo", person)
            if seat.name == "appeal":
                self.oracle.open_seat(seat.case, "appeal", seat.priority)
            else:
                self.oracle.needed(seat.case, seat.priority)
            count += 1
        assert self.db.undo_batch(batch, person, "a mistake") == count

    @rule()
    def alike(self) -> None:
        oracle = self.oracle
        found = {one.case.id: (one.state, one.outcome) for one in self.db.cases(limit=200)[0]}
        assert found == {i: (oracle.state(i), oracle.outcome(i)) for i in range(1, len(oracle.cases) + 1)}
        for state in ("open", "decided", "withdrawn"):
            assert self.db.cases(state=state)[1] == sum(one == state for one, _ in found.values())
        assert self.db.cases(outcome="block")[1] == sum(outcome == "block" for _, outcome in found.values())
        for policy in "pq":
            ends: dict[str, tuple[int, str]] = {}
            for i, case in enumerate(oracle.cases, 1):
                if case.policy == policy and (outcome := oracle.outcome(i)):
                    number = max(seat.number for seat in oracle.of(i))
                    ends[case.video_id] = max(ends.get(case.video_id, (0, "")), (number, outcome))
            assert decided(self.db, policy, "abc") == {video: action for video, (_, action) in ends.items()}
        waits = sum(seat.state == "open" or (seat.state == "claimed" and seat.until <= self.time) for seat in oracle.seats)
        held = sum(seat.state == "claimed" and seat.until > self.time for seat in oracle.seats)
        counted = self.db._count()
        assert (sum(one.open for one in counted), sum(one.held for one in counted)) == (waits, held)
        with self.db.read() as session:
            assert list(chain.findings(session)) == []
            links = session.execute(sa.select(Decision.case_id, Decision.kind, Decision.reviewer).order_by(Decision.number))
            assert [tuple(row) for row in links] == oracle.links


@pytest.fixture
def makers(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Any:
    """Return a function that makes an empty database of either kind, quickly."""
    with closing(Database(database_url, tmp_path)):
        pass
    if database_url.startswith("postgresql"):

        def emptied() -> Any:
            db = Database(database_url, tmp_path)
            with db.write(content=False) as session:  # decisions are never deleted, but for a superuser who insists
                session.execute(sa.text("SET LOCAL session_replication_role = replica"))
                for table in ("skips", "assignments", "cases", "decisions"):
                    session.execute(sa.text(f"DELETE FROM {table}"))
                for table in ("assignments", "cases"):
                    session.execute(sa.text(f"ALTER SEQUENCE {table}_id_seq RESTART"))
                session.execute(sa.text("UPDATE chain SET number = 0, hash = ''"))
            return db, lambda: Database(database_url, tmp_path)

        return emptied
    numbers = itertools.count()

    def copied() -> Any:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        shutil.copy(tmp_path / "library.db", folder / "library.db")
        url = f"sqlite:///{folder / 'library.db'}"
        return Database(url, folder), lambda: Database(url, folder)

    return copied


def test_the_queue_is_the_oracles(makers: Any, database_url: str) -> None:
    class Own(Machine):
        make = staticmethod(makers)

    compare(Own, 6 if database_url.startswith("sqlite") else 2)


@pytest.mark.slow
def test_the_queue_is_the_oracles_for_long(makers: Any) -> None:
    class Own(Machine):
        make = staticmethod(makers)

    compare(Own, 400)


def compare(machine: type[Machine], examples: int) -> None:
    """Run a machine."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# -- the clock


def test_a_clock_counts_on_whatever_becomes_of_the_wall() -> None:
    wall, steady = [1000.0], [5.0]
    clock = Clock(None, lambda: wall[0], lambda: steady[0])
    assert clock.now().timestamp() == 1000.0
    wall[0], steady[0] = 10.0, 7.0
    assert clock.now().timestamp() == 1002.0
    late = Clock(datetime.fromtimestamp(5000, UTC), lambda: wall[0], lambda: steady[0])
    assert late.now().timestamp() == 5000.0
    ahead = Clock(datetime.fromtimestamp(5000, UTC), lambda: 6000.0, lambda: steady[0])
    assert ahead.now().timestamp() == 6000.0


@pytest.mark.parametrize("back", [60.0, 3600.0, 1e8])
def test_a_clock_that_is_set_back_neither_frees_nor_freezes_a_lease(
    db: Database, database_url: str, tmp_path: Path, back: float
) -> None:
    ask(db, new("a"))
    seat = claimed(db, "ann")
    with closing(Database(database_url, tmp_path)) as other:  # a process that begins after the clock was set back
        begun = db.clock.now()
        other.wall = lambda: begun.timestamp() - back
        assert other.claim_seat("bob") is None, "the lease holds"
        assert other.beat_seat(seat.id, seat.claim or "", "ann").owner == "ann"
        steady = other.clock._steady
        other.clock._steady = lambda: steady() + other.lease + 1
        taken = other.claim_seat("bob")
        assert taken is not None and taken.id == seat.id, "and it ends in time"
        with pytest.raises(BusyError, match="lease has ended"):
            other.decide_seat(seat.id, seat.claim or "", "ann", Ruling("pass", "late"))


# -- claims


def plan(db: Database, wanted: Wanted) -> str:
    """Return how the database looks for what a reviewer claims."""
    query = _open("ann", wanted, "reviewer").order_by(*_FIRST).limit(1)
    with db.read() as session:
        kind = session.get_bind().dialect
        text = str(query.compile(dialect=kind, compile_kwargs={"literal_binds": True})).replace("LIMIT ?", "LIMIT -1")
        words = "EXPLAIN QUERY PLAN " if kind.name == "sqlite" else "EXPLAIN "
        if kind.name == "postgresql":  # which reads so small a table whole
            session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        return "\n".join(str(row[-1]) for row in session.connection().exec_driver_sql(words + text.replace("%", "%%")))


def test_an_index_serves_the_queue(db: Database) -> None:
    ask(db, *(new(f"v{i}", policy=f"p{i % 3}", severity=1 + i % 5) for i in range(60)))
    with db.write(content=False) as session:
        session.execute(sa.text("ANALYZE"))
    for wanted, index in (
        (Wanted(), "ix_assignments_queue"),
        (Wanted(severity_min=2), "ix_assignments_queue"),
        (Wanted("p1"), "ix_assignments_policy"),
        (Wanted("p1", 2), "ix_assignments_policy"),
    ):
        found = plan(db, wanted)
        assert index in found, found
        assert "Sort" not in found and "TEMP B-TREE" not in found, found


def test_claims_at_once_get_one_seat_each(db: Database) -> None:
    ask(db, *(new(f"v{i}", seats=2) for i in range(20)))
    got: list[tuple[int, int, str]] = []

    def work(person: str) -> None:
        while (seat := db.claim_seat(person, hold=40)) is not None:
            got.append((seat.id, seat.case_id, person))

    threads = [threading.Thread(target=work, args=(f"reviewer {i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seat for seat, _, _ in got) == list(range(1, 41))
    assert len({(case, person) for _, case, person in got}) == 40, "nobody has both seats of a case"


def test_claims_of_one_person_at_once_keep_to_what_they_may_hold(db: Database) -> None:
    ask(db, *(new(f"v{i}") for i in range(9)))
    got: list[object] = []

    def work() -> None:
        try:
            got.append(db.claim_seat("ann", hold=2))
        except BusyError:
            got.append(None)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in got) == 2 == len(db.held_seats("ann"))


def test_what_is_not_there_is_told(db: Database) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: db.beat_seat(7, "x", "ann"),
        lambda: db.decide_seat(7, "x", "ann", Ruling("pass", "r")),
        lambda: db.appeal_case(7, "ann", "r"),
        lambda: db.decide_cases([7], "ann", "pass", "r"),
        lambda: db.undo_batch("x", "ann", "r"),
        lambda: db.case(7),
        lambda: db.held_seat(7, "ann"),
    )
    for call in calls:
        with pytest.raises(NotFoundError):
            call()
    for token in ("", "x", "Y2FzZSAw", "ZmlsbSAx", "é"):
        with pytest.raises(UserError, match="page token"):
            db.cases(page=token)


def test_pages_of_cases_are_all_of_them(db: Database) -> None:
    ask(db, *(new(f"v{i}", policy=f"p{i % 2}") for i in range(7)))
    seen, page = list[int](), None
    while True:
        some, total, page = db.cases("open", "p0", limit=2, page=page)
        assert total == 4
        seen += [one.case.id for one in some]
        if page is None:
            break
    assert seen == sorted(seen, reverse=True) and len(seen) == 4


# -- golden cases


def test_golden_cases_are_mixed_in_and_told_from_no_other(db: Database) -> None:
    ask(db, *(new(f"v{i}") for i in range(5)), new("known", golden="block"), new("sure", golden="pass", seats=2))
    db.golden_share = 1.0
    seen = [db.case(judge(db, "ann", "block")[0].case_id).case for _ in range(4)]
    assert [case.golden for case in seen] == ["block", "pass", None, None], "each once, and then what waits"
    db.golden_share = 0.0
    assert [db.case(judge(db, "bob", "pass")[0].case_id).case.golden for _ in range(3)] == [None] * 3
    db.golden_share = 1.0
    assert db.claim_seat("bob") is None, "where nothing waits, nobody is tested: who polls would see it"
    assert decided(db, "p", ["known", "sure"]) == {}
    known, sure = seen[:2]
    assert (db.case(known.id).state, db.case(known.id).outcome) == ("decided", "block")
    with pytest.raises(BusyError):
        db.appeal_case(sure.id, "ann", "r")
    found = stats(db)
    assert found["decided"] == 5 and found["golden"]["seen"] == 2 and found["golden"]["right"] == 1


def test_a_golden_case_of_two_seats_is_pending_as_others_are(db: Database) -> None:
    ask(db, new("a", seats=2), new("known", golden="block", seats=2))
    db.golden_share = 1.0
    assert [judge(db, "ann", "block")[1] for _ in range(2)] == ["pending", "pending"]


def test_a_share_of_the_claims_is_golden(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(db, new("a"), new("b"), new("known", golden="block"))
    db.golden_share = 0.25
    for drawn, golden in ((2500, None), (2499, "block")):
        monkeypatch.setattr("hit.db.queue.secrets.randbelow", lambda _, drawn=drawn: drawn)
        assert db.case(claimed(db, "ann").case_id).case.golden == golden


# -- what goes, what is learnt


def test_what_is_undecided_of_a_video_that_goes_is_withdrawn(tmp_path: Path) -> None:
    with library(tmp_path / "lib", videos=2) as made:
        one, two = made.db.filmed(made.stored.revision)
        ask(made.db, new(one), new(two), new(two, policy="q"))
        judge(made.db, "ann", "block")
        seat = claimed(made.db, "ann")
        assert made.db.case(seat.case_id).case.video_id == two
        forget(made.db, [one, two])
        assert {docket.case.id: docket.state for docket in made.db.cases()[0]} == {1: "decided", 2: "withdrawn", 3: "withdrawn"}
        with pytest.raises(BusyError):
            made.db.decide_seat(seat.id, seat.claim or "", "ann", Ruling("pass", "r"))
        assert decided(made.db, "p", [one]) == {one: "block"}
        assert made.db.outcomes("p", [one])[one][1] == made.db.case(1).decided_at


def test_decisions_answer_what_segments_show(db: Database) -> None:
    def shown(video: str, *names: str) -> NewCase:
        return new(video, evidence=[{"segment_id": name, "start": 0.0, "end": 1.0, "seek": 0.0, "score": 0.1} for name in names])

    ask(db, shown("a", "a1", "a2"), shown("b", "b1"), shown("c", "c1", "c2"), shown("d", "d1", "d2"), shown("e", "e1"))
    judge(db, "ann", "block", evidence=["a2"])
    judge(db, "ann", "block")
    judge(db, "ann", "block")
    judge(db, "ann", "pass")
    assert feedback(db, "p") == [("a2", True), ("b1", True), ("d1", False), ("d2", False)]
    assert feedback(db, "q") == []
    db.appeal_case(2, "bob", "r")
    judge(db, "sue", "pass", senior=True)
    assert ("b1", False) in feedback(db, "p")


# -- numbers


def test_shares_have_wilsons_interval() -> None:
    def wilson(hits: int, n: int) -> tuple[float, float]:
        z, p = 1.959963984540054, hits / n
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)

    for hits, n in ((0, 1), (1, 1), (3, 7), (40, 50)):
        found = share(hits, n)
        assert (found["low"], found["high"]) == pytest.approx(wilson(hits, n), abs=1e-9)
    assert share(0, 0) == {"estimate": None, "low": 0.0, "high": 1.0, "hits": 0, "n": 0}


def test_agreement_is_cohens() -> None:
    """Of 100: both pass 40, both block 30, 10 and 20 apart: po = 0.7, pe = 0.5 * 0.6 + 0.5 * 0.4."""
    pairs = [("pass", "pass")] * 40 + [("block", "block")] * 30 + [("pass", "block")] * 10 + [("block", "pass")] * 20
    assert agreement(pairs) == {"kappa": pytest.approx(0.4), "pairs": 100, "agreed": 70}
    assert agreement([("pass", "pass")] * 3) == {"kappa": None, "pairs": 3, "agreed": 3}
    assert agreement([]) == {"kappa": None, "pairs": 0, "agreed": 0}


def test_recall_counts_what_audits_miss() -> None:
    """60 of 100 cases are blocks, 20 are blocked unasked; 1 of 50 audits of 1000 that passed was missed: 80 / (80 + 20)."""
    found = recall(share(30, 50), 100, 20, share(1, 50), 1000)
    assert found["estimate"] == pytest.approx(0.8)
    assert 0 < found["low"] < 0.8 < found["high"] < 1
    assert recall(share(3, 5), 5, 0, share(0, 0), 100)["estimate"] is None


def test_stats_of_a_small_history(db: Database) -> None:
    ask(db, *(new(v, seats=2) for v in "ab"), *(new(v) for v in "cd"), *(new(v, audit=True, verdict="pass") for v in "ef"))
    for person, answers in (("ann", "bpbpbp"), ("bob", "bb")):
        for answer in answers:
            judge(db, person, "block" if answer == "b" else "pass", seconds=2.0 if person == "ann" else 6.0)
    judge(db, "sue", "block", senior=True)  # b, on which they disagreed
    db.appeal_case(3, "ann", "r")
    judge(db, "kim", "pass", senior=True)
    found = stats(db)
    assert found["decided"] == 10 and sum(day["decided"] for day in found["per_day"]) == 10
    assert found["agreement"] == {"kappa": 0.0, "pairs": 2, "agreed": 1}
    assert (found["overturned"]["appeals"], found["overturned"]["overturned"]) == (1, 1)
    assert found["audit"] == {"seen": 2, "missed": 1}
    (row,) = found["policies"]
    assert (row["decided"], row["precision"]["estimate"], row["precision"]["n"]) == (6, 0.5, 4)
    assert row["recall"]["estimate"] == pytest.approx(2 / 3)  # two blocks are flagged, one of two audits is missed
    assert found["seconds"] == {"median": 2.0, "p90": pytest.approx(6.0)}
    assert [(one["name"], one["decided"]) for one in found["reviewers"]] == [("ann", 6), ("bob", 2), ("kim", 1), ("sue", 1)]
    assert found["queue"]["open"] == 0
    assert stats(db, "q")["decided"] == 0 and stats(db, days=1)["decided"] == 10
    db.clock._ahead += 3 * 86_400
    assert stats(db, days=2)["decided"] == 0


def test_counts_are_remembered_for_seconds(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(db, new("a"))
    now = [100.0]
    monkeypatch.setattr("hit.db.queue.time.monotonic", lambda: now[0])
    assert [one.open for one in db.waiting()] == [1]
    ask(db, new("b"))
    assert [one.open for one in db.waiting()] == [1]
    now[0] += 2.0
    assert [one.open for one in db.waiting()] == [2] and db.waiting("q") == []
