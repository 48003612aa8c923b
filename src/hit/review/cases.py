"""Cases as policies open them, and what people decided, as policies take heed of it."""

from collections.abc import Iterable, Sequence

from hit.db import Case, Database
from hit.db.cases import Docket
from hit.errors import NotFoundError, UserError
from hit.files import BusyError
from hit.library import Library
from hit.review import NewCase

_SAID = (
    *("policy", "version", "video_id", "verdict", "score", "confidence", "evidence", "matches"),
    *("segment_set", "revision"),
)


def open_cases(library: Library, cases: Sequence[NewCase]) -> int:
    """Open cases; return how many are new. Those that are there already are left as they are, see `Database.open_cases`."""
    return library.db.open_cases([(_row(case), case.priority) for case in cases])


def decided(db: Database, policy: str, videos: Iterable[str]) -> dict[str, str]:
    """Return by video what people decided last ("pass" or "block") under a policy, whatever its version."""
    return {video: action for video, (action, _) in db.outcomes(policy, videos).items()}


def golden(library: Library, video: str, policy: str, answer: str) -> Docket:
    """Mix a video whose answer ("pass" or "block") is known into what reviewers judge, and return its case.

    It looks as what the policy says of that video would. Raises NotFoundError for a video, or for a policy that has said nothing.
    """
    card, said = library.db.video(video), library.db.verdict_at(policy, video)
    if said is None:
        raise NotFoundError(f"the policy '{policy}'", f"has no verdict on video {video}", "a golden case is shown as others are")
    found = library.db.policy_at(policy, said.version)
    document = found.document if found else {}
    case = _row(
        NewCase(
            title=card.title,
            severity=int(document.get("severity", 1)),
            seats=int(document.get("reviewers", 1)),
            audit=False,
            golden=answer,
            **{name: getattr(said, name) for name in _SAID},
        )
    )
    if not library.db.open_cases([(case, 0.0)]) and (there := library.db.case_keyed(case.key)).case.golden != answer:
        raise BusyError(f"video {video}", f"is a golden case already, with the answer {there.case.golden}")
    return library.db.case_keyed(case.key)


def check_evidence(db: Database, seat: int, named: Sequence[str]) -> None:
    """Raise UserError for segments that are not of the video that is judged from a seat; one that is not there is told later."""
    case = db.case_at(seat) if named else None
    if case is None:
        return
    known = {one.get("segment_id") for one in case.evidence} | {one.id for one in db.segments_of(case.video_id)}
    if strange := [one for one in named if one not in known]:
        raise UserError(f"segment {strange[0]}", "is not of the video that is judged")


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
