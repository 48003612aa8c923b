"""The shapes of a report, and what makes them of files: each number is checked to be one, each text cut to a length."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["train", "evaluate", "reproduce", "ablate"]
MOST_BYTES = 64 * 2**20
MOST_TEXT = 2000
MOST = 5000  # rows, points or series that anything is read of


class OddError(ValueError):
    """A file is not what its name says."""


@dataclass(frozen=True)
class Cell:
    """A figure, the deviation over seeds and the 95 % interval where there are such."""

    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table; kind is a level, "post", "published" or "variant"."""

    name: str
    cells: Sequence[Cell | None]
    kind: str = "variant"
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table of figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart of lines."""

    kind: Literal["recall", "loss", "validation", "reliability"]
    title: str
    x: str
    y: str
    series: Sequence[Series]


@dataclass(frozen=True)
class Shown:
    """A clip beside a query."""

    clip: str
    caption: str = ""
    cosines: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Miss:
    """A text whose own clip has a bad rank, 1 is best, and the clip that was answered first."""

    query: str
    rank: float
    right: Shown
    first: Shown


@dataclass(frozen=True)
class Report:
    """A report, as its files tell. figures: {way: {R1, ..}} fused, of an ablation's best row; loss: (step, loss)."""

    kind: Kind
    name: str
    model: str | None = None
    revision: str | None = None
    data: str | None = None
    split: str | None = None
    queries: int | None = None
    videos: int | None = None
    seeds: Sequence[int] = ()
    commit: str | None = None
    best: str | None = None
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    loss: Sequence[tuple[float, float]] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    misses: Sequence[Miss] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def number(value: Any) -> float:
    """Return a finite number. Raises OddError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OddError(f"{text(repr(value))[:40]} is no number")
    return float(value)


def text(value: Any) -> str:
    """Return a text that can be sent. Raises OddError for what is none."""
    if not isinstance(value, str):
        raise OddError(f"{value!r:.40} is no text")
    return value[:MOST_TEXT].encode("utf-8", "replace").decode()


def some(value: Any) -> str | None:
    """Return a text, or None for None."""
    return None if value is None else text(value)


def load(path: Path) -> Any:
    """Return what a JSON file holds. Raises OddError for one that is too large."""
    if path.stat().st_size > MOST_BYTES:
        raise OddError(f"is larger than {MOST_BYTES >> 20} MiB")
    return json.loads(path.read_bytes())


def there(path: Path) -> bool:
    """Tell whether a file is there itself, and not by a link."""
    return path.is_file() and not path.is_symlink()


def cell(told: Mapping[str, Any]) -> Cell:
    """Return a figure of {mean, std?, low?, high?}."""
    rest = [None if told.get(name) is None else number(told[name]) for name in ("std", "low", "high")]
    return Cell(number(told["mean"]), *rest)
