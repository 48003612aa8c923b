"""The filter language: `duration>=60 and tag in [a, b] and not path:"draft"`, and the same as JSON. See docs/filters.md.

A filter is a tree of `And`, `Or`, `Not` and `Term`. A term asks whether one of a field's values is so; what is not known has no
value, and so no term about it holds. `not` is the exact complement, and `!=`, `not in`, `ne` and `none` are short for it.
"""

from hit.filters.lang import parse, to_text
from hit.filters.notation import from_json, to_json
from hit.filters.tree import FIELDS, KINDS, And, Field, Node, Not, Op, Or, Term, Value

__all__ = [
    "FIELDS",
    "KINDS",
    "And",
    "Field",
    "Node",
    "Not",
    "Op",
    "Or",
    "Term",
    "Value",
    "from_json",
    "parse",
    "to_json",
    "to_text",
]
