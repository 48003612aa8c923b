"""A matrix of float32 in a file, that grows and is never read as a whole: the embeddings of one revision of a model."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hit import files
from hit.types import Floats, Keys

NAME = "vectors.f32"


def among(rows: Keys, allowed: Keys) -> NDArray[np.bool_]:
    """Tell which of some rows are among those allowed, which ascend: in no time, however many these are."""
    if not len(allowed):
        return np.zeros(len(rows), np.bool_)
    found: NDArray[np.bool_] = allowed[np.minimum(np.searchsorted(allowed, rows), len(allowed) - 1)] == rows
    return found


def products(vectors: Floats, queries: Floats) -> Floats:
    """Return the inner products of vectors (N, dim) with a query (dim,), or with queries (Q, dim) as (N, Q).

    In float64 each product is exact, and the sums are equal to float32 wherever a row lies: ties stay ties.
    """
    found: Floats = (vectors.astype(np.float64) @ queries.astype(np.float64).T).astype(np.float32)
    return found


class Matrix:
    """Rows of `dim` numbers in `folder`, little-endian, the first one first. Who writes keeps other writers out.

    Which of the rows count is known elsewhere: what lies past them comes from a writer that died.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.path, self.dim = folder / NAME, dim
        self._view: Floats = np.zeros((0, dim), np.float32)

    def view(self, count: int) -> Floats:
        """Return the first `count` rows (count, dim), mapped and not read. Raises EOFError where there are fewer."""
        view = self._view  # several threads may be here
        if count > len(view):
            there = self.path.stat().st_size // (4 * self.dim) if self.path.exists() else 0
            if there < count:
                raise EOFError(f"{self.path} holds {there} rows, not {count}")
            self._view = view = np.memmap(self.path, "<f4", "r", shape=(there, self.dim))
        return view[:count]

    def take(self, rows: Keys) -> Floats:
        """Return rows (n, dim), read. Raises EOFError where there are not so many."""
        return np.array(self.view(int(rows.max()) + 1 if len(rows) else 0)[rows], np.float32)

    def keep(self, pieces: Iterable[tuple[int, int, str]]) -> None:
        """Take note that these pieces, written here, count from now on: the first row, the last (exclusive), and a name."""

    def write(self, rows: Keys, vectors: Floats) -> None:
        """Write vectors (N, dim) to these rows, durably; those that are there already are left alone."""
        order = np.argsort(rows, kind="stable")
        runs = np.split(order, np.flatnonzero(np.diff(rows[order]) != 1) + 1) if len(order) else []
        made = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            for run in runs:
                data = np.ascontiguousarray(vectors[run], "<f4").tobytes()
                start = int(rows[run[0]]) * 4 * self.dim
                file.seek(start)
                if file.read(len(data)) != data:
                    file.seek(start)
                    file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if made:
            files.sync_folder(self.path.parent)
