"""Review: people decide, by a queue of leases, and a chain of decisions that shows tampering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
