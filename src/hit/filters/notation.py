"""Filters as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from hit.errors import UserError
from hit.filters.tree import (
    FIELDS,
    MAX_DEPTH,
    And,
    Node,
    Not,
    Op,
    Or,
    Term,
    Value,
    Wrong,
    check,
    find,
    named,
    nearest,
    plain,
    read,
    small,
)

_KEYS: Mapping[str, tuple[Op, bool]] = {
    "eq": ("in", True),
    "ne": ("in", False),
    "in": ("in", True),
    "any": ("in", True),
    "none": ("in", False),
    "lt": ("lt", True),
    "lte": ("lte", True),
    "gt": ("gt", True),
    "gte": ("gte", True),
    "contains": ("contains", True),
}
_LISTS = {"in", "any", "none"}  # keys whose value is a list


def from_json(value: object) -> Node:
    """Return the filter that a JSON value stands for, as `json.loads` returns it. Raises UserError for one that is none."""
    return small(_from_json(value, ""))


def to_json(node: Node) -> dict[str, Any]:
    """Return a filter as JSON: `from_json` makes the same filter of it."""
    match node:
        case Term(field, "in", values):
            return {"field": field, **_listed("eq", "any" if FIELDS[field].many else "in", values)}
        case Not(Term(field, "in", values)):
            return {"field": field, **_listed("ne", "none", values)}
        case Term(field, op, (value,)):
            return {"field": field, op: plain(value)}
        case Not(inner):
            return {"not": to_json(inner)}
        case And(nodes):
            return {"and": [to_json(one) for one in nodes]}
        case Or(nodes):
            return {"or": [to_json(one) for one in nodes]}
    raise AssertionError(f"no node: {node}")


def _listed(one: str, many: str, values: Sequence[Value]) -> dict[str, Any]:
    return {one: plain(values[0])} if len(values) == 1 else {many: [plain(value) for value in values]}


def _from_json(value: object, where: str, depth: int = 0) -> Node:
    try:
        if depth > MAX_DEPTH:
            raise Wrong(f"goes deeper than {MAX_DEPTH} levels")
        if not isinstance(value, dict):
            raise Wrong(f"is {named(value)}", 'a filter is an object, such as {"field": "duration", "gte": 60}')
        match value:
            case {"not": inner} if len(value) == 1:
                return Not(_from_json(inner, f"{where}.not", depth + 1))
            case {"and": [_, *_] as some} if len(value) == 1:
                return _join(And, some, f"{where}.and", depth + 1)
            case {"or": [_, *_] as some} if len(value) == 1:
                return _join(Or, some, f"{where}.or", depth + 1)
        return _term_from_json(value)
    except Wrong as error:
        raise UserError("the filter" + (f" at {where[1:]}" if where else ""), error.why, error.fix) from None


def _join(kind: type[And | Or], values: Sequence[object], where: str, depth: int) -> Node:
    nodes = tuple(_from_json(one, f"{where}[{i}]", depth) for i, one in enumerate(values))
    return kind(nodes) if len(nodes) > 1 else nodes[0]


def _term_from_json(value: Mapping[Any, Any]) -> Node:
    keys = [key for key in value if key != "field"]
    if len(value) != 2 or len(keys) != 1:
        forms = '{"field": name, operator: value}, {"and": [...]}, {"or": [...]} or {"not": ...}'
        raise Wrong("is not of a form that filters have", f"write {forms}; the lists hold at least one filter")
    (key,) = keys
    name, given = find(value["field"]), value[key]
    if key not in _KEYS:
        raise Wrong(f"there is no operator {named(key)}", nearest(key, _KEYS))
    op, positive = _KEYS[key]
    check(name, op, key)
    if (key in _LISTS) != isinstance(given, list):
        raise Wrong(f"'{key}' takes a {'list' if key in _LISTS else 'single value'}, not {named(given)}")
    term = Term(name, op, tuple(read(name, one) for one in (given if key in _LISTS else [given])))
    return term if positive else Not(term)
