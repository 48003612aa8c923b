"""Cases for review: how they are opened and withdrawn, lists of them, and what may be removed of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit import pages
from hit.db import chain
from hit.db.access import aware
from hit.db.decisions import RULINGS, SEATS, DecisionRecords, final, state_of, withdraw
from hit.db.queue import seat_of
from hit.db.schema_review import Assignment, Case, Decision, Policy, Skip, Verdict
from hit.db.session import batches
from hit.errors import NotFoundError

State = Literal["open", "decided", "withdrawn"]
_WORKED = ("open", "claimed")


@dataclass(frozen=True, slots=True)
class Docket:
    """A case, and what follows from its seats. outcome: what stands, also while it is appealed."""

    case: Case
    state: State
    outcome: str | None
    decided_at: datetime | None


class ReviewRecords(DecisionRecords):
    """The part of a Database that holds review."""

    def open_cases(self, cases: Sequence[tuple[Case, float]]) -> int:
        """Open cases, each with its priority, that are not there by their key; return how many there were.

        One that was withdrawn is opened again. What is undecided of the same policy and video, of this version or an earlier
        one, is withdrawn; what people have decided of the same segments is not asked again.
        """
        count = 0
        for some in batches(cases):
            with self.write(content=False, alone=False) as session:
                chain.lock(session)
                count += self._open_some(session, some)
        return count

    def _open_some(self, session: Session, cases: Sequence[tuple[Case, float]]) -> int:
        found = session.scalars(sa.select(Case).where(Case.video_id.in_({case.video_id for case, _ in cases})))
        there: dict[tuple[str, str, bool], dict[str, Docket]] = {}  # by their keys
        for docket in _standings(session, found.all()):
            there.setdefault(_subject(docket.case), {})[docket.case.key] = docket
        count, now = 0, self.clock.now()
        for case, priority in cases:
            others = there.setdefault(_subject(case), {})
            own = others.get(case.key)
            if (own and own.state != "withdrawn") or (case.golden is None and _answered(case, others.values())):
                continue
            if own is None:
                case.created_at = now
                session.add(case)
                session.flush()
            made = own.case if own else case
            if made.golden is None:
                old = [one for one in others.values() if one.state == "open" and one.outcome is None]
                withdraw(session, [one.case.id for one in old], now, (*_WORKED, "done"))
                others |= {one.case.key: Docket(one.case, "withdrawn", None, None) for one in old}
                session.add_all(Assignment(**seat_of(made, name, priority, now), state="open") for name in SEATS[: made.seats])
            others[made.key] = Docket(made, state_of(made, ()) if made.golden else "open", made.golden, None)
            count += 1
        return count

    def case_keyed(self, key: str) -> Docket:
        """Return the case with a key, which is there."""
        with self.read() as session:
            return _standings(session, [session.scalars(sa.select(Case).where(Case.key == key)).one()])[0]

    def case(self, number: int) -> Docket:
        """Return a case, and where it stands. Raises NotFoundError."""
        with self.read() as session:
            found = session.get(Case, number)
            if found is None:
                raise NotFoundError(f"case {number}", "there is none of this number")
            return _standings(session, [found])[0]

    def seats(self, case: int) -> list[Assignment]:
        """Return all seats at a case, the withdrawn ones too, in the order in which they were made."""
        with self.read() as session:
            return list(session.scalars(sa.select(Assignment).where(Assignment.case_id == case).order_by(Assignment.id)))

    def case_at(self, seat: int) -> Case | None:
        """Return the case at which a seat is."""
        with self.read() as session:
            return session.scalar(sa.select(Case).join(Assignment, Assignment.case_id == Case.id).where(Assignment.id == seat))

    def cases(
        self,
        state: State | None = None,
        policy: str | None = None,
        outcome: str | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> tuple[list[Docket], int, str | None]:
        """Return a page of cases, the newest first, how many fit in all, and the next page's token.

        Raises UserError for a token that is not of this list.
        """
        fits = [] if policy is None else [Case.policy == policy]
        if state is not None:
            fits.append(_in(state))
        if outcome is not None:
            ends = sa.exists().where(Decision.case_id == Case.id, Decision.action == outcome, final())
            fits.append(sa.or_(Case.golden == outcome, sa.and_(Case.golden.is_(None), ends)))
        query = sa.select(Case).where(*fits)
        if page is not None:
            query = query.where(Case.id < _read(page))
        with self.read() as session:
            total = session.scalar(sa.select(sa.func.count()).select_from(Case).where(*fits)) or 0
            found = _standings(session, session.scalars(query.order_by(Case.id.desc()).limit(limit)).all())
        return found, total, pages.pack("case", found[-1].case.id) if len(found) == limit else None

    def policy_at(self, name: str, version: int) -> Policy | None:
        """Return a version of a policy, where it is there still."""
        with self.read() as session:
            return session.get(Policy, (name, version))

    def verdict_at(self, name: str, video: str) -> Verdict | None:
        """Return what the newest version that has judged a video says of it."""
        query = sa.select(Verdict).where(Verdict.policy == name, Verdict.video_id == video)
        with self.read() as session:
            return session.scalar(query.order_by(Verdict.version.desc()).limit(1))

    # -- what people may have removed

    def erase_person(self, person: str) -> int:
        """Blank a person's name and notes wherever review names them; return in how many decisions."""
        with self.write(content=False, alone=False) as session:
            chain.lock(session)
            now = self.clock.now()
            held = sa.update(Assignment).where(Assignment.owner == person, Assignment.state == "claimed")
            free = {"state": "open", "claim": None, "claimed_at": None, "beat_at": None, "until": None, "owner": None}
            session.execute(held.values(free), execution_options={"synchronize_session": False})
            session.execute(sa.update(Assignment).where(Assignment.owner == person).values(owner=None))
            session.execute(sa.delete(Skip).where(Skip.reviewer == person, Skip.at <= now))
            return chain.erase(session, person)

    def prune_cases(self, before: datetime) -> int:
        """Blank titles, evidence and notes of cases that were decided or withdrawn before a time; return how many there were."""
        busy = sa.exists().where(Assignment.case_id == Case.id, Assignment.state.in_(_WORKED))
        late = sa.exists().where(Assignment.case_id == Case.id, Assignment.ended_at >= before)
        full = sa.or_(Case.title != "", sa.exists().where(Decision.case_id == Case.id, Decision.note.is_not(None)))
        old = sa.select(Case.id).where(Case.created_at < before, Case.golden.is_(None), full, ~busy, ~late).order_by(Case.id)
        count = 0
        while True:
            with self.write(content=False, alone=False) as session:
                chain.lock(session)
                some = list(session.scalars(old.limit(500)))
                if not some:
                    return count
                session.execute(sa.update(Case).where(Case.id.in_(some)).values(title="", evidence=[], matches=[]))
                chain.prune(session, some)
                count += len(some)


def withdraw_videos(session: Session, videos: Sequence[str]) -> None:
    """Withdraw what is undecided of videos that go."""
    gone = sa.select(Case.id).where(Case.video_id.in_(videos))
    left = sa.update(Assignment).where(Assignment.case_id.in_(gone), Assignment.state.in_(_WORKED))
    values = {"state": "withdrawn", "claim": None, "owner": None}
    session.execute(left.values(values), execution_options={"synchronize_session": False})


def withdraw_policy(session: Session, policy: str) -> None:
    """Withdraw what was never decided of a policy that is in force no more."""
    chain.lock(session)
    worked = sa.exists().where(Assignment.case_id == Case.id, Assignment.state.in_(_WORKED))
    asked = session.scalars(sa.select(Case).where(Case.policy == policy, Case.golden.is_(None), worked)).all()
    for some in batches(asked):
        undecided = [one.case.id for one in _standings(session, some) if one.outcome is None]
        withdraw(session, undecided, datetime.now(UTC), (*_WORKED, "done"))


def _in(state: State) -> sa.ColumnElement[bool]:
    """Return what holds of a case in a state."""
    worked = sa.exists().where(Assignment.case_id == Case.id, Assignment.state.in_(_WORKED))
    done = sa.exists().where(Assignment.case_id == Case.id, Assignment.state == "done")
    if state == "open":
        return sa.and_(Case.golden.is_(None), worked)
    if state == "decided":
        return sa.or_(Case.golden.is_not(None), sa.and_(~worked, done))
    return sa.and_(Case.golden.is_(None), ~worked, ~done)


def _standings(session: Session, cases: Sequence[Case]) -> list[Docket]:
    seats: dict[int, list[Assignment]] = {}
    ends: dict[int, Decision] = {}
    for some in batches(case.id for case in cases):
        for seat in session.scalars(sa.select(Assignment).where(Assignment.case_id.in_(some), Assignment.state != "withdrawn")):
            seats.setdefault(seat.case_id, []).append(seat)
        query = sa.select(Decision).where(Decision.case_id.in_(some), Decision.kind.in_(RULINGS), final())
        for link in session.scalars(query.order_by(Decision.number)):
            ends[link.case_id] = link
    found = []
    for case in cases:
        state, end = state_of(case, seats.get(case.id, [])), ends.get(case.id)
        if case.golden is not None:
            found.append(Docket(case, "decided", case.golden, None))
        else:
            found.append(Docket(case, state, end.action if end else None, aware(end.at) if end else None))
    return found


def _subject(case: Case) -> tuple[str, str, bool]:
    return case.policy, case.video_id, case.golden is not None


def _answered(case: Case, others: Iterable[Docket]) -> bool:
    """Tell whether people have decided of the same segments, or a later version asks already."""
    return any(
        (one.outcome is not None and one.case.segment_set == case.segment_set)
        or (one.state == "open" and one.case.version > case.version)
        for one in others
    )


def _read(token: str) -> int:
    match pages.unpack(token):
        case ["case", int() as number] if number is not True and 0 < number < 2**31:
            return number
    raise pages.stray()
