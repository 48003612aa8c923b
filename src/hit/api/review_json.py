"""The shapes of review, and what makes them of rows: what a seat may see, and nothing more."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hit.api.auth import Principal
from hit.api.cards import video_card
from hit.api.common import poster_url
from hit.api.schemas import Given, Id, When
from hit.db import Assignment, Case, Decision
from hit.db.access import aware
from hit.db.cases import Docket
from hit.moderation.judging import curve
from hit.service import Service

BLIND = ("first", "second")
Seat = Literal["first", "second", "senior", "appeal"]
Action = Literal["pass", "block"]
Reason = Annotated[str, Field(min_length=1, max_length=500, description="Stays in the chain for good: name nobody.")]
Claim = Annotated[str, Field(min_length=1, max_length=64)]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]


class JudgedVideo(BaseModel):
    """A video, as long as it is there: of one that is gone, no more than its title is."""

    video_id: str
    title: str
    duration: float | None
    poster_url: str | None
    stream_url: str | None
    sprites_url: str | None
    page_url: str | None


class PolicyText(BaseModel):
    """What a policy says, in the version by which a case was opened."""

    name: str
    version: int
    texts: list[str]
    exceptions: list[str]
    severity: int
    note: str


class ShownJson(BaseModel):
    """A segment that scores at or above the line."""

    segment_id: str
    start: float
    end: float
    seek: float
    score: float


class LinesJson(BaseModel):
    """From which score on a video is reviewed, and from which blocked."""

    review: float | None
    block: float | None


class DecisionJson(BaseModel):
    """A link of the chain. Reviewer and note are shown to seniors, and one's own to oneself."""

    number: int
    case_id: int
    kind: Literal["decide", "uphold", "overturn", "appeal", "reopen", "undo"]
    seat: Seat | None
    action: Action | None
    policy: str
    version: int
    revision: str
    reason: str
    evidence: list[str]
    seconds: float | None
    at: When
    reviewer: str | None
    note: str | None
    batch: str | None
    hash: str


class CaseView(BaseModel):
    """What is shown of a case to whoever judges it."""

    id: int
    created_at: When
    policy: PolicyText
    video: JudgedVideo
    evidence: list[ShownJson]
    curve: list[tuple[float, float, float]] = Field(description="(start, end, score) of each segment.")
    thresholds: LinesJson
    matches: list[dict[str, Any]]
    actions: list[Action]
    history: list[DecisionJson]


class SeatJson(BaseModel):
    """A seat at a case, and who has it."""

    id: int
    seat: Seat
    state: Literal["open", "claimed", "done", "withdrawn"]
    owner: str | None
    created_at: When
    until: When | None
    ended_at: When | None


class CaseRow(BaseModel):
    """A case as seniors see it in lists. What a case they hold blindly would tell is null."""

    id: int
    policy: str
    version: int
    video: JudgedVideo
    severity: int
    verdict: str | None
    score: float | None
    audit: bool | None
    golden: Action | None
    state: Literal["open", "decided", "withdrawn"]
    outcome: Action | None
    created_at: When
    decided_at: When | None


class CaseDetail(CaseView):
    """A case as a senior sees it, or, with less, who holds or decided it."""

    state: Literal["open", "decided", "withdrawn"] | None = None
    outcome: Action | None = None
    verdict: str | None = None
    score: float | None = None
    audit: bool | None = None
    golden: Action | None = None
    decided_at: When | None = None
    seats: list[SeatJson] | None = None


class AssignmentJson(BaseModel):
    """A seat that one holds: `claim` goes with everything that is done from it."""

    id: int
    claim: str
    seat: Seat
    lease_seconds: float
    lease_until: When
    case: CaseView


class ClaimRequest(Given):
    """What one would judge."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"policy": "fights", "hold": 2}]})
    policy: Annotated[str, Field(max_length=100)] | None = None
    severity_min: Annotated[int, Field(ge=1, le=5)] | None = None
    hold: Annotated[int, Field(ge=1, le=3, description="How many seats one may hold at once.")] = 1


class Held(Given):
    """The lease that one has."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"claim": "b3f1c2"}]})
    claim: Claim


class SkipRequest(Held):
    """Why one would not judge a case."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"claim": "b3f1c2", "reason": "I know who is seen"}]})
    reason: Reason


class DecideRequest(Held):
    """A decision. The same claim again is answered the same."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"claim": "b3f1c2", "action": "block", "reason": "people hit each other", "seconds": 12.5}]
        }
    )
    action: Action
    reason: Reason
    note: Annotated[str, Field(max_length=5000)] | None = None
    evidence: Annotated[list[Id], Field(max_length=1000)] = Field(default=[])
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0


def video_cards(served: Service, cases: Sequence[Case]) -> dict[int, dict[str, Any]]:
    """Return by case what `JudgedVideo` shows: its picture is of the segment that scores most."""
    found = served.db.titles({case.video_id for case in cases})
    cards: dict[int, dict[str, Any]] = {}
    for case in cases:
        card = found.get(case.video_id)
        shown = dict.fromkeys(JudgedVideo.model_fields) if card is None else video_card(card)
        best = max(case.evidence, key=lambda one: float(one["score"]), default=None)
        poster = poster_url(best["segment_id"]) if best and card else shown["poster_url"]
        cards[case.id] = {**shown, "poster_url": poster, "video_id": case.video_id}
        cards[case.id]["title"] = shown["title"] or case.title or case.video_id
    return cards


def case_view(served: Service, case: Case, history: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return what `CaseView` shows."""
    found = served.db.policy_at(case.policy, case.version)
    document, fitted = (found.document, found.fitted or {}) if found else ({}, {})
    lines = fitted.get(case.revision, {})
    shown = [(one["start"], one["end"], one["score"]) for one in case.evidence]
    policy = {"name": case.policy, "version": case.version, "severity": case.severity, "note": document.get("note") or ""}
    policy |= {name: list(document.get(name) or []) for name in ("texts", "exceptions")}
    return {
        "id": case.id,
        "created_at": case.created_at,
        "policy": policy,
        "video": video_cards(served, [case])[case.id],
        "evidence": [{name: one.get(name) for name in ShownJson.model_fields} for one in case.evidence],
        "curve": (curve(served.library, found, case.video_id) if found else []) or shown,
        "thresholds": {name: lines.get(name) for name in ("review", "block")},
        "matches": list(case.matches),
        "actions": ["pass", "block"],
        "history": list(history),
    }


def decision_json(link: Decision, named: bool) -> dict[str, Any]:
    """Return what `DecisionJson` shows; `named`: with who it was, and their note."""
    names = set(DecisionJson.model_fields) - {"reviewer", "note", "evidence"}
    shown = {name: getattr(link, name) for name in names}
    person = {"reviewer": link.reviewer if named else None, "note": link.note if named else None}
    return {**shown, **person, "evidence": list(link.evidence or [])}


def history(served: Service, case: int, who: Principal, seat: str | None) -> list[dict[str, Any]]:
    """Return what came before at a case: nothing for who judges blindly, for other reviewers only what they did."""
    if seat in BLIND:
        return []
    senior, links = who.may("senior"), served.db.history(case)
    return [decision_json(one, named=True) for one in links if senior or one.reviewer == who.name]


def assignment_json(served: Service, seat: Assignment, who: Principal) -> dict[str, Any]:
    """Return what `AssignmentJson` shows of a seat to whoever holds it."""
    case = served.db.case(seat.case_id).case
    return {
        "id": seat.id,
        "claim": seat.claim,
        "seat": seat.seat,
        "lease_seconds": served.db.lease,
        "lease_until": seat.until,
        "case": case_view(served, case, history(served, case.id, who, seat.seat)),
    }


def case_row(docket: Docket, card: dict[str, Any], blind: bool) -> dict[str, Any]:
    """Return what `CaseRow` shows; `blind`: to who holds a blind seat there."""
    case = docket.case
    known = {name: getattr(case, name) for name in ("id", "policy", "version", "severity", "created_at")}
    told = {name: None if blind else getattr(case, name) for name in ("verdict", "score", "audit", "golden")}
    ends = {"outcome": docket.outcome, "decided_at": docket.decided_at, "state": docket.state}
    if blind:
        ends = {"outcome": None, "decided_at": None, "state": "open"}
    return {**known, **told, **ends, "video": card}


def seat_json(seat: Assignment, now: datetime) -> dict[str, Any]:
    """Return what `SeatJson` shows. A lease that has ended is none."""
    shown = {name: getattr(seat, name) for name in SeatJson.model_fields}
    if seat.state == "claimed" and seat.until is not None and aware(seat.until) <= now:
        shown |= {"state": "open", "owner": None, "until": None}
    return shown
