"""`hit reproduce`: from a benchmark's release, or a data set, to our figures beside the published ones."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import tomli_w

from hit import config as configs
from hit import datasets, intervals, provenance, report, splits
from hit.ablate import shipped_rows
from hit.analysis import load_experts
from hit.config import RECIPES, Recipe
from hit.datasets import Dataset
from hit.encoder import load_encoder
from hit.errors import UserError
from hit.evaluate import bank
from hit.files import write_whole
from hit.importers.folders import Folders
from hit.importers.mmt import Cut, import_mmt
from hit.importers.release import Terms
from hit.measure import WAYS, Measured, measure, write_queries
from hit.metrics import Ints, Ranks
from hit.train import train
from hit.types import Progress

FIGURES = ("R1", "R5", "R10", "R50", "geometric_mean", "MdR", "MnR")
BRACKETED = FIGURES[:3]


@dataclass(frozen=True)
class Order:
    """What to reproduce, on which data, and where to. `data` is a data set, or a release of MMT's features."""

    recipe: str
    out: Path
    data: Path
    seeds: Sequence[int] = (0, 1, 2)
    baseline: str = ""  # a row of `hit ablate`
    small: bool = False  # also allows a part of a release
    overrides: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What is kept of one seed's run."""

    seed: int
    card: Mapping[str, Any]
    scores: Mapping[str, Any]
    ranks: Ranks
    post: Mapping[str, Any]
    curves: Mapping[str, Mapping[str, Any]]


def published(benchmark: str) -> list[dict[str, Any]]:
    """Return the published figures of a benchmark, as recipes/expected.toml has them."""
    table = tomllib.loads((RECIPES / "expected.toml").read_text())
    return [entry for entry in table["figures"] if entry["benchmark"] == benchmark]


def reproduce(order: Order, progress: Progress) -> dict[str, Any]:
    """Train with each seed, measure on the test split, and write results.json, table.md and report.html to `order.out`.

    A release is imported to OUT/data first. Every seed leaves its model folder, OUT/seed-N, with the outcome of every query;
    the same command again goes on where it was stopped. Raises UserError as importing, training and measuring do.
    """
    recipe = _recipe(order)
    folder = _dataset(order, recipe, progress)
    data, runs = datasets.read(folder), list[Outcome]()
    for seed in order.seeds:
        settings = dataclasses.replace(recipe.train, seed=seed)
        own = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path=str(folder)), train=settings)
        card = train(own, order.out / f"seed-{seed}", progress)
        outcome, measured = _measure(order.out / f"seed-{seed}", card, data, recipe)
        runs.append(outcome)
    result: dict[str, Any] = {
        "recipe": order.recipe,
        "baseline": order.baseline,
        "small": order.small,
        "data": str(folder),
        "split": recipe.data.test_split,
        "queries": len(measured.texts),
        "videos": len(measured.ids),
        "scores": _summarise(runs, {way: measured.groups(way) for way in WAYS}),
        "post": {name: {way: _over([run.post[name][way] for run in runs]) for way in WAYS} for name in runs[0].post},
        "published": published(Path(order.recipe).stem),
        "runs": [
            {"seed": run.seed, "scores": run.scores, **{key: run.card[key] for key in ("revision", "seconds", "steps", "commit")}}
            for run in runs
        ],
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "out": str(order.out),
    }
    rows = {way: table_rows(result, way) for way in WAYS}
    write_whole(order.out / "results.json", (json.dumps(result, indent=1) + "\n").encode())
    write_whole(order.out / "table.md", "\n".join(_markdown(way, rows[way]) for way in WAYS).encode())
    values = {
        "result": result,
        "rows": rows,
        "sources": list(dict.fromkeys(entry["source"] for entry in result["published"])),
        "curves": _curves(runs),
        "config": tomli_w.dumps(configs.to_table(recipe)),
    }
    report.render(order.out / "report.html", "reproduce.html.j2", figures=FIGURES, ways=report.WAYS, **values)
    return result


def table_rows(result: Mapping[str, Any], way: str) -> list[dict[str, Any]]:
    """Return the rows of a direction: {name, cells {figure: text}, source}; ours by level and fused, then the published."""
    name = result["baseline"] or "HiT"
    rows = [
        {"name": f"{name}, ours, {level}", "cells": _cells(figures), "source": "", "kind": level}
        for level, figures in result["scores"][way].items()
    ]
    rows += [
        {
            "name": f"{name}, ours, fused, {extra}",
            "cells": _cells(ways[way]),
            "source": "",
            "kind": "post",
        }
        for extra, ways in result["post"].items()
    ]
    for entry in result["published"]:
        if entry["way"] == way:
            figures = {key: {"mean": entry[key], "std": entry.get("std", {}).get(key, 0.0)} for key in FIGURES if key in entry}
            cells = dict.fromkeys(FIGURES, "") | _cells(figures)
            rows.append({"name": entry["method"], "cells": cells, "source": entry["source"], "kind": "published"})
    return rows


def _recipe(order: Order) -> Recipe:
    rows = shipped_rows()
    baseline: Sequence[str] = ()
    if order.baseline:
        if order.baseline not in rows:
            raise UserError("--baseline", f"there is no '{order.baseline}'", f"one of {', '.join(rows)}")
        baseline = rows[order.baseline].overrides
    small = shipped_rows("small")["small"].overrides if order.small else ()
    if not order.seeds:
        raise UserError("--seeds", "there must be one at least")
    return configs.load(order.recipe, [*baseline, *small, *order.overrides])


def _dataset(order: Order, recipe: Recipe, progress: Progress) -> Path:
    if not (order.data / "symlinked-feats").is_dir():
        return order.data
    cut = recipe.data.cut
    if not cut:
        raise UserError(
            order.recipe, "names no cut of MMT's release", "add data.cut=msrvtt-1ka or the like, or import the data set"
        )
    terms = Terms(Folders((), 1.0), order.small, progress)
    if cut not in get_args(Cut):
        raise UserError("data.cut", f"'{cut}' is no cut of MMT's release", f"one of {', '.join(get_args(Cut))}")
    import_mmt(order.data, order.out / "data", cast(Cut, cut), terms)
    return order.out / "data"


def _measure(folder: Path, card: Mapping[str, Any], data: Dataset, recipe: Recipe) -> tuple[Outcome, Measured]:
    encoder = load_encoder(folder)
    measured = measure(encoder, splits.load(data, recipe.data.test_split, load_experts(encoder.experts, encoder.identities)))
    write_queries(folder / "queries.jsonl", measured)
    post = measured.rescored(bank(encoder, data, recipe.data.train_split))
    return Outcome(card["seed"], card, measured.scores(), measured.ranks, post, report.curves(measured)), measured


def _summarise(runs: Sequence[Outcome], groups: Mapping[str, Ints]) -> dict[str, Any]:
    """Return {way: {level: {figure: {mean, std, low, high}}}}: over the seeds, and the bootstrap interval of the mean."""
    result: dict[str, Any] = {}
    for way in WAYS:
        result[way] = {}
        for level in runs[0].ranks[way]:
            ends = intervals.intervals([run.ranks[way][level] for run in runs], groups[way])
            over = _over([run.scores[way][level] for run in runs])
            result[way][level] = {name: {**over[name], "low": ends[name][0], "high": ends[name][1]} for name in over}
    return result


def _over(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    values = {name: [one[name] for one in scores] for name in scores[0]}
    return {
        name: {"mean": float(np.mean(own)), "std": float(np.std(own, ddof=1)) if len(own) > 1 else 0.0}
        for name, own in values.items()
    }


def _cells(figures: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Write each figure with its deviation over the seeds, and the interval of those that are compared first."""
    cells = {}
    for name in (key for key in FIGURES if key in figures):
        value = figures[name]
        cells[name] = f"{value['mean']:.1f}" + (f" ± {value['std']:.1f}" if value["std"] else "")
        if name in BRACKETED and "low" in value:
            cells[name] += f" [{value['low']:.1f}, {value['high']:.1f}]"
    return cells


def _markdown(way: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [["method", *FIGURES, "source"], ["---"] * (2 + len(FIGURES))]
    lines += [[row["name"], *row["cells"].values(), row["source"]] for row in rows]
    return f"{report.WAYS[way].capitalize()}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _curves(runs: Sequence[Outcome]) -> list[str]:
    mean = {
        way: {level: np.mean([run.curves[way][level] for run in runs], axis=0) for level in runs[0].curves[way]} for way in WAYS
    }
    return report.recall_plots(mean)
