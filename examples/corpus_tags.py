"""Tag the demo corpus by colour, shape, motion and sound: by words alone, and with 5 and 20 example clips a label.

    python examples/corpus_tags.py MODEL CORPUS [--seeds N] [--json]

MODEL and CORPUS are those of `hit demo` (DIR/model, DIR/corpus); the truth is the corpus' own. Thresholds are those of the
highest F1 on the split `val`; examples are drawn from `train`; all figures are of the split `test`. docs/tagging.md has what
came of it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tag_measures import Clips, Learnt, Task, learnt, precisions, rows, summary, words

from hit import console, datasets, provenance, splits
from hit.analysis import load_experts
from hit.calibration import Calibration
from hit.concept import Background
from hit.datasets.corpus import truth
from hit.errors import UserError
from hit.types import Encoder, Floats
from hit.zeroshot import open_encoder


def example(model: Path, corpus: Path, seeds: int) -> dict[str, Any]:
    """Measure. Raises UserError for a model without a calibration, and where features are missing."""
    encoder = open_encoder(model)
    judge = Calibration.load(model, encoder.revision)
    if judge is None:
        raise UserError(model, "has no background", "calibrate it with `hit calibrate MODEL DATASET`")
    told, dataset = truth.read(corpus), datasets.read(corpus)
    experts = load_experts(encoder.experts, encoder.identities)
    parts = {name: splits.load(dataset, name, experts) for name in ("train", "val", "test")}
    vectors = {name: encoder.embed_clips(split.features) for name, split in parts.items()}
    shown = {
        name: [told[str(Path(str(dataset.clips[key].path)).relative_to(dataset.root))] for key in split.ids]
        for name, split in parts.items()
    }
    tasks, chosen = [], []  # what a label's threshold is chosen by: whether the clips of val show it
    for group, labels in truth.LABELS.items():
        for label, texts in labels.items():
            learn, val, test = (np.array([label in clip for clip in shown[part]]) for part in ("train", "val", "test"))
            tasks.append(Task(group, label, texts, learn, test))
            chosen.append(val)
    clips = Clips(vectors["train"], vectors["test"], judge.clips)
    methods = learnt(encoder, tasks, clips, seeds)
    return {
        "precision": precisions(tasks, methods, clips),
        "f1": f1(encoder, tasks, methods, (vectors["val"], chosen), clips),
        "labels": len(tasks),
        "clips": {name: len(own) for name, own in vectors.items()},
        "revision": encoder.revision,
        "commit": provenance.commit(),
    }


def f1(
    encoder: Encoder, tasks: Sequence[Task], methods: Learnt, val: tuple[Floats, Sequence[NDArray[np.bool_]]], clips: Clips
) -> dict[str, Any]:
    """Return {method: summary} of F1, per cent; the last one's thresholds are the 99th percentile of the background."""
    found: dict[str, Any] = {}
    for name, runs in methods.items():
        figures = []
        for run in runs:
            lines = [best_line(scorer(val[0]), marks) for scorer, marks in zip(run, val[1], strict=True)]
            pairs = zip(tasks, run, lines, strict=True)
            figures.append([_f1(scorer(clips.test) >= line, task.test) for task, scorer, line in pairs])
        found[name] = summary(tasks, figures)
    plain = []
    for task, said in zip(tasks, words(encoder, tasks), strict=True):
        line = Background.of(said, clips.background).threshold(99)
        plain.append(_f1(said.scores(clips.test) >= line, task.test))
    return {**found, "words, percentile 99": summary(tasks, [plain])}


def best_line(scores: Floats, truth: NDArray[np.bool_]) -> float:
    """Return the score from which on F1 is highest."""
    return float(max(scores, key=lambda line: (_f1(scores >= line, truth), line)))


def _f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(200 * (said & truth).sum() / max(1, said.sum() + truth.sum()))


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line, of these words or of the process; return the exit code."""
    parser = argparse.ArgumentParser(description="Tag the demo corpus by words, and by words and examples.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model that was trained on the corpus, and calibrated")
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="a corpus of `hit demo` or `hit data render`, extracted")
    parser.add_argument("--seeds", type=int, default=3, help="how often examples are drawn")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
    given = parser.parse_args(words)
    try:
        result = example(given.model, given.corpus, given.seeds)
    except UserError as error:
        print(f"corpus_tags: {console.printable(error)}", file=sys.stderr)
        return error.code
    if given.json:
        print(json.dumps(result))
    else:
        where = f"per cent, of {result['labels']} labels on {result['clips']['test']} test clips"
        for what, part in (("Macro-F1 at thresholds chosen on val", "f1"), ("Mean average precision", "precision")):
            console.table(f"{what}, {where}", ["method", "all", *truth.LABELS], rows(result[part]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
