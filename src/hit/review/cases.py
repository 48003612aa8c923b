"""Cases as policies open them, and what people decided, as policies take heed of it."""

from collections.abc import Iterable, Sequence

from hit.db import Case, Database
from hit.library import Library
from hit.review import NewCase


def open_cases(library: Library, cases: Sequence[NewCase]) -> int:
    """Open cases; return how many are new. Those that are there already are left as they are, see `Database.open_cases`."""
    return library.db.open_cases([(_row(case), case.priority) for case in cases])


def decided(db: Database, policy: str, videos: Iterable[str]) -> dict[str, str]:
    """Return by video what people decided last ("pass" or "block") under a policy, whatever its version."""
    return db.outcomes(policy, videos)


def _row(case: NewCase) -> Case:
    names = ("policy", "version", "video_id", "segment_set", "revision")
    kind = "golden" if case.golden else "case"
    return Case(
        key="\n".join([kind, *(str(getattr(case, name)) for name in names)]),
        title=case.title,
        severity=case.severity,
        verdict=case.verdict,
        score=case.score,
        confidence=case.confidence,
        audit=case.audit,
        evidence=[dict(one) for one in case.evidence],
        matches=[dict(one) for one in case.matches],
        seats=case.seats,
        golden=case.golden,
        **{name: getattr(case, name) for name in names},
    )
