"""Filters as text."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from hit.errors import UserError
from hit.filters.tree import MAX_TEXT, And, Node, Not, Op, Or, Term, Value, Wrong, check, find, plain, read, small

_SIGNS: Mapping[str, tuple[Op, bool]] = {  # what they stand for, and whether its complement is meant
    "=": ("in", True),
    "==": ("in", True),
    "!=": ("in", False),
    "<": ("lt", True),
    "<=": ("lte", True),
    ">": ("gt", True),
    ">=": ("gte", True),
    ":": ("contains", True),
}
_SIGN: Mapping[Op, str] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "contains": ":"}
_BARE = r"[^\s\[\](),\"']+"  # a value that needs no quotes
_GRAMMAR = rf"""
    ?start: either
    ?either: both ("or"i both)*
    ?both: one ("and"i one)*
    ?one: "not"i one -> complement
        | "(" either ")"
        | FIELD SIGN value -> term
        | FIELD "in"i list -> among
        | FIELD "not"i "in"i list -> absent
    list: "[" [value ("," value)*] "]"
    ?value: BARE | QUOTED
    FIELD: /(?!(and|or|not|in)\b)[a-z_]+/i
    SIGN: /:|==?|!=|<=?|>=?/
    BARE: /{_BARE}/
    QUOTED: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/s
    %ignore /\s+/
"""
_EXPECTED = {
    "FIELD": "a field",
    "SIGN": "one of : = != < <= > >=",
    "BARE": "a value",
    "QUOTED": "a value",
    "IN": "'in'",
    "NOT": "'not'",
    "AND": "'and'",
    "OR": "'or'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "$END": "the end",
}


def parse(text: str) -> Node:
    """Return the filter that a text stands for. Raises UserError, which shows the place, for a text that is none."""
    import lark  # 0.1 s, for which only those who filter should wait

    if len(text) > MAX_TEXT:
        raise UserError("the filter", f"has {len(text)} characters, more than {MAX_TEXT}", "give long lists as JSON")
    try:
        return small(_parser().parse(text))
    except Wrong as error:
        raise UserError("the filter", f"{error.why}, at {_excerpt(text, error.at)}", error.fix) from None
    except lark.UnexpectedToken as error:
        expected = " or ".join(sorted({_EXPECTED[name] for name in error.accepts or ()}))
        at = len(text) if error.token.type == "$END" else error.pos_in_stream or 0
        why = "ends too early" if at == len(text) else "cannot be understood"
        raise UserError("the filter", f"{why}, at {_excerpt(text, at)}", f"expected {expected}") from None
    except lark.UnexpectedCharacters as error:
        at = error.pos_in_stream or 0
        why = "has a quote that does not end" if text[at] in "\"'" else "cannot be understood"
        raise UserError("the filter", f"{why}, at {_excerpt(text, at)}") from None


def to_text(node: Node) -> str:
    """Return a filter as text: `parse` makes the same filter of it."""
    match node:
        case Term(field, "in", values):
            return f"{field}={_word(values[0])}" if len(values) == 1 else f"{field} in {_list(values)}"
        case Not(Term(field, "in", values)):
            return f"{field}!={_word(values[0])}" if len(values) == 1 else f"{field} not in {_list(values)}"
        case Term(field, op, (value,)):
            return f"{field}{_SIGN[op]}{_word(value)}"
        case Not(inner):
            return f"not {_group(inner, And | Or)}"
        case And(nodes):
            return " and ".join(_group(one, And | Or) for one in nodes)
        case Or(nodes):
            return " or ".join(_group(one, Or) for one in nodes)
    raise AssertionError(f"no node: {node}")


def _group(node: Node, kinds: Any) -> str:
    return f"({to_text(node)})" if isinstance(node, kinds) else to_text(node)


def _list(values: Sequence[Value]) -> str:
    return f"[{', '.join(map(_word, values))}]"


def _word(value: Value) -> str:
    said = plain(value)
    if isinstance(said, bool):
        return "yes" if said else "no"
    if isinstance(said, int | float):
        return np.format_float_positional(said, trim="-")
    if re.fullmatch(_BARE, said):
        return said
    return '"' + re.sub(r'(["\\])', r"\\\1", said) + '"'


@cache
def _parser() -> Any:
    import lark

    # Nodes are made while it parses, and that without recursion: however deep the brackets go, the stack does not.
    return lark.Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False, transformer=_Maker())


class _Maker:
    """Makes nodes of the parser's pieces: tokens, which are strings that know their places, and what was made of these."""

    def either(self, nodes: list[Node]) -> Node:
        return Or(tuple(nodes))

    def both(self, nodes: list[Node]) -> Node:
        return And(tuple(nodes))

    def complement(self, nodes: list[Node]) -> Node:
        return Not(nodes[0])

    def term(self, pieces: list[Any]) -> Node:
        field, sign, value = pieces
        name = _at(field, find, field.lower())
        op, positive = _SIGNS[sign]
        _at(sign, check, name, op, sign)
        term = Term(name, op, (_at(value, read, name, _unquote(value)),))
        return term if positive else Not(term)

    def among(self, pieces: list[Any]) -> Node:
        field, values = pieces
        name = _at(field, find, field.lower())
        _at(field, check, name, "in", "in")
        return Term(name, "in", tuple(_at(value, read, name, _unquote(value)) for value in values))

    def absent(self, pieces: list[Any]) -> Node:
        return Not(self.among(pieces))

    def list(self, values: list[Any]) -> list[Any]:
        return values


def _at(token: Any, make: Any, *given: Any) -> Any:
    """Call `make`; what is wrong then is wrong at the token."""
    try:
        return make(*given)
    except Wrong as error:
        error.at = token.start_pos
        raise


def _unquote(token: str) -> str:
    return re.sub(r"\\([\"'\\])", r"\1", token[1:-1]) if token[0] in "\"'" else str(token)


def _excerpt(text: str, at: int) -> str:
    """Return the text about a place, on one line, with a caret before the place."""
    start, end = max(at - 30, 0), at + 30
    shown = f"{'...' if start else ''}{text[start:at]}^{text[at:end]}{'...' if end < len(text) else ''}"
    return "".join(c if c.isprintable() else " " for c in shown)
