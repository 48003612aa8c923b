"""What people see: progress bars and tables. The only room of rich. Progress goes to stderr, so that stdout can be piped."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from hit.types import Task

STEPS_PRINTED = 10  # how many lines a task writes at most, where stderr is a file or a pipe


class Bars:
    """`types.Progress` as bars on a terminal, and as a few plain lines everywhere else."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._console = Console(file=stream or sys.stderr)
        self._live: Progress | None = None
        self._open = 0

    @contextmanager
    def task(self, title: str, total: float | None) -> Iterator[Task]:
        """Open a task of `total` steps (None: unknown). Tasks may be nested; a finished bar stays on the screen."""
        if not self._console.is_terminal:
            yield from self._lines(title, total)
            return
        if self._live is None:
            self._live = Progress(*_columns(), console=self._console)
            self._live.start()
        live = self._live
        self._open += 1
        bar = live.add_task(printable(title), total=total, note="")
        try:
            yield _Bar(live, bar)
        finally:
            live.stop_task(bar)
            self._open -= 1
            if not self._open:
                live.stop()
                self._live = None

    def _lines(self, title: str, total: float | None) -> Iterator[Task]:
        lines = _Lines(self._console.file, title, total)
        try:
            yield lines
        except BaseException:
            lines.close("stopped")
            raise
        lines.close("done")


class _Bar:
    def __init__(self, live: Progress, bar: TaskID) -> None:
        self._live, self._bar = live, bar

    def advance(self, steps: float = 1, note: str = "") -> None:
        if note:
            self._live.update(self._bar, advance=steps, note=printable(note))
        else:
            self._live.update(self._bar, advance=steps)


class _Lines:
    """One line per tenth of a task; where its length is unknown, each time that the count has doubled."""

    def __init__(self, file: IO[str], title: str, total: float | None) -> None:
        self._file, self._title, self._total = file, printable(title), total
        self._done, self._note, self._begun = 0.0, "", time.monotonic()
        self._next = total / STEPS_PRINTED if total else 1.0

    def advance(self, steps: float = 1, note: str = "") -> None:
        self._done += steps
        self._note = printable(note) or self._note
        if self._done >= self._next and self._done != self._total:
            left = (time.monotonic() - self._begun) * (self._total - self._done) / self._done if self._total else None
            self._write(f"ETA {seconds(left)}" if left is not None and left > 0 else "")
            while self._next <= self._done:
                self._next = self._next + self._total / STEPS_PRINTED if self._total else 2 * self._next

    def close(self, word: str) -> None:
        self._write(word)

    def _write(self, ending: str) -> None:
        share = f"{self._done / self._total:4.0%} " if self._total else ""
        count = f"{self._done:g}/{self._total:g}" if self._total else f"{self._done:g}"
        parts = [f"{self._title}: {share}{count}", seconds(time.monotonic() - self._begun), ending, self._note]
        print("  ".join(part for part in parts if part), file=self._file, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows to stdout under their columns; columns that hold numbers only are aligned at the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    grid = Table(
        *(Column(Text(name), justify="right" if right else "left") for name, right in zip(columns, numeric, strict=True)),
        title=Text(printable(title)),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for row in cells:
        grid.add_row(*(Text(cell) for cell in row))
    # A pipe has no width: there, nothing is wrapped or cut, so that grep finds whole names.
    Console(width=None if sys.stdout.isatty() else 10_000).print(grid)


def say(line: object) -> None:
    """Print one line to stdout."""
    print(printable(line))


def seconds(t: float) -> str:
    """Write a time as m:ss.s, the way it is typed into a player."""
    tenths = round(t * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def printable(value: object) -> str:
    """Return one line without control characters: file names and captions of strangers never steer a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(str(value).split()))


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else printable(value)


def _columns() -> tuple[TextColumn | BarColumn | MofNCompleteColumn | TimeElapsedColumn | TimeRemainingColumn, ...]:
    return (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
