"""`hit ablate`: trains variants of a recipe under one budget, and says what each part of the method brings.

A row is a name and the overrides that make it; `recipes/rows/ablation.toml` holds HiT's own. Every run adds a line to
`results.jsonl`, so that an interrupted table goes on where it stopped; tables and plot are drawn from that file.
"""

import csv
import dataclasses
import hashlib
import io
import json
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hit import config as configs
from hit import plots, pool
from hit.config import RECIPES, Recipe
from hit.errors import UserError
from hit.files import write_whole
from hit.heads import LEVELS
from hit.train import train
from hit.types import Progress, Silent

CORE = ("semantic", "hcm", "mcc", "hit", "moco-literal", "max-margin")
NO_MATTER = (("data", "path"), ("data", "test_split"), ("data", "cut"), ("train", "threads"), ("train", "checkpoint_every"))
COLUMNS = (  # what the markdown table shows: title, direction, level, figure
    ("feature R@1", "t2v", "feature", "R1"),
    ("semantic R@1", "t2v", "semantic", "R1"),
    ("R@1", "t2v", "fused", "R1"),
    ("R@5", "t2v", "fused", "R5"),
    ("R@10", "t2v", "fused", "R10"),
    ("MdR", "t2v", "fused", "MdR"),
    ("video to text R@1", "v2t", "fused", "R1"),
)


@dataclass(frozen=True)
class Row:
    """A variant: what it is called, what it is, and the overrides that make it of the recipe."""

    name: str
    about: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One run of a row. `identity` names all settings that its result depends on, the seed too; the data itself apart."""

    row: Row
    seed: int
    recipe: Recipe
    identity: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.row.name}, seed {self.seed}"


def shipped_rows(kind: str = "ablation") -> dict[str, Row]:
    """Return the rows that come with HiT, by name."""
    table = tomllib.loads((RECIPES / "rows" / f"{kind}.toml").read_text())
    return {name: Row(name, row["about"], tuple(row["overrides"])) for name, row in table.items()}


def choose(names: Sequence[str], rows: Mapping[str, Row]) -> list[Row]:
    """Return the rows of these names; "core" stands for the six that test the paper's claims, "all" for all.

    Raises UserError for a name that there is not.
    """
    wanted = [name for given in names for name in {"core": CORE, "all": tuple(rows)}.get(given, (given,))]
    if strange := [name for name in wanted if name not in rows]:
        raise UserError("--rows", f"there is no row '{strange[0]}'", f"core, all, or some of {', '.join(rows)}")
    return [rows[name] for name in dict.fromkeys(wanted)]


def variant(recipe: str | Path, overrides: Sequence[str], row: Row) -> Recipe:
    """Return a row's recipe; with another batch it has as many more or fewer steps, so that all rows see as many pairs."""
    plan = configs.load(recipe, [*overrides, *row.overrides])
    if plan.train.batch != (base := configs.load(recipe, overrides).train).batch:
        plan = dataclasses.replace(
            plan, train=dataclasses.replace(plan.train, steps=round(base.steps * base.batch / plan.train.batch))
        )
    return plan


def ablate(
    recipe: str | Path,
    out: Path,
    overrides: Sequence[str],
    rows: Sequence[Row],
    seeds: Sequence[int],
    workers: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train each row with each seed, and write `results.jsonl`, `table.md`, `table.csv` and `plot.svg` to `out`.

    Runs whose line is there already are not repeated, and what is two rows' (a sweep passes through the recipe itself) is
    trained once; a run that was interrupted goes on from its checkpoint. Scores are those of the recipe's validation split
    after the last step. Raises UserError if a run fails, after the others, and a defect of ours as it is.
    """
    out.mkdir(parents=True, exist_ok=True)
    jobs = [_job(recipe, out, overrides, row, seed, workers) for seed in seeds for row in rows]
    done = _by_identity(out)
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(job.identity, job)
    left = [job for job in first.values() if job.identity not in done]
    failed: list[tuple[Job, Exception]] = []
    with progress.task("Training rows", len(first)) as task:
        if len(left) < len(first):
            task.advance(len(first) - len(left), "done before")
        for job, outcome in pool.run(_work, left, workers):
            if isinstance(outcome, Exception):
                failed.append((job, outcome))
            else:
                _add(out, outcome)
                shutil.rmtree(job.folder)
            task.advance(1, f"{job}: {'failed' if isinstance(outcome, Exception) else _headline(outcome)}")
    done = _by_identity(out)
    lines = [{**done[job.identity], "row": job.row.name, "levels": levels(job.recipe)} for job in jobs if job.identity in done]
    summary = _summarise(lines, rows)
    _write_tables(out, summary, lines)
    if failed:
        for _, error in failed:
            if not isinstance(error, UserError | pool.WorkerLostError):
                raise error
        raise UserError(
            "{}: {}".format(*failed[0]), f"{len(failed)} of {len(jobs)} runs failed", "the same command tries them again"
        )
    return {"rows": summary, "runs": len(lines), "out": str(out)}


def read(out: Path) -> list[dict[str, Any]]:
    """Return the results that a folder holds. Raises UserError for a damaged file."""
    path = out / "results.jsonl"
    try:
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    except ValueError as error:
        raise UserError(path, f"is damaged: {error}", "remove the line that is not JSON") from None


def _by_identity(out: Path) -> dict[str, dict[str, Any]]:
    return {line["identity"]: line for line in read(out)}


def _job(recipe: str | Path, out: Path, overrides: Sequence[str], row: Row, seed: int, workers: int) -> Job:
    plan = variant(recipe, overrides, row)
    settings = dataclasses.replace(
        plan.train, seed=seed, validate_every=plan.train.steps, threads=1 if workers != 1 else plan.train.threads
    )
    plan = dataclasses.replace(plan, train=settings)
    table = configs.to_table(plan)
    for section, key in NO_MATTER:
        table[section].pop(key, None)
    identity = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:12]
    return Job(row, seed, plan, identity, out / "runs" / f"{row.name}-{seed}-{identity}")


def _work(job: Job) -> dict[str, Any]:
    card = train(job.recipe, job.folder, Silent(), page=False)
    if not card["history"]:
        raise UserError(job.recipe.data.path, "has no validation clips", "name a split in data.val_split")
    last = card["history"][-1]
    return {
        "row": job.row.name,
        "seed": job.seed,
        "identity": job.identity,
        "overrides": job.row.overrides,
        **{way: last[way] for way in ("t2v", "v2t")},
        "loss": last["loss"],
        **{key: card[key] for key in ("steps", "seconds", "clips", "captions", "data", "device", "versions", "commit")},
    }


def _add(out: Path, line: Mapping[str, Any]) -> None:
    """Add a result. Written whole, so that a killed table never holds half a line."""
    path = out / "results.jsonl"
    before = path.read_text() if path.exists() else ""
    write_whole(path, (before + json.dumps(line) + "\n").encode())


def _headline(line: Mapping[str, Any]) -> str:
    return f"R@1 {line['t2v']['fused']['R1']:.1f}"


def levels(recipe: Recipe) -> list[str]:
    """Return what is trained and so has figures, fused last: a level without weight is not."""
    return [level for level, weight in zip(LEVELS, recipe.model.level_weights, strict=True) if weight] + ["fused"]


def over_seeds(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean and the sample deviation, which one value has not."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _summarise(lines: Sequence[Mapping[str, Any]], rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return for each row that has results the mean and the sample deviation over its seeds of all that COLUMNS shows.

    None stands for the figures of a level that was not trained, and for the deviation of one seed.
    """
    summary = []
    for row in rows:
        runs = [line for line in lines if line["row"] == row.name]
        if not runs:
            continue
        entry: dict[str, Any] = {"row": row.name, "about": row.about, "seeds": len(runs)}
        for title, way, level, figure in COLUMNS:
            values = [run[way][level][figure] for run in runs]
            entry[title] = over_seeds(values) if level in runs[0]["levels"] else None
        entry["seconds"] = float(np.mean([run["seconds"] for run in runs]))
        summary.append(entry)
    return summary


def _write_tables(out: Path, summary: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> None:
    titles = [title for title, *_ in COLUMNS]
    table = [["row", "what it is", "seeds", *titles], ["---"] * (3 + len(titles))]
    table += [[e["row"], e["about"], str(e["seeds"]), *(cell(e[title]) for title in titles)] for e in summary]
    write_whole(out / "table.md", "".join(f"| {' | '.join(cells)} |\n" for cells in table).encode())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "seed", *titles, "steps", "seconds", "device", "commit"])
    for line in lines:
        figures = [f"{line[way][level][figure]:.3f}" for _, way, level, figure in COLUMNS]
        rest = [line.get(key, "") for key in ("steps", "seconds", "device", "commit")]  # older lines name no device
        writer.writerow([line["row"], line["seed"], *figures, *rest])
    write_whole(out / "table.csv", text.getvalue().encode())
    bars = {entry["row"]: (entry["R@1"]["mean"], entry["R@1"]["std"] or 0.0) for entry in summary}
    if bars:
        write_whole(out / "plot.svg", plots.bars(bars, "Text to video, fused", "R@1, per cent").encode())


def cell(value: Mapping[str, float | None] | None) -> str:
    """Write a mean with its deviation, if there was more than one seed; nothing for what was not trained."""
    if value is None:
        return ""
    return f"{value['mean']:.1f}" + ("" if value["std"] is None else f" ± {value['std']:.1f}")
