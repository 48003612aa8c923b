"""What the commands of every door module share: arguments, `--json`, and how a result is printed."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

DatasetFolder = Annotated[
    Path, typer.Argument(metavar="DATASET", help="A folder with captions.csv (columns video,caption[,split]) and the videos.")
]
LibraryFolder = Annotated[Path, typer.Argument(metavar="LIB", help="A library folder; `hit index` makes it.")]
Http = Annotated[bool, typer.Option("--http", help="Fetch http:// and https:// URLs too.")]
Workers = Annotated[int, typer.Option(min=0, help="How many processes; 0: one per core.")]
Pool = Annotated[
    str,
    typer.Option(
        metavar="local|ray|HOST:PORT",
        help="Who works: processes of this machine, a Ray of this machine, or the Ray cluster with its head at HOST:PORT.",
    ),
]
Lists = Annotated[
    list[str] | None,
    typer.Option("--list", metavar="FILE", help="A .csv, .jsonl or .txt that names videos; -: lines of standard input."),
]
Patience = Annotated[float, typer.Option(metavar="SECONDS", min=5, help="Give a file up that makes no progress for so long.")]
Memory = Annotated[float, typer.Option(metavar="GIB", min=0.1, help="Give a file up that needs more memory than that.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout, and nothing else there.")]


def emit(result: Mapping[str, Any], as_json: bool, show: Callable[[Mapping[str, Any]], None]) -> None:
    """Print a result as one line of JSON, or as `show` lays it out for people."""
    if as_json:
        print(json.dumps(result, allow_nan=False, default=str))
    else:
        show(result)


def remark(line: str) -> None:
    """Tell people something beside the result, on stderr."""
    from hit.console import printable

    print(f"hit: {printable(line)}", file=sys.stderr)
