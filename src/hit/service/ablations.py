"""Tables of `hit ablate`, read from its folder."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hit.errors import UserError
from hit.metrics import WAYS
from hit.service.shapes import MOST, MOST_BYTES, OddError, Report, Row, Table, cell, number, some, text, there


def read(path: Path) -> Report:
    """Read a results.jsonl, and the table beside it if there is one. Raises as `reports.read` says."""
    from hit import ablate  # trains, so it loads torch

    if path.stat().st_size > MOST_BYTES:
        raise OddError(f"is larger than {MOST_BYTES >> 20} MiB")
    lines = ablate.read(path.parent)[:MOST]
    if not lines:
        raise OddError("holds no results yet")
    shipped = ablate.shipped_rows()
    titles = [title for title, *_ in ablate.COLUMNS]
    runs = _drawn(path.with_name("table.csv"), titles) or [
        (text(line["row"]), int(line["seed"]), [number(line[way][level][key]) for _, way, level, key in ablate.COLUMNS])
        for line in lines
    ]
    own = {text(line["row"]): tuple(map(text, line["overrides"])) for line in lines}
    rows = []
    for name in dict.fromkeys(name for name, *_ in runs):
        about = shipped.get(name)
        trained = _trained(ablate.Row(name, "", about.overrides if about else own.get(name, ())))
        values = zip(*(figures for row, _, figures in runs if row == name), strict=True)
        cells = [
            cell(ablate.over_seeds(each)) if level in trained else None
            for each, (_, _, level, _) in zip(values, ablate.COLUMNS, strict=True)
        ]
        rows.append(Row(name, cells, note=about.about if about else " ".join(own.get(name, ()))))
    main = titles.index("R@1")
    best = max(rows, key=lambda row: found.mean if (found := row.cells[main]) else 0.0)
    figures: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    for one, (_, way, level, name) in zip(best.cells, ablate.COLUMNS, strict=True):
        if one and level == "fused":
            figures[way][name] = one.mean
    last = lines[-1]
    return Report(
        "ablate",
        path.parent.name,
        data=text(last["data"]["path"]),
        split="validation",
        queries=int(number(last["captions"]["validation"])),
        videos=int(number(last["clips"]["validation"])),
        seeds=sorted({seed for _, seed, _ in runs}),
        commit=some(last["commit"]),
        best=best.name,
        figures=figures,
        tables=[Table("Variants under one budget", titles, rows)],
        facts={"runs": str(len(runs))} | ({"device": text(last["device"])} if last.get("device") else {}),
    )


def _drawn(path: Path, titles: Sequence[str]) -> list[tuple[str, int, list[float]]]:
    """Return (row, seed, figures) of the table that was drawn, in its order; it names each row of runs that two rows share."""
    if not there(path) or path.stat().st_size > MOST_BYTES:
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            (text(one["row"]), int(one["seed"]), [number(float(one[title])) for title in titles])
            for one, _ in zip(csv.DictReader(file), range(MOST), strict=False)
        ]


def _trained(row: Any) -> list[str]:
    from hit import ablate

    try:
        return ablate.levels(ablate.variant("tiny", (), row))
    except UserError:  # overrides of another version's recipe
        return ["feature", "semantic", "fused"]
