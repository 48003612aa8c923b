"""Zero-shot retrieval on the shared feature sets: a frozen image classifier and a frozen text encoder, nothing trained.

A clip's frames become probabilities of ImageNet's classes (MobileNetV2's own classifier on its pooled features), and these
the mean of the class names' text embeddings, weighted by the TOP largest [ConSE, Norouzi et al. 2014]; captions are embedded
by the same MiniLM. One JSON line: t2v and v2t scores on each set's dev split.

    python benchmarks/zero_shot.py [SHARED]
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from hit import metrics
from hit.experts.sentences import Sentences
from hit.types import Floats

TOP = 10  # classes, as in the paper; not tuned


def main(shared: Path) -> None:
    """Print the scores, or why there are none."""
    model = shared / "models" / "mobilenet_v2"
    if not model.is_dir():
        print(json.dumps({"benchmark": "zero_shot", "skipped": f"{model} is not there"}))
        return
    names = json.loads((model / "config.json").read_text())["id2label"]
    embed = Sentences("minilm")
    words = embed([names[str(i)] for i in range(1, len(names))])  # without "background"
    weights = load_file(model / "model.safetensors")
    found: dict[str, object] = {}
    for name in ("flickr8k", "exercises"):
        folder = shared / "data" / name
        captions: dict[str, list[str]] = {}
        with (folder / "captions.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                if row["split"] == "dev":
                    captions.setdefault(row["id"], []).append(row["caption"])
        with np.load(folder / "features.npz") as data:
            ends = dict(zip(data["ids"].tolist(), data["n_frames"].cumsum().tolist(), strict=True))
            counts = dict(zip(data["ids"].tolist(), data["n_frames"].tolist(), strict=True))
            values = data["values"].astype(np.float32)
        frames = [values[ends[clip] - counts[clip] : ends[clip]] for clip in captions]
        clips = np.stack([conse(own, weights["classifier.weight"], weights["classifier.bias"], words) for own in frames])
        texts, owner = metrics.unroll(list(captions.values()))
        both = {"semantic": slice(0, clips.shape[1])}
        scores = metrics.retrieval(embed(texts), clips, owner, both, {"semantic": 1.0})
        ways = {way: {k: round(v, 2) for k, v in scores[way]["fused"].items()} for way in ("t2v", "v2t")}
        found[name] = {**ways, "queries": len(texts), "videos": len(clips)}
    print(json.dumps({"benchmark": "zero_shot", "split": "dev", **found}))


def conse(frames: Floats, weight: torch.Tensor, bias: torch.Tensor, words: Floats) -> Floats:
    """Return a clip's unit vector (d,) from its pooled features (n, 1280) and the classes' names (1000, d)."""
    logits = torch.from_numpy(frames) @ weight.T + bias
    chances = logits[:, 1:].softmax(dim=1).mean(dim=0).numpy()
    top = np.argsort(-chances)[:TOP]
    mean: Floats = (chances[top, None] * words[top]).sum(axis=0)
    return mean / np.linalg.norm(mean)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared")
