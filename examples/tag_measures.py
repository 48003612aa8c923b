"""What the measurements of tagging share: labels over clips, examples that are drawn by chance, and three ways to score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from hit import concept
from hit.concept import Concept
from hit.types import Encoder, Floats

SHOTS = (5, 20)
FIRM = 1.0  # scikit-learn's C: of 0.1, 1, 10 and 100 the best for the demo corpus' validation clips
Scorer = Callable[[Floats], Floats]
Learnt = Mapping[str, Sequence[Sequence[Scorer]]]


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


def words(encoder: Encoder, tasks: Sequence[Task]) -> list[Concept]:
    """Return what the labels say in words, as `hit tag` takes them: those of one group are alternatives."""
    found = [concept.of_texts(encoder, task.texts) for task in tasks]
    for group in {task.group for task in tasks}:
        at = [i for i, task in enumerate(tasks) if task.group == group]
        for i, one in zip(at, concept.contrasted([found[i] for i in at]), strict=True):
            found[i] = one
    return found


def probe(said: Concept, liked: Floats, clips: Clips) -> Scorer:
    """Score as `hit tag` does: words are the prior, examples speak."""
    return concept.refined(said, liked, liked[:0], clips.background).scores


def linear(said: Concept, liked: Floats, clips: Clips) -> Scorer:
    """Score by scikit-learn's logistic regression of the same examples against the same background, without words."""
    rows = np.concatenate([liked, clips.background])
    weights = np.repeat([1.0, len(liked) / len(clips.background)], [len(liked), len(clips.background)])
    model = LogisticRegression(C=FIRM, max_iter=1000)
    model.fit(rows, np.arange(len(rows)) < len(liked), sample_weight=weights)
    return lambda vectors: np.asarray(vectors @ model.coef_[0], np.float32)


def learnt(encoder: Encoder, tasks: Sequence[Task], clips: Clips, seeds: int) -> Learnt:
    """Return {method: [what scores each label, for each seed]}; examples that are drawn are the same for every method."""
    said = words(encoder, tasks)
    found: dict[str, list[list[Scorer]]] = {
        "words, each label by itself": [[concept.of_texts(encoder, task.texts).scores for task in tasks]],
        "words": [[one.scores for one in said]],
    }
    for shots in SHOTS:
        for name, method in (("words and examples", probe), ("examples alone", linear)):
            found[f"{shots} {name}"] = [
                [
                    method(one, clips.learn[_drawn(task, shots, seed, number)], clips)
                    for number, (task, one) in enumerate(zip(tasks, said, strict=True))
                ]
                for seed in range(seeds)
            ]
    return found


def _drawn(task: Task, shots: int, seed: int, number: int) -> NDArray[np.intp]:
    drawn: NDArray[np.intp] = np.random.default_rng([seed, number]).permutation(np.flatnonzero(task.learn))[:shots]
    return drawn


def precisions(tasks: Sequence[Task], methods: Learnt, clips: Clips) -> dict[str, Any]:
    """Return {method: {"mean", "deviation" over the seeds, "groups": {group: mean}}} of the average precisions, per cent."""
    found = {
        name: summary(
            tasks, [[_precision(task, scorer(clips.test)) for task, scorer in zip(tasks, run, strict=True)] for run in runs]
        )
        for name, runs in methods.items()
    }
    return {**found, "chance": summary(tasks, [[100 * float(task.test.mean()) for task in tasks]])}


def _precision(task: Task, scores: Floats) -> float:
    return 100 * float(average_precision_score(task.test, scores))


def summary(tasks: Sequence[Task], runs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return means of figures of each label, for each seed."""
    scores = np.array(runs)  # (seeds, labels)
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
