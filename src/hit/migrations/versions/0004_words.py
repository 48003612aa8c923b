"""The words of each segment and the index over them, for keyword search."""

from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa
from alembic import op

from hit.db.words import document

revision = "0004"
down_revision = "0003"

_SQLITE = (
    # Words come normalised: all that this tokenizer does is to part them at spaces.
    "CREATE VIRTUAL TABLE documents_fts USING fts5(words, content='documents', content_rowid='id', tokenize='ascii')",
    """CREATE TRIGGER documents_insert AFTER INSERT ON documents BEGIN
        INSERT INTO documents_fts (rowid, words) VALUES (new.id, new.words);
    END""",
    """CREATE TRIGGER documents_delete AFTER DELETE ON documents BEGIN
        INSERT INTO documents_fts (documents_fts, rowid, words) VALUES ('delete', old.id, old.words);
    END""",
    """CREATE TRIGGER documents_update AFTER UPDATE ON documents BEGIN
        INSERT INTO documents_fts (documents_fts, rowid, words) VALUES ('delete', old.id, old.words);
        INSERT INTO documents_fts (rowid, words) VALUES (new.id, new.words);
    END""",
)
_POSTGRESQL = (
    # to_tsvector would part words by rules of its own, which depend on the server's locale.
    """CREATE FUNCTION hit_words(words text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT coalesce(string_agg('''' || word || ''':' || place, ' '), '')::tsvector
        FROM unnest(string_to_array(words, ' ')) WITH ORDINALITY AS one (word, place) WHERE word <> ''
    $$""",
    "ALTER TABLE documents ADD COLUMN fts tsvector GENERATED ALWAYS AS (hit_words(words)) STORED",
    "CREATE INDEX ix_documents_fts ON documents USING gin (fts)",
)


def upgrade() -> None:
    """Bring a library to this schema; what it holds already can be found by its words too."""
    documents = op.create_table(
        "documents",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"], name="fk_documents_segment_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.UniqueConstraint("segment_id", name="uq_documents_segment_id"),
        sqlite_autoincrement=True,
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
    for (video,) in op.get_bind().execute(sa.text("SELECT DISTINCT video_id FROM segments ORDER BY video_id")).all():
        op.bulk_insert(documents, _documents(video))


def _documents(video: str) -> list[dict[str, str]]:
    """Return what the segments of a video are found by, in the tables as they are here and by the words as they are today."""

    def ask(query: str) -> Any:
        return op.get_bind().execute(sa.text(query), {"video": video})

    names = [PurePosixPath(path).stem for (path,) in ask("SELECT path FROM files WHERE video_id = :video ORDER BY path")]
    tags = [name for (name,) in ask("SELECT name FROM tags WHERE video_id = :video ORDER BY name")]
    parts = "SELECT id FROM segments WHERE video_id = :video"
    lines: dict[str, list[str]] = {segment: [] for (segment,) in ask(f"{parts} ORDER BY start, id")}
    spoken = "SELECT segment_id, text FROM lines JOIN segments ON segments.id = segment_id WHERE video_id = :video"
    for segment, text in ask(f"{spoken} ORDER BY expert, number"):
        lines[segment].append(text)
    return [{"segment_id": segment, "words": document(texts, dict.fromkeys(names), tags)} for segment, texts in lines.items()]
