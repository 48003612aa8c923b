"""The filter language: `duration>=60 and tag in [a, b] and not path:"draft"`, and the same as JSON. See docs/filters.md.

A filter is a tree of `And`, `Or`, `Not` and `Term`. A term asks whether one of a field's values is so; what is not known has no
value, and so no term about it holds. `not` is the exact complement, and `!=`, `not in`, `ne` and `none` are short for it.
"""

import json
from collections.abc import Mapping
from typing import Any

from hit.errors import UserError
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
    "given",
    "parse",
    "to_json",
    "to_text",
]


def given(value: str | Mapping[str, Any] | None) -> Node | None:
    """Return a filter as people give it: in the language, or as JSON, which may be a text that begins with a brace.

    Raises UserError for one that is none.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UserError("the filter", f"is not JSON: {error}", "docs/filters.md has examples") from None
    if value is None:
        return None
    return parse(value) if isinstance(value, str) else from_json(value)
