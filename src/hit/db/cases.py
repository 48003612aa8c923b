"""Cases for review: how they are opened and withdrawn, and lists of them. Their seats and decisions stand on floors of their own."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db import chain
from hit.db.access import aware
from hit.db.decisions import RULINGS, DecisionRecords, final, state_of, withdraw
from hit.db.queue import seat_of
from hit.db.schema_review import Assignment, Case, Decision, Policy, Skip, Verdict
from hit.db.session import batches
from hit.errors import NotFoundError, UserError

State = Literal["open", "decided", "withdrawn"]
_WORKED = ("open", "claimed")


@dataclass(frozen=True, slots=True)
class Standing:
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
        videos = {case.video_id for case, _ in cases}
        there: dict[tuple[str, str], list[tuple[Case, str]]] = {}
        found = list(session.scalars(sa.select(Case).where(Case.video_id.in_(videos), Case.golden.is_(None))))
        states = {one.case.id: one.state for one in _standings(session, found)}
        for one in found:
            there.setdefault((one.policy, one.video_id), []).append((one, states[one.id]))
        keys = set(session.scalars(sa.select(Case.key).where(Case.key.in_([case.key for case, _ in cases]))))
        count, now = 0, self.clock.now()
        for case, priority in cases:
            others = there.setdefault((case.policy, case.video_id), [])
            same = next((one for one in others if one[0].key == case.key), None)
            if case.golden is not None:
                if case.key not in keys:
                    keys.add(case.key)
                    count += 1
                    case.created_at = now
                    session.add(case)
                continue
            if same is not None and same[1] != "withdrawn":
                continue
            if any(_judged(session, one, state) and one.segment_set == case.segment_set for one, state in others):
                continue
            old = [one.id for one, state in others if state == "open" and one.version <= case.version]
            old = [number for number in old if not _appealed(session, number)]
            if any(state == "open" and one.version > case.version for one, state in others):
                continue
            withdraw(session, old, now, _WORKED + ("done",))
            there[case.policy, case.video_id] = [(one, "withdrawn" if one.id in old else state) for one, state in others]
            own = same[0] if same else case
            if same is None:
                case.created_at = now
                session.add(case)
                session.flush()
            for seat in ("first", "second")[: own.seats]:
                session.add(Assignment(**seat_of(own, seat, priority, now), state="open"))
            there[case.policy, case.video_id] = [
                *((one, state) for one, state in there[case.policy, case.video_id] if one.id != own.id),
                (own, "open"),
            ]
            count += 1
        return count

    def case(self, number: int) -> Standing:
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

    def cases_of(self, numbers: Iterable[int]) -> dict[int, Case]:
        """Return cases by their numbers; those that are not there are left out."""
        with self.read() as session:
            found = [one for some in batches(numbers) for one in session.scalars(sa.select(Case).where(Case.id.in_(some)))]
            return {one.id: one for one in found}

    def cases(
        self,
        state: State | None = None,
        policy: str | None = None,
        outcome: str | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> tuple[list[Standing], int, str | None]:
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
        return found, total, _token(found[-1].case.id) if len(found) == limit else None

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


def withdraw_videos(session: Session, videos: Sequence[str], now: datetime) -> None:
    """Withdraw what is undecided of videos that go."""
    gone = sa.select(Case.id).where(Case.video_id.in_(videos))
    left = sa.update(Assignment).where(Assignment.case_id.in_(gone), Assignment.state.in_(_WORKED))
    values = {"state": "withdrawn", "ended_at": now, "claim": None, "owner": None}
    session.execute(left.values(values), execution_options={"synchronize_session": False})


def _in(state: State) -> sa.ColumnElement[bool]:
    """Return what holds of a case in a state."""
    worked = sa.exists().where(Assignment.case_id == Case.id, Assignment.state.in_(_WORKED))
    done = sa.exists().where(Assignment.case_id == Case.id, Assignment.state == "done")
    if state == "open":
        return sa.and_(Case.golden.is_(None), worked)
    if state == "decided":
        return sa.or_(Case.golden.is_not(None), sa.and_(~worked, done))
    return sa.and_(Case.golden.is_(None), ~worked, ~done)


def _standings(session: Session, cases: Sequence[Case]) -> list[Standing]:
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
            found.append(Standing(case, "decided", case.golden, None))
        else:
            found.append(Standing(case, state, end.action if end else None, aware(end.at) if end else None))
    return found


def _judged(session: Session, case: Case, state: str) -> bool:
    """Tell whether people have decided a case, also where it is appealed since."""
    return state == "decided" or (state == "open" and _appealed(session, case.id))


def _appealed(session: Session, case: int) -> bool:
    seat = sa.select(Assignment.id).where(Assignment.case_id == case, Assignment.seat == "appeal", Assignment.state.in_(_WORKED))
    return session.scalar(seat.limit(1)) is not None


def _token(number: int) -> str:
    return base64.urlsafe_b64encode(f"case {number}".encode()).decode().rstrip("=")


def _read(token: str) -> int:
    try:
        word, number = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode().split(" ")
        if word == "case" and 0 < int(number) < 2**31:
            return int(number)
    except (ValueError, binascii.Error):
        pass
    raise UserError("the page token", "is not one of this list", "take `next_page_token` as it stands")
