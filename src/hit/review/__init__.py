"""Review: people decide, by a queue of leases, and a chain of decisions that shows tampering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hit.db import Database, numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCase:
    """What is to be judged: a video, the policy that asks, and the evidence as it is now.

    seats: how many independent reviewers must agree, 1 or 2. golden: the known answer ("pass" or "block") of a test case.
    priority: higher first among equal severity.
    """

    policy: str
    version: int
    video_id: str
    title: str
    severity: int
    verdict: str
    score: float
    confidence: float | None
    audit: bool
    evidence: Sequence[Mapping[str, Any]]
    segment_set: str
    revision: str
    matches: Sequence[Mapping[str, Any]] = ()
    seats: int = 1
    golden: str | None = None
    priority: float = 0.0


def feedback(db: Database, policy: str) -> list[tuple[str, bool]]:
    """Return what people's decisions say of segments: whether they show what a policy means. The newest word counts.

    Of a video that was blocked, the segments that the decision names, or the only one that its case shows; of one that passed,
    all that its case shows, which looked like it and are not.
    """
    answers: dict[str, bool] = {}
    for action, named, shown in numbers.shown(db, policy):
        if action == "pass":
            answers.update(dict.fromkeys(shown, False))
        elif named or len(shown) == 1:
            answers.update(dict.fromkeys(named or shown, True))
    return sorted(answers.items())


def verify(db: Database, head: str = "") -> dict[str, Any]:
    """Check the chain of decisions: {sound, decisions, head, findings}, of which the first hundred are told.

    head: the hash of a link that was noted elsewhere: who adds to the end of a chain, or makes all of it anew, shows by it alone.
    """
    count, newest, found = numbers.check(db, head)
    return {"sound": not found, "decisions": count, "head": newest, "findings": found}
