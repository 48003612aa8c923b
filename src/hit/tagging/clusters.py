"""What is in a library: its segments in clusters by their embeddings, each named by the texts that set it apart.

Shapes: N segments, k clusters, d numbers of an embedding. The same content gives the same clusters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hit import embeddings
from hit.arrays import products
from hit.db.vectors import Stretch
from hit.errors import UserError
from hit.library import Library
from hit.search import Shelf
from hit.tagging import names
from hit.types import Floats, Keys

Method = Literal["kmeans", "hdbscan"]
SAMPLES = 6
MOST = 100  # clusters
SAMPLE = {"kmeans": 20_000, "hdbscan": 5_000}  # segments that clusters are made of; the others go to them
_BLOCK = 1 << 14  # segments read at once
_USUAL = 24  # clusters at most, where nobody says how many
_AXES = 32  # principal ones, in which HDBSCAN looks at density
_SPOKEN = 5_000  # segments whose words may be names
_NOISE = -1


class Sample(NamedTuple):
    """A segment that stands for its cluster, and its cosine with the centre."""

    segment: Stretch
    score: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """Segments that are alike; `videos`: how many these are of. share: of all segments. The samples are the most central ones."""

    id: int
    size: int
    videos: int
    share: float
    names: Sequence[tuple[str, float]]
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Clusters, the largest first; `noise`: how many of the segments are in none of them."""

    method: Method
    clusters: Sequence[Cluster]
    noise: int
    segments: int

    def to_json(self) -> dict[str, Any]:
        """Return them under the names of the command line's and the API's JSON; of samples, ids and times."""
        clusters = [
            {
                **{name: getattr(one, name) for name in ("id", "size", "videos", "share")},
                "names": [{"text": text, "score": score} for text, score in one.names],
                "samples": [
                    {
                        "segment_id": segment.id,
                        **{name: getattr(segment, name) for name in ("video_id", "start", "end", "seek")},
                        "score": score,
                    }
                    for segment, score in one.samples
                ],
            }
            for one in self.clusters
        ]
        return {"method": self.method, "clusters": clusters, "noise": self.noise, "segments": self.segments}


def find(
    library: Library, method: Method = "kmeans", count: int | None = None, named: Mapping[str, Sequence[str]] | None = None
) -> Clusters:
    """Divide a library's segments into clusters.

    count: how many; of HDBSCAN, which finds that out, the largest ones, and the others are noise. named: what they may be named,
    and phrases for it; else the library's own tags, words that are said and shown in it, and some plain ones. Raises UserError
    for a count below 1 or above MOST, and for names that are none.
    """
    if count is not None and not 1 <= count <= MOST:
        raise UserError("the number of clusters", f"{count} is not from 1 to {MOST}")
    if named is not None and not named:
        raise UserError("the names of clusters", "are none", "give some, or leave them out")
    asked = (method, count, named and tuple((name, *phrases) for name, phrases in named.items()))

    def ask(shelf: Shelf) -> Clusters:
        with shelf.db.steady():
            key = (shelf.stored.name, "clusters")
            found = shelf.db.known(key, [asked], lambda _, keys: {asked: [_Clustering(shelf, method, count).told(named)]})
        return found[asked][0]

    return library.asked(ask)


def labels(library: Library, name: str) -> dict[str, Sequence[str]]:
    """Return what the newest version of a label set calls things, and the phrases for it. Raises NotFoundError."""
    return {one["name"]: one["texts"] for one in library.db.label_set(name).document["labels"]}


class _Clustering:
    """One clustering at work."""

    def __init__(self, shelf: Shelf, method: Method, count: int | None) -> None:
        self.shelf, self.method, self.count = shelf, method, count
        self.rows, self.videos = shelf.db.owners(shelf.stored)
        order = np.random.default_rng(0).permutation(len(self.rows))
        self.sample = np.sort(order[: SAMPLE[method]])
        points = self._points(self._read(self.sample))
        self.sample, points = self.sample[there := points.any(axis=1)], points[there]
        self.labels = np.full(len(self.rows), _NOISE)
        self.near = np.zeros(len(self.rows), np.float32)  # cosine with the own centre
        self.means: Floats = np.zeros((0, shelf.encoder.dim), np.float32)
        if len(points):
            self._assign(*self._centres(points))

    def told(self, named: Mapping[str, Sequence[str]] | None) -> Clusters:
        """Return what came of it."""
        found = []
        if len(self.means):
            phrases = {text: [text] for text in self._candidates()} if named is None else named
            called = names.choose(products(self.means, names.embed(self.shelf.encoder, phrases)), list(phrases))
            owner = np.unique(np.array(self.videos, np.str_), return_inverse=True)[1]
            found = [self._cluster(i, owner, called[i]) for i in range(len(self.means))]
        return Clusters(self.method, found, int((self.labels == _NOISE).sum()), len(self.rows))

    def _cluster(self, number: int, owner: Keys, called: Sequence[tuple[str, float]]) -> Cluster:
        members = np.flatnonzero(self.labels == number)
        central = members[np.lexsort((members, -self.near[members].round(4)))]  # rounded, lest the last bit decides
        first = np.sort(np.unique(owner[central], return_index=True)[1])  # one of each video, and then others
        shown = list(dict.fromkeys([*central[first[:SAMPLES]].tolist(), *central[:SAMPLES].tolist()]))[:SAMPLES]
        places = self.shelf.db.places(self.shelf.stored, self.rows[shown].tolist())
        samples = [
            Sample(places[row].segment, round(float(self.near[i]), 4))
            for i, row in zip(shown, self.rows[shown].tolist(), strict=True)
            if row in places
        ]
        return Cluster(number + 1, len(members), len(first), round(len(members) / len(self.rows), 4), called, samples)

    def _centres(self, points: Floats) -> tuple[Floats, NDArray[np.float32], NDArray[np.int64] | None]:
        """Return centres (k, d), how near to each what is of it must be (k,), and the points' labels where these are fixed."""
        if self.method == "kmeans":
            usual = min(_USUAL, max(1, round((len(points) / 2) ** 0.5)))
            distinct = len(np.unique(points, axis=0))
            return _kmeans(points, min(self.count or usual, distinct)), np.full(MOST, -2, np.float32), None
        labels = _hdbscan(points)
        sizes = np.bincount(labels[labels >= 0], minlength=1)
        kept = np.argsort(-sizes, kind="stable")[: self.count or _USUAL] if (labels >= 0).any() else np.zeros(0, np.int64)
        again = np.full(len(sizes) + 1, _NOISE)  # its last place is noise's
        again[kept] = np.arange(len(kept))
        labels = again[labels]
        centres = np.array([_unit(points[labels == i].sum(axis=0)) for i in range(len(kept))]).reshape(-1, points.shape[1])
        reach = [(points[labels == i] @ centre).min() for i, centre in enumerate(centres)]
        return centres, np.array(reach, np.float32), labels

    def _assign(self, centres: Floats, reach: NDArray[np.float32], fixed: NDArray[np.int64] | None) -> None:
        """Give each segment its label, the largest cluster the first one, and clusters their means as of descriptions."""
        if not len(centres):
            return
        if fixed is not None:
            self.labels[self.sample] = fixed
        sums = np.zeros(centres.shape, np.float32)
        for start in range(0, len(self.rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            vectors = self._read(np.arange(len(self.rows))[part])
            near = self._points(vectors) @ centres.T
            labels = np.where(near.max(axis=1) >= reach[near.argmax(axis=1)], near.argmax(axis=1), _NOISE)
            labels[~vectors.any(axis=1)] = _NOISE
            if fixed is not None:
                known = self.sample[(self.sample >= start) & (self.sample < start + _BLOCK)]
                labels[known - start] = self.labels[known]
            self.labels[part] = labels
            self.near[part] = near[np.arange(len(near)), labels]
            sums += (labels == np.arange(len(centres))[:, None]).astype(np.float32) @ vectors
        sizes = np.bincount(self.labels[self.labels >= 0], minlength=len(centres))
        order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
        again = np.full(len(centres) + 1, _NOISE)
        again[order] = np.arange(len(order))
        self.labels = again[self.labels]
        self.means = np.array([embeddings.mean(sums[i : i + 1], self.shelf.encoder.parts) for i in order])

    def _candidates(self) -> list[str]:
        some = self.rows[self.sample[:: max(1, -(-len(self.sample) // _SPOKEN))]]
        places = self.shelf.db.places(self.shelf.stored, some.tolist())
        lines = self.shelf.db.lines(place.segment.id for place in places.values())
        said = ([line.text for line in own] for own in lines.values())
        return [*names.own(said, self.shelf.db.tag_counts().items()), *names.PLAIN]

    def _read(self, places: Keys) -> Floats:
        return self.shelf.db.vectors(self.shelf.stored, self.rows[places])

    def _points(self, vectors: Floats) -> Floats:
        return embeddings.joined(vectors, self.shelf.encoder.parts, self.shelf.encoder.weights)


def _kmeans(points: Floats, count: int) -> Floats:
    # Imported late: it takes a second.
    from sklearn.cluster import KMeans

    found = KMeans(count, n_init=3, random_state=0).fit(points).cluster_centers_
    return np.array([_unit(centre) for centre in found], np.float32)


def _hdbscan(points: Floats) -> NDArray[np.int64]:
    """Return the cluster of each point (N, d), or -1."""
    from sklearn.cluster import HDBSCAN

    least = max(5, len(points) // 200)
    if len(points) < 2 * least:
        return np.zeros(len(points), np.int64)  # too few to tell dense places by
    if points.shape[1] > _AXES:
        middle = points - points.mean(axis=0)
        points = middle @ np.linalg.eigh((middle.T @ middle).astype(np.float64))[1][:, -_AXES:].astype(np.float32)
    labels: NDArray[np.int64] = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(points).astype(np.int64)
    return labels


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit
