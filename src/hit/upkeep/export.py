"""A library's content as files that other programs read: npy, parquet, JSON. The only room of pyarrow."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import hit
from hit import files
from hit.db import Stored, upkeep
from hit.db.vectors import rows_in
from hit.errors import UserError
from hit.library import Library
from hit.types import Keys, Progress, Silent

FORMAT = 1
_BLOCK = 16_384  # vectors copied at once


def export(library: Library, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Write a library's vectors and records to a new or empty folder; it appears when it is whole.

    vectors.npy      (N, dim) float32: the current model's vectors
    segments.parquet a line for each of them, in the same order
    videos.parquet, lines.parquet
    library.json     what made them, how many there are, and the digests of the files

    All of it is of one moment, whatever is written meanwhile. Raises UserError for a folder with something in it.
    """
    pq = _parquet()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(out, "is not empty", "choose another folder")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        about = _write(library, part, pq, progress or Silent())
        files.write_whole(part / "library.json", (json.dumps(about, indent=1) + "\n").encode())
        part.replace(out)
        files.sync_folder(out.absolute().parent)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(out, f"cannot be written: {error.strerror}", "make room, or choose another folder") from None
    return {"library": str(library.path), "out": str(out), **about}


def _write(library: Library, part: Path, pq: Any, progress: Progress) -> dict[str, Any]:
    import pyarrow as pa

    text, number, names = pa.string(), pa.float64(), pa.list_(pa.string())
    segments = {"row": pa.int64(), "segment": text, "video": text, "path": text, "start": number, "end": number, "seek": number}
    videos = {"video": text, "content_hash": text, "status": text, "error": text, "revision": text, "duration": number}
    videos |= {"width": pa.int64(), "height": pa.int64(), "rate": number, "codec": text, "has_audio": pa.bool_()}
    videos |= {"added_at": pa.timestamp("us", "UTC"), "paths": names, "tags": names}
    lines = {"segment": text, "number": pa.int64(), "expert": text, "start": number, "end": number, "text": text}
    model = library.config.model
    with upkeep.snapshot(library.db) as session:
        stored = next((one for one in upkeep.arrays_in(session) if one.revision == model.revision), library.stored)
        rows = rows_in(session, model.revision)
        vectors = library.db.matrix(stored).view(int(rows[-1]) + 1 if len(rows) else 0)  # mapped now, it stays
        _vectors(part / "vectors.npy", vectors, rows, stored, progress)
        counts = {
            "segments": _table(
                pq,
                part / "segments.parquet",
                pa.schema({**segments, "tags": names}),
                _numbered(upkeep.segments_in(session, model.revision)),
            ),
            "videos": _table(pq, part / "videos.parquet", pa.schema(videos), upkeep.videos_in(session)),
            "lines": _table(pq, part / "lines.parquet", pa.schema(lines), upkeep.lines_in(session)),
        }
    assert counts["segments"] == len(rows), "a vector has one segment"
    return {
        "format": FORMAT,
        "made_by": f"hit {hit.__version__}",
        "model": {"id": model.id, "revision": model.revision, "dim": model.dim},
        "vectors": len(rows),
        **counts,
        "sha256": {path.name: files.sha256(path) for path in sorted(part.iterdir())},
    }


def _vectors(path: Path, vectors: Any, rows: Keys, stored: Stored, progress: Progress) -> None:
    with path.open("wb") as file, progress.task("Vectors", len(rows)) as task:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), stored.dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            file.write(np.ascontiguousarray(vectors[some], "<f4").tobytes())
            task.advance(len(some))
        file.flush()
        os.fsync(file.fileno())


def _numbered(batches: Iterable[list[Mapping[str, Any]]]) -> Iterable[list[Mapping[str, Any]]]:
    row = 0
    for some in batches:
        yield [{"row": row + i, **one} for i, one in enumerate(some)]
        row += len(some)


def _table(pq: Any, path: Path, schema: Any, batches: Iterable[list[Mapping[str, Any]]]) -> int:
    import pyarrow as pa

    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for some in batches:
            writer.write_table(pa.Table.from_pylist([dict(row) for row in some], schema))
            count += len(some)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return count


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError("hit library export", "the package pyarrow is missing", "pip install 'hit-video[export]'") from None
    return parquet
