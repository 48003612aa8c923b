"""The chain of decisions: each link holds a hash of itself and of the link before, so that tampering shows.

What names a person can be blanked, and what was shown to them: a link's hash is over salted hashes of these, which stay.
`person` is of salt and reviewer, `noted` of salt and note, `shown` of the evidence.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit.db.access import aware
from hit.db.schema_review import Assignment, Chain, Decision

_HASHED = (
    *("number", "case_id", "assignment_id", "claim", "seat", "kind", "action", "policy", "version", "revision", "video_id"),
    *("reason", "seconds", "batch", "person", "noted", "shown", "before"),
)


def digest(value: object) -> str:
    """Return the SHA-256 of a value as JSON: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def link_hash(link: Decision) -> str:
    """Return the hash that a link must have."""
    own = {name: getattr(link, name) for name in _HASHED}
    return digest({**own, "at": aware(link.at).astimezone(UTC).isoformat(timespec="microseconds")})


def lock(session: Session) -> Chain:
    """Keep others from adding links until the session ends. Whoever changes seats for good does this before anything else."""
    return session.scalars(sa.select(Chain).where(Chain.id == 1).with_for_update()).one()


def append(session: Session, chain: Chain, link: Decision) -> Decision:
    """Add a link, whose number, salt and hashes are made here, to a chain that is locked."""
    for name in ("reason", "note", "reviewer"):  # as the database will have them
        if isinstance(text := getattr(link, name), str):
            setattr(link, name, text.replace("\0", ""))
    link.number, link.before, link.salt = chain.number + 1, chain.hash, secrets.token_hex(16)
    link.person = digest([link.salt, link.reviewer])
    link.noted = digest([link.salt, link.note]) if link.note is not None else ""
    link.shown = digest(link.evidence)
    link.hash = link_hash(link)
    session.add(link)
    chain.number, chain.hash = link.number, link.hash
    session.flush()
    return link


def findings(session: Session, head: str = "") -> Iterator[str]:
    """Yield what is wrong with the chain. head: the hash of a link that was noted elsewhere, and must be there still."""
    number, before, met = 0, "", not head
    query = sa.select(Decision).order_by(Decision.number).execution_options(yield_per=1000)
    for link in session.scalars(query):
        number += 1
        if link.number != number:
            yield f"link {number} is not there: after {number - 1} comes {link.number}"
            number = link.number
        elif link.before != before:
            yield f"link {number} does not follow on the link before it"
        yield from (f"link {number}: {wrong}" for wrong in _wrong(link))
        before, met = link.hash, met or link.hash == head
        session.expunge(link)
    chain = session.get(Chain, 1)
    if chain is None:
        yield "the note of the newest link is not there"
    elif (chain.number, chain.hash) != (number, before):
        yield f"the newest link is {number}, and should be {chain.number}"
    if not met:
        yield f"no link has the hash {head}, which was noted before"
    yield from _seats(session)


def _wrong(link: Decision) -> Iterator[str]:
    if link.hash != link_hash(link):
        yield "has been changed"
    if link.evidence is not None and link.shown != digest(link.evidence):
        yield "its evidence has been changed"
    if link.salt is None:
        if link.reviewer is not None or link.note is not None:
            yield "its reviewer or note has been changed"
    elif link.reviewer is None or link.person != digest([link.salt, link.reviewer]):
        yield "its reviewer has been changed"
    elif link.note is not None and link.noted != digest([link.salt, link.note]):
        yield "its note has been changed"


def _seats(session: Session) -> Iterator[str]:
    """Yield seats that are said to have decided, without a link that says so."""
    there = sa.exists().where(Decision.assignment_id == Assignment.id, Decision.case_id == Assignment.case_id)
    for seat in session.scalars(sa.select(Assignment.id).where(Assignment.state == "done", ~there).limit(20)):
        yield f"seat {seat} has no link, though it is done"


def erase(session: Session, person: str) -> int:
    """Blank who a person is wherever the chain names them; return in how many links."""
    own = sa.update(Decision).where(Decision.reviewer == person)
    return _rows(session.execute(own.values(reviewer=None, note=None, salt=None)))


def prune(session: Session, cases: list[int]) -> None:
    """Blank the notes and the evidence of cases."""
    session.execute(sa.update(Decision).where(Decision.case_id.in_(cases)).values(note=None, evidence=None))


def _rows(result: Any) -> int:
    return int(result.rowcount)
