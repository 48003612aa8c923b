"""An array of vectors in an object store: pieces that never change, and a copy of what is needed on this machine's disk.

    embeddings/REVISION/ID-CRC32.f32   rows that follow one another, little-endian; the database says which, and in what order

The copy is the file of `hit.arrays`; beside it `here` says which pieces are in it, as JSON: [[first, last, name], ...]. One that
the database no longer names says nothing: others may have numbered the rows anew, or gone back to an earlier state.
"""

import contextlib
import json
import secrets
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from hit import files
from hit.arrays import Matrix
from hit.errors import UserError
from hit.objects import Folder
from hit.types import Floats, Keys

TOP = "embeddings"
LARGEST = 64 << 20  # bytes of a piece
HERE = "here"
_SMALL = 1 << 20  # bytes that are fetched whole rather than in part
_SHARE = 8  # of a larger piece, so small a part is fetched by itself
_NEAR = 1 << 16  # bytes that are fetched along rather than asked around
_AT_ONCE = 4  # pieces
_TRIES = 3  # where pieces are made into larger ones meanwhile
_MANY = 64  # pieces of a kind that become a larger one
_KINDS = (1 << 20, LARGEST // 2)  # the bytes below which a piece is small, or middling


class Piece(NamedTuple):
    """Rows `first` to `last` (exclusive) of an array, and the file that has them."""

    first: int
    last: int
    name: str


def send(folder: Folder, revision: str, vectors: Floats) -> str:
    """Write vectors (N, dim) as a piece of their own, and return its name: nothing else knows of it yet."""
    data = np.ascontiguousarray(vectors, "<f4").tobytes()
    name = f"{TOP}/{quote(revision, safe='')}/{secrets.token_hex(8)}-{zlib.crc32(data):08x}.f32"
    folder.write(name, data)
    return name


def send_all(folder: Folder, revision: str, matrix: Matrix, first: int, last: int) -> Iterator[Piece]:
    """Write these rows of an array as pieces, as large as they may be."""
    step = max(1, LARGEST // (4 * matrix.dim))
    for start in range(first, last, step):
        end = min(start + step, last)
        yield Piece(start, end, send(folder, revision, matrix.view(end)[start:end]))


def sound(piece: Piece, data: bytes, dim: int) -> bool:
    """Tell whether these bytes are what was written as a piece."""
    return len(data) == (piece.last - piece.first) * 4 * dim and f"{zlib.crc32(data):08x}" == piece.name[-12:-4]


def due(pieces: Sequence[Piece], dim: int) -> list[list[Piece]]:
    """Return runs of pieces, of an array's in order, that are each to become one: many of a kind, at the end of the array.

    So a row is written anew a few times, and an array has few pieces.
    """
    for least, most in zip((0, *_KINDS), _KINDS, strict=False):
        run = list(takewhile(lambda piece: size(piece, dim) < most, reversed(pieces)))[::-1]  # noqa: B023
        if sum(size(piece, dim) >= least for piece in run) >= _MANY:
            return [group for group in _groups(run, dim) if len(group) > 1]
    return []


def _groups(run: Sequence[Piece], dim: int) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    for piece in run:
        if group and (piece.last - group[0].first) * 4 * dim > LARGEST:
            yield group
            group = []
        group.append(piece)
    yield group


class Chunked(Matrix):
    """A matrix whose rows are in `objects`; those that are looked at are copied to `folder`.

    find: the array's pieces that have any of the rows FIRST to LAST, in order.
    """

    def __init__(self, folder: Path, dim: int, objects: Folder, find: Callable[[int, int], Sequence[Piece]]) -> None:
        super().__init__(folder, dim)
        self._objects, self._find = objects, find
        self._pen = threading.RLock()
        self._rows: list[tuple[int, int]] = []  # that are here, and known to be the array's

    def view(self, count: int) -> Floats:
        """Return the first `count` rows (count, dim), mapped: what of them is not here is fetched.

        Raises EOFError where there are fewer, UserError where pieces are lost or damaged.
        """
        if count and not _covers(self._rows, 0, count):
            with self._pen:
                self._fetch(0, count)
        return super().view(count)

    def take(self, rows: Keys) -> Floats:
        """Return rows (n, dim): a few of a large piece that is not here are fetched by themselves, and not kept."""
        if _inside(self._rows, rows).all():
            return self._here(rows)
        found = np.empty((len(rows), self.dim), np.float32)
        for _ in range(_TRIES):
            there = _inside(self._rows, rows)
            if there.any():
                found[there] = self._here(rows[there])
            try:
                for place, vectors in self._ask(rows, np.flatnonzero(~there)):
                    found[place] = vectors
                return found
            except FileNotFoundError as error:
                lost = error
        raise UserError(lost, "is missing", "run `hit library verify`")

    def keep(self, pieces: Iterable[tuple[int, int, str]]) -> None:
        """Note that these pieces, written here, are the array's."""
        with self._pen, contextlib.suppress(OSError):  # they count already; what is not noted is looked at
            self._note(Piece(*piece) for piece in pieces)

    def kept(self) -> list[tuple[int, int]]:
        """Return which rows are known to be here, as [first, last)."""
        return list(self._rows)

    def whole(self, piece: Piece) -> Floats:
        """Return a piece (n, dim), checked; it is here from now on, if there is room. Raises UserError for one that is lost."""
        try:
            with self._pen:
                return self._whole(piece)
        except FileNotFoundError as error:
            raise UserError(error, "is missing", "run `hit library verify`") from None

    def copy(self, piece: Piece) -> bytes | None:
        """Return what the copy on the disk says a piece is; None where it is not here, or damaged."""
        if not self.path.exists() or self.path.stat().st_size < piece.last * 4 * self.dim:
            return None
        data = super().view(piece.last)[piece.first : piece.last].tobytes()
        return data if sound(piece, data, self.dim) else None

    def _ask(self, rows: Keys, places: Keys) -> Iterator[tuple[Keys, Floats]]:
        """Yield those of `places` in `rows` that are in a piece, and their vectors, piece by piece."""
        wanted = rows[places]
        pieces = self._find(int(wanted.min()), int(wanted.max()) + 1)
        missing, noted = len(wanted), self._noted()  # another process may have been quicker
        for piece in pieces:
            inside = (wanted >= piece.first) & (wanted < piece.last)
            if not inside.any():
                continue
            own, whole = wanted[inside] - piece.first, size(piece, self.dim)
            if piece in noted:
                with self._pen:
                    self._rows = _joined([*self._rows, piece[:2]])
                vectors = self._here(wanted[inside])
            elif whole <= _SMALL or len(own) * 4 * self.dim * _SHARE >= whole:
                with self._pen:
                    vectors = self._whole(piece)[own]
            else:
                vectors = self._part(piece, own)
            missing -= len(own)
            yield places[inside], vectors
        if missing:
            raise EOFError(f"{missing} of its rows are in no piece")

    def _whole(self, piece: Piece) -> Floats:
        """Return a piece (n, dim), and have it here from now on, if there is room for it."""
        data = self._had(piece)
        try:
            self._store(piece, data)
            self._note([piece])
        except OSError:  # a copy is not worth failing for
            pass
        return np.frombuffer(data, "<f4").reshape(-1, self.dim)

    def _part(self, piece: Piece, rows: Keys) -> Floats:
        """Return rows (n, dim) of a piece, by as many requests as they lie apart."""
        width = 4 * self.dim
        order = np.unique(rows)
        runs = np.split(order, np.flatnonzero(np.diff(order) * width > _NEAR) + 1)
        known: dict[int, Floats] = {}
        for run in runs:
            start, end = int(run[0]), int(run[-1]) + 1
            data = self._objects.read_range(piece.name, start * width, end * width)
            if len(data) != (end - start) * width:
                raise _damaged(self._objects, piece)
            block = np.frombuffer(data, "<f4").reshape(-1, self.dim)
            known |= {int(row): block[row - start] for row in run}
        return np.stack([known[int(row)] for row in rows])

    def _fetch(self, first: int, last: int) -> None:
        """Have these rows here."""
        for _ in range(_TRIES):
            pieces, noted = self._find(first, last), self._noted()  # another process may have been quicker
            self._rows = _joined([*self._rows, *(piece[:2] for piece in pieces if piece in noted)])
            lacking = [piece for piece in pieces if not _covers(self._rows, piece.first, piece.last)]
            try:
                with files.room(self.path), ThreadPoolExecutor(_AT_ONCE) as pool:
                    for start in range(0, len(lacking), _AT_ONCE):  # no more than these in memory
                        some = lacking[start : start + _AT_ONCE]
                        for piece, data in zip(some, pool.map(self._had, some), strict=True):
                            self._store(piece, data)
                        self._note(some)
            except FileNotFoundError as error:
                lost = error
                continue
            if not _covers(self._rows, first, last):
                raise EOFError(f"{self.path} has {sum(b - a for a, b in self._rows)} rows, not {last}")
            return
        raise UserError(lost, "is missing", "run `hit library verify`")

    def _here(self, rows: Keys) -> Floats:
        """Return rows (n, dim) that are here; what lies before them need not be."""
        return np.array(super().view(int(rows.max()) + 1 if len(rows) else 0)[rows], np.float32)

    def _had(self, piece: Piece) -> bytes:
        """Return a piece's bytes: those of the copy where they are the same, though nothing notes it, as after a merge."""
        return self.copy(piece) or self._load(piece)

    def _load(self, piece: Piece) -> bytes:
        data = self._objects.read(piece.name)
        if not sound(piece, data, self.dim):
            raise _damaged(self._objects, piece)
        return data

    def _store(self, piece: Piece, data: bytes) -> None:
        self.write(np.arange(piece.first, piece.last), np.frombuffer(data, "<f4").reshape(-1, self.dim))

    def _noted(self) -> set[Piece]:
        """Return which pieces are here, of those that the array has or had."""
        try:
            size = self.path.stat().st_size
            noted = [Piece(*piece) for piece in json.loads(self.path.with_name(HERE).read_bytes())]
            return {piece for piece in noted if piece.last * 4 * self.dim <= size}
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return set()

    def _note(self, pieces: Iterable[Piece]) -> None:
        """Note what is here. Of two processes that do so at once one may be forgotten: then something is looked at once more."""
        pieces = list(pieces)
        rest = [old for old in self._noted() if all(old.last <= one.first or one.last <= old.first for one in pieces)]
        files.write_whole(self.path.with_name(HERE), json.dumps(sorted([*rest, *pieces])).encode())
        self._rows = _joined([*self._rows, *(piece[:2] for piece in pieces)])


def size(piece: Piece, dim: int) -> int:
    """Return how many bytes a piece has."""
    return (piece.last - piece.first) * 4 * dim


def _damaged(folder: Folder, piece: Piece) -> UserError:
    return UserError(f"{folder.url}/{piece.name}", "is damaged", "run `hit library verify`")


# -- intervals of rows


def _joined(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same rows as few intervals, in order."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def _covers(intervals: Sequence[tuple[int, int]], first: int, last: int) -> bool:
    return any(start <= first and last <= end for start, end in intervals)


def _inside(intervals: Sequence[tuple[int, int]], rows: Keys) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Tell which rows are in one of the intervals."""
    inside = np.zeros(len(rows), np.bool_)
    for first, last in intervals:
        inside |= (rows >= first) & (rows < last)
    return inside
