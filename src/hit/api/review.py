"""/v1/review: the queue, as a reviewer works through it."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from hit import review as verb
from hit.api.auth import Admin, Reviewer, Senior
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
from hit.api.schemas import Given, When
from hit.db.decisions import Outcome, Ruling
from hit.db.queue import Wanted
from hit.review import stats as numbers
from hit.review.cases import check_evidence
from hit.review.export import lines

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


class SpreadJson(BaseModel):
    """Seconds."""

    median: float | None
    p90: float | None


class ShareJson(BaseModel):
    """A share of n, with its 95 % interval."""

    estimate: float | None
    low: float
    high: float
    n: int


class PolicyStats(BaseModel):
    """How right a version of a policy is, as far as people have decided."""

    policy: str
    version: int
    decided: int
    precision: ShareJson
    recall: ShareJson


class ReviewerStats(BaseModel):
    """How a reviewer does."""

    name: str
    decided: int
    median_seconds: float | None
    golden_share: float | None


class DayJson(BaseModel):
    """A day, of UTC."""

    day: str
    decided: int


class QueueStats(BaseModel):
    """What waits."""

    open: int
    held: int
    oldest_seconds: float | None


class AgreementJson(BaseModel):
    """How far two who do not know of each other agree: Cohen's kappa."""

    kappa: float | None
    pairs: int
    agreed: int


class OverturnedJson(BaseModel):
    """What became of appeals."""

    appeals: int
    overturned: int
    rate: float | None
    low: float
    high: float


class GoldenStats(BaseModel):
    """How many cases with a known answer were answered so."""

    seen: int
    right: int
    share: float | None
    low: float
    high: float


class AuditStats(BaseModel):
    """How many videos that passed were looked at, and how many of them people block."""

    seen: int
    missed: int


class StatsJson(BaseModel):
    """How review goes. seconds: spent on a decision; wait: from a case's opening to the decision it stands by."""

    decided: int
    per_day: list[DayJson]
    seconds: SpreadJson
    wait: SpreadJson
    queue: QueueStats
    agreement: AgreementJson
    overturned: OverturnedJson
    golden: GoldenStats
    audit: AuditStats
    policies: list[PolicyStats]
    reviewers: list[ReviewerStats]


class Verified(BaseModel):
    """Whether the chain is sound, and what is wrong with it."""

    sound: bool
    decisions: int
    head: str
    findings: list[str]


class EraseRequest(Given):
    """Whose name is to be blanked."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"person": "ann"}]})
    person: Annotated[str, Field(min_length=1, max_length=100)]


class Erased(BaseModel):
    """In how many decisions."""

    erased: int


@routes.post("/review/claim", response_model=AssignmentJson, responses={204: {"description": "Nothing waits."}})
def claim(served: Served, who: Reviewer, wanted: ClaimRequest = ClaimRequest()) -> Any:  # noqa: B008 (it is frozen in effect)
    """Take the seat that comes first: the most severe case, then the one of highest priority, then the oldest."""
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
    check_evidence(served.db, number, given.evidence)
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


@routes.get("/review/stats", response_model=StatsJson)
def stats(
    served: Served,
    who: Senior,
    policy: Annotated[str | None, Query(max_length=100)] = None,
    days: Annotated[float | None, Query(gt=0, le=36_500, description="Only what was decided in so many days.")] = None,
) -> dict[str, Any]:
    """Return how review goes: docs/review.md has the formulas."""
    return numbers.stats(served.db, policy, days)


@routes.get("/review/verify", response_model=Verified)
def verify(
    served: Served,
    who: Senior,
    head: Annotated[str, Query(pattern="^([0-9a-f]{64})?$", description="The hash of a link that must be there still.")] = "",
) -> dict[str, Any]:
    """Check the chain of decisions, whole."""
    return verb.verify(served.db, head)


@routes.get("/review/export", response_class=StreamingResponse)
def export(served: Served, who: Senior, format: Literal["csv", "jsonl"] = "csv") -> StreamingResponse:  # noqa: A002
    """Return the chain of decisions as csv, or as a JSON object a line."""
    kind = "text/csv; charset=utf-8" if format == "csv" else "application/x-ndjson"
    headers = {"Content-Disposition": f'attachment; filename="decisions.{format}"'}
    return StreamingResponse(lines(served.db, format), media_type=kind, headers=headers)


@routes.post("/review/erase", response_model=Erased)
def erase(given: EraseRequest, served: Served, who: Admin) -> dict[str, Any]:
    """Blank a person's name and notes in all decisions, and their skips. The chain verifies as before."""
    return {"erased": served.db.erase_person(given.person)}
