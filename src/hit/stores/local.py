"""The exact store: a folder with a matrix of vectors, searched by inner product over all rows.

    vectors.f32   rows (n, dim), see `hit.arrays`; a vector's row is its key
    state         which rows live: a line of JSON and a bitmap, replaced at once after all that it counts is on the disk

One process writes at a time; readers notice a new state at their next call.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hit import arrays, files
from hit.errors import UserError
from hit.types import Floats, Keys

Flags = NDArray[np.bool_]
_FORMAT = 2
_CHUNK = 1 << 22  # scores worked on at once
_WAIT = 30.0  # seconds for another writer


@dataclass(frozen=True)
class _State:
    dim: int
    rows: int = 0  # how many the bitmap speaks of
    norm: float = 0.0  # no row has been longer
    change: int = 0
    format: int = _FORMAT


class Local:
    """Vectors of width `dim` in `folder`. A search's answer depends on what is stored alone, not on how it got there."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        folder.mkdir(parents=True, exist_ok=True)
        self._matrix = arrays.Matrix(folder, dim)
        self._guard = threading.RLock()
        self._state, self._live = _State(dim), np.zeros(0, np.bool_)
        self._seen = b""  # the state's first line as it was read last: no two states have the same one
        with self._guard:
            self._refresh()

    def put(self, keys: Keys, vectors: Floats) -> None:
        """Write vectors (N, dim) under keys (N,); a key that exists is replaced. Durable on return.

        Raises ValueError for vectors that are not finite and keys that are negative or not distinct, UserError for another width.
        """
        vectors, keys = self._check(vectors), np.asarray(keys, np.int64)
        if keys.shape != (len(vectors),) or len(np.unique(keys)) != len(keys) or (keys < 0).any():
            raise ValueError(f"{keys.shape} keys for {len(vectors)} vectors are not one each, distinct, and 0 or above")
        if not len(keys):
            return
        with self._writing():
            self._matrix.write(keys, vectors)
            live = np.zeros(max(self._state.rows, int(keys.max()) + 1), np.bool_)
            live[: len(self._live)] = self._live
            live[keys] = True
            norm = max(self._state.norm, float(np.linalg.norm(vectors.astype(np.float64), axis=1).max()))
            self._publish(replace(self._state, norm=norm), live)

    def search(self, queries: Floats, limit: int, allowed: Keys | None = None) -> list[tuple[Keys, Floats]]:
        """Return for each query (Q, dim) the `limit` best (keys, scores), best first, among `allowed` keys if given.

        Equal scores come in the order of their keys. Raises ValueError for a limit below 1 or queries that are not finite.
        """
        queries = self._check(queries)
        if limit < 1:
            raise ValueError(f"limit {limit} is below 1")
        with self._guard:
            self._refresh()
            # Later changes make new arrays and only write rows that are not live here, so what follows needs no lock.
            matrix, live, norm = self._matrix.view(self._state.rows), self._live, self._state.norm
        chosen = None if allowed is None else _known(allowed, live)
        limit = min(limit, int(live.sum()) if chosen is None else len(chosen))
        if not limit or not len(queries):
            return [(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
        error = np.finfo(np.float32).eps * self.dim * norm * np.linalg.norm(queries, axis=1)  # (Q,) of a float32 sum
        candidates = _candidates(matrix, live, queries, limit, chosen, error)
        return [_rank(query, matrix, some, limit) for query, some in zip(queries, candidates, strict=True)]

    def delete(self, keys: Keys) -> int:
        """Remove keys, at once and durably; return how many there were."""
        with self._writing():
            dead = _known(keys, self._live)
            if len(dead):
                live = self._live.copy()
                live[dead] = False
                self._publish(self._state, live)
            return len(dead)

    def count(self) -> int:
        """Return the number of vectors."""
        return len(self.keys())

    def keys(self) -> Keys:
        """Return all keys, ascending."""
        with self._guard:
            self._refresh()
            return np.flatnonzero(self._live).astype(np.int64)

    def close(self) -> None:
        """Let go of the files."""
        with self._guard:
            self._matrix = arrays.Matrix(self.folder, self.dim)

    def _check(self, vectors: Floats) -> Floats:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(self.folder, f"holds vectors of width {self.dim}, not of shape {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise ValueError("vectors hold values that are not finite")
        return vectors

    def _refresh(self) -> None:
        """Read what other processes have written since."""
        path = self.folder / "state"
        try:
            with path.open("rb") as file:
                line = file.readline()
                if line == self._seen:
                    return
                bits = file.read()
            state = _State(**json.loads(line))
            live = np.unpackbits(np.frombuffer(bits, np.uint8), count=state.rows, bitorder="little").astype(np.bool_)
        except FileNotFoundError:
            return
        except (ValueError, TypeError):
            raise UserError(path, "is damaged", "run `hit library rebuild`") from None
        if state.dim != self.dim:
            raise UserError(self.folder, f"holds vectors of width {state.dim}, not {self.dim}", "use another folder")
        try:
            self._matrix.view(state.rows)
        except EOFError as error:
            raise UserError(self._matrix.path, f"is damaged: {error}", "run `hit library verify`") from None
        self._state, self._live, self._seen = state, live, line

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the one thread of the one process that writes, from the newest state on."""
        with self._guard, files.locked(self.folder / ".lock", _WAIT):
            self._refresh()
            yield

    def _publish(self, state: _State, live: Flags) -> None:
        state = replace(state, rows=len(live), change=state.change + 1)
        line = json.dumps(asdict(state)).encode() + b"\n"
        files.write_whole(self.folder / "state", line + np.packbits(live, bitorder="little").tobytes())
        self._refresh()


def _known(keys: Keys, live: Flags) -> Keys:
    """Return those keys that live, each once, ascending."""
    keys = np.unique(np.asarray(keys, np.int64))
    keys = keys[(keys >= 0) & (keys < len(live))]
    return keys[live[keys]]


def _candidates(
    matrix: Floats, live: Flags, queries: Floats, limit: int, chosen: Keys | None, error: NDArray[np.floating]
) -> list[Keys]:
    """Return for each query all rows that may be among its best, as the last bits of a float32 sum depend on its order."""
    best: list[tuple[Keys, Floats]] = [(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
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


def _rank(query: Floats, matrix: Floats, rows: Keys, limit: int) -> tuple[Keys, Floats]:
    # In float64 the products are exact, and the sums equal to float32 wherever a row lies: ties stay ties.
    scores = (matrix[rows].astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = np.lexsort((rows, -scores))[:limit]
    return rows[order], scores[order]
