"""The chain of decisions as text for other programs: csv that a spreadsheet may open, or a JSON object a line."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any, Literal

from hit.db import Database, Decision, numbers
from hit.db.access import aware

FIELDS = (
    *("number", "at", "case_id", "assignment_id", "seat", "kind", "action", "policy", "version", "revision", "video_id"),
    *(
        "reason",
        "note",
        "reviewer",
        "seconds",
        "evidence",
        "batch",
        "claim",
        "salt",
        "person",
        "noted",
        "shown",
        "before",
        "hash",
    ),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # by which a spreadsheet takes a text for something to work out


def lines(db: Database, form: Literal["csv", "jsonl"]) -> Iterator[str]:
    """Yield the chain, oldest link first. In csv, text that begins like a formula has an apostrophe before it."""
    if form == "jsonl":
        for link in numbers.links(db):
            yield json.dumps(_row(link), ensure_ascii=False) + "\n"
        return
    yield _csv(FIELDS)
    for link in numbers.links(db):
        yield _csv([_cell(value) for value in _row(link).values()])


def _row(link: Decision) -> dict[str, Any]:
    row = {name: getattr(link, name) for name in FIELDS}
    return {**row, "at": aware(link.at).astimezone(UTC).isoformat(timespec="microseconds")}


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv(row: Any) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(row)  # RFC 4180: line breaks inside a cell are quoted
    return out.getvalue()
