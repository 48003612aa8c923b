"""The tables of labels, policies and review, as the newest migration leaves them."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hit.db.schema import Base

# -- content understanding: see `hit.tagging`


class LabelSet(Base):
    """A version of a set of labels: what it says (`document`), and what was made of that for one model (`fitted`).

    At most one version of a name is active: the one by which the library is tagged.
    """

    __tablename__ = "label_sets"
    __table_args__ = (sa.CheckConstraint("state IN ('draft', 'active', 'retired')", name="state"),)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str]
    document: Mapped[dict[str, Any]]
    fitted: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON())
    by: Mapped[str]
    created_at: Mapped[datetime]


class Tagged(Base):
    """Why a video bears a label: its best score, the segments that show it, and which version and model said so."""

    __tablename__ = "tagged"
    label_set: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True, index=True)
    version: Mapped[int]
    revision: Mapped[str]
    score: Mapped[float]
    confidence: Mapped[float | None]
    threshold: Mapped[float]
    segments: Mapped[list[Any]] = mapped_column(sa.JSON())
    at: Mapped[datetime]


class LabelAnswer(Base):
    """What somebody says of a segment: whether it shows what a label means. The newest word counts."""

    __tablename__ = "label_answers"
    label_set: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    segment_id: Mapped[str] = mapped_column(sa.ForeignKey("segments.id", ondelete="CASCADE"), primary_key=True, index=True)
    yes: Mapped[bool]
    by: Mapped[str]
    at: Mapped[datetime]


# -- policies: see `hit.moderation`


class Policy(Base):
    """A version of a policy. At most one version of a name is enforced, and at most one in shadow."""

    __tablename__ = "policies"
    __table_args__ = (sa.CheckConstraint("state IN ('draft', 'shadow', 'enforced', 'retired')", name="state"),)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str]
    document: Mapped[dict[str, Any]]
    fitted: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON())
    by: Mapped[str]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class PolicyChange(Base):
    """What became of a version of a policy, by whom and when. `change`: the state that it entered, "edited" or "fitted"."""

    __tablename__ = "policy_changes"
    id: Mapped[int] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(index=True)
    version: Mapped[int]
    change: Mapped[str]
    by: Mapped[str]
    at: Mapped[datetime]


class Standing(Base):
    """What others were told last of a video by a policy that is in force: see the event `verdict.changed`."""

    __tablename__ = "standing"
    policy: Mapped[str] = mapped_column(primary_key=True)
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True, index=True)
    verdict: Mapped[str]


class Verdict(Base):
    """What a version of a policy says of a video: of these segments (`segment_set`, a digest), by this model (`revision`)."""

    __tablename__ = "verdicts"
    __table_args__ = (
        sa.CheckConstraint("verdict IN ('pass', 'review', 'block')", name="verdict"),
        sa.Index("ix_verdicts_page", "policy", "version", "verdict", "score"),
    )
    policy: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True, index=True)
    segment_set: Mapped[str]
    revision: Mapped[str]
    verdict: Mapped[str]
    score: Mapped[float]
    confidence: Mapped[float | None]
    audit: Mapped[bool]
    evidence: Mapped[list[Any]] = mapped_column(sa.JSON())
    matches: Mapped[list[Any]] = mapped_column(sa.JSON())
    at: Mapped[datetime]


class Print(Base):
    """Perceptual hashes of a video's frames, as `hit.moderation.prints` packs them; `kind` names how they were made."""

    __tablename__ = "prints"
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str]
    frames: Mapped[bytes] = mapped_column(sa.LargeBinary)


class Banned(Base):
    """A known bad clip: hashes of its frames, which stay when the video itself is gone."""

    __tablename__ = "bank"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    note: Mapped[str]
    content_hash: Mapped[str | None]
    kind: Mapped[str]
    frames: Mapped[bytes] = mapped_column(sa.LargeBinary)
    by: Mapped[str]
    added_at: Mapped[datetime]


class Endpoint(Base):
    """Where webhooks go. Its secret is derived from the library's key and `salt`, and never written down."""

    __tablename__ = "endpoints"
    name: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str]
    events: Mapped[list[Any]] = mapped_column(sa.JSON())
    salt: Mapped[str]
    by: Mapped[str]
    created_at: Mapped[datetime]


class Delivery(Base):
    """An event on its way to an endpoint. Whoever sends it holds it until `due_at`, when it is tried again."""

    __tablename__ = "deliveries"
    __table_args__ = (
        sa.CheckConstraint("state IN ('queued', 'sent', 'dead')", name="state"),
        sa.Index("ix_deliveries_due", "state", "due_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(sa.ForeignKey("endpoints.name", ondelete="CASCADE"), index=True)
    event: Mapped[str]
    body: Mapped[dict[str, Any]]
    state: Mapped[str]
    tries: Mapped[int]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    error: Mapped[str | None]


# -- review: see `hit.review`


class Case(Base):
    """A video that people are to judge by a policy, with the evidence as it was then. Where it stands, its assignments say.

    key: what makes it one and the same case. golden: the answer that is known, of a case that tests its reviewer. Cases stay
    when their video goes.
    """

    __tablename__ = "cases"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    policy: Mapped[str]
    version: Mapped[int]
    video_id: Mapped[str] = mapped_column(index=True)
    title: Mapped[str]
    severity: Mapped[int]
    verdict: Mapped[str]
    score: Mapped[float]
    confidence: Mapped[float | None]
    audit: Mapped[bool]
    evidence: Mapped[list[Any]] = mapped_column(sa.JSON())
    matches: Mapped[list[Any]] = mapped_column(sa.JSON())
    segment_set: Mapped[str]
    revision: Mapped[str]
    seats: Mapped[int]
    golden: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(index=True)


_FIRST = (sa.text("severity DESC"), sa.text("priority DESC"), "created_at", "id")  # as the queue is served


class Assignment(Base):
    """A seat at a case, and who sits there until when. Who holds `claim` may act; it is another one with each claim.

    role: who may take it. severity, priority and policy are the case's, to order and narrow the queue by.
    """

    __tablename__ = "assignments"
    __table_args__ = (
        sa.CheckConstraint("state IN ('open', 'claimed', 'done', 'withdrawn')", name="state"),
        sa.CheckConstraint("seat IN ('first', 'second', 'senior', 'appeal')", name="seat"),
        sa.CheckConstraint("role IN ('reviewer', 'senior')", name="role"),
        sa.Index("ix_assignments_queue", "state", "role", *_FIRST),
        sa.Index("ix_assignments_policy", "state", "role", "policy", *_FIRST),
        sa.Index("ix_assignments_lease", "state", "until"),
        sa.Index("ix_assignments_owner", "owner", "state"),
        sa.Index("ix_assignments_case", "case_id", "owner"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(sa.ForeignKey("cases.id", ondelete="CASCADE"))
    seat: Mapped[str]
    role: Mapped[str]
    state: Mapped[str]
    policy: Mapped[str]
    severity: Mapped[int]
    priority: Mapped[float]
    created_at: Mapped[datetime]
    owner: Mapped[str | None]
    claim: Mapped[str | None] = mapped_column(unique=True)
    claimed_at: Mapped[datetime | None]
    beat_at: Mapped[datetime | None]
    until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Skip(Base):
    """Who did not want to judge which case, and why: no seat at it is offered to them again."""

    __tablename__ = "skips"
    case_id: Mapped[int] = mapped_column(sa.ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    reviewer: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    at: Mapped[datetime]


class Decision(Base):
    """A link of the chain of what people decided. Only reviewer, note, salt and evidence may ever be blanked.

    hash: of all else, of what stands for them (`person`, `noted`, `shown`), and of the link before. See `hit.db.chain`.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('decide', 'uphold', 'overturn', 'appeal', 'reopen', 'undo')", name="kind"),
        sa.CheckConstraint("action IN ('pass', 'block')", name="action"),
        sa.Index("ix_decisions_case", "case_id", "reviewer"),
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    case_id: Mapped[int]
    assignment_id: Mapped[int | None]
    claim: Mapped[str | None] = mapped_column(unique=True)
    seat: Mapped[str | None]
    kind: Mapped[str]
    action: Mapped[str | None]
    policy: Mapped[str]
    version: Mapped[int]
    revision: Mapped[str]
    video_id: Mapped[str]
    reason: Mapped[str]
    evidence: Mapped[list[Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    seconds: Mapped[float | None]
    batch: Mapped[str | None] = mapped_column(index=True)
    at: Mapped[datetime] = mapped_column(index=True)
    reviewer: Mapped[str | None] = mapped_column(index=True)
    note: Mapped[str | None]
    salt: Mapped[str | None]
    person: Mapped[str]
    noted: Mapped[str]
    shown: Mapped[str]
    before: Mapped[str]
    hash: Mapped[str]


class Chain(Base):
    """The newest link of the chain: one row, which whoever ends, opens or withdraws a seat locks first."""

    __tablename__ = "chain"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]
    hash: Mapped[str]
