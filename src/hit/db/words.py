"""Words: what of a text counts, and which segments have them. Keyword search follows."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

# Words that a line may share with any query: they prove nothing.
_COMMON = (
    "about an and are as at be by for from has he her his in into is it its me my not of on one or our out she so some that "
    "the their them then there they this to two up was we were what when where which while who with you your"
)
COMMON = frozenset(_COMMON.split())


@dataclass(frozen=True, slots=True)
class Match:
    """A segment that has words of a query: the row of its vector, the words, and whether these are all that count."""

    row: int
    segment: str
    words: tuple[str, ...]
    whole: bool


def words(text: str) -> set[str]:
    """Return the words of a text, upper and lower case alike, without single letters and the commonest ones of English."""
    return set(re.findall(r"\w{2,}", text.casefold())) - COMMON


def refresh(session: Session, videos: Iterable[str]) -> None:
    """Keyword search follows."""
