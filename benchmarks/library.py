"""A whole library at a million segments: opening it, searching it through database and store, filters, words, bytes on the disk.

python benchmarks/library.py [--segments 1000000] [--dim 512] [--queries 50] [--folder DIR] [--tiny]

Videos of 50 segments, each with 12 words that were said, by Zipf's law. `search` is by meaning alone, `of_it_store` the share of
that time that the vector store takes; a filter's `first_ms` resolves it in the database, `again_ms` finds it resolved.
Milliseconds are medians of wall clock.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from hit import filters
from hit.config import ExpertConfig
from hit.db.schema import Array, Document, Embedding, File, Line, Segment, Tag, Video
from hit.library import Library
from hit.stores.local import Local
from hit.types import Features, Floats

PER_VIDEO = 50
BLOCK = 50_000
WORDS = 12
FILTERS = {"20pct": "tag=fifth", "0_5pct": "tag=rare", "duration": "duration>=60 and not path:draft"}
TEXTS = {"common": "w0 w3", "rare": "w20000", "phrase": '"w0 w1"'}


class Rows:
    """An encoder whose texts are rows of the library, "17", with noise."""

    id, revision = "rows", "rows-1"
    experts: Mapping[str, ExpertConfig] = {}
    identities: Mapping[str, str] = {}
    weights: Mapping[str, float] = {"feature": 1.0, "semantic": 1.0}

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.parts = {"feature": slice(0, dim // 2), "semantic": slice(dim // 2, dim)}
        self.centres = halves(np.random.default_rng(1).standard_normal((10_000, dim), np.float32))

    def block(self, rows: Sequence[int]) -> Floats:
        """Return the vectors of rows: near one of many centres."""
        noise = np.random.default_rng(rows[0]).standard_normal((len(rows), self.dim), np.float32)
        return halves(self.centres[np.array(rows) % len(self.centres)] + 0.8 * halves(noise))

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Return (N, dim)."""
        seeds = [sum(map(ord, text)) for text in texts]
        noise = np.stack([np.random.default_rng(seed).standard_normal(self.dim, np.float32) for seed in seeds])
        return halves(self.centres[seeds] + 0.5 * halves(noise))

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        """Return (N, dim)."""
        return self.embed_texts([str(i) for i in range(len(clips))])


def halves(vectors: Floats) -> Floats:
    """Bring both halves to unit length."""
    parts = vectors.reshape(len(vectors), 2, -1)
    made: Floats = (parts / np.linalg.norm(parts, axis=2, keepdims=True)).reshape(vectors.shape)
    return made


def fill(library: Library, encoder: Rows, count: int, said: Sequence[str] = ()) -> None:
    """Write videos, segments, words (most frequent first), tags and vectors as indexing would, many at once."""
    rng = np.random.default_rng(0)
    vocabulary = np.array(said or [f"w{i}" for i in range(30_000)])
    chances = 1 / np.arange(1, len(vocabulary) + 1)
    now, videos = datetime.now(UTC), range(count // PER_VIDEO)
    facts = {"content_hash": "", "status": "ready", "revision": encoder.revision, "added_at": now, "codec": "h264"}
    names = {n: f"{n:016x}" for n in videos}
    with library.db.write() as session:
        session.execute(
            sa.insert(Video),
            [{**facts, "id": names[n], "content_hash": names[n], "duration": float(n % 300), "width": 1280} for n in videos],
        )
        paths = [f"/films/{n % 97}/{'draft' if n % 3 == 0 else 'film'}-{n}.mp4" for n in videos]
        session.execute(sa.insert(File), [{"path": paths[n], "video_id": names[n], "size": 1, "mtime_ns": 1} for n in videos])
        tags = [(n, "fifth") for n in videos if n % 5 == 0] + [(n, "rare") for n in videos if n % 200 == 0]
        session.execute(sa.insert(Tag), [{"video_id": names[n], "name": name, "source": "user"} for n, name in tags])
        session.add(Array(revision=encoder.revision, generation=0, dim=encoder.dim, rows=count))
        for first in range(0, count, BLOCK):
            rows = range(first, min(first + BLOCK, count))
            words = [" ".join(row) for row in rng.choice(vocabulary, (len(rows), WORDS), p=chances / chances.sum())]
            ids = [f"{names[row // PER_VIDEO]}-{row}" for row in rows]
            times = [8.0 * (row % PER_VIDEO) for row in rows]
            segments = [
                {"id": key, "video_id": key[:16], "start": at, "end": at + 8, "seek": at, "thumbnail": f"{key}.jpg"}
                for key, at in zip(ids, times, strict=True)
            ]
            session.execute(sa.insert(Segment), segments)
            session.execute(
                sa.insert(Embedding),
                [{"segment_id": key, "revision": encoder.revision, "row": row} for key, row in zip(ids, rows, strict=True)],
            )
            lines = [
                {"segment_id": key, "number": 0, "expert": "speech", "start": at, "end": at + 8, "text": text}
                for key, at, text in zip(ids, times, words, strict=True)
            ]
            session.execute(sa.insert(Line), lines)
            session.execute(
                sa.insert(Document), [{"segment_id": key, "words": text} for key, text in zip(ids, words, strict=True)]
            )
            library.db.matrix(library.stored).write(np.array(rows), encoder.block(rows))


def measure(folder: Path, count: int, dim: int, queries: int) -> dict[str, Any]:
    """Make a library and ask it."""
    encoder = Rows(dim)
    with Library.create(folder, encoder=encoder) as library:
        fill(library, encoder, count)
        begun = time.perf_counter()
        stored = library.db.stored(encoder.revision, dim)
        library.store.put(np.arange(count), np.asarray(library.db.matrix(stored).view(count)))
        if isinstance(library.store, Local):
            library.store.build()
        rebuilt = time.perf_counter() - begun
    begun = time.perf_counter()
    library = Library.open(folder, encoder=encoder)
    opened = time.perf_counter() - begun
    library.search("first", mode="meaning")
    answered = time.perf_counter() - begun

    def ask(texts: Sequence[str], **asked: Any) -> float:
        return middle([timed(partial(library.search, text, **asked)) for text in texts])

    texts = [f"query {i}" for i in range(queries)]
    vectors = encoder.embed_texts(texts)
    alone = middle([timed(partial(library.store.search, row[None], 40)) for row in vectors])
    asked = ask(texts, mode="meaning")
    result: dict[str, Any] = {
        "rebuild_s": round(rebuilt, 1),
        "open_s": round(opened, 3),
        "open_to_first_answer_s": round(answered, 3),
        "search_ms": asked,
        "of_it_store": round(alone / asked, 2),
        "by_video_ms": ask(texts[:10], mode="meaning", group_by="video"),
        "words": {name: {"ms": ask([text] * 5)} for name, text in TEXTS.items()},
    }
    for name, text in FILTERS.items():
        where = filters.parse(text)
        first = timed(partial(library.search, "x", where=where, mode="meaning"))
        result[f"filter_{name}"] = {
            "kept": len(library.db.allowed(library.stored, where)),
            "first_ms": round(first, 1),
            "again_ms": ask(texts[:20], mode="meaning", where=where),
        }
    library.close()
    parts = {"database": [*folder.glob("library.db*")], "array": [*folder.rglob("vectors.f32")]}
    parts["store"] = [path for path in (folder / "embeddings").rglob("*") if path not in parts["array"] and path.is_file()]
    weighed = {part: round(sum(path.stat().st_size for path in paths) / count) for part, paths in parts.items()}
    return {**result, "bytes_a_segment": weighed}


def timed(call: Any) -> float:
    """Return the milliseconds that a call takes."""
    begun = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begun)


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return round(float(np.median(values)), 1)


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--segments", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--folder", help="where to write: 4 GB for a million segments")
    parser.add_argument("--tiny", action="store_true", help="5,000 segments of width 64")
    given = parser.parse_args()
    count, dim, queries = (5000, 64, 10) if given.tiny else (given.segments, given.dim, given.queries)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = measure(Path(folder) / "library", count, dim, queries)
    print(json.dumps({"benchmark": "library", "segments": count, "dim": dim, **found}))


if __name__ == "__main__":
    main()
