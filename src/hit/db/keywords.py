"""Keyword search: which segments have the words of a query.

`documents` holds the words of each segment. They are normalised before (`hit.db.words`), so that SQLite (FTS5) and PostgreSQL
(a tsvector), which only look them up, find the same segments.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from hit.arrays import among
from hit.db.schema import Document, Embedding, File, Line, Segment, Tag, Video
from hit.db.session import batches
from hit.db.where import of
from hit.db.words import asked, begins, document
from hit.places import basename
from hit.types import Keys

MANY = 20_000  # segments with a word, from which on it is not ranked by: that takes SQLite 4 microseconds each
_FEW = 2_000  # documents that an index finds one by one sooner than it goes through all that have a word
_PAGE = 200  # matches looked at together


class Match(NamedTuple):
    """A segment that has words of a query: its vector's row, the words, whether these are all that count, and its place.

    Those that nothing tells apart have the same place: one more than there are better ones.
    """

    row: int
    words: tuple[str, ...]
    whole: bool
    place: int


# -- documents


def refresh(session: Session, videos: Iterable[str]) -> None:
    """Write anew what is searched of the segments of these videos, where it changed."""
    for video in videos:
        there = sa.select(Segment.id, Document).outerjoin(Document, Document.segment_id == Segment.id)
        found = session.execute(there.where(Segment.video_id == video).order_by(Segment.start, Segment.id)).all()
        if not found:
            continue
        title = session.scalar(sa.select(Video.title).where(Video.id == video))  # what it was sent as: its file has no name
        paths = [title] if title else session.scalars(sa.select(File.path).where(File.video_id == video).order_by(File.path))
        names = list(dict.fromkeys(PurePosixPath(path if title else basename(path)).stem for path in paths))
        tags = session.scalars(sa.select(Tag.name).where(Tag.video_id == video).order_by(Tag.name)).all()
        spoken = sa.select(Line.segment_id, Line.text).join(Segment, Segment.id == Line.segment_id)
        lines: dict[str, list[str]] = {}
        for segment, text in session.execute(spoken.where(Segment.video_id == video).order_by(Line.expert, Line.number)):
            lines.setdefault(segment, []).append(text)
        for segment, old in found:
            new = document(lines.get(segment, ()), names, tags)
            if old is None:
                session.add(Document(segment_id=segment, words=new))
            else:
                old.words = new  # the session writes only what differs
    session.flush()


# -- search


class Postings(NamedTuple):
    """The documents (n,) that have a word, ascending, and their scores (n,)."""

    ids: Keys
    scores: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        return self.ids.nbytes + self.scores.nbytes


Load = Callable[[Session, list[Any]], Mapping[Any, Any]]


class Known(Protocol):
    """What may remember what it has loaded of the same content before."""

    def __call__(self, kind: str, keys: Sequence[Any], load: Load) -> Mapping[Any, Any]:
        """Return what `load` finds for keys, in their order; those that are nothing are left out."""
        ...


def search(
    session: Session, text: str, revision: str, limit: int, allowed: Keys | None = None, known: Known | None = None
) -> list[Match]:
    """Return up to `limit` segments that have at least half of the query's words that count, and all that it has in quotes.

    Words in double quotes must stand in that order, with nothing between them. Segments with more of the words come first, of
    equals those that the database ranks higher, then those that came in first. Words that more than MANY segments have say
    little: where there are others, half of these must be found; where there are none, all of them. Only segments with a
    vector of this revision are returned; with `allowed`, ascending, only those with these rows.
    """
    known = known or (lambda kind, keys, load: load(session, list(keys)))
    index: _Index = _Fts5() if session.get_bind().dialect.name == "sqlite" else _TsVector()
    wanted, phrases = asked(text)
    if (not wanted and not phrases) or (allowed is not None and not len(allowed)):
        return []
    rare: Mapping[str, Postings] = known("words", wanted, lambda session, words: _postings(session, index, words))
    most = sum(len(one.ids) for one in rare.values()) if rare else MANY
    few = None if allowed is None or len(allowed) > min(most, MANY) else _documents(session, allowed, revision)
    hits = (_ranked if rare else _streamed)(session, index, wanted, rare, phrases, few)
    found: list[Match] = []
    key, place = None, 0
    has: dict[int, tuple[str, ...]] = {}
    for some in hits:
        ids = [id_ for id_, *_ in some]
        rows = known("documents", ids, partial(_rows, revision)) if few is None else few
        if few is None and allowed is not None:
            rows = _among(rows, allowed)
        for id_, bits, count, score in some:
            if id_ in rows:
                if (count, score) != key:
                    key, place = (count, score), len(found) + 1
                if bits not in has:
                    has[bits] = tuple(word for n, word in enumerate(wanted) if int(bits) >> n & 1)
                found.append(Match(rows[id_], has[bits], len(has[bits]) == len(wanted), place))
        if len(found) >= limit:
            break
    hits.close()
    return found[:limit]


def _postings(session: Session, index: "_Index", words: Iterable[str]) -> dict[str, Postings]:
    """Return the documents of those words that are not in more than MANY."""
    found = {}
    for word in words:
        term = index.term([word])
        if (size := _size(session, index, word)) <= MANY:
            every = index.select(term, size)
            rows = session.execute(sa.select(every.c.id, every.c.score)).all()
            ids, scores = np.array([id_ for id_, _ in rows], np.int64), np.array([score for _, score in rows], np.float64)
            order = np.argsort(ids)
            found[word] = Postings(ids[order], scores[order])
    return found


def _size(session: Session, index: "_Index", word: str) -> int:
    """Return how many segments have a word; none above MANY + 1 are counted."""
    some = sa.select(index.select(index.term([word])).c.id).limit(MANY + 1).subquery()
    return session.scalar(sa.select(sa.func.count()).select_from(some)) or 0


def _documents(session: Session, allowed: Keys, revision: str) -> dict[int, int]:
    """Return the rows that are allowed by the ids of their documents."""
    query = sa.select(Document.id, Embedding.row)
    query = query.join(Embedding, Embedding.segment_id == Document.segment_id).where(Embedding.revision == revision)
    found = (session.execute(query.where(Embedding.row.in_(some))) for some in batches(allowed.tolist()))
    return {id_: row for rows in found for id_, row in rows}


def _rows(revision: str, session: Session, ids: Sequence[int]) -> dict[int, int]:
    """Return the rows of those documents that have a vector."""
    query = sa.select(Document.id, Embedding.row)
    query = query.join(Embedding, Embedding.segment_id == Document.segment_id).where(of(revision))
    return {id_: row for some in batches(ids) for id_, row in session.execute(query.where(Document.id.in_(some)))}


def _among(rows: Mapping[int, int], allowed: Keys) -> dict[int, int]:
    fits = among(np.fromiter(rows.values(), np.int64, len(rows)), allowed)
    return {id_: row for (id_, row), fit in zip(rows.items(), fits.tolist(), strict=True) if fit}


_Hits = Generator[Sequence[Any], None, None]  # (document, bits of the wanted words that it has, their number, score), by pages


def _ranked(
    session: Session,
    index: "_Index",
    wanted: Sequence[str],
    rare: Mapping[str, Postings],
    phrases: Sequence[Sequence[str]],
    few: Mapping[int, int] | None,
) -> _Hits:
    """Yield what has half of the rare words, best first."""
    ids, place = np.unique(np.concatenate([one.ids for one in rare.values()]), return_inverse=True)
    bit = {word: 1 << n for n, word in enumerate(wanted)}
    bits = np.bincount(place, np.repeat([float(bit[word]) for word in rare], [len(one.ids) for one in rare.values()]))
    scores = np.bincount(place, np.concatenate([one.scores for one in rare.values()]))
    has = np.bincount(place)
    fits = has >= (len(rare) + 1) // 2
    one_of = index.some([index.term([word]) for word in rare])

    def those(terms: Sequence[str]) -> NDArray[np.bool_]:
        found = session.scalars(sa.select(index.select(index.every([one_of, *terms])).c.id)).all()
        return np.isin(ids, np.array(found, np.int64))

    if few is not None:
        fits &= np.isin(ids, np.fromiter(few, np.int64, len(few)))
    if phrases and fits.any():
        fits &= those([index.term(phrase) for phrase in phrases])
    for word in wanted:
        if word not in rare and fits.any():
            there = those([index.term([word])])
            has, bits = has + there, bits + bit[word] * there
    columns = [column[fits] for column in (ids, bits.astype(np.int64), has, scores)]
    order = np.lexsort((columns[0], -columns[3], -columns[2]))
    for start in range(0, len(order), _PAGE):
        some = order[start : start + _PAGE]
        yield list(zip(*(column[some].tolist() for column in columns), strict=True))


def _streamed(
    session: Session,
    index: "_Index",
    wanted: Sequence[str],
    rare: Mapping[str, Postings],
    phrases: Sequence[Sequence[str]],
    few: Mapping[int, int] | None,
) -> _Hits:
    """Yield what has all of the words: no score tells these apart, and the index gives them in order, however many there are."""
    every = index.every([*(index.term([word]) for word in wanted), *(index.term(phrase) for phrase in phrases)])
    id_ = index.select(every).c.id
    query = sa.select(id_).order_by(id_)
    if few is not None:  # or all segments with the words would be gone through for these
        query = query.where((id_ if len(few) <= _FEW else id_ + 0).in_(few))
    hits = session.scalars(query.execution_options(yield_per=_PAGE))
    try:
        for some in hits.partitions():
            yield [(one, (1 << len(wanted)) - 1, len(wanted), 0.0) for one in some]
    finally:
        hits.close()


class _Index(Protocol):
    """What a database's own full-text index is asked for, in its own language."""

    def term(self, words: Sequence[str]) -> str:
        """Say: these words in a row."""
        ...

    def some(self, terms: Sequence[str]) -> str:
        """Say: one of these."""
        ...

    def every(self, terms: Sequence[str]) -> str:
        """Say: all of these."""
        ...

    def select(self, terms: str, size: int | None = None) -> sa.Subquery:
        """Return the `id` of the documents of which this is so, and the `score`.

        size: how many these are; None: they need no score.
        """
        ...


class _Fts5:
    table = sa.table("documents_fts", sa.column("rowid"), sa.column("rank"), sa.column("documents_fts"))

    def term(self, words: Sequence[str]) -> str:
        return f'"{" ".join(words)}"' + (" *" if begins(words) else "")

    def some(self, terms: Sequence[str]) -> str:
        return f"({' OR '.join(terms)})"

    def every(self, terms: Sequence[str]) -> str:
        return f"({' AND '.join(terms)})"

    def select(self, terms: str, size: int | None = None) -> sa.Subquery:
        score = sa.literal(0.0) if size is None else -self.table.c.rank  # rank: bm25, less is better
        found = sa.select(self.table.c.rowid.label("id"), score.label("score"))
        return found.where(self.table.c.documents_fts.match(terms)).subquery()


class _TsVector:
    table = sa.table("documents", sa.column("id"), sa.column("fts"))

    def term(self, words: Sequence[str]) -> str:
        return "('" + "' <-> '".join(words) + ("':*)" if begins(words) else "')")

    def some(self, terms: Sequence[str]) -> str:
        return f"({' | '.join(terms)})"

    def every(self, terms: Sequence[str]) -> str:
        return f"({' & '.join(terms)})"

    def select(self, terms: str, size: int | None = None) -> sa.Subquery:
        query = sa.cast(terms, postgresql.TSQUERY)
        score: Any = sa.literal(0.0)
        if size is not None:  # rare words count more, which ts_rank_cd does not know; 1: long documents count less
            score = sa.func.ts_rank_cd(self.table.c.fts, query, 1) * math.log(1 + (MANY + 1) / max(size, 1))
        return sa.select(self.table.c.id, score.label("score")).where(self.table.c.fts.op("@@")(query)).subquery()
