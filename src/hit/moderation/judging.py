"""What a policy says of a video: its segments' scores, how long what is shown lasts, the bands, and the audit.

The score of a video is the highest that segments reach which last `min_duration` seconds in all, or as long as the whole video
where that is shorter.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hit import concept as concepts
from hit import search, trail
from hit.arrays import among
from hit.concept import Background, Concept
from hit.db import Judged, Policy, Segment, StaleError, Verdicts
from hit.errors import UserError
from hit.library import Library
from hit.moderation.document import Document, read
from hit.review import feedback
from hit.tagging import thresholds
from hit.tagging.thresholds import Answered
from hit.types import Floats, Judge, Keys

_EVIDENCE = 200  # segments kept of a video, the best
_SHOWN = 3  # segments at which a reviewer looks where none is evidence
Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lines:
    """The scores from which on a video is reviewed, and blocked: never where `block` is None."""

    review: float
    block: float | None

    def verdict(self, score: float) -> Verdicts:
        """Return the band that a score falls into."""
        if self.block is not None and score >= self.block:
            return "block"
        return "review" if score >= self.review else "pass"


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What a version of a policy becomes for a revision of the model, once and for all.

    floor: the score of what shows an exception, that of the least fitting clip of the background. size: how many segments the
    library had, for a confidence that stays what it is while the library grows.
    """

    revision: str
    concept: Concept
    lines: Lines
    floor: float
    size: int

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        lines = {"review": self.lines.review, "block": self.lines.block, "floor": self.floor, "size": self.size}
        return {**lines, **self.concept.to_json()}

    @classmethod
    def from_json(cls, revision: str, table: Mapping[str, Any]) -> Self:
        """Read what is kept."""
        lines = Lines(table["review"], table["block"])
        return cls(revision, Concept.from_json(table), lines, table["floor"], table["size"])


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """A policy made ready to judge by: its name, what it says and became, and the rows (ascending) in its scope, None: all.

    calibration: that of the model, where it can say how sure a score is.
    """

    name: str
    document: Document
    fit: Fit
    allowed: Keys | None
    calibration: Judge | None = None

    def judge(self, reel: trail.Reel, content_hash: str, matches: Sequence[Mapping[str, Any]] = ()) -> Judged | None:
        """Return what the policy says of a video with these matches in the bank; None where nothing of it is in the scope."""
        inside = np.ones(len(reel.rows), np.bool_) if self.allowed is None else among(reel.rows, self.allowed)
        if not inside.any():
            return None
        segments = [one for one, good in zip(reel.segments, inside.tolist(), strict=True) if good]
        scores, excepted = self._scores(reel.vectors[inside], segments)
        score = lasting(scores, _times(segments), self.document.min_duration)
        lines = self.fit.lines
        verdict: Verdicts = "pass" if excepted.all() else lines.verdict(score)
        if matches:
            verdict = "review" if self.document.block is None else "block"
        audit = verdict == "pass" and draw(content_hash, self.name) < self.document.audit_share
        order = np.argsort(-scores, kind="stable")
        best = order[(scores >= lines.review)[order]][:_EVIDENCE] if verdict != "pass" else order[: _SHOWN if audit else 0]
        if verdict != "pass" and not len(best):  # a match alone
            best = order[:_SHOWN]
        return Judged(
            video_id=reel.video,
            segment_set=reel.digest,
            revision=self.fit.revision,
            verdict=verdict,
            score=score,
            confidence=self._confidence(score),
            audit=audit,
            evidence=[trail.evidence(segments[i], float(scores[i])) for i in sorted(best.tolist())],
            matches=list(matches),
        )

    def _confidence(self, score: float) -> float | None:
        """Return how probably a segment of this score shows what is meant: by examples, or as in a search for the one text."""
        one = np.array([score], np.float32)
        found = self.fit.concept.probabilities(one)
        if found is None and self.calibration:
            found = self.calibration.judge(self.fit.concept.direction, one, max(1, self.fit.size))
        return None if found is None else float(found[0])

    def _scores(self, vectors: Floats, segments: Sequence[Segment]) -> tuple[Floats, NDArray[np.bool_]]:
        """Return what segments (n) score, and which show an exception."""
        scores = self.fit.concept.scores(vectors)
        excepted = self.fit.concept.excepted(vectors, scores)
        if self.document.window:
            scores = averaged(scores, _times(segments), self.document.window, ~excepted)
        return np.where(excepted, np.float32(min(self.fit.floor, float(scores.min()))), scores), excepted


def fit(library: Library, name: str, document: Document) -> Fit:
    """Fit a policy to the library's model. Answers are its examples, and what people have decided by it.

    Raises UserError where a rule cannot be kept, where there is nothing to stand for what is not meant, and where the library's
    vectors are another model's; StaleError as `trail.reels`. Examples whose video is gone do not count.
    """
    search.check(library.encoder, library.stored)
    ground = trail.background(library)
    if not len(ground):
        raise UserError("the library", "holds no videos yet", "add some with `hit index LIBRARY PATH`")
    said = answers(library, name, document)
    vectors = library.db.segment_vectors(library.stored, {*document.examples_for, *document.examples_against, *said})
    dim = library.encoder.dim

    def chosen(keys: Iterable[str]) -> Floats:
        return np.array([vectors[key] for key in keys if key in vectors], np.float32).reshape(-1, dim)

    liked, disliked = chosen(document.examples_for), chosen(document.examples_against)
    made = concepts.make(library.encoder, document.texts, document.exceptions, liked, disliked, ground)
    background = Background.of(made, ground)
    known = [key for key in said if key in vectors]
    answered = Answered(chosen(known), np.array([said[key] for key in known], np.bool_))
    review = thresholds.fit(document.review_rule, made, background, answered)
    rule = document.block_rule
    block = None if rule is None else thresholds.fit(rule, made, background, answered)
    revision = library.stored.revision
    return Fit(revision, made, Lines(review, block), float(background.scores[0]), library.db.vector_count(revision))


def bench(library: Library, name: str, document: Document, made: Fit) -> Bench:
    """Make a policy ready for what is in the library now. Raises StaleError as `trail.reels`."""
    node = document.node
    allowed = None if node is None else library.db.allowed(library.stored, node)
    calibrated = made.concept.kind == "text" and len(document.texts) == 1  # as in a search: mixtures are not
    return Bench(name, document, made, allowed, library.judge if calibrated else None)


def answers(library: Library, name: str, document: Document) -> dict[str, bool]:
    """Return which segments show what a policy means, as far as people have said."""
    examples = dict.fromkeys(document.examples_against, False) | dict.fromkeys(document.examples_for, True)
    return {**examples, **dict(feedback(library.db, name))}


def curve(library: Library, policy: Policy, video: str) -> list[tuple[float, float, float]]:
    """Return (start, end, score) of a video's segments under a version of a policy; [] where it is not fitted to the model."""
    table = (policy.fitted or {}).get(library.stored.revision)
    if table is None:
        return []
    made = Bench(policy.name, read(policy.document), Fit.from_json(library.stored.revision, table), None)
    try:
        found = list(trail.reels(library, [video]))
    except StaleError:  # rows are numbered anew just now
        return []
    return [
        (one.start, one.end, score)
        for reel in found
        for one, score in zip(reel.segments, made._scores(reel.vectors, reel.segments)[0].tolist(), strict=True)
    ]


def draw(content_hash: str, name: str) -> float:
    """Return a number in [0, 1) that chance, by a video's content and a policy's name, gives them for ever."""
    digest = hashlib.sha256(f"{content_hash}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def averaged(scores: Floats, times: Times, window: float, counted: NDArray[np.bool_]) -> Floats:
    """Return for each segment the mean score (n,), over time, of what is counted within `window` seconds around its middle.

    times (n, 2): where segments begin and end. Where nothing is counted, a score stays what it is.
    """
    middle = times.mean(axis=1)
    low, high = middle - window / 2, middle + window / 2
    length = np.maximum(times[:, 1] - times[:, 0], 1e-9) * counted
    # The integral of all segments' scores up to a time is piecewise linear: its slope changes where one begins or ends.
    at = np.concatenate([times[:, 0], np.maximum(times[:, 1], times[:, 0] + 1e-9)])
    order = np.argsort(at, kind="stable")
    at = at[order]

    def integral(values: Times) -> Times:
        slope = np.cumsum(np.concatenate([values, -values])[order])
        total = np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(at))])
        return np.asarray(np.interp(high, at, total) - np.interp(low, at, total))

    share = integral(np.where(counted, 1.0, 0.0))
    enough = share > 1e-6 * max(float(length.max()), 1e-6)
    mean = integral(scores.astype(np.float64) * counted) / np.where(enough, share, 1.0)
    return np.where(enough, mean, scores).astype(np.float32)


def lasting(scores: Floats, times: Times, least: float) -> float:
    """Return the highest score that segments (n,) reach which last `least` seconds in all, or as long as all of them together."""
    order = np.argsort(-scores, kind="stable")
    least = min(least, _covered(times))
    low, high = 1, len(order)  # how many of the best do: more of them never last shorter
    while low < high:
        middle = (low + high) // 2
        if _covered(times[order[:middle]]) >= least - 1e-6:
            high = middle
        else:
            low = middle + 1
    return float(scores[order[low - 1]])


def _covered(times: Times) -> float:
    """Return how many seconds stretches (n, 2) cover together."""
    ordered = times[np.argsort(times[:, 0], kind="stable")]
    reached = np.concatenate([[-np.inf], np.maximum.accumulate(ordered[:, 1])[:-1]])
    return float(np.maximum(ordered[:, 1] - np.maximum(ordered[:, 0], reached), 0.0).sum())


def _times(segments: Sequence[Segment]) -> Times:
    return np.array([(one.start, one.end) for one in segments], np.float64).reshape(-1, 2)
