"""Search: texts, videos and images become one query vector; the store's nearest segments and those with its words become hits."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from hit import embeddings, filters, metrics, pages, traces
from hit.arrays import among, products
from hit.db import Database, Match, Place, Said, Stored, words
from hit.errors import UserError
from hit.moments import moments
from hit.types import Clip, Encoder, Evidence, Features, Floats, Hit, Judge, Keys, Moment, Store, Where

EVIDENCE = 5  # lines shown with a hit
K = 60  # of reciprocal rank fusion [Cormack, Clarke and Buettcher 2009]
DEPTH = 200  # how far down a list a place counts, where two are fused or one is ordered anew
_AHEAD = 4  # times as many candidates are looked at as hits are wanted, and again as many where that does not do
_SURE = 0.5  # confidence from which a clip is said to show what is excluded

Looked = Mapping[str, Features]
Example = Sequence[Looked] | Floats  # a video or an image as the experts saw it, segment by segment, or as vectors (n, dim)
Mode = Literal["hybrid", "meaning", "words", "normalised"]
Level = Literal["clip", "video"]


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: the mean of all texts and examples, weighed by `mix` (texts first) where given.

    exclude, exclude_examples: what hits must not show. weights: of the embedding's parts; None: the model's own, a part that is
    not named weighs 1. mode: "meaning" ranks by the vectors, "words" by the words that are spoken, shown, in file names and
    tags, "hybrid" fuses both, "normalised" ranks by meaning with query-bank normalisation. With `group_by="video"` each video
    appears once, with its moments and its curve of scores. page: the token of an earlier answer.
    """

    texts: Sequence[str] = ()
    examples: Sequence[Example] = ()
    exclude: Sequence[str] = ()
    exclude_examples: Sequence[Example] = ()
    mix: Sequence[float] | None = None
    weights: Mapping[str, float] | None = None
    where: filters.Node | None = None
    mode: Mode = "hybrid"
    limit: int = 10
    group_by: Level = "clip"
    page: str | None = None
    explain: bool = False


class Options(TypedDict, total=False):
    """The fields of a Query that every door passes on as they are."""

    mix: Sequence[float] | None
    where: filters.Node | None
    mode: Mode
    limit: int
    group_by: Level
    page: str | None
    explain: bool


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is searched: a library's database, the store of one array's vectors, and the model that made them."""

    db: Database
    store: Store
    stored: Stored
    encoder: Encoder
    posters: Where
    judge: Judge | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, best first, and the model that found them. `no_good_match` is None where scores are not calibrated."""

    hits: Sequence[Hit]
    model: str
    revision: str
    no_good_match: bool | None = None
    next_page_token: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the answer under the names of the command line's and the API's JSON."""
        return {
            "hits": [hit.to_json() for hit in self.hits],
            "model": {"id": self.model, "revision": self.revision},
            "no_good_match": self.no_good_match,
            "next_page_token": self.next_page_token,
        }


class _Candidate(NamedTuple):
    row: int
    score: float
    key: pages.Key
    rank: int | None  # by meaning, where it counted
    match: Match | None


def search(query: Query, shelf: Shelf) -> Answer:
    """Return the segments that fit the query best: never fewer than `limit` if as many fit it and its filter.

    Raises UserError for an empty query, a limit below 1, an empty library, a page of another query, and where the encoder is
    of another revision than the vectors.
    """
    if query.limit < 1:
        raise UserError("the limit", f"{query.limit} is below 1")
    check(shelf.encoder, shelf.stored)
    if not shelf.store.count():
        raise UserError("the library", "holds no videos yet", "add some with `hit index LIBRARY PATH`")
    with traces.span("search"), shelf.db.steady():
        return _Search(query, shelf).answer()


def check(encoder: Encoder, stored: Stored) -> None:
    """Raise UserError for vectors that another model has made."""
    if encoder.revision != stored.revision:
        why = f"it was indexed with model revision {stored.revision}, the query would be made by {encoder.revision}"
        raise UserError("the library", why, "index it again with `hit index LIBRARY --model MODEL`")


class _Search:
    """One search at work."""

    def __init__(self, query: Query, shelf: Shelf) -> None:
        self.query, self.shelf, self.db = query, shelf, shelf.db
        asked = _asked(query, shelf.encoder)
        self.vector = _mixed(asked, query, shelf.encoder)
        if any(not text.strip() for text in query.exclude):
            raise UserError("what is to be left out", "is empty", "say what hits should not show")
        barred = _rows(query.exclude, query.exclude_examples, shelf.encoder)
        self.barred = _weighted(barred, query, shelf.encoder)
        self.digest = _digest(query, asked[len(query.texts) :], barred[len(query.exclude) :])
        self.page = None if query.page is None else pages.read(query.page, self.digest, shelf.stored.name)
        now = self.db.stored(shelf.stored.revision, shelf.stored.dim).rows
        self.rows = min(self.page.rows, now) if self.page else now
        self.allowed = None if query.where is None else self.db.allowed(shelf.stored, query.where)
        if self.allowed is not None:
            self.allowed = self.allowed[self.allowed < self.rows]
        elif self.rows < now:  # what came later takes no place in any list
            self.allowed = np.arange(max(self.rows, 0))
        self.matches = self._matches(DEPTH)[0] if query.mode == "hybrid" and query.texts else []
        own = query.weights is None or dict(query.weights) == dict(shelf.encoder.weights)
        calibrated = len(query.texts) == 1 and not query.examples and own
        self.judge = shelf.judge if calibrated else None
        if query.mode == "normalised" and not shelf.judge:
            fix = "calibrate it with `hit calibrate MODEL DATASET`"
            raise UserError("mode normalised", "the model has no bank of queries to normalise with", fix)

    def answer(self) -> Answer:
        found = self._hits()
        shown = self.page.shown if self.page else 0
        sure = self._confidences([one.score for one, _ in found])
        self.lines = self.db.lines(place.segment.id for _, place in found) if self.query.texts else {}
        hits = [
            self._hit(rank, one, place, confidence)
            for rank, ((one, place), confidence) in enumerate(zip(found, sure, strict=True), shown + 1)
        ]
        if self.query.group_by == "video":
            hits = self._with_moments(hits)
        token = None
        if len(found) == self.query.limit:
            last = found[-1][0].key
            token = pages.Page(self.digest, self.shelf.stored.name, self.rows, shown + len(found), last).token()
        return Answer(hits, self.shelf.encoder.id, self.shelf.encoder.revision, self._no_good_match(hits, found), token)

    # -- candidates, best first

    def _hits(self) -> list[tuple[_Candidate, Place]]:
        """Return the page's candidates: looked for further and further down, until there are enough or no more."""
        fetch = self.query.limit * _AHEAD
        while True:
            candidates, all_ = self._candidates(fetch)
            last = self._last(candidates)
            if last and self.query.group_by == "clip":
                candidates = [one for one in candidates if one.key > last]
            found: dict[object, tuple[_Candidate, Place]] = {}
            skipped: set[object] = set()
            for one, place in self._placed(candidates):
                group = one.row if self.query.group_by == "clip" else place.segment.video_id
                if last and one.key <= last:
                    skipped.add(group)
                elif group not in skipped:
                    found.setdefault(group, (one, place))
                if len(found) == self.query.limit:
                    return list(found.values())
            if all_:
                return list(found.values())
            fetch *= _AHEAD

    def _last(self, candidates: Sequence[_Candidate]) -> pages.Key | None:
        """Return the key to go on after: that of the page's last hit, as it is now, since what was removed may have moved it."""
        if not self.page:
            return None
        last = self.page.last
        return next((one.key for one in candidates if one.row == last[2]), last)

    def _placed(self, candidates: Sequence[_Candidate]) -> Iterator[tuple[_Candidate, Place]]:
        start, step = 0, self.query.limit if self.query.group_by == "clip" else self.query.limit * _AHEAD
        while some := candidates[start : start + step]:
            rows, scores = np.array([one.row for one in some], np.int64), np.array([one.score for one in some], np.float32)
            kept = [one for one, bad in zip(some, self._barred(rows, scores).tolist(), strict=True) if not bad]
            places = self.db.places(self.shelf.stored, [one.row for one in kept])
            yield from ((one, places[one.row]) for one in kept if one.row in places)
            start, step = start + step, 2 * step  # whoever looks far down looks at many

    def _candidates(self, fetch: int) -> tuple[list[_Candidate], bool]:
        """Return candidates in their order, and whether these are all there are."""
        if self.query.mode == "words":
            matches, all_ = self._matches(max(fetch, DEPTH))
            scores = self._scores(np.array([match.row for match in matches], np.int64))
            return [
                _Candidate(match.row, score, (float(place), 0.0, match.row), None, match)
                for place, (match, score) in enumerate(zip(matches, scores.tolist(), strict=True), 1)
            ], all_
        if self.matches or self.query.mode == "normalised":
            fetch = max(fetch, DEPTH)
        with traces.part("store"):
            rows, scores = self.shelf.store.search(self.vector[None], fetch, self.allowed)[0]
        all_ = len(rows) < fetch
        there = rows < self.rows
        rows, scores = rows[there], scores[there]
        if self.query.mode == "normalised":
            return self._normalised(rows, scores), all_
        return self._fused(rows, scores), all_

    def _fused(self, rows: Keys, scores: Floats) -> list[_Candidate]:
        matches, found = {match.row: match for match in self.matches}, rows.tolist()
        ranks = {row: rank for rank, row in enumerate(found[:DEPTH], 1)}
        further = list(matches.keys() - found)
        values = scores.tolist() + self._scores(np.array(further, np.int64)).tolist()
        candidates = []
        for row, score in zip(found + further, values, strict=True):
            rank, match, fused = ranks.get(row), matches.get(row), 0.0
            if matches:  # or the scores alone make the order, so that pages stay true when something is removed
                fused = (1 / (K + rank) if rank else 0.0) + (1 / (K + match.place) if match else 0.0)
            candidates.append(_Candidate(row, score, (-fused, -score, row), rank, match))
        return sorted(candidates, key=attrgetter("key"))

    def _normalised(self, rows: Keys, scores: Floats) -> list[_Candidate]:
        assert self.shelf.judge, "refused before"
        first = slice(0, DEPTH)
        vectors = self.db.vectors(self.shelf.stored, rows[first])
        made = self.shelf.judge.normalise(self.vector, scores[first], vectors)
        near = [
            _Candidate(row, score, (0.0, -float(new), row), None, None)
            for row, score, new in zip(rows[first].tolist(), scores[first].tolist(), made, strict=True)
        ]
        far = zip(rows[DEPTH:].tolist(), scores[DEPTH:].tolist(), strict=True)
        return sorted(near, key=lambda one: one.key) + [
            _Candidate(row, score, (1.0, -score, row), None, None) for row, score in far
        ]

    def _matches(self, depth: int) -> tuple[Sequence[Match], bool]:
        """Return up to `depth` segments that have the query's words, and whether these are all there are."""
        found = self.db.matches(self.shelf.stored, " ".join(self.query.texts), depth, self.allowed)
        return [match for match in found if match.row < self.rows], len(found) < depth

    def _scores(self, rows: Keys) -> Floats:
        return products(self.db.vectors(self.shelf.stored, rows), self.vector)

    def _barred(self, rows: Keys, scores: Floats) -> NDArray[np.bool_]:
        """Tell which rows (n,) fit what is excluded better than what is asked for, by these scores, or show it beyond doubt."""
        if not len(self.barred) or not len(rows):
            return np.zeros(len(rows), np.bool_)
        vectors = self.db.vectors(self.shelf.stored, rows)
        unwanted = products(vectors, self.barred)  # (n, excluded)
        # Where the model found nothing in a segment, both scores are 0, and it shows nothing that could be left out.
        bad: NDArray[np.bool_] = np.logical_and((unwanted >= scores[:, None]).any(axis=1), vectors.any(axis=1))
        if self.shelf.judge:
            texts = len(self.query.exclude)  # no confidence is known of examples, which come after them
            for vector, column in zip(self.barred[:texts], unwanted.T[:texts], strict=True):
                np.logical_or(bad, self.shelf.judge.judge(vector, column, self._size()) >= _SURE, out=bad)
        return bad

    def _size(self) -> int:
        return self.shelf.store.count() if self.allowed is None else len(self.allowed)

    # -- hits

    def _confidences(self, scores: Sequence[float]) -> Sequence[float | None]:
        if self.judge is None or not scores:
            return [None] * len(scores)
        found: list[float | None] = self.judge.judge(self.vector, np.array(scores, np.float32), self._size()).tolist()
        return found

    def _hit(self, rank: int, one: _Candidate, place: Place, confidence: float | None) -> Hit:
        segment, query = place.segment, self.query
        return Hit(
            rank=rank,
            clip=Clip(segment.id, segment.video_id, place.path, segment.start, segment.end),
            score=one.score,
            seek=segment.seek,
            confidence=confidence,
            thumbnail=self.shelf.posters / segment.thumbnail if segment.thumbnail else None,
            evidence=evidence(query.texts, self.lines.get(segment.id, ())),
            explanation=self._explain(one) if query.explain else None,
        )

    def _explain(self, one: _Candidate) -> dict[str, Any]:
        """Return what the score is the sum of, and which lists brought the hit to its rank."""
        (vector,) = self.db.vectors(self.shelf.stored, np.array([one.row], np.int64))
        products = {
            name: float(self.vector[part].astype(np.float64) @ vector[part]) for name, part in self.shelf.encoder.parts.items()
        }
        return {
            "parts": products,
            "meaning_rank": one.rank,
            "words_rank": one.match.place if one.match else None,
            "words": list(one.match.words) if one.match else [],
            "fused": -one.key[0] if self.query.mode == "hybrid" and self.matches else None,
        }

    def _with_moments(self, hits: Sequence[Hit]) -> list[Hit]:
        segments = self.db.segments(self.shelf.stored, [hit.clip.video for hit in hits])
        made = []
        for hit in hits:
            own = segments.get(hit.clip.video, {})
            rows = np.fromiter(own, np.int64)
            scores = self._scores(rows)
            fits = np.logical_not(self._barred(rows, scores))
            if self.query.where is not None and self.allowed is not None:
                fits = np.logical_and(fits, among(rows, self.allowed))
            found = [
                Moment(one.start, one.end, one.seek, score) for one, score in zip(own.values(), scores.tolist(), strict=True)
            ]
            shown = moments([one for one, fit in zip(found, fits.tolist(), strict=True) if fit])
            made.append(replace(hit, moments=shown, curve=[(one.start, one.end, one.score) for one in found]))
        return made

    def _no_good_match(self, hits: Sequence[Hit], found: Sequence[tuple[_Candidate, Place]]) -> bool | None:
        if self.judge is None or self.page:  # later pages say nothing about the best
            return None
        literal = any(one.match and one.match.whole for one, _ in found)
        return not literal and not any((hit.confidence or 0.0) >= self.judge.threshold for hit in hits)


def evidence(texts: Sequence[str], lines: Sequence[Said]) -> list[Evidence]:
    """Return the lines that have words in common with the query, those with most first, and of equals the earliest."""
    wanted = words(" ".join(texts))
    shared = [(len(wanted & words(line.text)), line) for line in lines]
    best = sorted((pair for pair in shared if pair[0]), key=lambda pair: (-pair[0], pair[1].number))
    return [Evidence(line.expert, line.start, line.end, line.text) for _, line in best[:EVIDENCE]]


def embed(query: Query, encoder: Encoder) -> Floats:
    """Return the query as one vector (dim,), so that an inner product with it is the weighted sum of the parts' cosines."""
    return _mixed(_asked(query, encoder), query, encoder)


def _digest(query: Query, *examples: Floats) -> str:
    """Name a query. Its texts stand for themselves: their vectors' last bits depend on what is embedded with them."""
    said = [query.texts, query.exclude, query.mix, query.weights, query.mode, query.group_by]
    seen = hashlib.sha256(b"|".join(rows.tobytes() for rows in examples)).hexdigest()
    return pages.digest({"query": [*said, query.where and filters.to_json(query.where), seen]})


def _asked(query: Query, encoder: Encoder) -> Floats:
    """Return a row for each text and example."""
    if any(not text.strip() for text in query.texts) or not (query.texts or query.examples):
        raise UserError("the query", "is empty", "give a text, --video or --image")
    if any("\ud800" <= c <= "\udfff" for text in (*query.texts, *query.exclude) for c in text):
        raise UserError("the query", "has characters that are none (halves of a pair)", "give it as UTF-8")
    return _rows(query.texts, query.examples, encoder)


def _mixed(rows: Floats, query: Query, encoder: Encoder) -> Floats:
    mix = np.ones(len(rows)) if query.mix is None else np.array(query.mix, np.float64)
    if mix.shape != (len(rows),) or not np.isfinite(mix).all() or (mix < 0).any() or not mix.any():
        why = f"{len(mix)} weights for {len(rows)} queries must be one each, 0 or above, and not all 0"
        raise UserError("the mix", why, "texts come first, then videos, then images")
    vector: Floats = np.average(rows, axis=0, weights=mix / mix.max()).astype(np.float32)
    vector = _weighted(vector[None], query, encoder)[0]
    if not vector.any():
        raise UserError("the query", "the model finds nothing in it to search by", "give a text, or another video or image")
    return vector


def _rows(texts: Sequence[str], examples: Sequence[Example], encoder: Encoder) -> Floats:
    if not texts and not examples:
        return np.zeros((0, encoder.dim), np.float32)
    with traces.part("embed"):
        rows = list(encoder.embed_texts(texts)) if texts else []
        seen = (one if isinstance(one, np.ndarray) else encoder.embed_clips(one) for one in examples)
        rows += [embeddings.mean(vectors, encoder.parts) for vectors in seen]
    return np.array(rows, np.float32).reshape(-1, encoder.dim)


def _weighted(rows: Floats, query: Query, encoder: Encoder) -> Floats:
    weights = encoder.weights if query.weights is None else query.weights
    weighted: Floats = rows * metrics.weighting(encoder.parts, weights, encoder.dim)
    return weighted
