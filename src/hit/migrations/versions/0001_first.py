"""Videos, their files, segments and embeddings, and what the vector stores have yet to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Bring a library to this schema."""
    op.create_table(
        "videos",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("revision", sa.String()),
        sa.Column("duration", sa.Double()),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("rate", sa.Double()),
        sa.Column("codec", sa.String()),
        sa.Column("has_audio", sa.Boolean()),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('pending', 'indexing', 'ready', 'failed')", name="ck_videos_status"),
        sa.PrimaryKeyConstraint("id", name="pk_videos"),
        sa.UniqueConstraint("content_hash", name="uq_videos_content_hash"),
    )
    op.create_index("ix_videos_status", "videos", ["status"])
    op.create_table(
        "files",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_files_video_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("path", name="pk_files"),
    )
    op.create_index("ix_files_video_id", "files", ["video_id"])
    op.create_table(
        "segments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("end", sa.Double(), nullable=False),
        sa.Column("seek", sa.Double(), nullable=False),
        sa.Column("thumbnail", sa.String()),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_segments_video_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_segments"),
    )
    op.create_index("ix_segments_video_id", "segments", ["video_id"])
    op.create_table(
        "embeddings",
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name="fk_embeddings_segment_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("segment_id", "revision", name="pk_embeddings"),
    )
    op.create_index("ix_embeddings_revision", "embeddings", ["revision"])
    op.create_table(
        "unsynced",
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("segment_id", "revision", name="pk_unsynced"),
    )
