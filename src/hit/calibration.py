"""Confidence: how probably an answer is right for its query, from its score and a background of what was not asked for.

Kept in the model's folder, of which it is no part: calibration.json (what was fitted, to which revision of the model) and
background.safetensors (embeddings of training clips and captions). docs/confidence.md has the formulas and what they reach.

Shapes: C clips and T texts of the background, d numbers each, without the levels' weights, which queries bear.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from hit import hubness, logistic, reliability
from hit.errors import UserError
from hit.files import write_whole
from hit.metrics import Ints, Values
from hit.types import Floats

FORMAT = 1
FILE = "calibration.json"
CLIPS, TEXTS = 1000, 2000  # of the background, at most
LEAST = 20  # clips to fit to
NEIGHBOURS = 5  # that a query has in the background of its own kind
NEAR = 0.05  # share of the background of the other kind that is near to a query
ENOUGH = 0.1  # share of the held-out queries that are less like the background than is enough
REMOVED, NONSENSE = 0.05, 0.05  # weight of the queries whose answer was taken away, and of those without a sense, beside 1
REFUSED = 0.04  # share of good queries, those whose first answer is right, that the threshold may refuse
CERTAIN = 2 / 3  # what is more probable than that is never refused
FOLDS = 5
HALVINGS = 3  # of the library, for examples of smaller ones
DISTRACTORS = (0.25, 1.0)  # shares of the background that are added to it, for examples of larger ones
FAR = 35.0  # deviations beyond which the normal tail is no float
AGAIN = "make it again with `hit calibrate MODEL DATASET`"


@dataclass(frozen=True, slots=True)
class Fit:
    """The log-odds of being right as a sum over the signs, none of which counts against, and what the best hit must reach.

    Of the last two signs, a query's likeness to the background, no more counts than is enough.
    """

    intercept: float
    cosine: float
    surprise: float
    familiar: float
    resonant: float
    familiar_enough: float
    resonant_enough: float
    threshold: float

    def confidence(self, signs: Values) -> Values:
        """Return the confidence (N,) for signs (N, 4)."""
        weights = np.array([self.cosine, self.surprise, self.familiar, self.resonant])
        return logistic.chance(self.intercept + _enough(signs, (self.familiar_enough, self.resonant_enough)) @ weights)


@dataclass(frozen=True, eq=False)
class Held:
    """Pairs that no model learnt from: texts (T, d), clips (V, d), owner (T,) the index of each text's clip.

    `nonsense` (M, d) are texts without a sense. Nothing bears weights.
    """

    texts: Floats
    clips: Floats
    owner: Ints
    nonsense: Floats


@dataclass(frozen=True, eq=False)
class Calibration:
    """The calibration of one revision of a model. `scale` (d,) puts the levels' weights onto a query, `weight` is their sum."""

    revision: str
    scale: Floats
    weight: float
    clips: Floats  # (C, d)
    texts: Floats  # (T, d)
    ways: Mapping[str, Fit]  # "t2v" | "v2t"
    about: Mapping[str, Any]  # for people

    @property
    def threshold(self) -> float:
        """The confidence that the best hit of a text query must reach; else there is no good match."""
        return self.ways["t2v"].threshold

    def judge(self, query: Floats, scores: Floats, segments: int, way: str = "t2v") -> Floats:
        """Return how probably each answer is right (n,), from its score (n,) for the query (d,) in a library of `segments`.

        The query's length does not matter, and its weights may be others than the model's own. "v2t" judges texts, of which
        there are `segments`, for a clip. Raises ValueError for numbers that are not finite and shapes that do not fit.
        """
        return self.judge_each(query[None], np.zeros(len(scores), np.int64), scores, segments, way)

    def judge_each(self, queries: Floats, rows: Ints, scores: Floats, segments: int, way: str = "t2v") -> Floats:
        """Judge answers (n,) to several queries (Q, d), each to that of its row (n,); as `judge` in all else."""
        if queries.shape[1:] != self.scale.shape or scores.shape != rows.shape or segments < 1:
            raise ValueError(f"queries {queries.shape} for {self.scale.shape}, scores {scores.shape}, {segments} segments")
        if not (np.isfinite(queries).all() and np.isfinite(scores).all()):
            raise ValueError("a query or a score is not finite")
        background, own = (self.clips, self.texts) if way == "t2v" else (self.texts, self.clips)
        signs = Ground.of(queries, background, own).signs(rows, scores, segments)
        return self.ways[way].confidence(signs).astype(np.float32)

    def normalise(self, query: Floats, scores: Floats, vectors: Floats) -> Floats:
        """Return what to rank a text query's candidates (n, d) by instead of their scores (n,): query-bank normalisation.

        The bank are the background's texts; hubs are those candidates that come first for one of them. See `hit.hubness`.
        """
        if query.shape != self.scale.shape:
            raise ValueError(f"query {query.shape} for {self.scale.shape}")
        rule = hubness.query_bank(self.texts * (self.scale / np.float32(self.weight)), vectors)
        made: Floats = rule((scores / np.float32(self.weight))[None])[0].astype(np.float32)
        return made

    def save(self, folder: Path) -> None:
        """Write the calibration into a model folder; calibration.json comes last and names what belongs to it."""
        vectors = {name: np.ascontiguousarray(getattr(self, name), np.float16) for name in ("clips", "texts")}
        tensors = save_tensors({**vectors, "scale": np.ascontiguousarray(self.scale, np.float32)})
        table = {
            "format": FORMAT,
            "revision": self.revision,
            "weight": self.weight,
            "background": hashlib.sha256(tensors).hexdigest(),
            "ways": {way: asdict(fit) for way, fit in self.ways.items()},
            "about": self.about,
        }
        write_whole(folder / "background.safetensors", tensors)
        write_whole(folder / FILE, (json.dumps(table, indent=2, allow_nan=False) + "\n").encode())

    @classmethod
    def load(cls, folder: Path, revision: str) -> Self | None:
        """Open a model folder's calibration, None where there is none.

        Raises UserError for one that is damaged, of a newer program, or of another revision of the model.
        """
        path = folder / FILE
        try:
            table = json.loads(path.read_text())
            if table["format"] > FORMAT:
                raise UserError(path, f"its format {table['format']} is newer than this program's {FORMAT}", "upgrade hit")
            if table["revision"] != revision:
                raise UserError(path, f"is of model revision {table['revision']}, not of {revision}", AGAIN)
            tensors = (folder / "background.safetensors").read_bytes()
            if hashlib.sha256(tensors).hexdigest() != table["background"]:
                raise UserError(path, "background.safetensors is not the one that it was written with", AGAIN)
            arrays = {name: array.astype(np.float32) for name, array in load_tensors(tensors).items()}
            ways = {way: Fit(**{name: float(value) for name, value in table["ways"][way].items()}) for way in ("t2v", "v2t")}
            if not all(math.isfinite(value) for fit in ways.values() for value in asdict(fit).values()):
                raise ValueError("a number is not finite")
            return cls(revision, weight=float(table["weight"]), ways=ways, about=table["about"], **arrays)
        except FileNotFoundError as error:
            if not path.exists():
                return None
            raise UserError(path, f"{error.filename} is not there", AGAIN) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise UserError(path, f"cannot be read: {type(error).__name__}", AGAIN) from None


def forget(folder: Path) -> None:
    """Remove a model folder's calibration, if it has one."""
    for name in (FILE, "background.safetensors"):
        (folder / name).unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Ground:
    """How queries (Q,) score with what they did not ask for.

    Length of the query, mean and deviation of its scores, and its likeness (Q, 2) to its own kind and to the other.
    """

    length: Values
    mean: Values
    deviation: Values
    likeness: Values

    @classmethod
    def of(cls, queries: Floats, background: Floats, own: Floats) -> Self:
        """Look at queries (Q, d), with weights, over background (N, d), and over others of their `own` kind (M, d)."""
        scores = queries @ background.T
        length = np.maximum(np.linalg.norm(queries, axis=1).astype(np.float64), 1e-12)
        likeness = [_top(queries @ own.T, NEIGHBOURS), _top(scores, max(1, round(NEAR * len(background))))]
        deviation = np.maximum(scores.std(axis=1, dtype=np.float64), 1e-6 * length)
        return cls(length, scores.mean(axis=1, dtype=np.float64), deviation, np.stack(likeness, axis=1) / length[:, None])

    def signs(self, rows: Ints, scores: Floats, size: int) -> Values:
        """Return the signs (N, 4) of answers with these scores (N,) to the queries `rows` (N,), in a library of `size`.

        They are the score for a query of length 1, -log E, and the query's likeness to the background: its mean score with
        the nearest of its own kind, and with those of the other.
        """
        z = (scores - self.mean[rows]) / self.deviation[rows]
        return np.column_stack([scores / self.length[rows], -log_e(z, size), self.likeness[rows]])


def _top(scores: Floats, count: int) -> Values:
    """Return the mean (Q,) of the `count` largest of each row's scores (Q, N), or of all if there are fewer."""
    count = min(count, scores.shape[1])
    mean: Values = np.partition(scores, -count, axis=1)[:, -count:].mean(axis=1, dtype=np.float64)
    return mean


def _enough(signs: Values, enough: tuple[float, float]) -> Values:
    return np.minimum(signs, (np.inf, np.inf, *enough))


def log_e(z: Values, size: int) -> Values:
    """Return log E (N,): of `size` clips that have nothing to do with a query, how many would score z deviations or more.

    E = size Q(z), with Q the upper tail of the normal distribution.
    """
    return math.log(size) + np.log(_erfc(np.clip(z, -FAR, FAR) / math.sqrt(2)) / 2)


def _erfc(x: Values) -> Values:
    return np.array([math.erfc(value) for value in x.tolist()])


def fit(revision: str, weights: tuple[Floats, float], held: Held, clips: Floats, texts: Floats) -> Calibration:
    """Fit both directions to pairs that no model learnt from; clips (C, d) and texts (T, d) are the background.

    `weights` are the levels' as they go onto a query (d,), and their sum. Raises UserError for fewer than LEAST clips.
    """
    if len(held.clips) < LEAST or not len(clips) or not len(texts):
        why = f"{len(held.clips)} clips to fit it to and {len(clips)} beside them are too few"
        raise UserError("a calibration", why, f"hold out at least {LEAST}")
    scale, weight = weights
    own, neither = np.arange(len(held.clips)), np.full(len(held.nonsense), NO_QUERY)
    t2v = Items.of(held.clips, own, clips, texts)
    v2t = Items.of(held.texts, held.owner, texts, clips)
    fits, about = {}, {}
    fits["t2v"], about["t2v"] = _fit(t2v.asked(held.texts * scale, held.owner), t2v.asked(held.nonsense * scale, neither))
    fits["v2t"], about["v2t"] = _fit(v2t.asked(held.clips * scale, own), v2t.asked(held.nonsense[:0], neither[:0]))
    known = {"clips": len(held.clips), "texts": len(held.texts)}
    return Calibration(revision, scale, weight, clips, texts, fits, {**known, **about})


NO_QUERY, NO_ITEM = -1, -2  # groups: of queries that nothing answers, of items that answer nothing


@dataclass(frozen=True, eq=False)
class Items:
    """What libraries are made of: items (N, d) by group (N,), the background's among them, and the background of both kinds."""

    vectors: Floats
    group: Ints
    background: tuple[Floats, Floats]

    @classmethod
    def of(cls, held: Floats, group: Ints, background: Floats, own: Floats) -> Self:
        """Put items (V, d) and a background of their kind (B, d) together; `own` is of the queries' kind."""
        both = np.concatenate([group, np.full(len(background), NO_ITEM)])
        return cls(np.concatenate([held, background]), both, (background, own))

    def asked(self, queries: Floats, group: Ints) -> "Queries":
        """Score queries (Q, d), with weights, of these groups (Q,), with all items."""
        return Queries(Ground.of(queries, *self.background), queries @ self.vectors.T, group, self.group)


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries (Q,) with their scores of items (Q, N). An item is right for a query of the same group."""

    ground: Ground
    scores: Floats
    group: Ints
    item_group: Ints

    def first(self, items: Ints, taken: bool) -> tuple[Values, Values, Ints]:
        """Return signs (n, 4) and outcomes (n,) of the first answers in a library of these items, and the group of the queries.

        The queries are those that have their item there, which is `taken` away for once; or all, where they have none at all.
        """
        right = self.group[:, None] == self.item_group[items]
        rows = np.flatnonzero(right.any(axis=1) | (self.group == NO_QUERY))
        right, scores = right[rows], self.scores[np.ix_(rows, items)]
        if taken:
            scores = np.where(right, -np.inf, scores)
        best = scores.argmax(axis=1)
        at = np.arange(len(rows))
        signs = self.ground.signs(rows, scores[at, best], len(items) - taken)
        return signs, right[at, best].astype(np.float64), self.group[rows]


def libraries(item_group: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield (how many there are of its size, items) for libraries of several sizes.

    They have one item of each group, or of half the groups, a quarter, an eighth; or of each and some that answer nothing. There
    are more of the smaller ones, such that each group comes about as often in every size.
    """
    rng = np.random.default_rng(0)
    groups = np.unique(item_group[item_group >= 0])
    others = np.flatnonzero(item_group == NO_ITEM)

    def draw(share: float) -> Ints:
        chosen = rng.permutation(groups)[: max(2, round(share * len(groups)))]
        order = rng.permutation(len(item_group))
        group, first = np.unique(item_group[order], return_index=True)
        return order[first[np.isin(group, chosen)]]

    for halvings in range(HALVINGS + 1):
        for _ in range(2**halvings):
            yield 2**halvings, draw(1 / 2**halvings)
    for share in DISTRACTORS:
        yield 1, np.concatenate([draw(1), rng.permutation(others)[: round(share * len(others))]])


def _fit(real: Queries, nonsense: Queries) -> tuple[Fit, dict[str, Any]]:
    """Fit one direction to the first answers, in libraries of several sizes, of queries with an answer and of such without."""
    familiar, resonant = np.quantile(real.ground.likeness, ENOUGH, axis=0).tolist()
    parts = []
    for alike, items in libraries(real.item_group):
        for number, (queries, taken, weight) in enumerate(((real, False, 1), (real, True, REMOVED), (nonsense, False, NONSENSE))):
            signs, right, group = queries.first(items, taken)
            fold = np.where(group < 0, np.arange(len(group)), group) % FOLDS
            shared = np.full(len(right), weight / max(1, len(right)) / alike)  # so that every size weighs the same
            parts.append((_enough(signs, (familiar, resonant)), right, shared, fold, np.full(len(right), number)))
    signs, right, weights, fold, kind = (np.concatenate(column) for column in zip(*parts, strict=True))
    chances = np.empty(len(right))  # each by a fit that has not seen its clip's queries
    for left_out in range(FOLDS):
        rest = fold != left_out
        found = logistic.fit(signs[rest], right[rest], weights[rest])
        chances[~rest] = logistic.chance(found[0] + signs[~rest] @ found[1:])
    there, good = kind == 0, right > 0
    threshold = CERTAIN
    if good.any():
        threshold = min(CERTAIN, float(np.quantile(chances[good], REFUSED, method="lower")))
    shown = {"good": good, "with an answer": there, "removed": kind == 1, "nonsense": kind == 2}
    about = {
        "ece": reliability.ece(reliability.bins(chances[there], right[there])),
        "brier": reliability.brier(chances[there], right[there]),
        "refused": {name: float(np.mean(chances[those] < threshold)) for name, those in shown.items() if np.any(those)},
    }
    intercept, cosine, surprise, own, other = logistic.fit(signs, right, weights).tolist()
    return Fit(intercept, cosine, surprise, own, other, familiar, resonant, threshold), about
