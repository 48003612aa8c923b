"""Labels, policies and review: what people and models say of videos."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Bring a library to this schema."""
    with op.batch_alter_table("tokens") as tokens:
        tokens.drop_constraint("ck_tokens_role", type_="check")
        tokens.create_check_constraint("ck_tokens_role", "role IN ('viewer', 'reviewer', 'senior', 'admin')")
    _labels()
    _policies()
    _bank()
    _webhooks()
    _cases()
    _assignments()
    _decisions()


def _labels() -> None:
    op.create_table(
        "label_sets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("fitted", sa.JSON()),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("state IN ('draft', 'active', 'retired')", name="ck_label_sets_state"),
        sa.PrimaryKeyConstraint("name", "version", name="pk_label_sets"),
    )
    op.create_table(
        "tagged",
        sa.Column("label_set", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double()),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("segments", sa.JSON(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_tagged_video_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("label_set", "label", "video_id", name="pk_tagged"),
    )
    op.create_index("ix_tagged_video_id", "tagged", ["video_id"])
    op.create_table(
        "label_answers",
        sa.Column("label_set", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("yes", sa.Boolean(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name="fk_label_answers_segment_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("label_set", "label", "segment_id", name="pk_label_answers"),
    )
    op.create_index("ix_label_answers_segment_id", "label_answers", ["segment_id"])


def _policies() -> None:
    op.create_table(
        "policies",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("fitted", sa.JSON()),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.CheckConstraint("state IN ('draft', 'shadow', 'enforced', 'retired')", name="ck_policies_state"),
        sa.PrimaryKeyConstraint("name", "version", name="pk_policies"),
    )
    op.create_table(
        "policy_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("change", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_policy_changes"),
    )
    op.create_index("ix_policy_changes_policy", "policy_changes", ["policy"])
    op.create_table(
        "standing",
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_standing_video_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("policy", "video_id", name="pk_standing"),
    )
    op.create_index("ix_standing_video_id", "standing", ["video_id"])
    op.create_table(
        "verdicts",
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("segment_set", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double()),
        sa.Column("audit", sa.Boolean(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("matches", sa.JSON(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.CheckConstraint("verdict IN ('pass', 'review', 'block')", name="ck_verdicts_verdict"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_verdicts_video_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("policy", "version", "video_id", name="pk_verdicts"),
    )
    op.create_index("ix_verdicts_page", "verdicts", ["policy", "version", "verdict", "score"])
    op.create_index("ix_verdicts_video_id", "verdicts", ["video_id"])


def _bank() -> None:
    op.create_table(
        "prints",
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("frames", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_prints_video_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("video_id", name="pk_prints"),
    )
    op.create_table(
        "bank",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("frames", sa.LargeBinary(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bank"),
    )


def _webhooks() -> None:
    op.create_table(
        "endpoints",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_endpoints"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("sent_at", TIME),
        sa.Column("error", sa.String()),
        sa.CheckConstraint("state IN ('queued', 'sent', 'dead')", name="ck_deliveries_state"),
        sa.ForeignKeyConstraint(["endpoint"], ["endpoints.name"], name="fk_deliveries_endpoint", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_due", "deliveries", ["state", "due_at"])
    op.create_index("ix_deliveries_endpoint", "deliveries", ["endpoint"])


def _cases() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double()),
        sa.Column("audit", sa.Boolean(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("matches", sa.JSON(), nullable=False),
        sa.Column("segment_set", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("seats", sa.Integer(), nullable=False),
        sa.Column("golden", sa.String()),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cases"),
        sa.UniqueConstraint("key", name="uq_cases_key"),
    )
    op.create_index("ix_cases_created_at", "cases", ["created_at"])
    op.create_index("ix_cases_video_id", "cases", ["video_id"])


def _assignments() -> None:
    op.create_table(
        "assignments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("seat", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("claim", sa.String()),
        sa.Column("claimed_at", TIME),
        sa.Column("beat_at", TIME),
        sa.Column("until", TIME),
        sa.Column("ended_at", TIME),
        sa.CheckConstraint("role IN ('reviewer', 'senior')", name="ck_assignments_role"),
        sa.CheckConstraint("seat IN ('first', 'second', 'senior', 'appeal')", name="ck_assignments_seat"),
        sa.CheckConstraint("state IN ('open', 'claimed', 'done', 'withdrawn')", name="ck_assignments_state"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_assignments_case_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_assignments"),
        sa.UniqueConstraint("claim", name="uq_assignments_claim"),
    )
    op.create_index("ix_assignments_case", "assignments", ["case_id", "owner"])
    op.create_index("ix_assignments_lease", "assignments", ["state", "until"])
    op.create_index("ix_assignments_owner", "assignments", ["owner", "state"])
    first: list[str | sa.TextClause] = [sa.text("severity DESC"), sa.text("priority DESC"), "created_at", "id"]
    op.create_index("ix_assignments_policy", "assignments", ["state", "role", "policy", *first])
    op.create_index("ix_assignments_queue", "assignments", ["state", "role", *first])
    op.create_table(
        "skips",
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_skips_case_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("case_id", "reviewer", name="pk_skips"),
    )


def _decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("assignment_id", sa.Integer()),
        sa.Column("claim", sa.String()),
        sa.Column("seat", sa.String()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("action", sa.String()),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("evidence", sa.JSON()),
        sa.Column("seconds", sa.Double()),
        sa.Column("batch", sa.String()),
        sa.Column("at", TIME, nullable=False),
        sa.Column("reviewer", sa.String()),
        sa.Column("note", sa.String()),
        sa.Column("salt", sa.String()),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("noted", sa.String(), nullable=False),
        sa.Column("shown", sa.String(), nullable=False),
        sa.Column("before", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.CheckConstraint("action IN ('pass', 'block')", name="ck_decisions_action"),
        sa.CheckConstraint("kind IN ('decide', 'uphold', 'overturn', 'appeal', 'reopen', 'undo')", name="ck_decisions_kind"),
        sa.PrimaryKeyConstraint("number", name="pk_decisions"),
        sa.UniqueConstraint("claim", name="uq_decisions_claim"),
    )
    op.create_index("ix_decisions_at", "decisions", ["at"])
    op.create_index("ix_decisions_batch", "decisions", ["batch"])
    op.create_index("ix_decisions_case", "decisions", ["case_id", "reviewer"])
    op.create_index("ix_decisions_reviewer", "decisions", ["reviewer"])
    op.create_table(
        "chain",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chain"),
    )
    op.execute("INSERT INTO chain (id, number, hash) VALUES (1, 0, '')")
    _guard()


_KEPT = (
    *("number", "case_id", "assignment_id", "claim", "seat", "kind", "action", "policy", "version", "revision", "video_id"),
    *("reason", "seconds", "batch", "at", "person", "noted", "shown", "before", "hash"),
)
_BLANKED = ("reviewer", "note", "salt", "evidence")


def _guard() -> None:
    """Have the database itself refuse what would change a link of the chain, apart from blanking what may be blanked."""
    if op.get_bind().dialect.name == "sqlite":
        same = [f"NEW.{name} IS OLD.{name}" for name in _KEPT]
        same += [f"(NEW.{name} IS NULL OR NEW.{name} IS OLD.{name})" for name in _BLANKED]
        refused = "BEGIN SELECT RAISE(ABORT, 'decisions are never changed'); END"
        op.execute(f"CREATE TRIGGER decisions_stay BEFORE UPDATE ON decisions WHEN NOT ({' AND '.join(same)}) {refused}")
        op.execute(f"CREATE TRIGGER decisions_last BEFORE DELETE ON decisions {refused}")
        return
    same = [f"NEW.{name} IS NOT DISTINCT FROM OLD.{name}" for name in _KEPT]
    same += [f"(NEW.{name} IS NULL OR NEW.{name}::text IS NOT DISTINCT FROM OLD.{name}::text)" for name in _BLANKED]
    op.execute(
        "CREATE FUNCTION decisions_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF TG_OP = 'UPDATE' THEN IF {' AND '.join(same)} THEN RETURN NEW; END IF; END IF;"
        " RAISE EXCEPTION 'decisions are never changed'; END $$"
    )
    op.execute(
        "CREATE TRIGGER decisions_stay BEFORE UPDATE OR DELETE ON decisions FOR EACH ROW EXECUTE FUNCTION decisions_stay()"
    )
    op.execute("CREATE TRIGGER decisions_last BEFORE TRUNCATE ON decisions FOR EACH STATEMENT EXECUTE FUNCTION decisions_stay()")
