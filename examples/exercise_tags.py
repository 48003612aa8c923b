"""Tag exercises by body part, equipment and target: by words alone, and with 5 and 20 example clips a label.

    python examples/exercise_tags.py OUT [--data DIR] [--seeds N] [--json] [KEY=VALUE ...]

DIR holds exercises.json ({"id", "body_part", "equipment", "target", ...}), captions.csv and features.npz. A model is trained on
the split `train` by the recipe `exercises`; the labels are read for nothing but examples, which are train's, and the figures,
which are those of the split `dev`. OUT keeps the data set and the model: a second run goes on there. docs/tagging.md has what
came of it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tag_measures import Clips, Task, learnt, precisions, rows

from hit import config, console, datasets, provenance, splits
from hit.analysis import load_experts
from hit.errors import UserError
from hit.importers.arrays import import_arrays
from hit.train import train
from hit.types import Progress
from hit.zeroshot import open_encoder

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "exercises"
WORDS = {  # written down before anything was measured
    "body_part": ("{}", "an exercise for the {}"),
    "equipment": ("{}", "an exercise with {}"),
    "target": ("{}", "an exercise that trains the {}"),
}
BACKGROUND = 1000


def example(out: Path, data: Path, seeds: int, overrides: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Import, train and measure. Raises UserError where the data are not there, and as `train`."""
    try:
        exercises = {one["id"]: one for one in json.loads((data / "exercises.json").read_text())}
    except (OSError, ValueError) as error:
        raise UserError(
            data / "exercises.json", f"cannot be read: {error}", "give the folder of the exercises by --data"
        ) from None
    import_arrays(
        data / "captions.csv", data / "features.npz", out / "data", expert="frames", source=None, rate=4.0, progress=progress
    )
    recipe = config.load("exercises", [f"data.path={json.dumps(str(out / 'data'))}", *overrides])
    train(recipe, out / "model", progress, page=False)
    encoder = open_encoder(out / "model")
    dataset, experts = datasets.read(out / "data"), load_experts(encoder.experts, encoder.identities)
    learn, test = (splits.load(dataset, name, experts) for name in ("train", "dev"))
    vectors = encoder.embed_clips(learn.features)
    chosen = np.sort(np.random.default_rng(0).permutation(len(vectors))[:BACKGROUND])
    tasks: list[Task] = []
    for group, texts in WORDS.items():
        told = [np.array([exercises[key][group] for key in split.ids]) for split in (learn, test)]
        tasks += [
            Task(group, name, [text.format(name) for text in texts], told[0] == name, told[1] == name)
            for name in sorted(set(told[0]) & set(told[1]))
        ]
    clips = Clips(vectors, encoder.embed_clips(test.features), vectors[chosen])
    return {
        "precision": precisions(tasks, learnt(encoder, tasks, clips, seeds), clips),
        "labels": len(tasks),
        "clips": {"learn": len(learn.ids), "test": len(test.ids)},
        "revision": encoder.revision,
        "commit": provenance.commit(),
    }


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line, of these words or of the process; return the exit code."""
    parser = argparse.ArgumentParser(description="Tag exercises by words, and by words and examples.")
    parser.add_argument("out", type=Path, metavar="OUT", help="where the data set and the model go; a second run goes on there")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the recipe, such as train.steps=100")
    parser.add_argument("--data", type=Path, default=SHARED, help="the folder of exercises.json")
    parser.add_argument("--seeds", type=int, default=3, help="how often examples are drawn")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
    given = parser.parse_intermixed_args(words)
    try:
        result = example(given.out, given.data, given.seeds, given.overrides, console.Bars())
    except UserError as error:
        print(f"exercise_tags: {console.printable(error)}", file=sys.stderr)
        return error.code
    if given.json:
        print(json.dumps(result))
    else:
        title = f"Mean average precision, per cent, of {result['labels']} labels on {result['clips']['test']} clips"
        console.table(title, ["method", "all", *WORDS], rows(result["precision"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
