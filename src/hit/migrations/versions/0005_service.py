"""What a service keeps: names of uploads, jobs that wait their turn, tokens, sessions, answers to repeated requests."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Bring a library to this schema."""
    op.add_column("videos", sa.Column("title", sa.String()))
    time = sa.DateTime(timezone=True)
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_constraint("ck_jobs_state", type_="check")
        jobs.create_check_constraint("ck_jobs_state", "state IN ('queued', 'running', 'done', 'failed', 'cancelled')")
        jobs.alter_column("begun_at", existing_type=time, nullable=True)
        jobs.add_column(sa.Column("created_at", time))
        jobs.add_column(sa.Column("beat_at", time))
        jobs.add_column(sa.Column("owner", sa.String()))
        jobs.add_column(sa.Column("by", sa.String(), nullable=False, server_default=""))
        jobs.add_column(sa.Column("cancel", sa.Boolean(), nullable=False, server_default=sa.false()))
        jobs.add_column(sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
        jobs.add_column(sa.Column("done", sa.Double(), nullable=False, server_default="0"))
        jobs.add_column(sa.Column("total", sa.Double()))
        jobs.add_column(sa.Column("note", sa.String(), nullable=False, server_default=""))
    op.execute("UPDATE jobs SET created_at = begun_at, owner = ''")  # a command line, which nobody goes on for
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("created_at", existing_type=time, nullable=False)
        for name in ("by", "cancel", "tries", "done", "note"):  # which were there for the rows of before
            jobs.alter_column(name, server_default=None)
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time),
        sa.Column("revoked_at", time),
        sa.Column("used_at", time),
        sa.CheckConstraint("role IN ('viewer', 'reviewer', 'admin')", name="ck_tokens_role"),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
        sa.UniqueConstraint("name", name="uq_tokens_name"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("token_id", sa.Integer(), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_sessions_token_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
    )
    op.create_index("ix_sessions_token_id", "sessions", ["token_id"])
    op.create_table(
        "answers",
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("body", sa.JSON()),
        sa.Column("created_at", time, nullable=False),
        sa.PrimaryKeyConstraint("who", "key", name="pk_answers"),
    )
    op.create_index("ix_answers_created_at", "answers", ["created_at"])
