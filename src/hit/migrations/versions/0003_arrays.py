"""Vectors move into arrays beside the database, which names their rows; tags, saved searches, jobs."""

import os
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Bring a library to this schema."""
    moved = _move_vectors()
    op.drop_table("embeddings")
    op.drop_table("unsynced")
    arrays = op.create_table(
        "arrays",
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_arrays"),
    )
    embeddings = op.create_table(
        "embeddings",
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name="fk_embeddings_segment_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("segment_id", "revision", name="pk_embeddings"),
        sa.UniqueConstraint("revision", "row", name="uq_embeddings_revision"),
    )
    unsynced = op.create_table(
        "unsynced",
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("revision", "row", name="pk_unsynced"),
    )
    _make_records()
    for name, (dim, segments) in moved.items():
        op.bulk_insert(arrays, [{"revision": name, "generation": 0, "dim": dim, "rows": len(segments)}])
        rows = [{"segment_id": segment, "revision": name, "row": row} for row, segment in enumerate(segments)]
        op.bulk_insert(embeddings, rows)
        op.bulk_insert(unsynced, [{"revision": name, "row": row} for row in range(len(segments))])


def _make_records() -> None:
    op.create_table(
        "tags",
        sa.Column("video_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_tags_video_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("video_id", "name", name="pk_tags"),
    )
    op.create_index("ix_tags_name", "tags", ["name"])
    op.create_table(
        "searches",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_searches"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name="ck_jobs_state"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_state", "jobs", ["state"])
    changes = op.create_table(
        "changes",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_changes"),
    )
    op.bulk_insert(changes, [{"id": 1, "count": 0}])


def _move_vectors() -> dict[str, tuple[int, list[str]]]:
    """Write every revision's vectors to its array; return their width and the segments in the order of the rows."""
    connection, folder = op.get_bind(), Path(context.config.attributes["folder"])
    moved: dict[str, tuple[int, list[str]]] = {}
    names = connection.execute(sa.text("SELECT DISTINCT revision FROM embeddings")).scalars().all()
    for name in names:
        path = folder / "embeddings" / quote(name, safe="") / "0" / "vectors.f32"
        path.parent.mkdir(parents=True, exist_ok=True)
        query = sa.text("SELECT segment_id, vector FROM embeddings WHERE revision = :name ORDER BY segment_id")
        segments, width = [], 0
        with path.open("wb") as file:  # what a run that was killed left there is written over
            for segment, vector in connection.execute(query, {"name": name}):
                file.write(vector)
                segments.append(segment)
                width = len(vector) // 4
            file.flush()
            os.fsync(file.fileno())
        moved[name] = width, segments
    return moved
