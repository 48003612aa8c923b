"""Near-duplicates: groups of videos whose embeddings are all but the same.

How alike two videos are is the least of three: the cosine of their means; how well the segments of the one are met by their
best ones in the other, on average; and the same the other way round [Chamfer similarity, ViSiL]. So a video is no duplicate of
a longer one that it is a part of. Shapes: V videos, N segments, d numbers of an embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hit.arrays import products
from hit.embeddings import joined
from hit.errors import UserError
from hit.library import Library
from hit.metrics import blocks
from hit.search import Shelf
from hit.types import Floats, Keys, Progress, Silent

SIMILARITY = 0.97
_BLOCK = 1 << 14  # segments read at once
_PAIRS = 1 << 22  # pairs of segments compared at once
_MANY = 0.05  # share of the pairs that bounds leave open, from which on whole vectors are multiplied
_SLACK = 1e-6  # by which rounding may make a copy less alike than it is


@dataclass(frozen=True, slots=True)
class Group:
    """Near-duplicates: first the one that the others are most like, then these, most like it first.

    similarity: of the last of them to the first; below what was asked for where others stand between them.
    """

    similarity: float
    videos: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Groups, the largest first, and how many videos were compared."""

    groups: list[Group]
    compared: int


def find(
    library: Library, similarity: float = SIMILARITY, *, most: int | None = None, progress: Progress | None = None
) -> Duplicates:
    """Return the groups of videos that a chain of pairs at least so alike holds together. Videos without a vector are left out.

    All pairs are looked at, and memory is that of the videos' means. Raises UserError where there are more videos than `most`.
    """
    if not 0 < similarity <= 1:
        raise UserError("the similarity", f"{similarity} is not above 0 and at most 1", "1 is the same")

    def ask(shelf: Shelf) -> Duplicates:
        with shelf.db.steady():
            found = shelf.db.known(
                (shelf.stored.name, "duplicates"),
                [similarity],
                lambda _, wanted: {similarity: [_find(shelf, similarity, most, progress or Silent())]},
            )
        return found[similarity][0]

    return library.asked(ask)


def _find(shelf: Shelf, similarity: float, most: int | None, progress: Progress) -> Duplicates:
    films = Films(shelf)
    if most is not None and len(films.ids) > most:
        why = f"holds {len(films.ids)} videos, more than the {most} that are compared here"
        raise UserError("the library", why, "compare them with `hit explore LIBRARY duplicates`")
    with progress.task("Compare videos", len(films.ids)) as task:
        sets = Sets(len(films.ids))
        for done in link(films, similarity, sets):
            task.advance(done)
    groups = [_group(films, members) for members in sets.several()]
    return Duplicates(sorted(groups, key=lambda one: (-len(one.videos), -one.similarity, one.videos)), len(films.ids))


class Films:
    """The videos of a shelf (V) by their numbers, with their means (V, d) of unit length. Empty segments count for nothing."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, encoder = shelf, shelf.encoder
        rows, videos = shelf.db.owners(shelf.stored)
        ids, owner = np.unique(np.array(videos, np.str_), return_inverse=True)
        sums, kept = np.zeros((len(ids), encoder.dim), np.float32), np.zeros(len(rows), np.bool_)
        for start in range(0, len(rows), _BLOCK):
            vectors = shelf.db.vectors(shelf.stored, rows[start : start + _BLOCK])
            there = vectors.any(axis=1)
            kept[start : start + _BLOCK] = there
            own = owner[start : start + _BLOCK][there]
            begins = np.flatnonzero(np.diff(own, prepend=-1))
            if len(begins):
                sums[own[begins]] += np.add.reduceat(vectors[there], begins)
        seen, begins = np.unique(owner[kept], return_index=True)
        self._rows, self._bounds = rows[kept], np.append(begins, kept.sum())
        self.ids: list[str] = ids[seen].tolist()
        self.counts = np.diff(self._bounds)
        self.means = joined(sums[seen], encoder.parts, encoder.weights)

    def alike(self, one: int, others: Keys, line: float = -1.0) -> Floats:
        """Return how alike a video is to others (n,); below the line, at least that it is."""
        found = np.concatenate(
            [products(self.means[others[i : i + _BLOCK]], self.means[one]) for i in range(0, len(others), _BLOCK)]
        )
        open_ = np.flatnonzero((found >= line) & ((self.counts[others] > 1) | (self.counts[one] > 1)))
        if len(open_):
            own = self._segments([one])
            ends = np.cumsum(self.counts[others[open_]]) * len(own) // _PAIRS
            for some in np.split(open_, np.flatnonzero(np.diff(ends)) + 1):
                begins = np.cumsum(self.counts[others[some]]) - self.counts[others[some]]
                found[some] = np.minimum(found[some], aligned(own, self._segments(others[some].tolist()), begins))
        return found

    def _segments(self, numbers: list[int]) -> Floats:
        rows = np.concatenate([self._rows[self._bounds[i] : self._bounds[i + 1]] for i in numbers])
        vectors = self._shelf.db.vectors(self._shelf.stored, rows)
        return joined(vectors, self._shelf.encoder.parts, self._shelf.encoder.weights)


def aligned(own: Floats, others: Floats, begins: Keys) -> Floats:
    """Return the lesser Chamfer similarity of a video's segments (n, d) and those of J others (N, d), which begin at (J,)."""
    scores = own @ others.T
    there = np.maximum.reduceat(scores, begins, axis=1).mean(axis=0)
    here = np.add.reduceat(scores.max(axis=0), begins) / np.diff(begins, append=len(others))
    found: Floats = np.minimum(there, here)
    return found


class Sets:
    """Numbers below `count` in sets that are joined, each at first by itself."""

    def __init__(self, count: int) -> None:
        self.root = np.arange(count)
        self._members = {i: [i] for i in range(count)}

    def join(self, one: int, other: int) -> None:
        """Make one set of the sets of two numbers."""
        less, more = sorted((int(self.root[one]), int(self.root[other])), key=lambda i: len(self._members[i]))
        if less != more:
            gone = self._members.pop(less)
            self.root[gone] = more
            self._members[more] += gone

    def several(self) -> list[Keys]:
        """Return the sets of more than one, each ascending."""
        return [np.sort(own) for own in self._members.values() if len(own) > 1]


def link(films: Films, line: float, sets: Sets, chunk: int = 0) -> Iterator[int]:
    """Join the sets of all videos that are as alike as the line says; yield how many were compared with all after them.

    Most pairs are ruled out by a few numbers of each vector, which bound the product: see `shortened`.
    """
    means, line = films.means, line - _SLACK
    short = shortened(means)
    for part in blocks(len(means), len(means) or 1, chunk):
        near = short[part] @ short[part.start :].T >= line - 10 * _SLACK
        if near.mean() > _MANY:
            near = means[part] @ means[part.start :].T >= line - 10 * _SLACK
        for row in np.flatnonzero(near.sum(axis=1) > 1).tolist():
            one = part.start + row
            others = one + 1 + np.flatnonzero(near[row, row + 1 :])
            others = others[sets.root[others] != sets.root[one]]
            if len(others):
                for other in others[films.alike(one, others, line) >= line].tolist():
                    sets.join(one, other)
        yield part.stop - part.start


def shortened(vectors: Floats) -> Floats:
    """Return fewer numbers (V, k) of unit vectors (V, d), whose products are never below those of the vectors themselves.

    They are the places along the k - 1 principal axes, and the length of what these leave out: by Cauchy and Schwarz
    <x, y> <= <x', y'> + |x - x'| |y - y'|. Short vectors are returned as they are.
    """
    dim = vectors.shape[1]
    keep = max(8, dim // 8)
    if dim <= 2 * keep or not len(vectors):
        return vectors
    axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))[1][:, -keep:].astype(np.float32)
    places: Floats = vectors @ axes
    left = 1 - np.einsum("ij,ij->i", places, places)
    return np.column_stack((places, np.sqrt(np.maximum(left, 0) + _SLACK)))


def _group(films: Films, members: NDArray[np.int64]) -> Group:
    """Return some videos as a group around the one that is nearest to the mean of them all."""
    middle = films.means[members].mean(axis=0)
    near = products(films.means[members], middle)
    first = members[int(near.argmax())]
    others = members[members != first]
    alike = films.alike(int(first), others)
    order = np.lexsort((others, -alike))
    found = (films.ids[first], *(films.ids[i] for i in others[order].tolist()))
    return Group(round(min(1.0, float(alike.min())), 6), found)
