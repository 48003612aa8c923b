"""The words that experts read or heard in a segment, for people to see why it was found."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring a library to this schema; what was indexed before has no words until it is indexed anew."""
    op.create_table(
        "lines",
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("expert", sa.String(), nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("end", sa.Double(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name="fk_lines_segment_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("segment_id", "number", name="pk_lines"),
    )
