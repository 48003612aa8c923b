"""The queue of review: open seats at cases, and leases of them. See docs/review.md.

A lease is a seat's `claim`, a nonce that is another one each time, its owner, and until when. Every act is conditional on them:
who comes with a claim that has ended changes nothing, however late they wake up.
"""

import functools
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from hit.db.access import aware
from hit.db.clock import Clock
from hit.db.schema_review import Assignment, Case, Decision, Skip
from hit.db.session import Sessions
from hit.errors import NotFoundError
from hit.files import BusyError

LEASE = 120.0  # seconds without a heartbeat
GOLDEN = 0.05  # of the claims
_DRAWS = 10_000
_SWEPT = 100  # leases that a claim ends for others
_REMEMBERED = 2.0  # seconds for which counts hold, at least
_FIRST = (Assignment.severity.desc(), Assignment.priority.desc(), Assignment.created_at, Assignment.id)
# In PostgreSQL claims of one reviewer would not see each other; and a connection keeps to the plan that it made while tables were
# small, when to read them whole was as good as by an index.
_ALONE = sa.select(
    sa.func.pg_advisory_xact_lock(0x4869, sa.func.hashtext(sa.bindparam("reviewer"))),
    *(sa.func.set_config(f"enable_{way}", "off", True) for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort")),
)
_FREE: dict[str, Any] = {"state": "open", "owner": None, "claim": None, "claimed_at": None, "beat_at": None, "until": None}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reviewer would judge: by this policy, as severe as this or more; `senior`: seats that take a senior, too."""

    policy: str | None = None
    severity_min: int = 0
    senior: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits under a policy at a severity: how many seats are open and held, and since when the oldest has been open."""

    policy: str
    severity: int
    open: int
    held: int
    oldest: datetime | None


class QueueRecords(Sessions):
    """The part of a Database that holds the queue."""

    wall: Callable[[], float] = staticmethod(time.time)
    lease, golden_share = LEASE, GOLDEN
    _waiting: tuple[float, Sequence[Waiting]] = (0.0, ())

    @functools.cached_property
    def clock(self) -> Clock:
        """The clock of this process, begun when it is first asked. See `hit.db.clock`."""
        with self.read() as session:
            held = sa.select(sa.func.max(Assignment.until)).where(Assignment.state == "claimed")
            times = [session.scalar(sa.select(sa.func.max(column))) for column in (Decision.at, Case.created_at)]
            if (until := session.scalar(held)) is not None:
                times.append(until - timedelta(seconds=self.lease))
        return Clock(max((aware(one) for one in times if one is not None), default=None), self.wall)

    def claim_seat(self, reviewer: str, wanted: Wanted = Wanted(), hold: int = 1) -> Assignment | None:
        """Give a reviewer the seat that comes first of those they may have, or None. Raises BusyError for who holds `hold`.

        A share of the claims, `golden_share`, is of a case whose answer is known instead, if there is one that is new to them.
        """
        with self.write(content=False, alone=False) as session:
            now = self.clock.now()
            if session.get_bind().dialect.name == "postgresql":
                session.execute(_ALONE, {"reviewer": reviewer})
            _sweep(session, now)
            own = sa.select(sa.func.count()).where(Assignment.owner == reviewer, Assignment.state == "claimed")
            own = own.where(Assignment.until > now)
            if (held := session.scalar(own) or 0) >= hold:
                raise BusyError("the queue", f"you hold {held} already", "decide, skip or release one first")
            lease = self._lease(reviewer, now)
            if secrets.randbelow(_DRAWS) < self.golden_share * _DRAWS and (
                seat := self._golden(session, reviewer, wanted, lease)
            ):
                return seat
            for role in ("senior", "reviewer") if wanted.senior else ("reviewer",):
                first = _open(reviewer, wanted, role).order_by(*_FIRST).limit(1).with_for_update(skip_locked=True)
                take = sa.update(Assignment).where(Assignment.id == first.scalar_subquery(), Assignment.state == "open")
                if seat := session.scalars(take.values(lease).returning(Assignment)).one_or_none():
                    return seat
            return None

    def beat_seat(self, number: int, claim: str, reviewer: str) -> Assignment:
        """Prolong a lease. Raises NotFoundError for no seat, and BusyError for a lease that has ended."""
        with self.write(content=False, alone=False) as session:
            now = self.clock.now()
            return act(
                session, number, live(claim, reviewer, now), {"beat_at": now, "until": now + timedelta(seconds=self.lease)}
            )

    def release_seat(self, number: int, claim: str, reviewer: str) -> None:
        """Give a seat back to the queue, where it stands as it stood before."""
        with self.write(content=False, alone=False) as session:
            act(session, number, live(claim, reviewer, self.clock.now()), _FREE)

    def skip_seat(self, number: int, claim: str, reviewer: str, reason: str) -> None:
        """Give a seat back for others: its case is not offered to this reviewer again."""
        with self.write(content=False, alone=False) as session:
            now = self.clock.now()
            seat = act(session, number, live(claim, reviewer, now), _FREE)
            session.merge(Skip(case_id=seat.case_id, reviewer=reviewer, reason=reason, at=now))

    def held_seats(self, reviewer: str) -> list[Assignment]:
        """Return the seats that a reviewer holds, the oldest claim first."""
        own = sa.select(Assignment).where(Assignment.owner == reviewer, Assignment.state == "claimed")
        with self.read() as session:
            found = session.scalars(own.where(Assignment.until > self.clock.now()).order_by(Assignment.claimed_at, Assignment.id))
            return list(found)

    def held_seat(self, number: int, reviewer: str) -> Assignment:
        """Return a seat that a reviewer holds. Raises NotFoundError for any other."""
        for seat in self.held_seats(reviewer):
            if seat.id == number:
                return seat
        raise NotFoundError(f"assignment {number}", "you hold none of this number")

    def waiting(self, policy: str | None = None) -> Sequence[Waiting]:
        """Return what waits, by policy and severity, as it was a few seconds ago: for longer, the longer it takes to count."""
        until, found = self._waiting
        if time.monotonic() >= until and self._counting.acquire(blocking=not until):  # others take what is there
            try:
                begun = time.monotonic()
                found = self._count()
                self._waiting = time.monotonic() + max(_REMEMBERED, 50 * (time.monotonic() - begun)), found
            finally:
                self._counting.release()
        return [one for one in found if policy in (None, one.policy)]

    @functools.cached_property
    def _counting(self) -> threading.Lock:
        return threading.Lock()

    def _count(self) -> list[Waiting]:
        held = sa.and_(Assignment.state == "claimed", Assignment.until > self.clock.now())
        oldest = sa.func.min(Assignment.created_at).filter(Assignment.state == "open")
        query = sa.select(
            Assignment.policy,
            Assignment.severity,
            sa.func.count().filter(~held),  # what a lease that has ended held is open again
            sa.func.count().filter(held),
            oldest,
        )
        query = query.where(Assignment.state.in_(("open", "claimed"))).group_by(Assignment.policy, Assignment.severity)
        with self.read() as session:
            rows = session.execute(query.order_by(Assignment.severity.desc(), Assignment.policy)).all()
        return [Waiting(name, severity, free, busy, aware(when) if when else None) for name, severity, free, busy, when in rows]

    def _lease(self, reviewer: str, now: datetime) -> dict[str, Any]:
        times = {"claimed_at": now, "beat_at": now, "until": now + timedelta(seconds=self.lease)}
        return {"state": "claimed", "owner": reviewer, "claim": secrets.token_urlsafe(18), **times}

    def _golden(self, session: Session, reviewer: str, wanted: Wanted, lease: dict[str, Any]) -> Assignment | None:
        """Make a seat at a case whose answer is known, the one that was seen least; none where nothing else waits."""
        others = session.scalar(_open(reviewer, wanted, "reviewer").limit(1))
        seen = sa.select(sa.func.count()).where(Assignment.case_id == Case.id).correlate(Case).scalar_subquery()
        fits = [Case.golden.is_not(None), *_new_to(reviewer, Case.id)]
        if wanted.policy is not None:
            fits.append(Case.policy == wanted.policy)
        found = sa.select(Case).where(*fits, Case.severity >= wanted.severity_min).order_by(seen, Case.id).limit(1)
        case = session.scalar(found) if others is not None else None
        if case is None:
            return None
        seat = Assignment(**seat_of(case, "first", 0.0, lease["claimed_at"]), **lease)
        session.add(seat)
        session.flush()
        return seat


def seat_of(case: Case, seat: str, priority: float, now: datetime) -> dict[str, Any]:
    """Return what an open seat at a case is made of, apart from its lease."""
    role = "senior" if seat in ("senior", "appeal") else "reviewer"
    facts = {"case_id": case.id, "policy": case.policy, "severity": case.severity, "priority": priority, "created_at": now}
    return {"seat": seat, "role": role, **facts}


def live(claim: str, reviewer: str, now: datetime) -> sa.ColumnElement[bool]:
    """Return what holds of a seat whose lease is a reviewer's, and has not ended."""
    own = Assignment.claim == claim, Assignment.owner == reviewer, Assignment.until > now
    return sa.and_(Assignment.state == "claimed", *own)


def act(session: Session, number: int, condition: sa.ColumnElement[bool], values: dict[str, Any]) -> Assignment:
    """Change a seat if a condition holds, and return it. Raises NotFoundError for none, and BusyError where it does not."""
    change = sa.update(Assignment).where(Assignment.id == number, condition).values(values).returning(Assignment)
    found = session.scalars(change, execution_options={"populate_existing": True}).one_or_none()
    if found is not None:
        return found
    if session.get(Assignment, number) is None:
        raise NotFoundError(f"assignment {number}", "there is none of this number")
    raise BusyError(f"assignment {number}", "the lease has ended: it may be somebody else's by now", "claim again")


def _sweep(session: Session, now: datetime) -> None:
    """Give seats whose lease has ended back to the queue."""
    ended = sa.select(Assignment.id).where(Assignment.state == "claimed", Assignment.until <= now)
    ended = ended.order_by(Assignment.until).limit(_SWEPT).with_for_update(skip_locked=True)
    free = sa.update(Assignment).where(Assignment.id.in_(ended), Assignment.state == "claimed", Assignment.until <= now)
    session.execute(free.values(_FREE).execution_options(synchronize_session=False))


def _open(reviewer: str, wanted: Wanted, role: str) -> sa.Select[Any]:
    query = sa.select(Assignment.id).where(Assignment.state == "open", Assignment.role == role)
    if wanted.policy is not None:
        query = query.where(Assignment.policy == wanted.policy)
    if wanted.severity_min > 0:
        query = query.where(Assignment.severity >= wanted.severity_min)
    return query.where(*_new_to(reviewer, Assignment.case_id))


def _new_to(reviewer: str, case: Any) -> list[sa.ColumnElement[bool]]:
    """Return what holds of a case of which somebody neither has, nor has decided, appealed or skipped, any seat."""
    # Looked up for this case alone: without an offset, PostgreSQL would rather go through all that somebody has ever decided.
    other = aliased(Assignment)
    own = sa.select(other.id).where(other.case_id == case, other.owner == reviewer, other.state.in_(("claimed", "done")))
    said = sa.select(Decision.number).where(Decision.case_id == case, Decision.reviewer == reviewer)
    skipped = sa.select(Skip.case_id).where(Skip.case_id == case, Skip.reviewer == reviewer)
    ways = (own, said.where(Decision.kind.not_in(("reopen", "undo"))), skipped)
    return [~sa.exists(one.correlate(Assignment, Case).offset(0)) for one in ways]
