"""Short codes of a matrix's rows: what the local store looks through first when the matrix is large.

Each two neighbouring numbers of a vector are replaced by the nearest of 16 typical pairs (product quantisation [Jégou 2011]
at two bits a number), and all codes are scanned by faiss's "fast scan". All of them, because cells and graphs are laid out for
one geometry of queries, while ours weigh an embedding's parts as the user likes; and a scan obeys any filter.

What a code hides of a vector's product with a query is nearly normal, with a deviation that is known from the query and the
book. So the exact products of the rows that look best tell how many more rows deserve one: see `_settled`.

    book-<n>      the typical pairs, and how far vectors lie from them
    codes-<b>-<n> the codes of rows b * BLOCK .. (b + 1) * BLOCK

A file is never changed once it is written: a changed block gets a file of a new name.
"""

import functools
import math
import platform
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit import files
from hit.types import Floats, Keys

Flags = NDArray[np.bool_]
BLOCK = 1 << 18  # rows in a file
SAMPLE = 1 << 14  # vectors that a book is made from
_CHUNK = 1 << 14  # rows coded at once
_BITS = 4  # of a pair's code: the width that fast scan is written for
_ROUNDS = 10  # of k-means
_REACHES = 4096, 32768  # rows taken out of a scan, and out of a second one where the first did not settle it
_LOOK = 256  # rows given an exact product at first; twice as many at each further step


class DamagedError(Exception):
    """Files of codes are gone, or are not what was written."""


@dataclass(frozen=True)
class File:
    """A file that was written whole: its name, its checksum, and how many rows it speaks of."""

    name: str
    crc: int
    rows: int


@dataclass(frozen=True)
class Index:
    """All that a search needs, as the store's state holds it.

    `slack`: how many deviations a row may be better than its code says. `recall`: of the best 10, measured when it was built.
    `machine`: the kind of processor that it was made on, as faiss does not promise that another can read it.
    """

    book: File
    blocks: tuple[File, ...]
    slack: float = 0.0
    recall: float = 0.0
    machine: str = platform.machine()

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Index":
        """Return what `dataclasses.asdict` made JSON of. Raises TypeError or KeyError for anything else."""
        blocks = tuple(File(**block) for block in found["blocks"])
        return cls(File(**found["book"]), blocks, float(found["slack"]), float(found["recall"]), str(found["machine"]))

    @property
    def files(self) -> tuple[File, ...]:
        """All files of it."""
        return (self.book, *self.blocks)


def threads() -> int:
    """Return how many threads a search may take, as OMP_NUM_THREADS says."""
    return int(_faiss().omp_get_max_threads())


def fits(dim: int, count: int) -> bool:
    """Tell whether so many vectors of this width can have codes."""
    return dim % 2 == 0 and count >= 1 << _BITS


class Book:
    """Typical pairs for vectors of width `dim`, as an empty faiss index, and the mean square (dim,) of what they miss."""

    def __init__(self, empty: bytes, spread: Floats) -> None:
        self.empty, self.spread = empty, spread
        index = _index(empty)  # which owns what is read from it
        pairs: Floats = _faiss().vector_to_array(index.pq.centroids)
        self.pairs = pairs.copy().reshape(-1, 1 << _BITS, 2)

    @classmethod
    def train(cls, sample: Floats) -> "Book":
        """Make a book from a sample (N, dim) of vectors."""
        faiss, dim = _faiss(), sample.shape[1]
        coarse = faiss.IndexFlatIP(dim)
        coarse.add(np.zeros((1, dim), np.float32))
        # One list of an "inverted file": the flat index of fast scan takes no filter.
        index = faiss.IndexIVFPQFastScan(coarse, dim, 1, dim // 2, _BITS, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = False
        index.pq.cp.niter = _ROUNDS
        usual = threads()
        faiss.omp_set_num_threads(1)  # hundreds of small k-means: starting threads for each took five times as long
        try:
            index.pq.train(sample)
        finally:
            faiss.omp_set_num_threads(usual)
        index.is_trained = True
        missed = sample - index.pq.decode(index.pq.compute_codes(sample))
        return cls(faiss.serialize_index(index).tobytes(), (missed**2).mean(axis=0))

    def to_bytes(self) -> bytes:
        """Return the book as it lies on the disk."""
        return self.spread.astype("<f4").tobytes() + self.empty

    @classmethod
    def from_bytes(cls, data: bytes, dim: int) -> "Book":
        """Undo `to_bytes`."""
        return cls(data[4 * dim :], np.frombuffer(data[: 4 * dim], "<f4"))

    def deviation(self, query: Floats) -> float:
        """Return by how much (one standard deviation) a code's product with a query (dim,) is off."""
        products = np.einsum("mkd,md->mk", self.pairs, query.reshape(-1, 2))
        step = float(np.ptp(products, axis=1).max()) / 255  # fast scan rounds each pair's product to a byte
        return math.sqrt(float((self.spread * query**2).sum()) + len(products) * step**2 / 12)


class Codes:
    """An index in memory: about a quarter of a byte for each number of the matrix."""

    def __init__(self, index: Index, book: Book, blocks: dict[File, Any]) -> None:
        self.index, self.book, self._blocks = index, book, blocks

    @classmethod
    def load(cls, folder: Path, dim: int, index: Index, old: "Codes | None" = None) -> "Codes":
        """Read an index, but for what `old` has of it. Raises DamagedError."""
        if index.machine != platform.machine():
            raise DamagedError(f"made on {index.machine}")
        known = old._blocks if old else {}
        try:
            book = old.book if old and old.index.book == index.book else Book.from_bytes(_read(folder, index.book), dim)
            return cls(index, book, {file: known.get(file) or _index(_read(folder, file)) for file in index.blocks})
        except RuntimeError as error:  # written whole, but by a faiss that this one does not understand
            raise DamagedError(str(error).splitlines()[0]) from None

    def search(self, queries: Floats, limit: int, matrix: Floats, mask: Flags) -> list[tuple[Keys, Floats] | None]:
        """Return for each query (Q, dim) rows of the matrix among which the `limit` best of the mask's are, and their products.

        None for a query that the codes cannot settle: many rows are so near to each other that their codes are all alike.
        """
        found: list[tuple[Keys, Floats] | None] = [None] * len(queries)
        left, bits = list(range(len(queries))), np.packbits(mask, bitorder="little")
        for reach in _REACHES:
            most = max(reach, 4 * limit)
            for place, (rows, values) in zip(left, self._scan(queries[left], most, bits), strict=True):
                margin = self.index.slack * self.book.deviation(queries[place])
                more = len(rows) == most  # and not all that there are
                found[place] = _settled(matrix, queries[place], limit, rows, values, margin, more)
            left = [place for place in left if found[place] is None]
            if not left:
                break
        return found

    def _scan(self, queries: Floats, reach: int, mask: NDArray[np.uint8]) -> list[tuple[Keys, Floats]]:
        """Return for each query the `reach` rows that look best, and the products that their codes promise, best first."""
        faiss = _faiss()

        def scan(place: int, file: File) -> tuple[Floats, Keys]:
            bits = np.ascontiguousarray(mask[place * BLOCK // 8 : (place * BLOCK + file.rows + 7) // 8])
            selector = faiss.IDSelectorBitmap(bits)
            wanted = faiss.SearchParametersIVF(sel=selector, nprobe=1)
            values, rows = self._blocks[file].search(queries, min(reach, file.rows), params=wanted)
            return values, np.where(rows < 0, -1, rows + place * BLOCK)

        # Threads of ours over blocks: those of faiss share out queries, of which there is mostly one, and wait busily.
        most, blocks = threads(), self.index.blocks
        if min(most, len(blocks)) == 1:  # a thread more would take as long to start as to scan a small library
            faiss.omp_set_num_threads(1)
            try:
                parts = [scan(place, file) for place, file in enumerate(blocks)]
            finally:
                faiss.omp_set_num_threads(most)
        else:
            with ThreadPoolExecutor(most, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
                parts = list(pool.map(scan, range(len(blocks)), blocks))
        values, rows = (np.concatenate([part[i] for part in parts], axis=1) for i in (0, 1))
        found = []
        for value, row in zip(values, rows, strict=True):
            there = row >= 0
            order = np.argsort(-value[there], kind="stable")[:reach]
            found.append((row[there][order], value[there][order]))
        return found


def _settled(
    matrix: Floats, query: Floats, limit: int, rows: Keys, guesses: Floats, margin: float, more: bool
) -> tuple[Keys, Floats] | None:
    """Return the first of the rows that look best, as many as hold the `limit` best, and their products; None if all are too few.

    A row that is not among them looks worse than the last of them. Were it better than the `limit`-th that was found, its code
    would hide more than the margin, above what codes hide of those found.
    """
    exact = np.zeros(0, np.float32)
    look = min(max(_LOOK, 4 * limit), len(rows))
    while True:
        exact = np.concatenate([exact, matrix[rows[len(exact) : look]] @ query])
        if look == len(rows) and not more:
            return rows, exact
        best = np.argpartition(-exact, limit - 1)[:limit]
        hidden = float((exact[best] - guesses[best]).mean())
        if guesses[look - 1] < exact[best].min() - hidden - margin:
            return rows[:look], exact
        if look == len(rows):
            return None
        look = min(2 * look, len(rows))


@dataclass(frozen=True)
class Writer:
    """What writes files of codes into a folder; their names end in `number`, which is new each time."""

    folder: Path
    number: int

    def book(self, sample: Floats) -> tuple[File, Book]:
        """Make a book from a sample (N, dim)."""
        book = Book.train(sample)
        return self._write("book", book.to_bytes(), len(sample)), book

    def block(self, place: int, book: Book, matrix: Floats, live: Flags, done: Callable[[int], None]) -> File:
        """Write the codes of a block of the matrix (rows, dim). `done` is told of so many rows at a time."""
        index, start = _index(book.empty), place * BLOCK
        end = min(start + BLOCK, len(live))
        for first in range(start, end, _CHUNK):
            last = min(first + _CHUNK, end)
            some = np.array(matrix[first:last])
            some[~live[first:last]] = 0  # a writer that died may have left anything there
            index.add(some)
            done(last - first)
        return self._write(f"codes-{place}", _faiss().serialize_index(index).tobytes(), end - start)

    def sweep(self, index: Index | None) -> None:
        """Remove all files of codes but an index's."""
        kept = {file.name for file in index.files} if index else set()
        for path in [*self.folder.glob("book-*"), *self.folder.glob("codes-*")]:
            if path.name not in kept:
                path.unlink()

    def _write(self, name: str, data: bytes, rows: int) -> File:
        file = File(f"{name}-{self.number}", zlib.crc32(data), rows)
        files.write_whole(self.folder / file.name, data)
        return file


def trials(sample: Floats, count: int) -> Iterator[Floats]:
    """Yield queries (count, dim) to try an index by: near to vectors of a sample, and with one half or the other weighed down."""
    rng, dim = np.random.default_rng(0), sample.shape[1]
    some = sample[rng.integers(0, len(sample), count)]
    noise = rng.normal(size=some.shape) * np.linalg.norm(some, axis=1, keepdims=True) / math.sqrt(dim)
    near = (some + noise).astype(np.float32)
    for weights in ((1.0, 1.0), (1.0, 0.0), (0.2, 1.0)):
        yield near * np.repeat(weights, (dim // 2, dim - dim // 2)).astype(np.float32)


def recall(found: Sequence[tuple[Keys, Floats]], exact: Sequence[tuple[Keys, Floats]]) -> float:
    """Return the share of exact answers whose score was reached: of rows that tie any will do."""
    there = sum(int((mine >= best[-1:]).sum()) for (_, mine), (_, best) in zip(found, exact, strict=True))
    wanted = sum(len(best) for _, best in exact)
    return there / wanted if wanted else 1.0


def _read(folder: Path, file: File) -> bytes:
    try:
        data = (folder / file.name).read_bytes()
    except OSError as error:
        raise DamagedError(f"{file.name}: {error.strerror}") from None
    if zlib.crc32(data) != file.crc:
        raise DamagedError(f"{file.name}: not what was written")
    return data


def _index(data: bytes) -> Any:
    return _faiss().deserialize_index(np.frombuffer(data, np.uint8))


@functools.cache
def _faiss() -> Any:
    import faiss  # takes a tenth of a second, and small libraries do without

    return faiss
