"""Reports as the verbs' own writers leave them, of an encoder whose vectors are given, on a small data set with real videos."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hit import ablate, datasets, intervals, metrics, report, reproduce
from hit.config import Recipe, to_table
from hit.measure import Measured, write_queries
from hit.metrics import WAYS
from hit.reliability import bins
from hit.types import Features, Floats
from toy import render

CLIPS = {  # id: video, start, end
    "red": ("red.mp4", 0, 2),
    "two-a": ("two.mp4", 0, 2),
    "two-b": ("two.mp4", 2, 4),
    "absent": ("absent.mp4", 0, 2),
    "outside": ("outside.mp4", 0, 2),
    "page": ("page.html", 0, 2),
}
CAPTIONS, DIM = 2, 4
ROWS = [
    ablate.Row("hit", "HCM + MCC", ()),
    ablate.Row("semantic", "semantic level only, in-batch InfoNCE", ("loss.feature_weight=0", "model.level_weights=[0,1]")),
]


class Known:
    """An encoder of which only the shape is asked."""

    id, revision, dim = "known", "0123456789ab", 2 * DIM
    parts: Mapping[str, slice] = {"feature": slice(0, DIM), "semantic": slice(DIM, 2 * DIM)}
    weights: Mapping[str, float] = {"feature": 0.5, "semantic": 1.0}

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        raise NotImplementedError

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        raise NotImplementedError


@dataclass(frozen=True)
class Made:
    """The folder of reports, the data set, and what was measured."""

    folder: Path
    data: Path
    measured: Measured
    found: report.Findings
    rows: list[dict[str, Any]]


def dataset(root: Path, words: str) -> Path:
    """Write the data set, `words` in its captions: a video is absent, one leads elsewhere by a link, one is no video."""
    for name, colours in (("red.mp4", ["red"]), ("two.mp4", ["blue", "green"])):
        render(root / "videos" / name, colours)
    render(root.parent / "elsewhere" / "secret.mp4", ["grey"])
    (root / "videos" / "outside.mp4").symlink_to(root.parent / "elsewhere" / "secret.mp4")
    (root / "videos" / "page.html").write_text("<script>alert(1)</script>")
    lines = [f"{name},{video},{start},{end}\n" for name, (video, start, end) in CLIPS.items()]
    (root / "clips.csv").write_text("id,video,start,end\n" + "".join(lines))
    rows = [f'{name},"caption {i} of {name} {words}"\n' for name in CLIPS for i in range(CAPTIONS)]
    (root / "captions.csv").write_text("clip,caption\n" + "".join(rows))
    return root


def measured(data: Path) -> Measured:
    """Give the clips the directions of a circle and each caption that of the next clip: every one is missed."""
    known = datasets.read(data)
    ids = list(known.clips)
    angles = 2 * np.pi * np.arange(len(ids)) / len(ids)
    clip = np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles] * 2, axis=1).astype(np.float32)
    owner = np.repeat(np.arange(len(ids)), CAPTIONS)
    rng = np.random.default_rng(0)
    text = np.roll(clip, -1, axis=0)[owner] + rng.normal(0, 0.1, (len(owner), 2 * DIM)).astype(np.float32)
    for part in Known.parts.values():
        text[:, part] /= np.linalg.norm(text[:, part], axis=1, keepdims=True)
    return Measured(Known(), ids, [words for name in ids for words in known.captions[name]], owner, text, clip)


def make(folder: Path, words: str = "") -> Made:
    """Write a data set and reports of all kinds below `folder`."""
    data, own = dataset(folder / "data", words), folder / "reports"
    seen = measured(data)
    ends = {way: intervals.intervals([levels["fused"]], seen.groups(way)) for way, levels in seen.ranks.items()}
    sure = bins(np.linspace(0.1, 0.9, 40), (np.arange(40) % 3 > 0).astype(np.float64))
    found = report.collect(seen, datasets.read(data), "split test", dict.fromkeys(WAYS, sure), ends)
    card = _card(data, seen, words)
    report.write(own / "run" / "report.html", card, found)
    (own / "run" / "card.json").write_text(json.dumps(card))
    report.write(own / "tests" / "test.html", card, found)
    rows = _ablation(own / "ablation", card)
    _reproduction(own / "reproduced", data, card, seen)
    return Made(own, data, seen, found, rows)


def _card(data: Path, seen: Measured, words: str) -> dict[str, Any]:
    scores = metrics.summaries(seen.ranks)
    history = [{"step": step, "loss": 9.0 / step, "terms": {"semantic/t2v": 1.0 / step}, **scores} for step in (1, 2, 3)]
    return {
        "name": f"hit-known {words}",
        "recipe": to_table(Recipe()),
        "data": {"path": str(data), "train_digest": "0" * 64},
        "clips": {"train": 10, "validation": len(seen.ids)},
        "captions": {"train": 20, "validation": len(seen.texts)},
        "experts": {"sound": "sound/1"},
        "seed": 3,
        "steps": 3,
        "seconds": 1.5,
        "device": "cpu",
        "processes": 1,
        "parameters": {"all": 10, "trained": 10},
        "scores": {"validation": history[-1]},
        "history": history,
        "versions": {"hit": "0"},
        "commit": "f" * 40,
        "revision": Known.revision,
    }


def _ablation(folder: Path, card: dict[str, Any]) -> list[dict[str, Any]]:
    folder.mkdir(parents=True)
    last = card["history"][-1]
    lines = []
    for number, row in enumerate(ROWS):
        for seed in (0, 1):
            ways = {
                way: {level: {name: value + seed + number for name, value in own.items()} for level, own in last[way].items()}
                for way in WAYS
            }
            rest = {key: card[key] for key in ("steps", "seconds", "clips", "captions", "data", "device", "versions", "commit")}
            line = {
                "row": row.name,
                "seed": seed,
                "identity": f"{number}{seed}",
                "overrides": row.overrides,
                **ways,
                "loss": 1.0,
                **rest,
            }
            ablate._add(folder, line)
            lines.append({**line, "levels": ablate.levels(ablate.variant("tiny", (), row))})
    summary = ablate._summarise(lines, ROWS)
    ablate._write_tables(folder, summary, lines)
    return summary


def _reproduction(folder: Path, data: Path, card: dict[str, Any], seen: Measured) -> None:
    order = reproduce.Order("recipes/msvd.toml", folder, data, (3,))
    runs = [reproduce.Outcome(card, seen, seen.rescored(seen))]
    result = reproduce._result(order, Recipe(), data, runs)
    write_queries(folder / "seed-3" / "queries.jsonl", seen)
    (folder / "results.json").write_text(json.dumps(result))
