"""Words: what of a text counts when words are looked for, the same for every database.

Scripts that do not part their words by spaces are cut into pairs of characters.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

# Words that a line may share with any query: they prove nothing.
_COMMON = (
    "about an and are as at be by for from has he her his in into is it its me my not of on one or our out she so some that "
    "the their them then there they this to two up was we were what when where which while who with you your"
)
COMMON = frozenset(_COMMON.split())
MAX_WORDS = 32  # of a query or a phrase that are looked for
_MAX_PHRASES = 8
_MAX_QUERY = 2_000  # characters
_LONGEST = 64  # characters of a word; what follows is cut off
_MAX_DOCUMENT = 10_000, 100_000  # words, characters: PostgreSQL counts no more than 16,383 places, in no more than 1 MB
# Thai, Lao, Burmese, Khmer, kana, Chinese characters, Hangul (which has spaces, but glues particles to words).
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
_RUNS = re.compile(f"[{_SPACELESS}]+|[^{_SPACELESS}]+")
_INVISIBLE = re.compile("[\u00ad\u200d\ufe00-\ufe0f]+")  # within words: soft hyphens, joiners, choices of a glyph


def normalise(text: str) -> list[str]:
    """Return a text's words in order, without case, accents and punctuation.

    A run of characters that knows no spaces becomes its overlapping pairs, and its last character: so each of its parts begins
    a word, or is some of them in a row.
    """
    return [word for word, _ in _tokens(text)]


@functools.lru_cache(4096)  # a query is compared with each line of its hits, and many queries find the same lines
def words(text: str) -> frozenset[str]:
    """Return the words of a text that count: without single letters and the commonest ones of English."""
    return frozenset(_counting(text))


def document(lines: Iterable[str], names: Iterable[str], tags: Iterable[str]) -> str:
    """Return what is searched of a segment: words between spaces. `names` are file names without folder and suffix."""
    found = [word for line in lines for word in normalise(line)]
    for name in (*names, *tags):
        found += normalise(name)
        if (parted := _parted(name)) != name:
            found += normalise(parted)
    most, length = _MAX_DOCUMENT
    text = " ".join(found[:most])
    return text if len(text) <= length else text[:length].rpartition(" ")[0]


def asked(text: str) -> tuple[list[str], list[list[str]]]:
    """Return a query's distinct words that count, and the words of each of its phrases, which stand in double quotes."""
    text = text[:_MAX_QUERY]
    phrases = []
    for quoted in re.findall(r'"([^"]*)"', text):
        found = list(_tokens(quoted))
        if found and found[-1][1]:
            found.pop()  # a run may go on where it is found
        if found:
            phrases.append([word for word, _ in found[:MAX_WORDS]])
    return _counting(text)[:MAX_WORDS], phrases[:_MAX_PHRASES]


def begins(phrase: Sequence[str]) -> bool:
    """Tell whether all words are meant that begin like the last one of a phrase: it is the first character of a run."""
    return len(phrase[-1]) == 1 and _spaceless(phrase[-1])


def _counting(text: str) -> list[str]:
    found = dict.fromkeys(word for word, last in _tokens(text) if not last)
    return [word for word in found if word not in COMMON and (len(word) > 1 or not word.isalpha() or _spaceless(word))]


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Yield (word, is it the last character of a longer run)."""
    if text.isascii():
        yield from ((word[:_LONGEST], False) for word in re.findall(r"[a-z0-9]+", text.lower()))
        return
    folded = _fold(text)
    spaced = "".join(c if c.isalnum() or unicodedata.category(c) in ("Mn", "Mc") else " " for c in folded)
    for run in (run for word in spaced.split() for run in _RUNS.findall(word)):
        if not _spaceless(run):
            word = run[next((i for i, c in enumerate(run) if c.isalnum()), len(run)) :]  # no mark stands by itself
            if word:
                yield word[:_LONGEST], False
        elif len(run) == 1:
            yield run, False
        else:
            yield from ((run[i : i + 2], False) for i in range(len(run) - 1))
            yield run[-1], True


def _fold(text: str) -> str:
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", _INVISIBLE.sub("", text)).casefold())
    return unicodedata.normalize("NFC", "".join(c for c in parts if not _accent(c)))


def _accent(c: str) -> bool:
    """Tell accents (and Hebrew and Arabic points), which may be left out, from marks that make another letter or syllable."""
    place = unicodedata.combining(c)
    return 10 <= place <= 36 or place >= 200


def _spaceless(run: str) -> bool:
    return re.match(f"[{_SPACELESS}]", run) is not None


def _parted(name: str) -> str:
    """Put spaces where a name is glued together: `GoalKick2026` is Goal Kick 2026, `HTMLFile` is HTML File."""
    parted = []
    for before, c, after in zip(f" {name}", name, f"{name[1:]} ", strict=False):
        hump = c.isupper() and (before.islower() or (before.isupper() and after.islower()))
        if hump or (before.isalnum() and c.isalnum() and before.isdigit() != c.isdigit()):
            parted.append(" ")
        parted.append(c)
    return "".join(parted)
