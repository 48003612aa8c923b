"""/v1/review: the queue, as a reviewer works through it."""

from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel

from hit.api.auth import Principal, Reviewer
from hit.api.common import Served, router
from hit.api.review_json import (
    AssignmentJson,
    ClaimRequest,
    DecideRequest,
    DecisionJson,
    Held,
    SkipRequest,
    assignment_json,
    decision_json,
)
from hit.api.schemas import When
from hit.db import Case
from hit.db.decisions import Outcome, Ruling
from hit.db.queue import Wanted
from hit.errors import UserError
from hit.service import Service

routes = router("review", 404, 409)
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class AssignmentList(BaseModel):
    """The seats that one holds."""

    assignments: list[AssignmentJson]


class LeaseJson(BaseModel):
    """How long a lease lasts without another heartbeat."""

    lease_until: When
    lease_seconds: float


class Decided(BaseModel):
    """A decision, and what has become of the case."""

    decision: DecisionJson
    outcome: Outcome


class WaitingJson(BaseModel):
    """What waits under a policy."""

    policy: str
    severity: int
    open: int
    held: int
    oldest_seconds: float | None


class QueueJson(BaseModel):
    """What waits: as it was a few seconds ago, apart from what one holds oneself."""

    open: int
    held: int
    mine: int
    oldest_seconds: float | None
    policies: list[WaitingJson]


@routes.post("/review/claim", response_model=AssignmentJson, responses={204: {"description": "Nothing waits."}})
def claim(served: Served, who: Reviewer, wanted: ClaimRequest | None = None) -> Any:
    """Take the seat that comes first: the most severe case, then the one of highest priority, then the oldest."""
    wanted = wanted or ClaimRequest()
    asked = Wanted(wanted.policy, wanted.severity_min or 0, who.may("senior"))
    seat = served.db.claim_seat(who.name, asked, wanted.hold)
    return Response(status_code=204) if seat is None else assignment_json(served, seat, who)


@routes.get("/review/assignments", response_model=AssignmentList)
def assignments(served: Served, who: Reviewer) -> dict[str, Any]:
    """Return the seats that one holds, the oldest claim first."""
    return {"assignments": [assignment_json(served, seat, who) for seat in served.db.held_seats(who.name)]}


@routes.get("/review/assignments/{number}", response_model=AssignmentJson)
def assignment(number: Number, served: Served, who: Reviewer) -> dict[str, Any]:
    """Return a seat that one holds."""
    return assignment_json(served, served.db.held_seat(number, who.name), who)


@routes.post("/review/assignments/{number}/heartbeat", response_model=LeaseJson)
def heartbeat(number: Number, held: Held, served: Served, who: Reviewer) -> dict[str, Any]:
    """Prolong a lease."""
    seat = served.db.beat_seat(number, held.claim, who.name)
    return {"lease_until": seat.until, "lease_seconds": served.db.lease}


@routes.post("/review/assignments/{number}/release", status_code=204)
def release(number: Number, held: Held, served: Served, who: Reviewer) -> Response:
    """Give a seat back to the queue."""
    served.db.release_seat(number, held.claim, who.name)
    return Response(status_code=204)


@routes.post("/review/assignments/{number}/skip", status_code=204)
def skip(number: Number, held: SkipRequest, served: Served, who: Reviewer) -> Response:
    """Give a seat back for others: its case is not offered to oneself again."""
    served.db.skip_seat(number, held.claim, who.name, held.reason)
    return Response(status_code=204)


@routes.post("/review/assignments/{number}/decide", response_model=Decided)
def decide(number: Number, given: DecideRequest, served: Served, who: Reviewer) -> dict[str, Any]:
    """Decide. The same claim again is answered the same, and with another decision it is refused."""
    ruling = Ruling(given.action, given.reason, given.note, given.evidence, given.seconds)
    if given.evidence:
        _check_evidence(served, number, who, given.evidence)
    link, outcome = served.db.decide_seat(number, given.claim, who.name, ruling)
    return {"decision": decision_json(link, named=True), "outcome": outcome}


@routes.get("/review/queue", response_model=QueueJson)
def queue(served: Served, who: Reviewer) -> dict[str, Any]:
    """Return how much waits, and for how long."""
    found, now = served.db.waiting(), served.db.clock.now()
    ages = [None if one.oldest is None else max(0.0, (now - one.oldest).total_seconds()) for one in found]
    rows = [
        {"policy": one.policy, "severity": one.severity, "open": one.open, "held": one.held, "oldest_seconds": age}
        for one, age in zip(found, ages, strict=True)
    ]
    return {
        "open": sum(one.open for one in found),
        "held": sum(one.held for one in found),
        "mine": len(served.db.held_seats(who.name)),
        "oldest_seconds": max((age for age in ages if age is not None), default=None),
        "policies": rows,
    }


def _check_evidence(served: Service, number: int, who: Principal, named: list[str]) -> None:
    """Raise UserError for segments that are not of the video that is judged. A seat that is not held is refused later."""
    case: Case | None = served.db.case_at(number)
    if case is None:
        return
    known = {one.get("segment_id") for one in case.evidence} | {one.id for one in served.db.segments_of(case.video_id)}
    if strange := [one for one in named if one not in known]:
        raise UserError(f"segment {strange[0]}", "is not of the video that is judged")
