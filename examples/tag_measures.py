"""What the measurements of tagging share: labels over clips, examples that are drawn by chance, and three ways to score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from hit import concept
from hit.types import Encoder, Floats

SHOTS = (5, 20)
FIRM = 1.0  # scikit-learn's C: of 0.1, 1, 10 and 100 the best for the demo corpus' validation clips
Scorer = Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class Task:
    """A label: words for it, and which clips to learn from (N,) and to be measured by (M,) show it."""

    group: str
    name: str
    texts: Sequence[str]
    learn: NDArray[np.bool_]
    test: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Clips:
    """Vectors to learn from (N, d), to be measured by (M, d), and of what nobody has looked at (C, d)."""

    learn: Floats
    test: Floats
    background: Floats


def text(encoder: Encoder, task: Task, liked: Floats, clips: Clips) -> Scorer:
    """Score by the label's words alone."""
    return concept.of_texts(encoder, task.texts).scores


def probe(encoder: Encoder, task: Task, liked: Floats, clips: Clips) -> Scorer:
    """Score as `hit tag` does: words are the prior, examples speak."""
    nothing = np.zeros((0, encoder.dim), np.float32)
    return concept.make(encoder, task.texts, (), liked, nothing, clips.background).scores


def linear(encoder: Encoder, task: Task, liked: Floats, clips: Clips) -> Scorer:
    """Score by scikit-learn's logistic regression of the same examples against the same background, without words."""
    rows = np.concatenate([liked, clips.background])
    weights = np.repeat([1.0, len(liked) / len(clips.background)], [len(liked), len(clips.background)])
    model = LogisticRegression(C=FIRM, max_iter=1000)
    model.fit(rows, np.arange(len(rows)) < len(liked), sample_weight=weights)
    return lambda vectors: np.asarray(vectors @ model.coef_[0], np.float32)


def measured(encoder: Encoder, tasks: Sequence[Task], clips: Clips, seeds: int) -> dict[str, Any]:
    """Return {method: {"mean", "deviation" over the seeds, "groups": {group: mean}}} of the average precisions, per cent."""
    found: dict[str, Any] = {"text": _summary(tasks, [_scores(encoder, tasks, clips, text, 0, 0)])}
    for shots in SHOTS:
        for name, method in (("words and examples", probe), ("examples alone", linear)):
            runs = [_scores(encoder, tasks, clips, method, shots, seed) for seed in range(seeds)]
            found[f"{shots} {name}"] = _summary(tasks, runs)
    chance = [float(task.test.mean()) for task in tasks]
    return {**found, "chance": _summary(tasks, [chance])}


def _scores(
    encoder: Encoder, tasks: Sequence[Task], clips: Clips, method: Callable[..., Scorer], shots: int, seed: int
) -> list[float]:
    """Return the average precision of each label; its examples are the same for every method."""
    found = []
    for number, task in enumerate(tasks):
        drawn = np.random.default_rng([seed, number]).permutation(np.flatnonzero(task.learn))[:shots]
        scorer = method(encoder, task, clips.learn[drawn], clips)
        found.append(float(average_precision_score(task.test, scorer(clips.test))))
    return found


def _summary(tasks: Sequence[Task], runs: Sequence[Sequence[float]]) -> dict[str, Any]:
    scores = 100 * np.array(runs)  # (seeds, labels)
    groups = {
        group: float(scores[:, [task.group == group for task in tasks]].mean())
        for group in dict.fromkeys(task.group for task in tasks)
    }
    means = scores.mean(axis=1)
    return {"mean": float(means.mean()), "deviation": float(means.std(ddof=1)) if len(means) > 1 else None, "groups": groups}


def rows(result: dict[str, Any]) -> list[list[object]]:
    """Return a table: a row for each method."""
    made: list[list[object]] = []
    for name, one in result.items():
        spread = "" if one["deviation"] is None else f" ± {one['deviation']:.1f}"
        made.append([name, f"{one['mean']:.1f}{spread}", *(f"{value:.1f}" for value in one["groups"].values())])
    return made
