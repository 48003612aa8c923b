"""Label sets as people write them: in TOML, in a csv, and as JSON. Nothing is lost on the way from one to another.

In TOML each label is a table `[[labels]]` with the keys of `Label`. A csv has a row for each text, exception and example of a
label (columns name, group, text, exception, example_for, example_against, rule); a cell that says nothing is empty.
"""

import csv
import io
import itertools
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w

from hit.db.records import check
from hit.errors import UserError
from hit.tagging.thresholds import Rule

Format = Literal["toml", "csv"]
MOST, TEXTS, LONGEST, EXAMPLES = 5000, 64, 2000, 5000  # labels; texts of one, characters of one; examples of a label
LISTS = {"text": "texts", "exception": "exceptions", "example_for": "examples_for", "example_against": "examples_against"}
COLUMNS = ("name", "group", *LISTS, "rule")
_FIX = "see docs/tagging.md for how labels are written"


@dataclass(frozen=True, slots=True)
class Label:
    """A label: several ways to say it, what it does not mean, segments (by id) that show it and that do not, and its rule."""

    name: str
    texts: tuple[str, ...]
    group: str = ""
    exceptions: tuple[str, ...] = ()
    examples_for: tuple[str, ...] = ()
    examples_against: tuple[str, ...] = ()
    rule: Rule = field(default_factory=Rule)

    def to_table(self) -> dict[str, Any]:
        """Return the label as TOML and JSON have it, whole."""
        lists = {name: list(getattr(self, name)) for name in LISTS.values()}
        return {"name": self.name, "group": self.group, **lists, "rule": self.rule.to_table()}

    @property
    def examples(self) -> set[str]:
        """The segments of both kinds."""
        return {*self.examples_for, *self.examples_against}


def from_tables(tables: Iterable[object], where: str = "the labels") -> list[Label]:
    """Read labels from tables; `where` opens every error. Raises UserError for what is none, and for names that come again."""
    found: dict[str, Label] = {}
    for number, table in enumerate(tables, 1):
        label = _label(table, f"{where}, label {number}")
        if label.name in found:
            raise UserError(f"{where}, label {number}", f"the name '{label.name}' comes again", "give each label one entry")
        found[label.name] = label
    if not 0 < len(found) <= MOST:
        raise UserError(where, "hold no label" if not found else f"hold more than {MOST} labels", _FIX)
    return list(found.values())


def _label(table: object, where: str) -> Label:
    if not isinstance(table, Mapping):
        raise UserError(where, "is no table", _FIX)
    known = ("name", "group", *LISTS.values(), "rule")
    if odd := [key for key in table if key not in known]:
        raise UserError(where, f"unknown key '{odd[0]}'", f"valid keys: {', '.join(known)}")
    name, group = clean(table.get("name", ""), f"{where}: name"), clean(table.get("group", ""), f"{where}: group")
    check(f"{where}: the name '{name}'", name)
    if "/" in name:  # it is a part of an address
        raise UserError(f"{where}: the name '{name}'", "has a slash in it")
    lists = {}
    for key, most in (("texts", TEXTS), ("exceptions", TEXTS), ("examples_for", EXAMPLES), ("examples_against", EXAMPLES)):
        given = table.get(key, ())
        if isinstance(given, str) or not isinstance(given, Sequence) or len(given) > most:
            raise UserError(f"{where}: {key}", f"is no list of at most {most} texts", _FIX)
        cleaned = [clean(one, f"{where}: {key}") for one in given]
        if not all(cleaned):
            raise UserError(f"{where}: {key}", "holds an empty text")
        lists[key] = tuple(dict.fromkeys(cleaned))
    if not lists["texts"]:
        raise UserError(where, f"the label '{name}' has no text", "say in words what it means")
    if both := set(lists["examples_for"]) & set(lists["examples_against"]):
        raise UserError(where, f"segment {min(both)} is an example for and against '{name}'")
    rule = Rule.from_table(table["rule"], f"{where}: rule") if "rule" in table else Rule()
    return Label(name, group=group, rule=rule, **lists)


def clean(text: object, where: str) -> str:
    """Return a text with single blanks. Raises UserError for what is none, or too long, or has characters that nobody types."""
    if not isinstance(text, str):
        raise UserError(where, f"{text!r} is no text")
    found = " ".join(text.split())
    if len(found) > LONGEST:
        raise UserError(where, f"has {len(found)} characters, at most {LONGEST} are taken")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in found):
        raise UserError(where, "has characters that are no text", "give it as UTF-8")
    return found


def set_name(name: str) -> str:
    """Return a label set's name as it is kept. Raises UserError for what cannot be one."""
    found = clean(name, "the label set's name")
    check(f"the name '{found}'", found)
    if "/" in found:  # it is a part of an address
        raise UserError(f"the name '{found}'", "has a slash in it")
    return found


def from_toml(text: str, where: str = "the labels") -> list[Label]:
    """Read labels from TOML. Raises UserError as `from_tables`."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(where, f"not TOML: {error}") from None
    labels = table.pop("labels", None)
    if table or not isinstance(labels, list):
        raise UserError(where, "is to hold tables [[labels]], and nothing else", _FIX)
    return from_tables(labels, where)


def to_toml(labels: Iterable[Label]) -> str:
    """Return what `from_toml` reads."""
    return tomli_w.dumps({"labels": [label.to_table() for label in labels]})


def from_csv(text: str, where: str = "the labels") -> list[Label]:
    """Read labels from a csv; the rows of a label need not be neighbours. Raises UserError as `from_tables`."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    tables: dict[str, dict[str, Any]] = {}
    try:
        columns = reader.fieldnames or ()
        if not {"name", "text"} <= set(columns) or not set(columns) <= set(COLUMNS):
            fix = f"name and text, and of {', '.join(COLUMNS)}"
            raise UserError(where, f"has the columns {', '.join(columns) or 'none'}", fix)
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{where}, line {reader.line_num}", "has more or fewer cells than the first line")
            _add(tables, {key: value.strip() for key, value in row.items()}, f"{where}, line {reader.line_num}")
    except csv.Error as error:
        raise UserError(f"{where}, line {reader.line_num}", f"cannot be read: {error}") from None
    return from_tables(tables.values(), where)


def _add(tables: dict[str, dict[str, Any]], row: Mapping[str, str], where: str) -> None:
    """Add what a row says to the table of its label."""
    table = tables.setdefault(" ".join(row["name"].split()), {"name": row["name"], **{key: [] for key in LISTS.values()}})
    for column, key in LISTS.items():
        if row.get(column):
            table[key].append(row[column])
    for key in ("group", "rule"):
        if value := row.get(key):
            said: Any = Rule.from_text(value, where).to_table() if key == "rule" else value
            if table.setdefault(key, said) != said:
                raise UserError(where, f"the label '{row['name']}' has another {key} above")


def to_csv(labels: Iterable[Label]) -> str:
    """Return what `from_csv` reads."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for label in labels:
        once = [label.group], [label.rule.to_text()]
        lists = [getattr(label, name) for name in LISTS.values()]
        for group, *cells, rule in itertools.zip_longest(once[0], *lists, once[1], fillvalue=""):
            writer.writerow([label.name, group, *cells, rule])
    return out.getvalue()


def read(path: Path) -> list[Label]:
    """Read a file of labels, .csv or .toml. Raises UserError for one that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UserError(path, f"cannot be read: {why}", "name a file of labels") from None
    if path.suffix.lower() not in (".csv", ".toml"):
        raise UserError(path, "is no .csv and no .toml", _FIX)
    return (from_csv if path.suffix.lower() == ".csv" else from_toml)(text, str(path))
