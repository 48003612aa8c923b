"""What a filter is made of: the fields, their values, and the nodes of its tree."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from hit.errors import UserError

MAX_TEXT = 10_000  # characters of a filter
MAX_VALUE = 1_000  # characters of a value; SQLite takes patterns of 50,000 bytes
MAX_VALUES = 10_000  # in a filter; SQLite binds 32,766
MAX_TERMS = 200  # in a filter; SQLite nests expressions 1,000 deep
MAX_DEPTH = 20  # of a tree

Kind = Literal["seconds", "number", "date", "flag", "text", "words"]
Op = Literal["in", "lt", "lte", "gt", "gte", "contains"]
Value = float | str | bool | date  # a datetime is a date


@dataclass(frozen=True, slots=True)
class Field:
    """What a field's values are; `many`: there can be several."""

    kind: Kind
    what: str
    many: bool = False


FIELDS: Mapping[str, Field] = {
    "duration": Field("seconds", "of the video"),
    "width": Field("number", "pixels of the video's pictures"),
    "height": Field("number", "pixels of the video's pictures"),
    "rate": Field("number", "pictures a second"),
    "codec": Field("text", "how the pictures are encoded: `h264`, `hevc`, `av1`, ..."),
    "audio": Field("flag", "whether the video has an audio track"),
    "added": Field("date", "when the video came into the library"),
    "video": Field("text", "the video's id"),
    "path": Field("text", "of each file that holds the video", many=True),
    "name": Field("text", "of each file that holds the video: the last part of its path", many=True),
    "tag": Field("text", "of the video", many=True),
    "start": Field("seconds", "where the segment begins in the video"),
    "end": Field("seconds", "where the segment ends in the video"),
    "length": Field("seconds", "from the segment's start to its end"),
    "speech": Field("words", "each line that was heard in the segment", many=True),
    "ocr": Field("words", "each line that was read in the segment", many=True),
    "text": Field("words", "each line that was heard or read in the segment", many=True),
}
KINDS: Mapping[Kind, tuple[str, str]] = {  # what values are called, and examples
    "seconds": ("a number of seconds", "such as 90, 1:30, 1:02:03, 5m or 1h30m"),
    "number": ("a number", "such as 1080 or 23.976"),
    "date": ("a date, or a date and time", "such as 2026-11-01 or 2026-11-01T12:30, in UTC if it does not say otherwise"),
    "flag": ("yes or no", ""),
    "text": ("text", ""),
    "words": ("text", ""),
}
_FLAGS = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True, slots=True)
class Term:
    """Whether a value of `field` is one of `values` (in), or compares so with, or contains, the one there is."""

    field: str
    op: Op
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """What `node` does not hold for."""

    node: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """What all of two or more nodes hold for."""

    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """What one of two or more nodes holds for."""

    nodes: tuple["Node", ...]


Node = Term | Not | And | Or

_HUGE = 1e300  # so that no number becomes infinite
_SECONDS = re.compile(
    r"(?:(?P<clock_h>\d+):(?=\d\d:))?(?P<clock_m>\d+):(?P<clock_s>[0-5]\d(?:\.\d+)?)"
    r"|(?=\d)(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?",
    re.ASCII | re.IGNORECASE,
)


class Wrong(ValueError):  # noqa: N818 -- not an error yet: whoever knows where it stands makes a UserError of it
    """What is wrong with a field, an operator or a value, and what would be right."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.why, self.fix, self.at = why, fix, 0


def find(name: object) -> str:
    """Return a field's name as it is. Raises Wrong where there is none of this name."""
    if isinstance(name, str) and name in FIELDS:
        return name
    raise Wrong(f"there is no field {named(name)}", nearest(name, FIELDS))


def nearest(name: object, known: Mapping[str, Any]) -> str:
    """Return advice for someone who wrote what is not among `known`."""
    near = difflib.get_close_matches(name[:40], known, 1) if isinstance(name, str) else []
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"


def check(name: str, op: Op, sign: str) -> None:
    """Raise Wrong for an operator, written as `sign`, that the field does not have."""
    kind = FIELDS[name].kind
    if op == "contains":
        fits, fix = kind in ("text", "words"), "only text contains something"
    elif op == "in":
        fits, fix = kind != "words", "say what a line contains, by : (JSON: contains)"
    else:
        fits, fix = kind in ("seconds", "number", "date"), "only numbers and dates are less or more"
    if not fits:
        raise Wrong(f"'{name}' is {KINDS[kind][0]}, for which there is no '{sign}'", fix)


def read(name: str, given: object) -> Value:
    """Return a value of this field, as it was given in a text or in JSON. Raises Wrong for what is none."""
    kind = FIELDS[name].kind
    found: Value | None = None
    if isinstance(given, str):
        if len(given) > MAX_VALUE:
            raise Wrong(f"a value has {len(given)} characters, more than {MAX_VALUE}")
        if re.search("[\0\ud800-\udfff]", given):
            raise Wrong("a value holds characters that no stored text has (NUL, or half of a pair)")
        found = _from_text(kind, given) if given else None
    elif isinstance(given, bool):
        found = given if kind == "flag" else None
    elif isinstance(given, int | float) and kind in ("seconds", "number"):
        found = _number(given)
    if found is None:
        what, examples = KINDS[kind]
        raise Wrong(f"'{name}' is {what}, not {named(given)}", examples)
    return found


def _from_text(kind: Kind, given: str) -> Value | None:
    match kind:
        case "seconds":
            return _seconds(given)
        case "number":
            return _number(float(given)) if re.fullmatch(r"\d+(\.\d+)?", given, re.ASCII) else None
        case "date":
            return _date(given)
        case "flag":
            return _FLAGS.get(given.lower())
    return given


def _number(given: float) -> float | None:
    return float(given) + 0.0 if 0 <= given < _HUGE else None  # -0.0 becomes 0.0


def _seconds(given: str) -> float | None:
    found = _SECONDS.fullmatch(given)
    if not found:
        return None
    hours, minutes, seconds = (float(found[f"clock_{unit}"] or found[unit] or 0) for unit in "hms")
    return _number(3600 * hours + 60 * minutes + seconds)


def _date(given: str) -> date | None:
    """Return a day, or an instant in UTC."""
    try:
        return date.fromisoformat(given)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(given)
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def named(given: object) -> str:
    """Return what stands in a message for what was given."""
    if isinstance(given, str):
        return repr(given if len(given) <= 40 else given[:37] + "...")
    if isinstance(given, bool | None):
        return {True: "true", False: "false", None: "null"}[given]
    if isinstance(given, int | float):
        return "a number" if not -1e15 < given < 1e15 else str(given)
    return "a list" if isinstance(given, list) else "an object"


def small(node: Node) -> Node:
    """Return a node that is not too large. Raises UserError for another, however deep."""
    terms = values = 0
    for one, depth in _walk(node):
        if depth > MAX_DEPTH:
            raise UserError("the filter", f"goes deeper than {MAX_DEPTH} levels")
        if isinstance(one, Term):
            terms, values = terms + 1, values + len(one.values)
    if terms > MAX_TERMS:
        raise UserError("the filter", f"has {terms} terms, more than {MAX_TERMS}", "put alternatives into a list: tag in [a, b]")
    if values > MAX_VALUES:
        raise UserError("the filter", f"has {values} values, more than {MAX_VALUES}")
    return node


def _walk(node: Node) -> Iterator[tuple[Node, int]]:
    stack = [(node, 0)]
    while stack:
        one, depth = stack.pop()
        yield one, depth
        match one:
            case And(nodes) | Or(nodes):
                stack += [(inner, depth + 1) for inner in nodes]
            case Not(inner):
                stack.append((inner, depth + 1))


def plain(value: Value) -> bool | int | float | str:
    """Return a value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return int(value) if isinstance(value, float) and value.is_integer() else value
