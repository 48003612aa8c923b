"""Judging: what the policies in force say of videos is written down, people are asked, and others are told."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from hit import trail
from hit.db import IN_FORCE, Judged, Policy
from hit.errors import UserError
from hit.library import Library
from hit.moderation import bank
from hit.moderation.document import read
from hit.moderation.judging import Bench, Fit, bench, fit
from hit.review import NewCase, cases
from hit.types import Progress, Silent

log = logging.getLogger(__name__)
_VIDEOS = 200  # judged at once
BY_MODEL = "the model"  # who fits a policy to a new revision


def judge(
    library: Library,
    videos: Iterable[str] | None = None,
    progress: Progress | None = None,
    names: Collection[str] | None = None,
) -> dict[str, Any]:
    """Judge videos, all or these, by the policies that are enforced or in shadow, all or of these names.

    Whatever is written down already stays as it is: a second run writes nothing. An enforced policy opens cases, and others are
    told of verdicts that change. Returns {videos, policies: [{name, version, state, pass, review, block, changed, cases,
    fitted}], failed: [{policy, version, why}], unhashed}: policies that cannot be fitted to the library's model have failed,
    and judge nothing; unhashed are videos that could not be compared with the bank.
    """
    wanted = None if videos is None else sorted(set(videos))
    return trail.steady(library, lambda: _judge(library, wanted, progress or Silent(), names))


def ready(library: Library, policy: Policy) -> tuple[Bench, bool]:
    """Make a version ready to judge by; tell whether it had to be fitted to the library's model now. Raises as `judging.fit`."""
    document, revision = read(policy.document), library.stored.revision
    fresh = revision not in (policy.fitted or {})
    if fresh:
        policy = library.db.fit_policy(
            policy.name, policy.version, revision, fit(library, policy.name, document).to_json(), BY_MODEL
        )
    assert policy.fitted
    return bench(library, policy.name, document, Fit.from_json(revision, policy.fitted[revision])), fresh


def _judge(library: Library, videos: list[str] | None, progress: Progress, names: Collection[str] | None) -> dict[str, Any]:
    db = library.db
    found = db.policies(names, IN_FORCE)
    wanted = (db.filmed(library.stored.revision) if videos is None else videos) if found else []
    failed, reports = [], []
    work: list[tuple[Policy, Bench, dict[str, Any]]] = []
    for policy in found if wanted else ():
        try:
            made, fresh = ready(library, policy)
        except UserError as error:
            log.error("policy %s, version %d: %s", policy.name, policy.version, error)
            failed.append({"policy": policy.name, "version": policy.version, "why": str(error)})
            continue
        report = {"name": policy.name, "version": policy.version, "state": policy.state, "pass": 0, "review": 0, "block": 0}
        reports.append(report | {"changed": 0, "cases": 0, "fitted": fresh})
        work.append((policy, made, reports[-1]))
    if not work:
        return {"videos": len(wanted), "policies": [], "failed": failed, "unhashed": []}
    known = bank.open_bank(library) if any(made.document.bank for _, made, _ in work) else None
    with progress.task("Judging", len(wanted)) as task:
        for start in range(0, len(wanted), _VIDEOS):
            some = wanted[start : start + _VIDEOS]
            reels = list(trail.reels(library, some))
            hashes = db.hashes(reel.video for reel in reels)
            matches = known.matches(library, hashes, progress) if known else {}
            for policy, made, report in work:
                _record(library, policy, made, report, reels, hashes, matches if made.document.bank else {})
            task.advance(len(some))
    return {"videos": len(wanted), "policies": reports, "failed": failed, "unhashed": known.missed if known else []}


def _record(
    library: Library,
    policy: Policy,
    made: Bench,
    report: dict[str, Any],
    reels: Sequence[trail.Reel],
    hashes: Mapping[str, str],
    matches: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    judged, out = [], []
    for reel in reels:
        if reel.video not in hashes:  # removed meanwhile
            continue
        one = made.judge(reel, hashes[reel.video], matches.get(reel.video, ()))
        if one is None:
            out.append(reel.video)
        else:
            judged.append(one)
            report[one.verdict] += 1
    report["changed"] += library.db.record_verdicts(policy.name, policy.version, judged, out)
    if policy.state == "enforced" and (asked := [one for one in judged if one.verdict == "review" or one.audit]):
        titles = library.db.titles(one.video_id for one in asked)
        report["cases"] += cases.open_cases(
            library, [_case(policy, made, one, titles[one.video_id].title) for one in asked if one.video_id in titles]
        )


def _case(policy: Policy, made: Bench, one: Judged, title: str) -> NewCase:
    return NewCase(
        policy=policy.name,
        version=policy.version,
        video_id=one.video_id,
        title=title,
        severity=made.document.severity,
        verdict=one.verdict,
        score=one.score,
        confidence=one.confidence,
        audit=one.audit,
        evidence=one.evidence,
        segment_set=one.segment_set,
        revision=one.revision,
        matches=one.matches,
        seats=made.document.reviewers,
        priority=max(one.score, made.fit.lines.review),  # audits too: among what is asked about least, and not for ever last
    )
