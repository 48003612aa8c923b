"""Rows of review to count by, to send elsewhere, and to check: read, never written."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hit.db import chain
from hit.db.cases import ReviewRecords
from hit.db.decisions import RULINGS, final
from hit.db.schema_review import Case, Chain, Decision, Policy, Verdict

_PAGE = 1000  # links read at once


@dataclass(frozen=True, slots=True)
class Said:
    """A decision, and what its case is. stands: whether the case stands by it."""

    number: int
    case: int
    seat: str
    kind: str
    action: str
    seconds: float | None
    batch: str | None
    at: datetime
    reviewer: str | None
    policy: str
    version: int
    opened: datetime
    audit: bool
    golden: str | None
    stands: bool


def said(db: ReviewRecords, policy: str | None = None, since: datetime | None = None) -> list[Said]:
    """Return the decisions about a policy, or all of them, since a time, in the order in which they were made."""
    link: list[Any] = [
        Decision.number,
        Decision.case_id,
        Decision.seat,
        Decision.kind,
        Decision.action,
        Decision.seconds,
        Decision.batch,
    ]
    link += [Decision.at, Decision.reviewer, Case.policy, Case.version, Case.created_at, Case.audit, Case.golden]
    query = sa.select(*link, final()).join(Case, Case.id == Decision.case_id).where(Decision.kind.in_(RULINGS))
    if policy is not None:
        query = query.where(Case.policy == policy)
    if since is not None:
        query = query.where(Decision.at >= since)
    with db.read() as session:
        rows: list[Any] = list(session.execute(query.order_by(Decision.number)))
        return [Said(*(*row[:-1], bool(row[-1]))) for row in rows]


def flagged(db: ReviewRecords, policy: str | None = None) -> dict[tuple[str, int], int]:
    """Return by policy and version how many cases its machine asked for, audits left out."""
    query = sa.select(Case.policy, Case.version, sa.func.count()).where(Case.golden.is_(None), ~Case.audit)
    query = query if policy is None else query.where(Case.policy == policy)
    with db.read() as session:
        return {(name, version): count for name, version, count in session.execute(query.group_by(Case.policy, Case.version))}


def verdicts(db: ReviewRecords, policy: str | None = None) -> dict[tuple[str, int], dict[str, int]]:
    """Return by policy and version how many videos have which verdict."""
    query = sa.select(Verdict.policy, Verdict.version, Verdict.verdict, sa.func.count())
    query = query if policy is None else query.where(Verdict.policy == policy)
    found: dict[tuple[str, int], dict[str, int]] = {}
    with db.read() as session:
        rows = session.execute(query.group_by(Verdict.policy, Verdict.version, Verdict.verdict))
        for name, version, verdict, count in rows:
            found.setdefault((name, version), {})[verdict] = count
    return found


def audit_shares(db: ReviewRecords) -> dict[tuple[str, int], float]:
    """Return by policy and version which share of what passes is looked at."""
    with db.read() as session:
        rows = session.execute(sa.select(Policy.name, Policy.version, Policy.document))
        return {(name, version): float(document.get("audit_share") or 0.0) for name, version, document in rows}


def shown(db: ReviewRecords, policy: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield, of each decision that stands under a policy, the action, the segments it names, and those that its case shows."""
    query = sa.select(Decision.action, Decision.evidence, Case.evidence).join(Case, Case.id == Decision.case_id)
    query = query.where(Case.policy == policy, Case.golden.is_(None), final()).order_by(Decision.number)
    with db.read() as session:
        for action, named, evidence in session.execute(query):
            yield action, list(named or []), [one["segment_id"] for one in evidence if one.get("segment_id")]


def links(db: ReviewRecords) -> Iterator[Decision]:
    """Yield the whole chain, in order, a page at a time: nobody is kept from adding to it."""
    last = 0
    while True:
        query = sa.select(Decision).where(Decision.number > last).order_by(Decision.number).limit(_PAGE)
        with db.read() as session:
            page = session.scalars(query).all()
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1].number


def check(db: ReviewRecords, head: str = "", most: int = 100) -> tuple[int, str, list[str]]:
    """Return how many links there are, the newest one's hash, and what is wrong with the chain: the first of it.

    head: the hash of a link that was noted before, and that must be there still.
    """
    with db.read() as session:
        found = [line for line, _ in zip(chain.findings(session, head), range(most), strict=False)]
        count = session.scalar(sa.select(sa.func.count()).select_from(Decision)) or 0
        newest = session.get(Chain, 1)
    return count, newest.hash if newest else "", found
