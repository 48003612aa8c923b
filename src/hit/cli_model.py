"""The commands that make models and measure them: parse, call, print."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hit.door import DatasetFolder, Json, emit, remark

modelling = typer.Typer(rich_markup_mode=None)

Recipe = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of a recipe of HiT's: tiny, flickr8k, ...")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, for example train.steps=100.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder, as `hit train` or `hit zeroshot` leaves it.")]


@modelling.command()
def train(
    recipe: Recipe,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model folder to make; an interrupted run in it is resumed.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Train a model as a recipe says."""
    from hit import config
    from hit.console import Bars

    plan = config.load(recipe, overrides or ())  # first, so that a typing error is answered before torch is loaded
    from hit import dist
    from hit import train as verb

    card = verb.train(plan, out, Bars())
    if dist.first():  # under torchrun every process comes here
        emit(card, as_json, _show_training)


@modelling.command()
def zeroshot(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model folder to make.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="image=, video=, audio= or whisper=NETWORK (a folder or a hub id), ocr= or speech=true or false, "
            "weights.PART=NUMBER; without any: SigLIP 2 and OCR where they are to be had, and subtitles.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a model without training, from networks that know text and pictures or sound, and from spoken and written words."""
    from hit import config
    from hit import zeroshot as verb

    plan = config.given(verb.Plan, settings or (), "hit zeroshot")
    emit(verb.make(out, plan, remark) | {"out": str(out)}, as_json, _show_zeroshot)


@modelling.command()
def ablate(
    recipe: Recipe,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where results, tables and plot go; a second call adds to them.")],
    overrides: Overrides = None,
    rows: Annotated[str, typer.Option(help="Which rows, by commas: core, all, or names such as hcm,bank-1024.")] = "core",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each row is trained with, from 0.")] = 3,
    workers: Annotated[int, typer.Option(min=0, help="How many runs at once, of one thread each; 0: one per core.")] = 1,
    as_json: Json = False,
) -> None:
    """Train variants of a recipe under one budget, and show what each part of the method brings."""
    from hit import ablate as verb
    from hit.console import Bars

    chosen = verb.choose(rows.split(","), verb.shipped_rows())
    emit(verb.ablate(recipe, out, overrides or (), chosen, range(seeds), workers, Bars()), as_json, _show_ablation)


@modelling.command()
def reproduce(
    recipe: Recipe,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Where models, table and page go; a second call goes on from there.")
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="A data set folder, or a data set of MMT's feature release.")],
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    baseline: Annotated[
        str, typer.Option(metavar="NAME", help="Train a row of `hit ablate` instead of HiT: semantic, mmt, linear, ...")
    ] = "",
    small: Annotated[
        bool, typer.Option("--small", help="Train the recipe's small twin, in about a minute; a part of a release will do.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe with several seeds, measure on the test split, and show our figures beside the published ones."""
    from hit import reproduce as verb
    from hit.console import Bars

    order = verb.Order(recipe, out, data, range(seeds), baseline, small, overrides or ())
    emit(verb.reproduce(order, Bars()), as_json, _show_reproduction)


@modelling.command()
def evaluate(
    model: Model,
    dataset: DatasetFolder,
    split: Annotated[str, typer.Option(help="Which split of the data set.")] = "test",
    report: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also write a page there, with curves and the worst misses.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also write the outcome of every query there, a line of JSON each.")
    ] = None,
    post: Annotated[
        bool, typer.Option("--post", help="Also score with dual softmax and query-bank normalisation, in rows of their own.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rank every clip of a split for every caption, and every caption for every clip."""
    from hit import evaluate as verb
    from hit.console import Bars

    emit(verb.evaluate(model, dataset, split, Bars(), report, queries, post), as_json, _show_scores)


@modelling.command()
def calibrate(
    model: Model,
    dataset: DatasetFolder,
    split: Annotated[
        str,
        typer.Option(help="Which split of the data set; else what training validates on: `val`, or the clips held out."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Fit how sure a model's answers are, on clips that it has not learnt from; training does it by itself."""
    from hit import calibrate as verb
    from hit.console import Bars

    emit(verb.calibrate(model, dataset, split, Bars()), as_json, _show_calibration)


@modelling.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A file of `hit evaluate --queries`.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another, of the same queries.")],
    as_json: Json = False,
) -> None:
    """Say whether one run is better than another on the same queries, or only luckier: a paired test."""
    from hit import compare as verb

    emit(verb.compare(first, second), as_json, _show_comparison)


def _show_zeroshot(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    rows = [
        [name, part["source"], ", ".join(part["experts"]), part["dim"], part["weight"]] for name, part in result["parts"].items()
    ]
    table(f"{result['name']}, revision {result['revision']}", ["part", "network", "experts", "dim", "weight"], rows)
    say(f"now yours: hit index LIBRARY VIDEOS --model {result['out']}")


def _show_training(result: Mapping[str, Any]) -> None:
    if result["history"]:
        _show_scores({key: result["history"][-1][key] for key in ("t2v", "v2t")})
    _show_values({key: result[key] for key in ("steps", "seconds", "parameters", "clips", "captions")})


def _show_ablation(result: Mapping[str, Any]) -> None:
    from hit.ablate import COLUMNS, cell
    from hit.console import say, table

    titles = [title for title, *_ in COLUMNS]
    cells = [[e["about"], e["seeds"], *(cell(e[title]) for title in titles)] for e in result["rows"]]
    table("Text to video, and back", ["row", "seeds", *titles], cells)
    say(f"{result['runs']} runs; results.jsonl, table.md, table.csv and plot.svg are in {result['out']}")


def _show_scores(result: Mapping[str, Any]) -> None:
    from hit.console import say
    from hit.metrics import WAYS

    score_table(result, "Retrieval")
    for way, figures in result.get("intervals", {}).items():
        ends = ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, (low, high) in figures.items())
        say(f"{WAYS[way]}, fused, 95 % interval: {ends}")
    confidence_lines(result)
    _show_values({key: value for key, value in result.items() if key not in (*WAYS, "intervals", "post", "confidence")})


def _show_reproduction(result: Mapping[str, Any]) -> None:
    from hit.console import say, table
    from hit.metrics import WAYS
    from hit.reproduce import FIGURES, table_lines, title

    for way, words in WAYS.items():
        lines = [[line.name, *(" ".join(cell).strip() for cell in line.cells.values())] for line in table_lines(result, way)]
        table(f"{words}: {title(result)}", ["method", *FIGURES], lines)
    say("mean ± deviation over the seeds, [95 % bootstrap interval of the mean over clips]")
    say(f"results.json, table.md and report.html, with the sources of published figures, are in {result['out']}")


def _show_calibration(result: Mapping[str, Any]) -> None:
    from hit.console import say
    from hit.metrics import WAYS

    for way, words in WAYS.items():
        found = result[way]
        refused = ", ".join(f"{share:.1%} of {kind}" for kind, share in found["refused"].items())
        say(f"{words}: ECE {found['ece']:.3f}, Brier {found['brier']:.3f} by cross-validation; no good match for {refused}")
    _show_values({key: value for key, value in result.items() if key not in WAYS})


def _show_comparison(result: Mapping[str, Any]) -> None:
    from hit.console import say, table
    from hit.metrics import WAYS

    columns = ["direction", "level", "figure", "first", "second", "difference", "from", "to", "p"]
    rows = [
        [words, level, figure, *(f"{value:.2f}" for value in list(about.values())[:-1]), f"{about['p']:.4f}"]
        for way, words in WAYS.items()
        for level, figures in result[way].items()
        for figure, about in figures.items()
    ]
    table("Second less first, with its 95 % interval", columns, rows)
    say("p: how often chance alone would bring a difference as large (paired permutation test over clips)")


def score_table(result: Mapping[str, Any], title: str) -> None:
    """Print scores by direction and level, and the extra rows if there are any."""
    from hit.console import table
    from hit.metrics import WAYS

    rows = [(way, level, scores) for key, way in WAYS.items() for level, scores in result[key].items()]
    rows += [(WAYS[key], name, scores) for name, ways in result.get("post", {}).items() for key, scores in ways.items()]
    names = list(rows[0][2])
    table(title, ["direction", "level", *names], [[way, level, *scores.values()] for way, level, scores in rows])


def confidence_lines(result: Mapping[str, Any]) -> None:
    """Say how well the confidence of first answers keeps its word, if that was measured."""
    from hit.console import say
    from hit.metrics import WAYS

    for way, found in result.get("confidence", {}).items():
        share = f"no good match for {found['refused']:.1%} of the queries"
        say(f"{WAYS[way]}, confidence of the first answer: ECE {found['ece']:.3f}, Brier {found['brier']:.3f}, {share}")


def _show_values(result: Mapping[str, Any]) -> None:
    from hit.console import say

    for key, value in result.items():
        say(f"{key}: {json.dumps(value, default=str) if isinstance(value, Mapping | list | tuple) else value}")
