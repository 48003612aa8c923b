"""`hit reproduce`: from a benchmark's release, or a data set, to our figures beside the published ones."""

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import tomli_w

from hit import config as configs
from hit import datasets, intervals, provenance, report, splits
from hit.ablate import Row, cell, levels, over_seeds, shipped_rows, variant
from hit.analysis import load_experts
from hit.config import RECIPES, Recipe
from hit.datasets import Dataset
from hit.encoder import load_encoder
from hit.errors import UserError
from hit.evaluate import bank
from hit.files import save
from hit.importers.folders import Folders
from hit.importers.mmt import Cut, import_mmt
from hit.importers.release import Terms
from hit.measure import Measured, measure, write_queries
from hit.metrics import WAYS
from hit.train import train
from hit.types import Progress

FIGURES = ("R1", "R5", "R10", "R50", "geometric_mean", "MdR", "MnR")
BRACKETED = FIGURES[:3]  # whose intervals are shown
OURS = ("train.seed", "data.path")  # what the command itself sets


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


class Cell(NamedTuple):
    """A figure as it is shown, and its 95 % interval where it has one."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the table; kind is a level, "post" or "published"."""

    name: str
    cells: Mapping[str, Cell]
    kind: str
    source: str = ""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One seed's run; `post` holds its extra rows."""

    card: Mapping[str, Any]
    measured: Measured
    post: Mapping[str, Any]


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
    data = datasets.read(folder)
    if not data.split(recipe.data.test_split):
        there = ", ".join(sorted(set(data.splits.values())))
        raise UserError(folder, f"has no split '{recipe.data.test_split}'", f"add data.test_split=NAME; there are {there}")
    runs = []
    for seed in order.seeds:
        settings = dataclasses.replace(recipe.train, seed=seed)
        own = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path=str(folder)), train=settings)
        card = train(own, order.out / f"seed-{seed}", progress)
        runs.append(_measure(order.out / f"seed-{seed}", card, data, recipe))
    result = _result(order, recipe, folder, runs)
    lines = {way: table_lines(result, way) for way in WAYS}
    save(order.out / "results.json", (json.dumps(result, indent=1) + "\n").encode())
    save(order.out / "table.md", _markdown(result, lines).encode())
    report.render(
        order.out / "report.html",
        "reproduce.html.j2",
        result=result,
        lines=lines,
        title=title(result),
        sources=list(dict.fromkeys(entry["source"] for entry in result["published"])),
        curves=_curves(runs),
        config=tomli_w.dumps(configs.to_table(recipe)),
        figures=FIGURES,
        ways=WAYS,
    )
    return result


def title(result: Mapping[str, Any]) -> str:
    """Say what was measured: a small twin on a part of a release must not pass for the benchmark."""
    count = len(result["runs"])
    twin = ", the recipe's small twin" if result["small"] else ""
    part = ", a part of the release" if result["partial"] else ""
    seeds = f"{count} seed{'s' if count > 1 else ''}"
    return f"{result['queries']} captions and {result['videos']} clips of the split {result['split']}{part}; {seeds}{twin}"


def table_lines(result: Mapping[str, Any], way: str) -> list[Line]:
    """Return the lines of a direction: ours by level and fused, then the published."""
    name = result["baseline"] or "HiT"
    lines = [Line(f"{name}, ours, {level}", _cells(own), level) for level, own in result["scores"][way].items()]
    lines += [Line(f"{name}, ours, fused, {extra}", _cells(ways[way]), "post") for extra, ways in result["post"].items()]
    for entry in result["published"]:
        if entry["way"] == way:
            own = {key: {"mean": entry[key], "std": entry.get("std", {}).get(key)} for key in FIGURES if key in entry}
            lines.append(Line(entry["method"], _cells(own), "published", entry["source"]))
    return lines


def _recipe(order: Order) -> Recipe:
    rows = shipped_rows()
    if order.baseline and order.baseline not in rows:
        raise UserError("--baseline", f"there is no '{order.baseline}'", f"one of {', '.join(rows)}")
    if own := [one for one in order.overrides if one.startswith(tuple(f"{key}=" for key in OURS))]:
        raise UserError(own[0], "is set by the command itself", "use --seeds and --data")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("hit reproduce", "is not for several processes", "train with `torchrun ... -m hit train` instead")
    small = shipped_rows("small")["small"].overrides if order.small else ()
    return variant(order.recipe, [*small, *order.overrides], rows.get(order.baseline, Row("", "", ())))


def _dataset(order: Order, recipe: Recipe, progress: Progress) -> Path:
    try:
        order.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(order.out, f"cannot be made: {error.strerror}", "name another folder") from None
    if not (order.data / "symlinked-feats").is_dir():
        return order.data
    cut = recipe.data.cut
    if cut not in get_args(Cut):
        why = f"'{cut}' is no cut of MMT's release" if cut else "the recipe names no cut of MMT's release"
        raise UserError("data.cut", why, f"add data.cut=NAME, one of {', '.join(get_args(Cut))}, or give a data set")
    import_mmt(order.data, order.out / "data", cast(Cut, cut), Terms(Folders((), 1.0), order.small, progress))
    return order.out / "data"


def _measure(folder: Path, card: Mapping[str, Any], data: Dataset, recipe: Recipe) -> Outcome:
    encoder = load_encoder(folder, "auto")
    experts = load_experts(encoder.experts, encoder.identities)
    measured = measure(encoder, splits.load(data, recipe.data.test_split, experts))
    write_queries(folder / "queries.jsonl", measured)
    return Outcome(card, measured, measured.rescored(bank(encoder, data, recipe.data.train_split, experts)))


def _result(order: Order, recipe: Recipe, folder: Path, runs: Sequence[Outcome]) -> dict[str, Any]:
    """Return what is written to results.json; scores are {way: {level: {figure: {mean, std, low, high}}}}."""
    first = runs[0].measured
    scores = [run.measured.scores() for run in runs]
    ways = {way: {level: _over([one[way][level] for one in scores]) for level in levels(recipe)} for way in WAYS}
    for way, own in ways.items():
        for level, figures in own.items():
            ends = intervals.intervals([run.measured.ranks[way][level] for run in runs], first.groups(way))
            for name, (low, high) in ends.items():
                figures[name] |= {"low": low, "high": high}
    keys = ("seed", "revision", "seconds", "steps", "commit")
    return {
        "recipe": order.recipe,
        "baseline": order.baseline,
        "small": order.small,
        "data": str(folder),
        "partial": _partial(folder),
        "split": recipe.data.test_split,
        "queries": len(first.texts),
        "videos": len(first.ids),
        "scores": ways,
        "post": {name: {way: _over([run.post[name][way] for run in runs]) for way in WAYS} for name in runs[0].post},
        "published": published(Path(order.recipe).stem),
        "runs": [{**{key: run.card[key] for key in keys}, "scores": own} for run, own in zip(runs, scores, strict=True)],
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "out": str(order.out),
    }


def _partial(folder: Path) -> bool:
    """Return whether a data set was imported of a part of a release."""
    path = folder / "import.json"
    summary = json.loads(path.read_text())["summary"] if path.is_file() else {}
    return any(problem["blocks"] for problem in summary.get("problems", ()))


def _over(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {name: over_seeds([one[name] for one in scores]) for name in scores[0]}


def _cells(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Cell]:
    cells = dict.fromkeys(FIGURES, Cell(""))
    for name in (key for key in FIGURES if key in figures):
        value = figures[name]
        shown = name in BRACKETED and "low" in value
        cells[name] = Cell(cell(value), f"[{value['low']:.1f}, {value['high']:.1f}]" if shown else "")
    return cells


def _markdown(result: Mapping[str, Any], lines: Mapping[str, Sequence[Line]]) -> str:
    text = f"{result['recipe']}: {title(result)}\n"
    for way, own in lines.items():
        table = [["method", *FIGURES, "source"], ["---"] * (2 + len(FIGURES))]
        table += [[line.name, *(" ".join(cell).strip() for cell in line.cells.values()), line.source] for line in own]
        text += f"\n{WAYS[way].capitalize()}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in table)
    return text


def _curves(runs: Sequence[Outcome]) -> list[str]:
    each = [report.curves(run.measured) for run in runs]
    mean = {way: {level: np.mean([one[way][level] for one in each], axis=0) for level in each[0][way]} for way in WAYS}
    return report.recall_plots(mean)
