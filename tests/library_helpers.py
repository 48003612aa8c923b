"""What the tests of index, search and library share."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from hit.db import Database
from hit.library import Library
from hit.types import Floats
from toy import ToyEncoder, render

TABLES = {
    "videos": "id, content_hash, status, error, revision, duration, width, height, rate, codec, has_audio",
    "files": "path, video_id, size, mtime_ns",
    "segments": '"id", video_id, start, "end", seek, thumbnail',
    "embeddings": "segment_id, revision",
    "tags": "*",
    "lines": 'segment_id, number, expert, start, "end", text',
    "unsynced": "*",
}


def dump(path: Path, encoder: ToyEncoder) -> dict[str, Any]:
    """Return all that a library holds and answers, apart from the times at which videos were added."""
    with Library.open(path, encoder=encoder) as library, library.db.read() as session:
        content: dict[str, Any] = {
            table: sorted(tuple(row) for row in session.execute(sa.text(f"SELECT {columns} FROM {table}")))
            for table, columns in TABLES.items()
        }
    posters = (path / "thumbnails").rglob("*")
    content["posters"] = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in posters if p.is_file()}
    with Library.open(path, encoder=encoder) as library:
        vectors = by_segment(library)
        content["vectors"] = {key: vector.tolist() for key, vector in vectors.items()}
        queries = np.random.default_rng(0).normal(size=(3, encoder.dim)).astype(np.float32)
        rows = library.store.keys()
        names = {row: place.segment.id for row, place in library.db.places(library.stored, rows.tolist()).items()}
        content["ids"] = sorted(names[row] for row in rows.tolist())
        content["nearest"] = [
            sorted(((names[row], score) for row, score in zip(found[0].tolist(), found[1].tolist(), strict=True)), key=_order)
            for found in library.store.search(queries, 1000)
        ]
        content["oracle"] = [
            sorted(
                (
                    (key, float(np.float32(vector.astype(np.float64) @ query.astype(np.float64))))
                    for key, vector in vectors.items()
                ),
                key=_order,
            )
            for query in queries
        ]
    return content


def by_segment(library: Library) -> dict[str, Floats]:
    """Return the vectors of a library's model by their segments."""
    rows = library.db.rows(library.stored.revision)
    places = library.db.places(library.stored, rows.tolist())
    found = library.db.vectors(library.stored, rows)
    return {places[row].segment.id: vector for row, vector in zip(rows.tolist(), found, strict=True)}


def forget(db: Database, videos: Iterable[str]) -> None:
    """Have a database forget all files of videos, and so these."""
    gone = set(videos)
    db.record_files([], [path for path, file in db.files().items() if file.video in gone])


def _order(pair: tuple[str, float]) -> tuple[float, str]:
    return -pair[1], pair[0]


def good_videos(folder: Path) -> list[Path]:
    """Write four short videos and a long one with shots."""
    return [
        render(folder / "red.mp4", ["red"]),
        render(folder / "sub" / "green.mp4", ["green"]),
        render(folder / "sub" / "blue.mp4", ["blue"], sound=True),
        render(folder / "red then blue.mp4", ["red", "blue"]),
        render(folder / "long.mp4", ["green", "red", "grey", "blue"], seconds=5.0),
    ]
