"""/v1/cases: what is judged, all of it for seniors, and what may be done about it beside judging it."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from hit.api.auth import Reviewer, Senior
from hit.api.common import Served, router
from hit.api.review_json import (
    BLIND,
    Action,
    CaseDetail,
    CaseRow,
    DecisionJson,
    Number,
    Reason,
    case_row,
    case_view,
    decision_json,
    history,
    seat_json,
    video_cards,
)
from hit.api.schemas import Given, Id, Limit
from hit.errors import NotFoundError
from hit.review import cases as verb

routes = router("review", 404, 409)
Case = Annotated[int, Path(ge=1, le=2**31 - 1)]
Batch = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
State = Literal["open", "decided", "withdrawn"]


class CaseList(BaseModel):
    """A page of cases, the newest first."""

    cases: list[CaseRow]
    total: int
    next_page_token: str | None


class Why(Given):
    """Why something is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "it is a play"}]})
    reason: Reason


class BulkRequest(Why):
    """What is decided at once. Cases that are not open are left as they are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"cases": [1, 2], "action": "pass", "reason": "all of one harmless series"}]}
    )
    cases: Annotated[list[Number], Field(min_length=1, max_length=1000)]
    action: Action


class BulkJson(BaseModel):
    """What was decided at once, or taken back."""

    batch: str
    decided: int


class UndoneJson(BaseModel):
    """What was taken back."""

    batch: str
    undone: int


class GoldenRequest(Given):
    """A video whose answer under a policy is known."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"video_id": "3f8a3f0d4ad70c11", "policy": "fights", "answer": "pass"}]}
    )
    video_id: Id
    policy: Annotated[str, Field(min_length=1, max_length=100)]
    answer: Action


@routes.get("/cases", response_model=CaseList)
def listed(
    served: Served,
    who: Senior,
    state: State | None = None,
    policy: Annotated[str | None, Query(max_length=100)] = None,
    outcome: Action | None = None,
    limit: Limit = 50,
    page_token: Annotated[str | None, Query(max_length=2000)] = None,
) -> dict[str, Any]:
    """List cases, page by page, the newest first."""
    found, total, token = served.db.cases(state, policy, outcome, limit, page_token)
    cards, blind = video_cards(served, [one.case for one in found]), _blind(served, who.name)
    rows = [case_row(one, cards[one.case.id], one.case.id in blind) for one in found]
    return {"cases": rows, "total": total, "next_page_token": token}


@routes.get("/cases/{number:int}", response_model=CaseDetail)
def case(number: Case, served: Served, who: Reviewer) -> dict[str, Any]:
    """Return a case: all of it to a senior, to whoever holds or decided it what they judge or judged it by."""
    held = next((one for one in served.db.held_seats(who.name) if one.case_id == number), None)
    seat = held.seat if held else None
    own = held is not None or any(one.reviewer == who.name for one in served.db.history(number))
    if not own and not who.may("senior"):
        raise NotFoundError(f"case {number}", "you neither hold nor have decided one of this number")
    docket = served.db.case(number)
    shown = case_view(served, docket.case, history(served, number, who, seat))
    if seat in BLIND or not who.may("senior"):
        return shown
    row = case_row(docket, shown["video"], blind=False)
    now = served.db.clock.now()
    return {**shown, **row, "policy": shown["policy"], "seats": [seat_json(one, now) for one in served.db.seats(number)]}


@routes.post("/cases/{number:int}/appeal", response_model=DecisionJson)
def appeal(number: Case, why: Why, served: Served, who: Reviewer) -> dict[str, Any]:
    """Have a decided case judged by a senior who has not judged it. A reviewer may appeal what they decided."""
    if not who.may("senior") and not any(one.reviewer == who.name for one in served.db.history(number)):
        raise NotFoundError(f"case {number}", "you have decided none of this number")
    return decision_json(served.db.appeal_case(number, who.name, why.reason), named=True)


@routes.post("/cases/{number:int}/reopen", response_model=DecisionJson)
def reopen(number: Case, why: Why, served: Served, who: Senior) -> dict[str, Any]:
    """Have a decided case judged anew, by others."""
    return decision_json(served.db.reopen_case(number, who.name, why.reason), named=True)


@routes.post("/cases/decide", response_model=BulkJson)
def decide_many(given: BulkRequest, served: Served, who: Senior) -> dict[str, Any]:
    """Decide many cases at once, as one batch, which can be undone."""
    batch, count = served.db.decide_cases(given.cases, who.name, given.action, given.reason)
    return {"batch": batch, "decided": count}


@routes.post("/review/batches/{batch}/undo", response_model=UndoneJson)
def undo(batch: Batch, why: Why, served: Served, who: Senior) -> dict[str, Any]:
    """Take back what was decided at once: the chain keeps both, and the cases are open again."""
    return {"batch": batch, "undone": served.db.undo_batch(batch, who.name, why.reason)}


@routes.post("/cases/golden", response_model=CaseRow, status_code=201)
def golden(given: GoldenRequest, served: Served, who: Senior) -> dict[str, Any]:
    """Have a video whose answer is known mixed into what reviewers judge, to see how they do."""
    docket = verb.golden(served.library, given.video_id, given.policy, given.answer)
    return case_row(docket, video_cards(served, [docket.case])[docket.case.id], blind=False)


def _blind(served: Served, person: str) -> set[int]:
    """Return the cases that somebody is judging without knowing what others say."""
    return {one.case_id for one in served.db.held_seats(person) if one.seat in BLIND}
