"""Arrays: what was written is there, in whatever order, and nothing else is touched."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hit.arrays import Matrix

ROWS = st.lists(st.integers(0, 40), unique=True, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=5), st.integers(1, 5))
def test_rows_are_as_they_were_written_last(writes: list[list[int]], dim: int) -> None:
    content: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        matrix = Matrix(Path(folder), dim)
        for number, rows in enumerate(writes):
            vectors = np.arange(len(rows) * dim, dtype=np.float32).reshape(-1, dim) + 100 * number
            matrix.write(np.array(rows, np.int64), vectors)
            content |= dict(zip(rows, vectors.tolist(), strict=True))
        count = max(content, default=-1) + 1
        for reader in (matrix, Matrix(Path(folder), dim)):
            view = reader.view(count)
            assert {row: view[row].tolist() for row in content} == content
            assert view.shape == (count, dim)


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    matrix, vectors = Matrix(tmp_path, 3), np.eye(3, dtype=np.float32)
    matrix.write(np.arange(3), vectors)
    os.utime(matrix.path, ns=(1, 1))
    matrix.write(np.array([2, 1]), vectors[[2, 1]])
    assert matrix.path.stat().st_mtime_ns == 1
    matrix.write(np.array([1]), 2 * vectors[1:2])
    assert matrix.view(3).tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 1]]


def test_a_view_grows_with_the_file_and_says_where_it_is_too_short(tmp_path: Path) -> None:
    matrix, reader = Matrix(tmp_path, 2), Matrix(tmp_path, 2)
    with pytest.raises(EOFError, match="holds 0 rows, not 1"):
        reader.view(1)
    matrix.write(np.arange(2), np.ones((2, 2), np.float32))
    assert reader.view(1).shape == (1, 2)
    matrix.write(np.array([2]), np.full((1, 2), 5, np.float32))
    assert reader.view(3)[2].tolist() == [5, 5]
    with pytest.raises(EOFError, match="holds 3 rows, not 4"):
        reader.view(4)
