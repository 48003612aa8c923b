"""Decisions: what ends a seat at a case, what opens one again, and what of a case follows from its seats.

A case has no state of its own. It is open while a seat at it is open or held; else it is decided if a seat is done, and its
outcome is what the last of these decided; else it was withdrawn. A case whose answer is known is decided from its beginning.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db import chain
from hit.db.access import aware
from hit.db.queue import QueueRecords, act, live, seat_of
from hit.db.schema_review import Assignment, Case, Decision
from hit.db.session import batches
from hit.db.webhooks import put_event
from hit.errors import NotFoundError
from hit.files import BusyError

Action = Literal["pass", "block"]
Outcome = Literal["pass", "block", "pending", "disagreed"]
SEATS = ("first", "second")  # of reviewers who do not know of each other
RULINGS = ("decide", "uphold", "overturn")  # kinds of links that say what is to become of a video


@dataclass(frozen=True, slots=True)
class Ruling:
    """What somebody decides: the action, why, what they saw that bears it out, and how long it took them."""

    action: Action
    reason: str
    note: str | None = None
    evidence: Sequence[str] = ()
    seconds: float | None = None


class DecisionRecords(QueueRecords):
    """The part of a Database that holds decisions, and what follows from them."""

    def decide_seat(self, number: int, claim: str, reviewer: str, ruling: Ruling) -> tuple[Decision, Outcome]:
        """Decide from a seat that is held; return the link of the chain, and what has become of the case.

        The same claim again is answered the same. Raises BusyError where the lease has ended, and where the claim decided
        otherwise before; NotFoundError for no seat.
        """
        with self.write(content=False, alone=False) as session:
            case = session.scalar(sa.select(Case).join(Assignment, Assignment.case_id == Case.id).where(Assignment.id == number))
            now = self.clock.now()  # of who came in time: everybody waits here, and whose lease it is, the nonce says
            ends = chain.lock(session)
            try:
                seat = act(session, number, live(claim, reviewer, now), {"state": "done", "ended_at": now})
            except BusyError:
                before = session.scalar(sa.select(Decision).where(Decision.claim == claim))
                if before is None:
                    raise
                _same(before, number, reviewer, ruling)
                return before, outcome_at(session, session.get_one(Case, before.case_id), before.number)
            assert case is not None, "a seat is at a case"
            kind = "decide"
            if seat.seat == "appeal":
                kind = "uphold" if standing(session, case.id, seat.id) == ruling.action else "overturn"
            link = _link(case, kind, now, reviewer, ruling.reason)
            link.assignment_id, link.claim, link.seat, link.action = seat.id, claim, seat.seat, ruling.action
            link.note, link.evidence, link.seconds = ruling.note, list(ruling.evidence), ruling.seconds
            chain.append(session, ends, link)
            outcome = self._follow(session, case, seat, link)
            return link, outcome

    def _follow(self, session: Session, case: Case, seat: Assignment, link: Decision) -> Outcome:
        """Open what a decision calls for, and tell of a case that it ends."""
        if case.golden is not None:
            return "pending" if case.seats > 1 else link.action  # type: ignore[return-value]  # as of any other case
        if seat.seat in SEATS and case.seats > 1:
            done = _done(session, case.id)
            if len(done) < case.seats:
                return "pending"
            if len({link.action for link in done}) > 1:
                session.add(Assignment(**seat_of(case, "senior", seat.priority, link.at), state="open"))
                return "disagreed"
        self.tell(session, case, link)
        return link.action  # type: ignore[return-value]  # the table's check

    def tell(self, session: Session, case: Case, link: Decision) -> None:
        """Have webhooks told of a case that is decided."""
        body = {"case_id": case.id, "video_id": case.video_id, "policy": case.policy, "version": case.version}
        body |= {"action": link.action, "kind": link.kind, "decision": link.number, "hash": link.hash}
        put_event(session, "case.decided", body)

    def appeal_case(self, number: int, person: str, reason: str) -> Decision:
        """Have a senior who has not judged a decided case judge it. Raises BusyError for one that is open, or was appealed."""
        with self.write(content=False, alone=False) as session:
            ends, case = chain.lock(session), _case(session, number)
            seats = _seats(session, number)
            if case.golden is not None or state_of(case, seats) != "decided":
                raise BusyError(f"case {number}", "is not decided", "appeals are of decisions")
            if any(seat.seat == "appeal" for seat in seats):
                raise BusyError(f"case {number}", "has been appealed before", "a senior can reopen it")
            link = chain.append(session, ends, _link(case, "appeal", self.clock.now(), person, reason))
            session.add(Assignment(**seat_of(case, "appeal", max(seat.priority for seat in seats), link.at), state="open"))
            return link

    def reopen_case(self, number: int, person: str, reason: str) -> Decision:
        """Have a decided case judged anew, by others. Raises BusyError for one that is not decided."""
        with self.write(content=False, alone=False) as session:
            ends, case = chain.lock(session), _case(session, number)
            seats = _seats(session, number)
            if case.golden is not None or state_of(case, seats) != "decided":
                raise BusyError(f"case {number}", "is not decided", "only what is decided can be reopened")
            link = chain.append(session, ends, _link(case, "reopen", self.clock.now(), person, reason))
            withdraw(session, [number], link.at, ("open", "claimed", "done"))
            _open_seats(session, case, max(seat.priority for seat in seats), link.at)
            return link

    def decide_cases(self, numbers: Iterable[int], person: str, action: Action, reason: str) -> tuple[str, int]:
        """Decide open cases at once, whoever holds seats at them; return the batch's id and how many there were."""
        batch, count = secrets.token_hex(8), 0
        with self.write(content=False, alone=False) as session:
            ends = chain.lock(session)
            for number in sorted(set(numbers)):
                case, seats = _case(session, number), _seats(session, number)
                if case.golden is not None or state_of(case, seats) != "open":
                    continue
                now = self.clock.now()
                appeal = any(seat.seat == "appeal" for seat in seats)
                before = standing(session, number) if appeal else None
                kind = "decide" if before is None else "uphold" if before == action else "overturn"
                withdraw(session, [number], now, ("open", "claimed"))
                made = seat_of(case, "appeal" if appeal else "senior", max(seat.priority for seat in seats), now)
                seat = Assignment(**made, state="done", owner=person, claimed_at=now, ended_at=now)
                session.add(seat)
                session.flush()
                link = _link(case, kind, now, person, reason)
                link.assignment_id, link.seat, link.action, link.batch = seat.id, seat.seat, action, batch
                self.tell(session, case, chain.append(session, ends, link))
                count += 1
        return batch, count

    def undo_batch(self, batch: str, person: str, reason: str) -> int:
        """Take back what was decided at once, and have its cases judged by others; return how many there were.

        Cases that have been appealed or reopened since stay as they are. Raises NotFoundError for no batch.
        """
        count = 0
        with self.write(content=False, alone=False) as session:
            ends = chain.lock(session)
            links = session.scalars(sa.select(Decision).where(Decision.batch == batch, Decision.kind.in_(RULINGS))).all()
            if not links:
                raise NotFoundError(f"batch {batch}", "nothing was decided under this name")
            for link in sorted(links, key=lambda one: one.number):
                seats = _seats(session, link.case_id)
                if state_of(case := session.get_one(Case, link.case_id), seats) != "decided":
                    continue
                own = next((seat for seat in seats if seat.id == link.assignment_id), None)
                if own is None or any(seat.id > own.id for seat in seats):
                    continue
                now = self.clock.now()
                undone = _link(case, "undo", now, person, reason)
                undone.batch = batch
                chain.append(session, ends, undone)
                own.state = "withdrawn"
                session.flush()
                if own.seat == "appeal":
                    session.add(Assignment(**seat_of(case, "appeal", own.priority, now), state="open"))
                else:
                    _open_seats(session, case, own.priority, now)
                count += 1
        return count

    def history(self, case: int) -> list[Decision]:
        """Return the links of a case, the oldest first."""
        with self.read() as session:
            return list(session.scalars(sa.select(Decision).where(Decision.case_id == case).order_by(Decision.number)))

    def outcomes(self, policy: str, videos: Iterable[str]) -> dict[str, tuple[str, datetime]]:
        """Return what people decided last of videos under a policy, and when; those that are not decided are left out."""
        found: dict[str, tuple[str, datetime]] = {}
        with self.read() as session:
            for some in batches(videos):
                query = sa.select(Decision.video_id, Decision.action, Decision.at).join(Case, Case.id == Decision.case_id)
                query = query.where(Case.policy == policy, Case.video_id.in_(some), Case.golden.is_(None))
                rows = session.execute(query.where(final()).order_by(Decision.number))
                found |= {row.video_id: (row.action, aware(row.at)) for row in rows}
        return found


def final() -> sa.ColumnElement[bool]:
    """Return what holds of a link that its case stands by, joined with its Case."""
    later, own = sa.orm.aliased(Decision), sa.orm.aliased(Assignment)
    other, after = sa.orm.aliased(Assignment), sa.orm.aliased(Assignment)
    newer = sa.exists().where(
        later.case_id == Decision.case_id,
        later.number > Decision.number,
        after.id == later.assignment_id,
        after.state == "done",
    )
    pending = sa.exists().where(other.case_id == Decision.case_id, other.state.in_(("open", "claimed")), other.seat != "appeal")
    stands = sa.exists().where(own.id == Decision.assignment_id, own.state == "done")
    return sa.and_(Decision.kind.in_(RULINGS), stands, ~newer, ~pending)


def state_of(case: Case, seats: Sequence[Assignment]) -> Literal["open", "decided", "withdrawn"]:
    """Return the state that follows from a case's seats."""
    states = {seat.state for seat in seats}
    if case.golden is None and states & {"open", "claimed"}:
        return "open"
    return "decided" if case.golden is not None or "done" in states else "withdrawn"


def standing(session: Session, case: int, but: int = 0) -> str | None:
    """Return what was decided last from the seats of a case that are done, apart from one."""
    query = sa.select(Decision.action).join(Assignment, Assignment.id == Decision.assignment_id)
    query = query.where(Decision.case_id == case, Decision.kind.in_(RULINGS), Assignment.state == "done", Assignment.id != but)
    return session.scalar(query.order_by(Decision.number.desc()).limit(1))


def outcome_at(session: Session, case: Case, number: int) -> Outcome:
    """Return what had become of a case when a link was added."""
    link = session.get_one(Decision, number)
    if case.golden is not None:
        return "pending" if case.seats > 1 else link.action  # type: ignore[return-value]
    if link.seat not in SEATS:
        return link.action  # type: ignore[return-value]
    since = sa.select(sa.func.max(Decision.number)).where(
        Decision.case_id == case.id, Decision.kind == "reopen", Decision.number < number
    )
    pair = sa.select(Decision.action).where(
        Decision.case_id == case.id,
        Decision.number <= number,
        Decision.seat.in_(SEATS),
        Decision.number > sa.func.coalesce(since.scalar_subquery(), 0),
    )
    actions = session.scalars(pair).all()
    if len(actions) < case.seats:
        return "pending"
    return "disagreed" if len(set(actions)) > 1 else link.action  # type: ignore[return-value]


def withdraw(session: Session, cases: list[int], now: datetime, states: Sequence[str]) -> None:
    """Withdraw the seats of cases that are in these states."""
    gone = sa.update(Assignment).where(Assignment.case_id.in_(cases), Assignment.state.in_(states))
    values = {"state": "withdrawn", "ended_at": sa.func.coalesce(Assignment.ended_at, now), "claim": None}
    session.execute(gone.values(values), execution_options={"synchronize_session": "fetch"})


def _open_seats(session: Session, case: Case, priority: float, now: datetime) -> None:
    """Open the seats that a case needs to be decided, beside those that are done."""
    done = _done(session, case.id)
    seats = [name for name in SEATS[: case.seats] if name not in {link.seat for link in done}]
    if not seats:
        seats = ["senior"]  # they disagreed, or the case would be decided
    session.add_all(Assignment(**seat_of(case, seat, priority, now), state="open") for seat in seats)
    session.flush()


def _done(session: Session, case: int) -> list[Decision]:
    """Return the links from the first and second seats of a case that stand."""
    query = sa.select(Decision).join(Assignment, Assignment.id == Decision.assignment_id)
    query = query.where(Decision.case_id == case, Assignment.state == "done", Assignment.seat.in_(SEATS))
    return list(session.scalars(query.order_by(Decision.number)))


def _seats(session: Session, case: int) -> list[Assignment]:
    query = sa.select(Assignment).where(Assignment.case_id == case, Assignment.state != "withdrawn").order_by(Assignment.id)
    return list(session.scalars(query, execution_options={"populate_existing": True}))


def _case(session: Session, number: int) -> Case:
    if found := session.get(Case, number):
        return found
    raise NotFoundError(f"case {number}", "there is none of this number")


def _link(case: Case, kind: str, now: datetime, person: str, reason: str) -> Decision:
    facts = {name: getattr(case, name) for name in ("policy", "version", "revision", "video_id")}
    return Decision(case_id=case.id, kind=kind, at=now, reviewer=person, reason=reason, evidence=[], **facts)


def _same(before: Decision, number: int, reviewer: str, ruling: Ruling) -> None:
    """Raise BusyError unless a link says what is decided now, by the same person."""
    said = (before.action, before.reason, list(before.evidence or []), before.assignment_id)
    again = (ruling.action, ruling.reason.replace("\0", ""), list(ruling.evidence), number)
    note = ruling.note.replace("\0", "") if ruling.note is not None else None
    blank = before.salt is None  # erased: nobody comes back
    if blank or before.reviewer != reviewer or said != again or (before.note is not None and before.note != note):
        raise BusyError(f"assignment {number}", "this claim has decided otherwise before", "claim again")
