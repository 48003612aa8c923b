"""The exact store: a folder of append-only files, searched by inner product over all rows.

    manifest.json      which files, and how much of each counts: replaced at once after everything it counts is on the disk
    vectors-<g>.f32    rows (n, dim) float32, little-endian
    ids-<g>.bin        their ids, each followed by a zero byte
    dead-<g>.u64       the rows that were deleted or replaced since

Bytes past the manifest's counts come from a writer that died, and are overwritten. `g` grows when dead rows are squeezed out
into new files. One process writes at a time; readers notice a new manifest at their next call.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hit import files
from hit.errors import UserError
from hit.types import Floats

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
_FORMAT = 1
_CHUNK = 1 << 22  # scores worked on at once
_WAIT = 30.0  # seconds for another writer
_SLACK = 4096  # dead rows that are never worth squeezing out


@dataclass(frozen=True)
class _Manifest:
    dim: int
    generation: int = 0
    rows: int = 0
    id_bytes: int = 0
    dead: int = 0
    norm: float = 0.0  # no row has been longer
    format: int = _FORMAT


class Local:
    """Vectors of width `dim` in `folder`. A search's answer depends on what is stored alone, not on how it got there."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        folder.mkdir(parents=True, exist_ok=True)
        self._guard = threading.RLock()
        self._forget()
        self._seen = b""  # the manifest as it was read last: no two states have the same one
        with self._guard:
            self._refresh()

    def put(self, ids: Sequence[str], vectors: Floats) -> None:
        """Write vectors (N, dim); an id that exists is replaced. Durable on return.

        Raises ValueError for vectors that are not finite or ids that are empty or hold a zero byte, UserError for another width.
        """
        vectors = self._check(vectors)
        if len(ids) != len(vectors):
            raise ValueError(f"{len(ids)} ids for {len(vectors)} vectors")
        if any(not key or "\0" in key for key in ids):
            raise ValueError("an id is empty or holds a zero byte")
        last = {key: i for i, key in enumerate(ids)}  # where an id comes twice, its last vector counts
        if not last:
            return
        with self._writing():
            dead = [self._rows[key] for key in last if key in self._rows]
            rows = vectors[list(last.values())]
            blob = b"".join(key.encode() + b"\0" for key in last)
            old = self._manifest
            self._append("vectors", "f32", old.rows * 4 * self.dim, rows.astype("<f4", copy=False).tobytes())
            self._append("ids", "bin", old.id_bytes, blob)
            norm = max(old.norm, float(np.linalg.norm(rows.astype(np.float64), axis=1).max()))
            grown = replace(old, rows=old.rows + len(rows), id_bytes=old.id_bytes + len(blob), norm=norm)
            self._bury(grown, dead)

    def search(self, queries: Floats, limit: int, allowed: Sequence[str] | None = None) -> list[list[tuple[str, float]]]:
        """Return for each query (Q, dim) the `limit` best (id, score), best first, among `allowed` ids if given.

        Equal scores come in the order of their ids. Raises ValueError for a limit below 1 or queries that are not finite.
        """
        queries = self._check(queries)
        if limit < 1:
            raise ValueError(f"limit {limit} is below 1")
        with self._guard:
            self._refresh()
            # Later changes make new arrays and only append to the names, so what follows needs no lock.
            matrix, live, names, norm = self._matrix, self._live, self._names, self._manifest.norm
            rows = None if allowed is None else {self._rows[key] for key in allowed if key in self._rows}
        chosen = None if rows is None else np.array(sorted(rows), np.int64)
        limit = min(limit, int(live.sum()) if chosen is None else len(chosen))
        if not limit or not len(queries):
            return [[] for _ in queries]
        error = np.finfo(np.float32).eps * self.dim * norm * np.linalg.norm(queries, axis=1)  # (Q,) of a float32 sum
        candidates = _candidates(matrix, live, queries, limit, chosen, error)
        return [_rank(query, matrix, some, names)[:limit] for query, some in zip(queries, candidates, strict=True)]

    def delete(self, ids: Iterable[str]) -> int:
        """Remove ids, at once and durably; return how many there were."""
        wanted = set(ids)
        with self._writing():
            dead = [self._rows[key] for key in wanted if key in self._rows]
            if dead:
                self._bury(self._manifest, dead)
            return len(dead)

    def count(self) -> int:
        """Return the number of vectors."""
        with self._guard:
            self._refresh()
            return len(self._rows)

    def ids(self) -> list[str]:
        """Return all ids."""
        with self._guard:
            self._refresh()
            return list(self._rows)

    def compact(self) -> None:
        """Write the living rows into new files and drop the old ones. Happens by itself when most rows are dead."""
        with self._writing():
            self._squeeze()

    # -- reading

    def _check(self, vectors: Floats) -> Floats:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(self.folder, f"holds vectors of width {self.dim}, not of shape {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise ValueError("vectors hold values that are not finite")
        return vectors

    def _forget(self) -> None:
        self._manifest = _Manifest(self.dim)
        self._names: list[str] = []  # id of each row
        self._rows: dict[str, int] = {}  # row of each living id
        self._live = np.zeros(0, bool)
        self._matrix: Floats = np.zeros((0, self.dim), np.float32)

    def _refresh(self) -> None:
        """Read what other processes have written since."""
        path = self.folder / "manifest.json"
        while True:
            try:
                text = path.read_bytes()
                if text == self._seen:
                    return
                manifest = _Manifest(**json.loads(text))
            except FileNotFoundError:
                return
            except (ValueError, TypeError):
                raise UserError(path, "not a manifest of this program's", "delete the folder; it is rebuilt") from None
            if manifest.dim != self.dim:
                raise UserError(self.folder, f"holds vectors of width {manifest.dim}, not {self.dim}", "use another folder")
            try:
                self._load(manifest)
            except FileNotFoundError:
                if path.read_bytes() == text:  # and not squeezed into new files in between
                    raise UserError(self.folder, "some of its files are gone", "delete the folder; it is rebuilt") from None
                continue
            self._seen = text
            return

    def _load(self, manifest: _Manifest) -> None:
        old = self._manifest
        if manifest.generation != old.generation or manifest.rows < old.rows:
            self._forget()
            old = replace(self._manifest, generation=manifest.generation)
        names = self._tail("ids", "bin", manifest, old.id_bytes, manifest.id_bytes).split(b"\0")[:-1]
        dead = np.frombuffer(self._tail("dead", "u64", manifest, 8 * old.dead, 8 * manifest.dead), "<u8").astype(np.int64)
        if manifest.rows:
            path = self._path("vectors", "f32", manifest)
            self._matrix = np.memmap(path, "<f4", "r", shape=(manifest.rows, self.dim))
        first = len(self._names)
        self._names += [name.decode() for name in names]
        assert len(self._names) == manifest.rows, "the manifest counts its ids"
        self._live = np.concatenate([self._live, np.ones(len(names), bool)])
        self._live[dead] = False
        for row in dead:
            if self._rows.get(self._names[row]) == row:
                del self._rows[self._names[row]]
        self._rows |= {self._names[row]: row for row in range(first, manifest.rows) if self._live[row]}
        self._manifest = manifest

    def _tail(self, name: str, suffix: str, manifest: _Manifest, start: int, end: int) -> bytes:
        if start == end:
            return b""
        with self._path(name, suffix, manifest).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    # -- writing

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the one thread of the one process that writes, from the newest manifest on."""
        with self._guard, files.locked(self.folder / ".lock", _WAIT):
            self._refresh()
            yield

    def _path(self, name: str, suffix: str, manifest: _Manifest) -> Path:
        return self.folder / f"{name}-{manifest.generation}.{suffix}"

    def _append(self, name: str, suffix: str, start: int, data: bytes) -> None:
        with os.fdopen(os.open(self._path(name, suffix, self._manifest), os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            file.seek(start)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _bury(self, manifest: _Manifest, dead: Sequence[int]) -> None:
        """Add rows to the dead and make it all count."""
        if dead:
            self._append("dead", "u64", 8 * manifest.dead, np.array(dead, "<u8").tobytes())
        self._publish(replace(manifest, dead=manifest.dead + len(dead)))
        if self._manifest.dead > _SLACK and self._manifest.dead > self._manifest.rows / 2:
            self._squeeze()

    def _publish(self, manifest: _Manifest) -> None:
        files.sync_folder(self.folder)
        files.write_whole(self.folder / "manifest.json", json.dumps(asdict(manifest)).encode())
        self._refresh()

    def _squeeze(self) -> None:
        old = self._manifest
        new = replace(old, generation=old.generation + 1, rows=len(self._rows), dead=0)
        rows = np.flatnonzero(self._live)
        blob = b"".join(self._names[row].encode() + b"\0" for row in rows)
        with self._path("vectors", "f32", new).open("wb") as file:
            for some in np.array_split(rows, len(rows) * self.dim // _CHUNK + 1):
                file.write(self._matrix[some].tobytes())
            file.flush()
            os.fsync(file.fileno())
        files.write_whole(self._path("ids", "bin", new), blob)
        self._publish(replace(new, id_bytes=len(blob)))
        for path in self.folder.glob("*-*.*"):
            if f"-{new.generation}." not in path.name:
                path.unlink()


def _candidates(
    matrix: Floats, live: Flags, queries: Floats, limit: int, chosen: Rows | None, error: NDArray[np.floating]
) -> list[Rows]:
    """Return for each query all rows that may be among its best, as the last bits of a float32 sum depend on its order."""
    best: list[tuple[Rows, Floats]] = [(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
    count = len(matrix) if chosen is None else len(chosen)
    step = max(1024, _CHUNK // max(len(queries), 1 if chosen is None else matrix.shape[1]))
    for start in range(0, count, step):
        some = np.arange(start, min(start + step, count)) if chosen is None else chosen[start : start + step]
        block = matrix[start : start + step] if chosen is None else matrix[some]
        scores = queries @ block.T  # (Q, chunk)
        scores[:, ~live[some]] = -np.inf
        for q, (rows, values) in enumerate(best):
            rows, values = np.concatenate([rows, some]), np.concatenate([values, scores[q]])  # noqa: PLW2901
            floor = np.partition(values, -limit)[-limit] - 2 * error[q] if len(values) > limit else -np.inf
            near = (values >= floor) & live[rows]
            best[q] = rows[near], values[near]
    return [rows for rows, _ in best]


def _rank(query: Floats, matrix: Floats, rows: Rows, names: Sequence[str]) -> list[tuple[str, float]]:
    # In float64 the products are exact, and the sums equal to float32 wherever a row lies: ties stay ties.
    scores = (matrix[rows].astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    return [(name, -score) for score, name in sorted(zip((-scores).tolist(), (names[row] for row in rows), strict=True))]
