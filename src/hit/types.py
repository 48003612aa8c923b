"""The nouns of the house and its three protocols. Times are float seconds from the video's start, everywhere."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Optional, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Keys = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Far:
    """A file in an object store, by its URL; see `hit.places` for what can be done with it.

    size (bytes), mark (another one for another content) and side (the subtitles beside it) are as its store said last, -1 and
    empty where nobody has asked.
    """

    url: str
    size: int = field(default=-1, compare=False)
    mark: str = field(default="", compare=False)
    side: Optional["Far"] = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Far":
        return Far(f"{self.url}/{name}")

    def as_uri(self) -> str:
        """Return its URL."""
        return self.url

    @property
    def parent(self) -> "Far":
        """The folder that it is in."""
        return Far(self.url.rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last step of its URL."""
        return self.url.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """What its name ends with, from the last dot on."""
        return PurePosixPath(self.name).suffix


Where = Path | Far  # a file: on this machine, or in an object store


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of one video: what is embedded, found and shown."""

    id: str
    video: str
    path: Where
    start: float = 0.0
    end: float = float("inf")


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What one expert saw in one clip: values (n, d) and the stretch of time (n, 2) that each row describes.

    An expert that does not apply (sound without an audio track) is an absent key; one that looked and saw nothing has
    n = 0. `texts` are the n strings that the rows stand for, where an expert reads or hears words: models never see them,
    people do. Raises ValueError on shapes that do not fit or on values that are not finite.
    """

    values: Floats
    times: Floats
    texts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.times.shape != (len(self.values), 2):
            raise ValueError(f"features need values (n, d) and times (n, 2), not {self.values.shape} and {self.times.shape}")
        if not (np.isfinite(self.values).all() and np.isfinite(self.times).all()):
            raise ValueError("features hold values that are not finite")
        if self.texts is not None and len(self.texts) != len(self.values):
            raise ValueError(f"features need a text a row, not {len(self.texts)} for {len(self.values)} rows")


@dataclass(frozen=True, slots=True)
class FrameWant:
    """Frames an expert asks for: `rate` a second, display aspect kept, the shorter side `side` pixels long.

    exact: at each time what is on screen then. Else the last key picture at or before it will do, where the file has them
    often enough for the rate (see `hit.video.read`): decoding those alone is several times faster.
    """

    rate: float
    side: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class AudioWant:
    """Mono samples an expert asks for, `rate` a second."""

    rate: int


Want = FrameWant | AudioWant


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Images (n, height, width, 3) RGB, upright and with square pixels, and the time (n,) for which each was sampled."""

    images: Bytes
    times: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Mono samples (n,) in [-1, 1]; the first one sounds at `start`."""

    samples: Floats
    rate: int
    start: float


@dataclass(frozen=True, slots=True, eq=False)
class Media:
    """A decoded clip. `audio` is empty where the video has no audio track."""

    clip: Clip
    frames: Mapping[FrameWant, Frames]
    audio: Mapping[AudioWant, Audio]


@runtime_checkable
class Expert(Protocol):
    """A frozen feature extractor. `identity` must change whenever the same media would yield other values."""

    name: str
    dim: int
    identity: str
    wants: tuple[Want, ...]

    def extract(self, media: Media) -> Features | None:
        """Return rows in the order of time, or None where the expert does not apply to this clip."""
        ...


@runtime_checkable
class Batched(Expert, Protocol):
    """An expert that is better shown several clips at once, as a network is that takes rows by the batch."""

    def extract_many(self, medias: Sequence[Media]) -> list[Features | None]:
        """Return, clip by clip, what `extract` would, but for rounding."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """All that search, tags, review and the API know of a model.

    An embedding is the parts side by side, each of unit length, or zero where a clip has nothing for it, which then adds
    nothing to a score; weights go onto the query's parts, so that one inner product is the weighted sum of the parts'
    cosines. `revision` names the weights and the experts: embeddings of two
    revisions are never compared.
    """

    id: str
    revision: str
    dim: int

    @property
    def parts(self) -> Mapping[str, slice]:
        """Where each part lies in an embedding."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """How each part weighs on a query, where the user does not say."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Return (N, dim)."""
        ...

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        """Return (N, dim) for clips given as {expert: Features}."""
        ...


@runtime_checkable
class Store(Protocol):
    """Vectors by key (an integer from 0 on), searched by inner product. Derived data: it can always be made anew."""

    def put(self, keys: Keys, vectors: Floats) -> None:
        """Write vectors (N, dim) under keys (N,) that differ; a key that exists is replaced. Durable on return."""
        ...

    def search(self, queries: Floats, limit: int, allowed: Keys | None = None) -> list[tuple[Keys, Floats]]:
        """Return for each query (Q, dim) the keys and scores of the `limit` best, best first, equals in the order of keys.

        Only `allowed` keys are looked at, if given. Never fewer than `limit` where there are as many.
        """
        ...

    def delete(self, keys: Keys) -> int:
        """Remove keys, at once and durably; return how many there were."""
        ...

    def count(self) -> int:
        """Return the number of vectors."""
        ...

    def keys(self) -> Keys:
        """Return all keys, ascending."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


@runtime_checkable
class Builds(Store, Protocol):
    """A store that answers faster once it has been built over what it holds."""

    def build(self, progress: "Progress | None" = None) -> object:
        """Build what is searched first. Until that is done, searches see the store as it was."""
        ...

    def due(self) -> bool:
        """Tell whether so much has changed since that it is worth building."""
        ...


@runtime_checkable
class Drops(Store, Protocol):
    """A store that is elsewhere, and can be done away with."""

    def drop(self) -> None:
        """Remove all that it holds, and itself; it is of no use any more."""
        ...


class Judge(Protocol):
    """What search knows of a model's calibration; see `hit.calibration`. Queries (dim,) bear the parts' weights."""

    @property
    def threshold(self) -> float:
        """The confidence under which a hit is taken for no match."""
        ...

    def judge(self, query: Floats, scores: Floats, segments: int, way: str = "t2v") -> Floats:
        """Return for scores (n,) in a library of so many segments the probability (n,) that each hit is right.

        `way` is "v2t" where the query is a video and so many texts were asked for.
        """
        ...

    def normalise(self, query: Floats, scores: Floats, vectors: Floats) -> Floats:
        """Return scores (n,) made anew against hubs, for vectors (n, dim)."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """A line that `expert` read or heard in a clip and that has words in common with the query."""

    expert: str
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of a video, where to begin to look, and the best score in it."""

    start: float
    end: float
    seek: float
    score: float

    def to_json(self) -> dict[str, Any]:
        """Return the moment under the names of the command line's and the API's JSON."""
        return {"start": round(self.start, 3), "end": round(self.end, 3), "seek": round(self.seek, 3), "score": self.score}


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. `score` is raw and never rescaled; `confidence` is a calibrated probability or None.

    moments, best first, and curve, (start, end, score) of each segment in the order of time: of a hit that stands for its
    whole video. explanation: what the score and the rank are made of, where that was asked for.
    """

    rank: int
    clip: Clip
    score: float
    seek: float
    confidence: float | None = None
    thumbnail: Where | None = None
    evidence: Sequence[Evidence] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    moments: Sequence[Moment] | None = None
    curve: Sequence[tuple[float, float, float]] | None = None
    explanation: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the hit under the names of the command line's and the API's JSON."""
        return {
            "rank": self.rank,
            "clip_id": self.clip.id,
            "video_id": self.clip.video,
            "start": round(self.clip.start, 3),
            "end": round(self.clip.end, 3),
            "seek": round(self.seek, 3),
            "score": self.score,
            "confidence": self.confidence,
            "thumbnail_url": self.thumbnail.as_uri() if self.thumbnail else None,
            "evidence": [
                {"expert": line.expert, "start": round(line.start, 3), "end": round(line.end, 3), "text": line.text}
                for line in self.evidence
            ],
            "metadata": {"path": str(self.clip.path), **self.metadata},
            **({} if self.moments is None else {"moments": [moment.to_json() for moment in self.moments]}),
            **({} if self.curve is None else {"curve": [[round(a, 3), round(b, 3), score] for a, b, score in self.curve]}),
            **({} if self.explanation is None else {"explanation": dict(self.explanation)}),
        }


class Task(Protocol):
    """A running piece of long work."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Report progress, with a short note (a loss, a file's name) for whoever watches."""
        ...


class Progress(Protocol):
    """How verbs report long work; the door decides whether that is a bar, a log or nothing."""

    def task(self, title: str, total: float | None) -> AbstractContextManager[Task]:
        """Open a task of `total` steps (None: unknown)."""
        ...


class Silent:
    """Progress that nobody watches."""

    def task(self, title: str, total: float | None) -> "Silent":
        """Return itself: it is its own task."""
        return self

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Do nothing."""
