"""Opaque tokens for the next page of an answer, which stay true while the library grows.

A token holds how many rows the array had when the first page was made, later ones are left out, and the place in the order
after which to go on.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hit.errors import UserError

Key = tuple[float, float, int]  # by what hits are ordered, ascending


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
        data = json.dumps([self.query, self.array, self.rows, self.shown, *self.last], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read(token: str, query: str, array: str) -> Page:
    """Return the page that a token names. Raises UserError for one of another query, and where rows were numbered anew."""
    try:
        values = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        made, where, rows, shown, first, second, row = values
        page = Page(str(made), str(where), int(rows), int(shown), (float(first), float(second), int(row)))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise UserError("the page token", "is not one of this program's", "take `next_page_token` as it stands") from None
    if page.query != query:
        raise UserError("the page token", "belongs to another search", "give the same search with it, only the limit may differ")
    if page.array != array:
        raise UserError("the page token", "is of a time before the library was rewritten", "begin at the first page")
    return page


def digest(query: Mapping[str, Any]) -> str:
    """Return a short name for a query, the same for the same one."""
    return hashlib.sha256(json.dumps(query, sort_keys=True, default=str).encode()).hexdigest()[:16]
