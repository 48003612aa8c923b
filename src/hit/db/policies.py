"""Policies by version, and what each says of which video."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit import pages
from hit.db import where
from hit.db.bank import BankRecords
from hit.db.cases import withdraw_policy
from hit.db.records import check
from hit.db.schema import Embedding, Segment, Video
from hit.db.schema_review import Policy, PolicyChange, Standing, Verdict
from hit.db.session import batches
from hit.db.webhooks import WebhookRecords, put_event
from hit.errors import NotFoundError, UserError
from hit.filters import Node

Verdicts = Literal["pass", "review", "block"]
IN_FORCE = ("enforced", "shadow")
_PAGES = ("bank", "webhooks")  # beside which no policy's page could be found


@dataclass(frozen=True, slots=True)
class Judged:
    """What a version of a policy says of a video; see `schema_review.Verdict`."""

    video_id: str
    segment_set: str
    revision: str
    verdict: Verdicts
    score: float
    confidence: float | None
    audit: bool
    evidence: Sequence[Mapping[str, Any]]
    matches: Sequence[Mapping[str, Any]] = ()


_FIELDS = tuple(field.name for field in fields(Judged))


class PolicyRecords(BankRecords, WebhookRecords):
    """The part of a Database that holds policies, the bank and webhooks."""

    # -- policies

    def policies(self, names: Collection[str] | None = None, states: Collection[str] | None = None) -> list[Policy]:
        """Return versions of policies by name, the oldest first: of these names, and in these states."""
        query = sa.select(Policy).order_by(Policy.name, Policy.version)
        for column, wanted in ((Policy.name, names), (Policy.state, states)):
            query = query if wanted is None else query.where(column.in_(list(wanted)))
        with self.read() as session:
            return list(session.scalars(query))

    def policy(self, name: str, version: int | None = None) -> Policy:
        """Return a version of a policy, the newest where none is named. Raises NotFoundError."""
        with self.read() as session:
            return _policy(session, name, version)

    def draft_policy(self, name: str, document: Mapping[str, Any], by: str) -> Policy:
        """Write a draft: a new version, or another text of the newest one where that is a draft still.

        Raises UserError for what cannot be a name.
        """
        check(f"the policy's name '{name}'", name)
        if "/" in name or name in _PAGES:  # it is a part of an address
            raise UserError(f"the policy's name '{name}'", "is a page's, or has a slash in it", "choose another")
        now = datetime.now(UTC)
        with self.write(content=False) as session:
            newest: Policy | None = session.scalar(_versions(name).limit(1))
            if newest and newest.state == "draft":
                if newest.document != document:
                    newest.document, newest.by, newest.changed_at, newest.fitted = dict(document), by, now, None
                    _note(session, newest, "edited", by)
                return newest
            version = newest.version + 1 if newest else 1
            draft = Policy(name=name, version=version, state="draft", document=dict(document), by=by)
            draft.created_at = draft.changed_at = now
            session.add(draft)
            _note(session, draft, "draft", by)
            return draft

    def set_policy(self, name: str, version: int, state: str, by: str, fitted: Mapping[str, Any] | None = None) -> Policy:
        """Have a version enter a state; who was in it is retired, if it is one that only one version may be in.

        Where none is enforced then, cases that are undecided are withdrawn.

        fitted: by the revision of the model; what is there of that one already stays. Raises NotFoundError.
        """
        with self.write(content=False) as session:
            policy = _policy(session, name, version)
            if fitted:
                policy.fitted = {**fitted, **(policy.fitted or {})}
            if policy.state != state:
                others = _versions(name).where(Policy.state == state) if state in IN_FORCE else None
                for other in [] if others is None else session.scalars(others).all():
                    _enter(session, other, "retired", by)
                _enter(session, policy, state, by)
            session.flush()
            if not session.scalar(_versions(name).where(Policy.state == "enforced").limit(1)):
                session.execute(sa.delete(Standing).where(Standing.policy == name))
                withdraw_policy(session, name)
            return policy

    def fit_policy(self, name: str, version: int, revision: str, fit: Mapping[str, Any], by: str) -> Policy:
        """Note what was made of a version for a revision of the model, unless that is known already."""
        with self.write(content=False) as session:
            policy = _policy(session, name, version)
            if revision not in (policy.fitted or {}):
                policy.fitted = {**(policy.fitted or {}), revision: dict(fit)}
                _note(session, policy, "fitted", by, revision=revision)
            return policy

    def policy_changes(self, name: str) -> list[PolicyChange]:
        """Return all that became of a policy, the newest first."""
        with self.read() as session:
            return list(
                session.scalars(sa.select(PolicyChange).where(PolicyChange.policy == name).order_by(PolicyChange.id.desc()))
            )

    # -- verdicts

    def verdict_counts(self, names: Collection[str] | None = None) -> dict[tuple[str, int], dict[str, int]]:
        """Return by name and version how many videos there are of each verdict."""
        query = sa.select(Verdict.policy, Verdict.version, Verdict.verdict, sa.func.count())
        query = query if names is None else query.where(Verdict.policy.in_(list(names)))
        found: dict[tuple[str, int], dict[str, int]] = {}
        with self.read() as session:
            for name, version, verdict, count in session.execute(
                query.group_by(Verdict.policy, Verdict.version, Verdict.verdict)
            ):
                found.setdefault((name, version), {"pass": 0, "review": 0, "block": 0})[verdict] = count
        return found

    def verdicts(
        self, name: str, version: int, *, verdict: str | None = None, limit: int = 50, page: str | None = None
    ) -> tuple[list[Verdict], int, str | None]:
        """Return a page of what a version says, the highest score first; how much there is; and the next page's token.

        Raises UserError for a token that is none.
        """
        fits = [Verdict.policy == name, Verdict.version == version]
        fits += [] if verdict is None else [Verdict.verdict == verdict]
        query = sa.select(Verdict).where(*fits).order_by(Verdict.score.desc(), Verdict.video_id).limit(limit)
        if page is not None:
            score, video = _read(page)
            query = query.where((Verdict.score < score) | ((Verdict.score == score) & (Verdict.video_id > video)))
        with self.read() as session:
            total = session.scalar(sa.select(sa.func.count()).select_from(Verdict).where(*fits)) or 0
            found = list(session.scalars(query))
        return found, total, pages.pack(found[-1].score, found[-1].video_id) if len(found) == limit else None

    def said(self, name: str, version: int) -> dict[str, str]:
        """Return a version's verdict on each video."""
        query = sa.select(Verdict.video_id, Verdict.verdict).where(Verdict.policy == name, Verdict.version == version)
        with self.read() as session:
            return {row.video_id: row.verdict for row in session.execute(query)}

    def verdicts_of(self, name: str, version: int, videos: Iterable[str]) -> dict[str, Verdict]:
        """Return what a version says of videos; those that it says nothing of are left out."""
        with self.read() as session:
            return _verdicts(session, name, version, videos)

    def verdicts_on(self, video: str) -> list[tuple[Policy, Verdict]]:
        """Return what the policies that are in force say of a video, by their names."""
        query = sa.select(Policy, Verdict).join(Verdict, (Verdict.policy == Policy.name) & (Verdict.version == Policy.version))
        query = query.where(Verdict.video_id == video, Policy.state == "enforced").order_by(Policy.name)
        with self.read() as session:
            return [(policy, verdict) for policy, verdict in session.execute(query)]

    def unjudged(self, name: str, version: int, revision: str, node: Node | None = None) -> list[str]:
        """Return the videos with vectors by a revision of the model of which a version says nothing by that one.

        node: the filter that is its scope.
        """
        said = sa.exists().where(
            Verdict.policy == name, Verdict.version == version, Verdict.video_id == Video.id, Verdict.revision == revision
        )
        has = sa.exists().where(Segment.video_id == Video.id, Embedding.segment_id == Segment.id, Embedding.revision == revision)
        with self.read() as session:
            scope = [] if node is None else [where.some(node)]
            return list(session.scalars(sa.select(Video.id).where(has, ~said, *scope).order_by(Video.id)))

    def record_verdicts(self, name: str, version: int, judged: Sequence[Judged], out: Iterable[str] = ()) -> int:
        """Note what a version that is in force says of videos, and that it says nothing of `out`; return how much is new.

        Of an enforced one, others are told what has changed. Where the version is not in force any more, nothing is noted.
        """
        now, gone = datetime.now(UTC), list(out)
        with self.write(content=False) as session:
            policy = _policy(session, name, version)
            if policy.state not in IN_FORCE:
                return 0
            there = _verdicts(session, name, version, [*(one.video_id for one in judged), *gone])
            alive = _alive(session, (one.video_id for one in judged))
            changed = 0
            for one in judged:
                row, values = there.get(one.video_id), {field: _plain(getattr(one, field)) for field in _FIELDS}
                if one.video_id not in alive or (row and all(getattr(row, key) == value for key, value in values.items())):
                    continue
                changed += 1
                if row is None:
                    session.add(Verdict(policy=name, version=version, at=now, **values))
                else:
                    for key, value in values.items():
                        setattr(row, key, value)
                    row.at = now
            for video in gone:
                if row := there.get(video):
                    session.delete(row)
                    changed += 1
            if policy.state == "enforced":
                said = {one.video_id: one for one in judged if one.video_id in alive}
                _tell(session, policy, said, gone)
            return changed


def _tell(session: Session, policy: Policy, said: Mapping[str, Judged], gone: Iterable[str]) -> None:
    """Note what others know of videos, and tell them what is another verdict than they know."""
    stand: dict[str, Standing] = {}
    for ids in batches([*said, *gone]):
        query = sa.select(Standing).where(Standing.policy == policy.name, Standing.video_id.in_(ids))
        stand |= {one.video_id: one for one in session.scalars(query)}
    for video in (*said, *gone):
        known, one = stand.get(video), said.get(video)
        before, after = known.verdict if known else None, one.verdict if one else None
        if before == after:
            continue
        if known and after:
            known.verdict = after
        elif known:
            session.delete(known)
        elif after:
            session.add(Standing(policy=policy.name, video_id=video, verdict=after))
        body = {"policy": policy.name, "version": policy.version, "video_id": video, "before": before, "after": after}
        put_event(session, "verdict.changed", {**body, "score": one.score if one else None})


def _enter(session: Session, policy: Policy, state: str, by: str) -> None:
    policy.state, policy.changed_at = state, datetime.now(UTC)
    _note(session, policy, state, by)


def _note(session: Session, policy: Policy, change: str, by: str, **more: Any) -> None:
    now = datetime.now(UTC)
    session.add(PolicyChange(policy=policy.name, version=policy.version, change=change, by=by, at=now))
    body = {"policy": policy.name, "version": policy.version, "change": change, "by": by, "at": now.isoformat(), **more}
    put_event(session, "policy.changed", body)


def _versions(name: str) -> sa.Select[Any]:
    return sa.select(Policy).where(Policy.name == name).order_by(Policy.version.desc())


def _policy(session: Session, name: str, version: int | None) -> Policy:
    query = _versions(name)
    found: Policy | None = session.scalar((query if version is None else query.where(Policy.version == version)).limit(1))
    if found is None:
        known = session.scalars(sa.select(Policy.name).distinct().order_by(Policy.name)).all()
        fix = f"there are: {', '.join(known) or 'none'}" if version is None else ""
        raise NotFoundError(f"policy {name}" + (f", version {version}" if version else ""), "there is none", fix)
    return found


def _verdicts(session: Session, name: str, version: int, videos: Iterable[str]) -> dict[str, Verdict]:
    found: dict[str, Verdict] = {}
    for ids in batches(videos):
        query = sa.select(Verdict).where(Verdict.policy == name, Verdict.version == version, Verdict.video_id.in_(ids))
        found |= {one.video_id: one for one in session.scalars(query)}
    return found


def _alive(session: Session, videos: Iterable[str]) -> set[str]:
    """Return those videos that are there: one may be removed while it is judged."""
    return {key for ids in batches(videos) for key in session.scalars(sa.select(Video.id).where(Video.id.in_(ids)))}


def _plain(value: Any) -> Any:
    return [dict(one) for one in value] if isinstance(value, list | tuple) else value


def _read(token: str) -> tuple[float, str]:
    match pages.unpack(token):
        case [float() as score, str() as video]:
            return score, video
    raise pages.stray()
