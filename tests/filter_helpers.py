"""Filters made by chance, and a plain reading of them: what the tests of the language and of its SQL share."""

from datetime import UTC, date, datetime
from typing import Any

from hypothesis import strategies as st

from hit.filters import FIELDS, And, Node, Not, Or, Term

# Letters with and without case, and what LIKE, regular expressions, quotes and the language itself are made of.
LETTERS = "aAbäÄßİıσςΣ猫1 ./%_\\[]()*?^$\"',:=!-"
TEXTS = st.text(LETTERS, min_size=1, max_size=3)
NUMBERS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.5, 100.0, 1e15 / 3, 1e-7])
DAYS = st.dates(date(2026, 11, 1), date(2026, 11, 3))
INSTANTS = st.datetimes(datetime(2026, 11, 1), datetime(2026, 11, 3), timezones=st.just(UTC))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "seconds": NUMBERS,
    "number": NUMBERS,
    "date": DAYS | INSTANTS,
    "flag": st.booleans(),
    "text": TEXTS,
    "words": TEXTS,
}


def terms(name: str) -> st.SearchStrategy[Node]:
    """Return terms about a field."""
    kind = FIELDS[name].kind
    values = VALUES[kind]
    one = values.map(lambda value: (value,))
    ways: list[st.SearchStrategy[Node]] = []
    if kind != "words":
        ways.append(st.lists(values, max_size=3).map(lambda many: Term(name, "in", tuple(many))))
    if kind in ("text", "words"):
        ways.append(one.map(lambda values: Term(name, "contains", values)))
    if kind in ("seconds", "number", "date"):
        ways.append(st.builds(Term, st.just(name), st.sampled_from(["lt", "lte", "gt", "gte"]), one))
    return st.one_of(ways)


def _joined(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(inner.map(Not), several.map(And), several.map(Or))


NODES: st.SearchStrategy[Node] = st.recursive(st.sampled_from(sorted(FIELDS)).flatmap(terms), _joined, max_leaves=6)


def holds(node: Node, record: dict[str, list[Any]]) -> bool:
    """Say whether a filter lets a segment through, whose fields have these values."""
    match node:
        case And(nodes):
            return all(holds(one, record) for one in nodes)
        case Or(nodes):
            return any(holds(one, record) for one in nodes)
        case Not(inner):
            return not holds(inner, record)
        case Term(name, op, values):
            return any(_fits(op, have, want) for have in record[name] for want in values)


def _fits(op: str, have: Any, want: Any) -> bool:
    if op == "contains":
        places = range(len(have) - len(want) + 1)
        return any(all(_alike(a, b) for a, b in zip(have[at:], want, strict=False)) for at in places)
    if isinstance(want, date) and not isinstance(want, datetime):
        have = have.date()
    return bool({"in": have == want, "lt": have < want, "lte": have <= want, "gt": have > want, "gte": have >= want}[op])


def _alike(have: str, want: str) -> bool:
    return have in (want, want.lower(), want.upper())
