"""Arrays in pieces: what is read is what was written, whatever is here already, and no more is fetched than is needed."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hit import arrays, chunks, objects
from hit.chunks import Chunked, Piece
from hit.errors import UserError
from hit.objects import Folder
from hit.types import Floats

DIM = 4


class Array:
    """An array in pieces of these sizes, which counts what is asked of its folder."""

    def __init__(self, folder: Folder, sizes: Sequence[int], dim: int = DIM) -> None:
        self.folder, self.dim = folder, dim
        rows = sum(sizes)
        self.values: Floats = np.random.default_rng(rows).normal(size=(rows, dim)).astype(np.float32)
        ends = np.cumsum(sizes).tolist()
        self.pieces = [
            Piece(end - size, end, chunks.send(folder, "r/1", self.values[end - size : end]))
            for size, end in zip(sizes, ends, strict=True)
        ]
        self.asked: list[tuple[str, int]] = []
        for name, ask in (("read", folder.read), ("read_range", folder.read_range)):
            setattr(folder, name, self._counted(ask))

    def _counted(self, ask: object) -> object:
        def counting(name: str, *span: int) -> bytes:
            data: bytes = ask(name, *span)  # type: ignore[operator]
            self.asked.append((name, len(data)))
            return data

        return counting

    def find(self, first: int, last: int) -> list[Piece]:
        return [piece for piece in self.pieces if piece.last > first and piece.first < last]

    def open(self, here: Path) -> Chunked:
        return Chunked(here, self.dim, self.folder, self.find)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.lists(st.one_of(st.integers(0, 60), st.lists(st.integers(0, 60), max_size=8), st.just("again")), max_size=6),
)
def test_what_is_read_is_what_was_written(sizes: list[int], steps: list[int | list[int] | str]) -> None:
    with tempfile.TemporaryDirectory() as top:
        array = Array(objects.folder(f"file://{top}/far"), sizes)
        rows, here = len(array.values), Path(top, "here")
        matrix = array.open(here)
        for step in steps:
            if isinstance(step, str):  # another process
                matrix = array.open(here)
            elif isinstance(step, int):
                count = step % (rows + 1)
                assert np.array_equal(matrix.view(count), array.values[:count])
            else:
                wanted = np.array(step, np.int64) % rows
                assert np.array_equal(matrix.take(wanted), array.values[wanted])
        for first, last in matrix.kept():
            assert np.array_equal(np.fromfile(here / arrays.NAME, "<f4").reshape(-1, DIM)[first:last], array.values[first:last])


def test_what_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    array = Array(objects.folder(tmp_path / "far"), [10, 20, 30])
    matrix = array.open(tmp_path / "here")
    matrix.view(5)
    assert [name for name, _ in array.asked] == [array.pieces[0].name]
    array.open(tmp_path / "here").view(35)
    assert sorted(name for name, _ in array.asked) == sorted(piece.name for piece in array.pieces)
    array.open(tmp_path / "here").view(60)
    matrix.view(60)  # knows of what the newer one fetched once it needs it
    matrix.take(np.arange(60))
    assert len(array.asked) == 3


def test_a_few_rows_of_a_large_piece_are_fetched_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_SMALL", 100)
    monkeypatch.setattr(chunks, "_NEAR", 10 * 4 * DIM)
    array = Array(objects.folder(tmp_path / "far"), [1000])
    matrix = array.open(tmp_path / "here")
    rows = np.array([900, 5, 7, 900, 8])
    assert np.array_equal(matrix.take(rows), array.values[rows])
    assert [size for _, size in array.asked] == [4 * 4 * DIM, 4 * DIM] and matrix.kept() == []
    rows = np.arange(0, 1000, 4)
    assert np.array_equal(matrix.take(rows), array.values[rows])
    assert array.asked[-1][1] == 1000 * 4 * DIM and matrix.kept() == [(0, 1000)]  # so many, and it is here whole


@pytest.mark.parametrize("what", ["short", "other", "missing"])
def test_a_piece_that_is_not_what_was_written_is_told(tmp_path: Path, what: str) -> None:
    array = Array(objects.folder(tmp_path / "far"), [10, 10])
    path = tmp_path / "far" / array.pieces[1].name
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data[:-1] if what == "short" else data)
    if what == "missing":
        path.unlink()
    matrix = array.open(tmp_path / "here")
    asks: list[Callable[[], Floats]] = [lambda: matrix.take(np.array([15])), lambda: matrix.view(20)]
    for ask in asks:
        with pytest.raises(UserError, match="is missing" if what == "missing" else "is damaged") as caught:
            ask()
        assert array.pieces[1].name in str(caught.value)
    assert np.array_equal(matrix.view(10), array.values[:10])


def test_rows_that_are_in_no_piece_are_none(tmp_path: Path) -> None:
    array = Array(objects.folder(tmp_path / "far"), [10])
    asks: list[Callable[[Chunked], Floats]] = [lambda it: it.view(11), lambda it: it.take(np.array([3, 10]))]
    for ask in asks:
        with pytest.raises(EOFError):
            ask(array.open(tmp_path / "here"))


def test_pieces_that_were_merged_meanwhile_are_looked_for_anew(tmp_path: Path) -> None:
    array = Array(objects.folder(tmp_path / "far"), [10, 10])
    old = array.pieces
    merged = [Piece(0, 20, chunks.send(array.folder, "r/1", array.values))]
    array.folder.delete(piece.name for piece in old)
    answers = [old, old, merged, merged]
    matrix = Chunked(tmp_path / "here", DIM, array.folder, lambda *_: answers.pop(0))
    assert np.array_equal(matrix.take(np.array([12, 3])), array.values[[12, 3]]) and len(answers) == 1
    answers[:] = [old, merged]
    assert np.array_equal(Chunked(tmp_path / "other", DIM, array.folder, lambda *_: answers.pop(0)).view(20), array.values)


def test_a_copy_that_was_cut_off_or_noted_falsely_is_fetched_anew(tmp_path: Path) -> None:
    array = Array(objects.folder(tmp_path / "far"), [10, 10])
    array.open(tmp_path / "here").view(20)
    with (tmp_path / "here" / arrays.NAME).open("rb+") as file:
        file.truncate(100)
    assert np.array_equal(array.open(tmp_path / "here").view(20), array.values)
    for wrong in (b"", b"[[0", b'{"a": 1}', b"null"):
        (tmp_path / "here" / chunks.HERE).write_bytes(wrong)
        assert np.array_equal(array.open(tmp_path / "here").view(20), array.values)
    assert json.loads((tmp_path / "here" / chunks.HERE).read_bytes()) == [list(piece) for piece in array.pieces]


def test_rows_of_other_pieces_are_not_taken_for_the_arrays(tmp_path: Path) -> None:
    folder = objects.folder(tmp_path / "far")
    before, after = Array(folder, [10, 10]), Array(folder, [20])  # of the same generation: one was never gone over to
    after.values = after.values * 2
    after.pieces = [Piece(0, 20, chunks.send(folder, "r/1", after.values))]
    for ask in ("take", "view", "whole"):
        matrix = before.open(tmp_path / ask)
        matrix.write(np.arange(20), before.values)
        matrix.keep(before.pieces)
        assert np.array_equal(before.open(tmp_path / ask).view(20), before.values)
        matrix = after.open(tmp_path / ask)
        found = {
            "take": lambda it: it.take(np.arange(20)),
            "view": lambda it: it.view(20),
            "whole": lambda it: it.whole(after.pieces[0]),
        }
        assert np.array_equal(found[ask](matrix), after.values), ask
        assert json.loads((tmp_path / ask / chunks.HERE).read_bytes()) == [list(after.pieces[0])]


def test_pieces_that_were_merged_are_not_fetched_again(tmp_path: Path) -> None:
    array = Array(objects.folder(tmp_path / "far"), [10, 10])
    array.open(tmp_path / "here").view(20)
    array.pieces = [Piece(0, 20, chunks.send(array.folder, "r/1", array.values))]
    array.asked.clear()
    assert np.array_equal(array.open(tmp_path / "here").view(20), array.values) and array.asked == []


def test_rows_that_are_here_need_none_of_those_before_them(tmp_path: Path) -> None:
    array = Array(objects.folder(tmp_path / "far"), [10, 10])
    matrix = array.open(tmp_path / "here")
    matrix.write(np.arange(10, 20), array.values[10:])  # what a machine does that has nothing of the array, and adds to it
    matrix.keep(array.pieces[1:])
    for one in (matrix, array.open(tmp_path / "here")):
        assert np.array_equal(one.take(np.arange(12, 20)), array.values[12:]) and array.asked == []


def test_without_room_for_a_copy_rows_are_read_all_the_same(tmp_path: Path) -> None:
    array = Array(objects.folder(tmp_path / "far"), [10])
    (tmp_path / "here").write_text("in the way of a folder")  # root may write wherever there is room
    matrix = array.open(tmp_path / "here" / "0")
    assert np.array_equal(matrix.take(np.array([3])), array.values[[3]])
    assert matrix.kept() == []


def test_many_small_pieces_become_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    width = 4 * DIM
    monkeypatch.setattr(chunks, "_KINDS", (8 * width, 256 * width))
    monkeypatch.setattr(chunks, "_MANY", 8)
    monkeypatch.setattr(chunks, "LARGEST", 512 * width)
    rng, written, most = np.random.default_rng(0), 0, 0
    pieces: list[Piece] = []
    for _ in range(3000):
        last = pieces[-1].last if pieces else 0
        pieces.append(Piece(last, last + int(rng.integers(1, 4)), ""))
        while runs := chunks.due(pieces, DIM):
            for run in runs:
                at = pieces.index(run[0])
                assert pieces[at : at + len(run)] == run
                pieces[at : at + len(run)] = [Piece(run[0].first, run[-1].last, "")]
                written += run[-1].last - run[0].first
        most = max(most, len(pieces))
    rows = pieces[-1].last
    assert [piece.first for piece in pieces] == [0, *(piece.last for piece in pieces[:-1])]
    assert max(chunks.size(piece, DIM) for piece in pieces) <= 512 * width
    assert most < 8 + 8 + rows / 256 + 1, most  # so many of each kind, and large ones that are more than half full
    assert written < 5 * rows  # and this is what it costs
