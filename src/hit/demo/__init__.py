"""`hit demo`: the main job from end to end. It runs the other verbs, so it stands above them and above the library."""

import csv
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hit import config, datasets, files, metrics, splits
from hit.analysis import load_experts
from hit.demo import judging
from hit.encoder import HiTEncoder, load_encoder
from hit.evaluate import evaluate
from hit.extract import extract
from hit.library import Library
from hit.render import render_corpus
from hit.train import train
from hit.types import Progress

T = TypeVar("T")
RECIPE = "tiny"
QUERIES = (  # worded unlike the corpus's own captions
    "blue heart floating up towards the top",
    "yellow ball jumping, and MUSIC in writing",
    "before the blue hoop climbs, a little white triangle spins",
)
NO_ANSWER = "two dogs run along the beach in the rain"  # nothing of the kind is in the corpus
LIMIT = 3  # answers shown to each query


def demo(folder: Path, clips: int, seed: int, steps: int | None, progress: Progress) -> dict[str, Any]:
    """Render a corpus into `folder`, extract, train, evaluate on held-out clips, index those, search, tag and judge them.

    Every step goes on from what is there, so a demo that was stopped can be repeated. `steps` (None: as in the recipe) is
    the length of the training. Raises UserError where `folder` holds a demo of other arguments.
    """
    corpus, model, library = folder / "corpus", folder / "model", folder / "library"
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        began = time.monotonic()
        result = work()
        seconds[name] = round(time.monotonic() - began, 1)
        return result

    recipe = config.load(RECIPE)
    settings = dataclasses.replace(recipe.train, seed=seed, steps=steps or recipe.train.steps)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path=str(corpus)), train=settings)
    rendered = timed("render", lambda: render_corpus(corpus, clips, seed, progress=progress))
    dataset = datasets.read(corpus)
    timed("extract", lambda: extract(dataset, recipe.experts, progress=progress))
    timed("train", lambda: train(recipe, model, progress))
    scores = timed("evaluate", lambda: evaluate(model, corpus, "test", progress, page=model / "test.html"))
    encoder = load_encoder(model)
    pairs = timed("pairs", lambda: pairs_accuracy(encoder, dataset))
    with Library.prepare(library, model) as shelf:
        timed("index", lambda: shelf.index([corpus / "videos" / "test"], progress=progress))
        found = [{"query": query, **shelf.search(query, limit=LIMIT).to_json()} for query in (*QUERIES, NO_ANSWER)]
        tags = timed("tag", lambda: judging.tag(shelf, dataset, progress))
        policy = timed("judge", lambda: judging.enforce(shelf, dataset, progress))
    report = {
        "clips": rendered.clips,
        "captions": rendered.captions,
        "test_clips": rendered.splits["test"],
        "seconds": seconds,
        "t2v": scores["t2v"],
        "v2t": scores["v2t"],
        **{f"{kind}_pairs_accuracy": accuracy for kind, accuracy in pairs["fused"].items()},
        "pairs_accuracy_by_level": pairs,
        "confidence": scores.get("confidence", {}),
        "searches": [{**answer, "next_page_token": None} for answer in found],
        "tags": tags,
        "policy": policy,
        "library": str(library),
        "model": str(model),
        "seed": seed,
        "commit": scores["commit"],
    }
    files.write_whole(folder / "demo.json", (json.dumps(report, indent=2) + "\n").encode())
    return report


def pairs_accuracy(encoder: HiTEncoder, dataset: datasets.Dataset) -> dict[str, dict[str, float]]:
    """Return by level and fused how often (per cent) a caption scores its own clip above the pair's other one.

    The pairs are those of pairs.csv in the test split, by kind: clips that differ only in the order of two events, or only
    in who has which colour. A tie counts one half.
    """
    clips = splits.load(dataset, "test", load_experts(encoder.experts, encoder.identities))
    row = {clip: i for i, clip in enumerate(clips.ids)}
    videos = encoder.embed_clips(clips.features)
    texts = [encoder.embed_texts(own) for own in clips.captions]
    with (dataset.root / "pairs.csv").open(newline="") as file:
        listed = [pair for pair in csv.DictReader(file) if pair["split"] == "test"]
    scale = metrics.weighting(encoder.parts, encoder.weights, encoder.dim)
    found: dict[str, dict[str, float]] = {}
    for level, columns in {**encoder.parts, "fused": slice(None)}.items():
        weight = scale if level == "fused" else np.ones_like(scale)
        wins: dict[str, list[float]] = {"order": [], "colour": []}
        for pair in listed:
            a, b = (row[str(Path(pair[key]).relative_to("videos").with_suffix(""))] for key in ("video_a", "video_b"))
            for own, other in ((a, b), (b, a)):
                lead = (texts[own] * weight)[:, columns] @ (videos[own] - videos[other])[columns]
                wins[pair["kind"]] += list(0.5 + 0.5 * np.sign(lead))
        found[level] = {kind: 100 * float(np.mean(won)) for kind, won in wins.items()}
    return found
