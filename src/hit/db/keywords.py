"""Keyword search: which segments have the words of a query.

`documents` holds the words of each segment. They are normalised before (`hit.db.words`), so that SQLite (FTS5) and PostgreSQL
(a tsvector), which only look them up, find the same segments.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from hit.arrays import among
from hit.db.schema import Document, Embedding, File, Line, Segment, Tag
from hit.db.session import batches
from hit.db.where import of
from hit.db.words import asked, begins, document
from hit.types import Keys

MANY = 20_000  # segments with a word, from which on it is not ranked by: that takes SQLite 4 microseconds each
_FEW = 2_000  # documents that an index finds one by one sooner than it goes through all that have a word
_PAGE = 500  # matches looked at together


@dataclass(frozen=True, slots=True)
class Match:
    """A segment that has words of a query: the row of its vector, the words, whether these are all that count, and its place.

    Those that nothing tells apart have the same place: one more than there are better ones.
    """

    row: int
    segment: str
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
        paths = session.scalars(sa.select(File.path).where(File.video_id == video).order_by(File.path))
        names = list(dict.fromkeys(PurePosixPath(path).stem for path in paths))
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


def search(session: Session, text: str, revision: str, limit: int, allowed: Keys | None = None) -> list[Match]:
    """Return up to `limit` segments that have at least half of the query's words that count, and all that it has in quotes.

    Words in double quotes must stand in that order, with nothing between them. Segments with more of the words come first, of
    equals those that the database ranks higher, then those that came in first. Words that more than MANY segments have say
    little: where there are others, half of these must be found; where there are none, all of them. Only segments with a
    vector of this revision are returned; with `allowed`, ascending, only those with these rows.
    """
    index: _Index = _Fts5() if session.get_bind().dialect.name == "sqlite" else _TsVector()
    wanted, phrases = asked(text)
    if (not wanted and not phrases) or (allowed is not None and not len(allowed)):
        return []
    query = _query(index, wanted, {word: _size(session, index, word) for word in wanted}, phrases)
    few = None if allowed is None or len(allowed) > MANY else _documents(session, allowed, revision)
    if few is not None:  # or all segments with the words would be gone through for these
        column = query.selected_columns[0]
        query = query.where((column if len(few) <= _FEW else column + 0).in_(few))
    found: list[Match] = []
    key, place = None, 0
    hits = session.execute(query.execution_options(yield_per=_PAGE))
    for some in hits.partitions():
        rows = _rows(session, [id_ for id_, *_ in some], revision, allowed) if few is None else few
        for id_, bits, count, score in some:
            if id_ in rows:
                if (count, score) != key:
                    key, place = (count, score), len(found) + 1
                has = tuple(word for n, word in enumerate(wanted) if int(bits) >> n & 1)
                found.append(Match(*rows[id_], has, len(has) == len(wanted), place))
        if len(found) >= limit:
            break
    hits.close()
    return found[:limit]


def _documents(session: Session, allowed: Keys, revision: str) -> dict[int, tuple[int, str]]:
    """Return (row, segment) of the documents that are allowed, by their ids."""
    query = sa.select(Document.id, Embedding.row, Embedding.segment_id)
    query = query.join(Embedding, Embedding.segment_id == Document.segment_id).where(Embedding.revision == revision)
    return {
        id_: (row, segment)
        for some in batches(allowed.tolist())
        for id_, row, segment in session.execute(query.where(Embedding.row.in_(some)))
    }


def _rows(session: Session, ids: Sequence[int], revision: str, allowed: Keys | None) -> dict[int, tuple[int, str]]:
    """Return (row, segment) of those documents that have a vector and are allowed."""
    query = sa.select(Document.id, Embedding.row, Embedding.segment_id)
    query = query.join(Embedding, Embedding.segment_id == Document.segment_id)
    known = session.execute(query.where(Document.id.in_(ids), of(revision))).all()
    if allowed is not None and known:
        rows = np.array([row for _, row, _ in known], np.int64)
        fits = among(rows, allowed)
        known = [one for one, fit in zip(known, fits.tolist(), strict=True) if fit]
    return {id_: (row, segment) for id_, row, segment in known}


def _query(index: "_Index", wanted: Sequence[str], sizes: Mapping[str, int], phrases: Sequence[Sequence[str]]) -> sa.Select[Any]:
    """Return the query for (document, bits of the wanted words that it has, their number, score), best first."""
    bit = {word: 1 << n for n, word in enumerate(wanted)}
    rare = [word for word in wanted if sizes[word] <= MANY]
    frequent = [word for word in wanted if sizes[word] > MANY]
    exact = [index.term(phrase) for phrase in phrases]
    if not rare:  # no score tells these apart, and the index gives them in order: however many there are, few are looked at
        every = index.every([*(index.term([word]) for word in frequent), *exact])
        all_ = index.select(every, sum(bit.values()), len(bit), 0).subquery()
        return sa.select(all_.c.id, all_.c.bit, all_.c.has, all_.c.score).order_by(all_.c.id)
    one_of = index.some([index.term([word]) for word in rare])
    hits = sa.union_all(
        *(index.select(index.term([word]), bit[word], 1, 1, sizes[word]) for word in rare),
        *(index.select(index.every([one_of, index.term([word])]), bit[word], 1, 0) for word in frequent),
    ).cte("hits")
    count, score = sa.func.sum(hits.c.has).label("has"), sa.func.sum(hits.c.score).label("score")
    best: sa.Select[Any] = sa.select(hits.c.id, sa.func.sum(hits.c.bit), count, score).group_by(hits.c.id)
    best = best.having(sa.func.sum(hits.c.rare) >= (len(rare) + 1) // 2)
    if exact:
        best = best.where(hits.c.id.in_(sa.select(index.select(index.every(exact), 0, 0, 0).subquery().c.id)))
    return best.order_by(count.desc(), score.desc(), hits.c.id)


def _size(session: Session, index: "_Index", word: str) -> int:
    """Return how many segments have a word; none above MANY + 1 are counted."""
    some = index.select(index.term([word]), 0, 0, 0).limit(MANY + 1).subquery()
    return session.scalar(sa.select(sa.func.count()).select_from(some)) or 0


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

    def select(self, terms: str, bit: int, has: int, rare: int, size: int | None = None) -> sa.Select[Any]:
        """Return the query for the `id` of the documents of which this is so, beside these numbers, and the `score`.

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

    def select(self, terms: str, bit: int, has: int, rare: int, size: int | None = None) -> sa.Select[Any]:
        score = sa.literal(0.0) if size is None else -self.table.c.rank  # rank: bm25, less is better
        columns = _columns(self.table.c.rowid, bit, has, rare, score)
        return sa.select(*columns).where(self.table.c.documents_fts.match(terms))


class _TsVector:
    table = sa.table("documents", sa.column("id"), sa.column("fts"))

    def term(self, words: Sequence[str]) -> str:
        return "('" + "' <-> '".join(words) + ("':*)" if begins(words) else "')")

    def some(self, terms: Sequence[str]) -> str:
        return f"({' | '.join(terms)})"

    def every(self, terms: Sequence[str]) -> str:
        return f"({' & '.join(terms)})"

    def select(self, terms: str, bit: int, has: int, rare: int, size: int | None = None) -> sa.Select[Any]:
        query = sa.cast(terms, postgresql.TSQUERY)
        score: Any = sa.literal(0.0)
        if size is not None:  # rare words count more, which ts_rank_cd does not know; 1: long documents count less
            score = sa.func.ts_rank_cd(self.table.c.fts, query, 1) * math.log(1 + (MANY + 1) / max(size, 1))
        columns = _columns(self.table.c.id, bit, has, rare, score)
        return sa.select(*columns).where(self.table.c.fts.op("@@")(query))


def _columns(id_: Any, bit: int, has: int, rare: int, score: Any) -> list[sa.Label[Any]]:
    numbers = {"bit": sa.literal(bit, sa.BigInteger), "has": sa.literal(has), "rare": sa.literal(rare)}
    return [id_.label("id"), *(value.label(name) for name, value in numbers.items()), score.label("score")]
