"""Several machines: settings that all share, and arrays in an object store."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Bring a library to this schema."""
    op.create_table(
        "shared",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shared"),
    )
    op.create_table(
        "chunks",
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("revision", "generation", "first", name="pk_chunks"),
        sa.UniqueConstraint("name", name="uq_chunks_name"),
    )
