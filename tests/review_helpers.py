"""What the tests of review share."""

from typing import Any

from hit.db import Assignment, Database, Decision
from hit.db.decisions import Action, Outcome, Ruling
from hit.db.queue import Wanted
from hit.review import NewCase
from hit.review.cases import _row


def new(video: str = "v", **facts: Any) -> NewCase:
    """Return a case as a policy asks for it."""
    given: dict[str, Any] = {
        "policy": "p",
        "version": 1,
        "title": f"the title of {video}",
        "severity": 3,
        "verdict": "review",
        "score": 0.5,
        "confidence": None,
        "audit": False,
        "evidence": [{"segment_id": f"{video}-0", "start": 0.0, "end": 2.0, "seek": 0.0, "score": 0.5}],
        "segment_set": "s",
        "revision": "r",
    }
    return NewCase(video_id=video, **{**given, **facts})


def ask(db: Database, *cases: NewCase) -> int:
    """Open cases, without a library."""
    return db.open_cases([(_row(case), case.priority) for case in cases])


def claimed(db: Database, person: str, senior: bool = False, hold: int = 3) -> Assignment:
    """Claim what comes first, which must be there."""
    seat = db.claim_seat(person, Wanted(senior=senior), hold)
    assert seat is not None and seat.claim is not None
    return seat


def judge(db: Database, person: str, action: Action, senior: bool = False, **more: Any) -> tuple[Decision, Outcome]:
    """Claim what comes first, and decide it."""
    seat = claimed(db, person, senior)
    return db.decide_seat(seat.id, seat.claim or "", person, Ruling(action, more.pop("reason", "why"), **more))
