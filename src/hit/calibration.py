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
REMOVED = NONSENSE = 0.1  # weight of the queries whose answer was taken away, and of those without a sense, beside 1 for the rest
REFUSED = 0.06  # share of good queries that the threshold may refuse
CERTAIN = 0.5  # what is more probably right than wrong is never refused
FOLDS = 5
HALVINGS = 3  # of the library, for examples of smaller ones
FAR = 35.0  # deviations beyond which the normal tail is no float
AGAIN = "make it again with `hit calibrate MODEL DATASET`"


@dataclass(frozen=True, slots=True)
class Fit:
    """The log-odds of being right as a sum over the signs, none of which counts against, and what the best hit must reach."""

    intercept: float
    cosine: float
    surprise: float
    familiar: float
    threshold: float

    def confidence(self, signs: Values) -> Values:
        """Return the confidence (N,) for signs (N, 3)."""
        return logistic.chance(self.intercept + signs @ np.array([self.cosine, self.surprise, self.familiar]))


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
    """How queries (Q,) score with what they did not ask for: length, mean, deviation, and likeness to their own kind."""

    length: Values
    mean: Values
    deviation: Values
    familiar: Values

    @classmethod
    def of(cls, queries: Floats, background: Floats, own: Floats) -> Self:
        """Look at queries (Q, d), with weights, over background (N, d), and over others of their `own` kind (M, d)."""
        scores = queries @ background.T
        length = np.maximum(np.linalg.norm(queries, axis=1).astype(np.float64), 1e-12)
        near = np.partition(queries @ own.T, -min(NEIGHBOURS, len(own)), axis=1)[:, -NEIGHBOURS:].mean(axis=1)
        deviation = np.maximum(scores.std(axis=1, dtype=np.float64), 1e-6 * length)
        return cls(length, scores.mean(axis=1, dtype=np.float64), deviation, near / length)

    def signs(self, rows: Ints, scores: Floats, size: int) -> Values:
        """Return the signs (N, 3) of answers with these scores (N,) to the queries `rows` (N,), in a library of `size`.

        They are the score for a query of length 1, -log E, and the query's mean likeness to its neighbours.
        """
        z = (scores - self.mean[rows]) / self.deviation[rows]
        return np.stack([scores / self.length[rows], -log_e(z, size), self.familiar[rows]], axis=1)


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
    own = np.arange(len(held.clips))
    t2v, about_t2v = _fit(
        Queries.of(held.texts * scale, held.owner, held.clips, own, (clips, texts)),
        Queries.of(held.nonsense * scale, np.full(len(held.nonsense), -1), held.clips, own, (clips, texts)),
    )
    nothing = np.empty((0, len(scale)), np.float32)
    v2t, about_v2t = _fit(
        Queries.of(held.clips * scale, own, held.texts, held.owner, (texts, clips)),
        Queries.of(nothing, own[:0], held.texts, held.owner, (texts, clips)),
    )
    about = {"clips": len(held.clips), "texts": len(held.texts), "t2v": about_t2v, "v2t": about_v2t}
    return Calibration(revision, scale, weight, clips, texts, {"t2v": t2v, "v2t": v2t}, about)


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries (Q,) with their scores of items (Q, N). An item is right for a query of the same group."""

    ground: Ground
    scores: Floats
    group: Ints
    item_group: Ints

    @classmethod
    def of(cls, queries: Floats, group: Ints, items: Floats, item_group: Ints, background: tuple[Floats, Floats]) -> Self:
        """Score queries (Q, d), with weights, with items (N, d), and with a background of both kinds."""
        return cls(Ground.of(queries, *background), queries @ items.T, group, item_group)

    def first(self, items: Ints, taken: bool) -> tuple[Values, Values, Ints]:
        """Return signs (n, 3) and outcomes (n,) of the first answers in a library of these items, and the group of the queries.

        The queries are those that have their item there, which is `taken` away for once; or all, where they have none at all.
        """
        right = self.group[:, None] == self.item_group[items]
        rows = np.flatnonzero(right.any(axis=1) | (self.group < 0))
        right, scores = right[rows], self.scores[np.ix_(rows, items)]
        if taken:
            scores = np.where(right, -np.inf, scores)
        best = scores.argmax(axis=1)
        at = np.arange(len(rows))
        signs = self.ground.signs(rows, scores[at, best], len(items) - taken)
        return signs, right[at, best].astype(np.float64), self.group[rows]


def libraries(item_group: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield (halvings, items): libraries with one item of each group, then of half the groups, a quarter and an eighth.

    There are more of the smaller ones, such that each group comes about as often in every size.
    """
    rng = np.random.default_rng(0)
    groups = np.unique(item_group)
    for halvings in range(HALVINGS + 1):
        for _ in range(2**halvings):
            chosen = set(rng.permutation(groups)[: max(2, len(groups) >> halvings)].tolist())
            order = rng.permutation(len(item_group))
            first = dict(zip(item_group[order].tolist(), order.tolist(), strict=True))
            yield halvings, np.array([row for group, row in first.items() if group in chosen], np.int64)


def _fit(real: Queries, nonsense: Queries) -> tuple[Fit, dict[str, Any]]:
    """Fit one direction to the first answers, in libraries of several sizes, of queries with an answer and of such without."""
    parts = []
    for halvings, items in libraries(real.item_group):
        for number, (queries, taken, weight) in enumerate(
            ((real, False, 1.0), (real, True, REMOVED), (nonsense, False, NONSENSE))
        ):
            signs, right, group = queries.first(items, taken)
            fold = np.where(group < 0, np.arange(len(group)), group) % FOLDS
            shared = np.full(len(right), weight / max(1, len(right)) / 2**halvings)  # so that every size weighs the same
            parts.append((signs, right, shared, fold, np.full(len(right), number)))
    signs, right, weights, fold, kind = (np.concatenate(column) for column in zip(*parts, strict=True))
    chances = np.empty(len(right))  # each by a fit that has not seen its clip's queries
    for left_out in range(FOLDS):
        rest = fold != left_out
        chances[~rest] = _apply(logistic.fit(signs[rest], right[rest], weights[rest]), signs[~rest])
    good = kind == 0
    threshold = min(CERTAIN, float(np.quantile(chances[good], REFUSED, method="lower")))
    refused = {
        name: float(np.mean(chances[kind == number] < threshold))
        for number, name in enumerate(("good", "removed", "nonsense"))
        if np.any(kind == number)
    }
    about = {
        "ece": reliability.ece(reliability.bins(chances[good], right[good])),
        "brier": reliability.brier(chances[good], right[good]),
        "refused": refused,
    }
    intercept, cosine, surprise, familiar = logistic.fit(signs, right, weights).tolist()
    return Fit(intercept, cosine, surprise, familiar, threshold), about


def _apply(found: Values, signs: Values) -> Values:
    return logistic.chance(found[0] + signs @ found[1:])
