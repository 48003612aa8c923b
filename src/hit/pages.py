"""Opaque tokens for the next page of a list, and of an answer, which stay true while the library grows.

An answer's token holds how many rows the array had when the first page was made, later ones are left out, and the place in the
order after which to go on.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hit.errors import UserError

Key = tuple[float, float, int]  # by what hits are ordered, ascending
AS_IT_STANDS = "take `next_page_token` as it stands"


def pack(*values: Any) -> str:
    """Return plain values of JSON as text for URLs and command lines."""
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def unpack(token: str) -> list[Any]:
    """Return the values that a token was packed of; none for what is no token, or has half a character in it."""
    try:
        values = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        "".join(value for value in values if isinstance(value, str)).encode()  # fails for what no database takes
    except (ValueError, TypeError, RecursionError):
        return []
    return values if isinstance(values, list) else []


def stray(fix: str = AS_IT_STANDS) -> UserError:
    """Return what is said of a token that is not of the list that it was given to."""
    return UserError("the page token", "is not one of this list", fix)


@dataclass(frozen=True, slots=True)
class Page:
    """Where an answer goes on: `rows` that count, hits `shown` before, and the `last` one's key."""

    query: str
    array: str
    rows: int
    shown: int
    last: Key

    def token(self) -> str:
        """Return the page as text for URLs and command lines."""
        return pack(self.query, self.array, self.rows, self.shown, *self.last)


def read(token: str, query: str, array: str) -> Page:
    """Return the page that a token names. Raises UserError for one of another query, and where rows were numbered anew."""
    try:
        made, where, rows, shown, first, second, row = unpack(token)
        page = Page(str(made), str(where), int(rows), int(shown), (float(first), float(second), int(row)))
    except (ValueError, TypeError, OverflowError):
        raise UserError("the page token", "is not one of this program's", AS_IT_STANDS) from None
    if page.query != query:
        raise UserError("the page token", "belongs to another search", "give the same search with it, only the limit may differ")
    if page.array != array:
        raise UserError("the page token", "is of a time before the library was rewritten", "begin at the first page")
    return page


def digest(query: Mapping[str, Any]) -> str:
    """Return a short name for a query, the same for the same one."""
    return hashlib.sha256(json.dumps(query, sort_keys=True, default=str).encode()).hexdigest()[:16]
