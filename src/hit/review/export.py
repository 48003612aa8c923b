"""The chain of decisions as text for other programs: csv that a spreadsheet may open, or a JSON object a line."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any, Literal

from hit.db import Database, Decision, numbers
from hit.db.access import aware

FIELDS = (
    *("number", "at", "case_id", "assignment_id", "seat", "kind", "action", "policy", "version", "revision", "video_id"),
    *("reason", "note", "reviewer", "seconds", "evidence", "batch", "claim", "salt", "person", "noted", "shown", "before"),
    "hash",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # by which a spreadsheet takes a text for something to work out


def lines(db: Database, form: Literal["csv", "jsonl"]) -> Iterator[str]:
    """Yield the chain, oldest link first. In csv, text that begins like a formula has an apostrophe before it."""
    if form == "jsonl":
        for link in numbers.links(db):
            yield json.dumps(_row(link), ensure_ascii=False) + "\n"
        return
    yield csv_line(FIELDS)
    for link in numbers.links(db):
        yield csv_line([_cell(value) for value in _row(link).values()])


def _row(link: Decision) -> dict[str, Any]:
    row = {name: getattr(link, name) for name in FIELDS}
    return {**row, "at": aware(link.at).astimezone(UTC).isoformat(timespec="microseconds")}


def guarded(value: Any) -> Any:
    """Return a value as a spreadsheet may open it: text that begins like a formula has an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def csv_line(cells: Sequence[Any], end: str = "\r\n") -> str:
    """Return a line of csv. Line breaks inside a cell are quoted [RFC 4180]."""
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerow(cells)
    return out.getvalue()


def _cell(value: Any) -> Any:
    return guarded(" ".join(map(str, value)) if isinstance(value, list) else value)
