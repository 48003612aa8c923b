"""What `hit train`, `evaluate`, `reproduce` and `ablate` leave on disk, read as charts and tables.

Nothing that a file says is trusted: each number is checked to be one, each text cut to a length. What does not fit raises
OddError.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hit import reliability
from hit.errors import UserError
from hit.measure import read_queries
from hit.metrics import WAYS, expected_rank, recall_at
from hit.service import ablations
from hit.service.shapes import (
    MOST,
    MOST_BYTES,
    Cell,
    Chart,
    Kind,
    Miss,
    OddError,
    Report,
    Row,
    Series,
    Shown,
    Table,
    cell,
    load,
    number,
    some,
    text,
    there,
)

FIGURES = {"R1": "R@1", "R5": "R@5", "R10": "R@10", "R50": "R@50", "geometric_mean": "GM", "MdR": "MdR", "MnR": "MnR"}
NUMBERS = ".html.json"  # of a page of `hit.report`


def kind_of(name: str) -> Kind | None:
    """Tell what a file is by its name: of which verb, or None."""
    names: dict[str, Kind] = {"card.json": "train", "results.json": "reproduce", "results.jsonl": "ablate"}
    return "evaluate" if name.endswith(NUMBERS) else names.get(name)


def read(path: Path) -> Report:
    """Read a report by one of its files. Raises OddError for what is damaged or foreign."""
    kind = kind_of(path.name)
    assert kind
    readers: dict[Kind, Callable[[Path], Report]] = {
        "train": _train,
        "evaluate": _evaluate,
        "reproduce": _reproduce,
        "ablate": ablations.read,
    }
    try:
        return readers[kind](path)
    except OddError:
        raise
    except UserError as error:
        raise OddError(error.why) from None
    except OSError as error:
        raise OddError(f"cannot be read: {error.strerror}") from None
    except (KeyError, IndexError) as error:
        raise OddError(f"lacks {error}, which `hit {kind}` writes") from None
    except (TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise OddError(f"is not as `hit {kind}` writes it: {text(str(error))[:200]}") from None


def _train(path: Path) -> Report:
    card = load(path)
    page = path.with_name("report" + NUMBERS)
    found = None
    if there(page):
        told = load(page)
        found = told["found"] if told["card"].get("revision") == card.get("revision") else None
    return _run("train", text(card["name"]), card, found)


def _evaluate(path: Path) -> Report:
    told = load(path)
    name = f"{text(told['card']['name'])}: {path.name.removesuffix(NUMBERS)}"
    return _run("evaluate", name, told["card"], told["found"])


def _run(kind: Kind, name: str, card: Mapping[str, Any], found: Mapping[str, Any] | None) -> Report:
    history = list(card["history"])[:MOST]
    last = history[-1] if history else {}
    scores = found["scores"] if found else last
    held = card["captions"]["validation"], card["clips"]["validation"]
    queries, videos = (found["scores"]["queries"], found["scores"]["videos"]) if found else held if last else (None, None)
    facts = {name: card.get(name) for name in ("steps", "seconds", "device", "processes")}
    data = found["data"] if found else card["data"]["path"]
    return Report(
        kind,
        name,
        text(card["name"]),
        text(card["revision"]),
        text(data),
        text(found["split"]) if found else "clips held out of training" if last else None,
        None if queries is None else int(number(queries)),
        None if videos is None else int(number(videos)),
        (int(number(card["seed"])),),
        some(card["commit"]),
        figures={way: _figures(scores[way]["fused"]) for way in WAYS} if scores else {},
        loss=[(number(one["step"]), number(one["loss"])) for one in history],
        charts=[*_recalls(found, scores), *_training(history), *(_reliability(found) if found else [])],
        tables=[_levels(way, scores[way], found["intervals"].get(way, {}) if found else {}) for way in WAYS if scores],
        misses=None if found is None else [_miss(one) for one in found["misses"][:MOST]],
        facts={key: text(str(value)) for key, value in facts.items() if value is not None},
    )


def _figures(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: number(values[name]) for name in FIGURES if name in values}


def _levels(way: str, levels: Mapping[str, Any], ends: Mapping[str, Any]) -> Table:
    rows = []
    for level, values in levels.items():
        own = ends if level == "fused" else {}
        cells = [Cell(number(values[name]), None, *map(number, own.get(name, ()))) for name in FIGURES]
        rows.append(Row(text(level), cells, text(level)))
    return Table(WAYS[way].capitalize(), list(FIGURES.values()), rows)


def _recalls(found: Mapping[str, Any] | None, scores: Mapping[str, Any]) -> list[Chart]:
    """Return a chart for each direction: all that was measured, or the four figures that a card has."""
    if not scores:
        return []
    each: dict[str, dict[str, list[tuple[float, float]]]] = {
        way: {level: [(float(k), number(own[f"R{k}"])) for k in (1, 5, 10, 50)] for level, own in scores[way].items()}
        for way in WAYS
    }
    if found:
        each = {
            way: {level: [(float(k), number(y)) for k, y in enumerate(curve[:MOST], 1)] for level, curve in own.items()}
            for way, own in found["curves"].items()
        }
    return [_recall(way, levels) for way, levels in each.items()]


def _recall(way: str, levels: Mapping[str, Sequence[tuple[float, float]]]) -> Chart:
    title = f"Recall, {WAYS[way]}"
    return Chart("recall", title, "k, answers looked at", "R@k, %", [Series(text(name), own) for name, own in levels.items()])


def _training(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    if not history:
        return []
    terms = {text(name): name for name in history[-1].get("terms", {})}

    steps = [number(one["step"]) for one in history]

    def line(name: str, values: Iterable[Any]) -> Series:
        return Series(name, list(zip(steps, map(number, values), strict=True)))

    losses = [line("total", (one["loss"] for one in history))]
    losses += [line(shown.replace("/", " "), [one["terms"][name] for one in history]) for shown, name in terms.items()]
    charts = [Chart("loss", "Training loss", "step", "InfoNCE, nats", losses)]
    for way, words in WAYS.items():
        levels = [line(text(name), [one[way][name]["R1"] for one in history]) for name in history[-1][way]]
        charts.append(Chart("validation", f"Validation, {words}", "step", "R@1, %", levels))
    return charts


def _reliability(found: Mapping[str, Any]) -> list[Chart]:
    charts = []
    for way, own in found["reliability"].items():
        bins = [reliability.Bin(int(one["count"]), number(one["confidence"]), number(one["right"])) for one in own[:MOST]]
        name = f"first answers (ECE {reliability.ece(bins):.3f})"
        points = [(number(100 * one.confidence), number(100 * one.right)) for one in bins]
        title = f"Confidence, {WAYS[way]}"
        charts.append(Chart("reliability", title, "confidence, %", "right, %", [Series(name, points)]))
    return charts


def _miss(one: Mapping[str, Any]) -> Miss:
    def shown(clip: Mapping[str, Any]) -> Shown:
        cosines = {text(level): number(value) for level, value in clip["cosines"].items()}
        return Shown(text(clip["clip"]), text(clip["caption"]), cosines)

    return Miss(text(one["caption"]), number(one["rank"]), shown(one["right"]), shown(one["first"]))


def _reproduce(path: Path) -> Report:
    told = load(path)
    name = text(told["recipe"]) + (f", baseline {text(told['baseline'])}" if told["baseline"] else "")
    fused = {way: told["scores"][way]["fused"] for way in WAYS}
    runs = list(told["runs"])[:MOST]
    charts, misses = _outcomes([path.parent / f"seed-{int(number(run['seed']))}" / "queries.jsonl" for run in runs])
    return Report(
        "reproduce",
        name,
        text(told["baseline"] or "HiT"),
        text(runs[0]["revision"]) if len(runs) == 1 else None,
        text(told["data"]),
        f"split {text(told['split'])}" + (", a part of the release" if told["partial"] else ""),
        int(number(told["queries"])),
        int(number(told["videos"])),
        [int(number(run["seed"])) for run in runs],
        some(told["commit"]),
        figures={way: {name: number(own[name]["mean"]) for name in FIGURES if name in own} for way, own in fused.items()},
        charts=charts,
        tables=[_published(told, way) for way in WAYS],
        misses=misses,
        facts={
            f"seed {text(str(run['seed']))}": text(f"{run['steps']} steps in {run['seconds']} s, revision {run['revision']}")
            for run in runs
        },
    )


def _published(told: Mapping[str, Any], way: str) -> Table:
    def cells(own: Mapping[str, Any]) -> list[Cell | None]:
        return [cell(own[name]) if name in own else None for name in FIGURES]

    rows = [Row(f"ours, {text(level)}", cells(own), text(level)) for level, own in told["scores"][way].items()]
    rows += [Row(f"ours, fused, {text(name)}", cells(own[way]), "post") for name, own in told["post"].items()]
    for one in told["published"][:MOST]:
        if one["way"] == way:
            own = {name: {"mean": one[name], "std": one.get("std", {}).get(name)} for name in FIGURES if name in one}
            rows.append(Row(text(one["method"]), cells(own), "published", text(one["source"])))
    return Table(WAYS[way].capitalize(), list(FIGURES.values()), rows)


def _outcomes(files: Iterable[Path]) -> tuple[list[Chart], list[Miss] | None]:
    """Return recall as a mean over the runs whose outcomes are there, and the first run's worst misses."""
    from hit.report import KS, worst  # draws with matplotlib, which takes a while to load

    kept = [path for path in files if there(path) and path.stat().st_size <= MOST_BYTES]
    runs = [read_queries(path) for path in kept]
    if not runs:
        return [], None
    charts = []
    for way in WAYS:
        each = {level: [recall_at(*run[way].ranks[level], KS) for run in runs] for level in runs[0][way].ranks}
        mean = {level: np.mean(own, axis=0).tolist() for level, own in each.items()}
        charts.append(_recall(way, {level: list(zip(map(float, KS), own, strict=True)) for level, own in mean.items()}))
    ranks = expected_rank(*runs[0]["t2v"].ranks["fused"])
    lines = [json.loads(line) for line in kept[0].read_bytes().splitlines()]
    texts = [line for line in lines if line["way"] == "t2v"]
    rows = worst(ranks).tolist()
    misses = [
        Miss(text(one["query"]), float(ranks[row]), Shown(text(one["clip"])), Shown(text(one["first"])))
        for row in rows
        if (one := texts[row])
    ]
    return charts, misses
