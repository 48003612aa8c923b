"""The store of a folder: a matrix of vectors, searched by inner product; a large one by its codes first.

    vectors.f32     rows (n, dim), see `hit.arrays`; a vector's row is its key
    state           which rows live, and which of them have codes: a line of JSON and two bitmaps, replaced at once after all
                    that it counts is on the disk
    book-*, codes-* see `hit.stores.codes`; without them every search looks at every row

One process writes at a time; readers notice a new state at their next call.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from hit import arrays, files
from hit.errors import UserError
from hit.stores import codes, exact, given
from hit.stores.state import Flags, State, View, dump, parse
from hit.types import Floats, Keys, Progress, Silent

log = logging.getLogger(__name__)
_WAIT = 30.0  # seconds for another writer
_SMALL = 1 << 14  # rows that are quicker looked at one by one than through codes
_SPARSE = 32  # the codes of so many rows are scanned while one row is fetched
_TAIL = 32  # one in so many rows may wait for its codes
_AGED = 4  # a book serves a library until it is so many times as large
_GOAL = 0.995  # recall@10 that an index must show when it is built
_SLACKS = 3.0, 4.0, 6.0  # deviations, see `codes.Index`: the first that reaches the goal
_LOST = 0.25  # an index that leaves more queries unsettled is not worth its scan
_TRIALS = 24  # queries of each kind that it is tried by


class Local:
    """Vectors of width `dim` in `folder`.

    A search that looks at every row depends in its answer on what is stored alone, not on how it got there; one by codes may
    lack a row that belongs to the answer, see `build`. What it finds has the same scores.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        folder.mkdir(parents=True, exist_ok=True)
        self._matrix = arrays.Matrix(folder, dim)
        self._pen, self._guard = threading.RLock(), threading.RLock()  # to write; to look at what follows
        self._view = View.of(State(dim), np.zeros(0, np.bool_), np.zeros(0, np.bool_))
        self._seen = b""  # the state's first line as it was read last: no two states have the same one
        self._codes: codes.Codes | None = None
        self._damaged: codes.Index | None = None
        with self._guard:
            self._refresh()

    def put(self, keys: Keys, vectors: Floats) -> None:
        """Write vectors (N, dim) under keys (N,); a key that exists is replaced. Durable on return.

        Raises ValueError for vectors that are not finite and keys that are negative or not distinct, UserError for another width.
        """
        vectors = given.vectors(self.folder, self.dim, vectors)
        keys = given.keys(keys, len(vectors))
        if not len(keys):
            return
        norm = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
        with self._writing() as view:
            rows = max(view.state.rows, int(keys.max()) + 1)
            live, coded = _grown(view.live, rows), _grown(view.coded, rows)
            coded[keys] = False
            state = replace(view.state, norm=max(view.state.norm, norm))
            if live[keys].any():  # a code must not outlive its vector, should this process die between the two
                self._publish(state, live[: view.state.rows], coded[: view.state.rows])
            self._matrix.write(keys, vectors)
            live[keys] = True
            self._publish(state, live, coded)

    def search(self, queries: Floats, limit: int, allowed: Keys | None = None) -> list[tuple[Keys, Floats]]:
        """Return for each query (Q, dim) the `limit` best (keys, scores), best first, among `allowed` keys if given.

        Equal scores come in the order of their keys. Raises ValueError for a limit below 1 or queries that are not finite.
        """
        queries = given.vectors(self.folder, self.dim, queries)
        given.limit(limit)
        with self._guard:
            index = self._ready()
            view, matrix = self._seen_now()  # that of these codes: a newer one may have rows that only newer codes have
        chosen = None if allowed is None else _known(allowed, view.live)
        count = view.count if chosen is None else len(chosen)
        limit = min(limit, count)
        if not limit or not len(queries):
            return given.nothing(queries)
        if index and count > max(_SMALL, view.state.rows // _SPARSE, _SPARSE * limit):
            found = _by_codes(index, view, matrix, queries, limit, chosen)
        else:
            found = exact.candidates(view, matrix, queries, limit, chosen)
        return [exact.rank(query, matrix, rows, limit) for query, rows in zip(queries, found, strict=True)]

    def delete(self, keys: Keys) -> int:
        """Remove keys, at once and durably; return how many there were."""
        with self._writing() as view:
            dead = _known(keys, view.live)
            if len(dead):
                live = view.live.copy()
                live[dead] = False
                self._publish(view.state, live, view.coded)
            return len(dead)

    def count(self) -> int:
        """Return the number of vectors."""
        with self._guard:
            self._refresh()
            return self._view.count

    def keys(self) -> Keys:
        """Return all keys, ascending."""
        with self._guard:
            self._refresh()
            return np.flatnonzero(self._view.live).astype(np.int64)

    def close(self) -> None:
        """Let go of the files."""
        with self._guard:
            self._matrix, self._codes = arrays.Matrix(self.folder, self.dim), None

    def snapshot(self) -> tuple[View, Floats]:
        """Return which rows live just now, and the matrix, mapped; with the tools of `exact` any row can be looked at."""
        with self._guard:
            self._refresh()
            return self._seen_now()

    def _seen_now(self) -> tuple[View, Floats]:
        return self._view, self._matrix.view(self._view.state.rows).view(np.ndarray)

    # -- codes

    def recall(self) -> float | None:
        """Return the recall@10 that the codes showed when they were built last; None while every search looks at every row."""
        with self._guard:
            index = self._ready()
            return index.index.recall if index else None

    def due(self) -> bool:
        """Tell whether so many vectors have come that `build` would make searches quicker."""
        with self._guard:
            whole, view = self._ready(), self._view
        waiting = len(view.tail) if whole else view.count
        refused = view.count < 2 * view.state.booked and not view.state.index
        return codes.fits(self.dim, view.count) and not refused and waiting > max(_SMALL, view.count // _TAIL)

    def build(self, progress: Progress | None = None, anew: bool = False) -> float | None:
        """Give codes to the rows that have none, or to all anew, and return the recall@10 of queries that were tried then.

        Searches go on meanwhile, other writers wait. Where no codes reach a recall of 0.995, or are of no use, there are none
        afterwards, searches stay exact, and None is returned.
        """
        with self._writing() as view:
            with self._guard:
                old = None if anew or view.count > _AGED * view.state.booked else self._ready()
            built = None
            if view.count > _SMALL and codes.fits(self.dim, view.count):
                built = self._build(view, old, progress or Silent())
                if built is None and old:  # its book is of other vectors than these
                    built, old = self._build(view, None, progress or Silent()), None
                if built is None:
                    log.warning("%s: codes do not tell these vectors apart: every search looks at all of them", self.folder)
            booked = view.state.booked if built and old else view.count
            coded = view.live if built else np.zeros_like(view.live)
            self._publish(replace(view.state, index=built, booked=booked), view.live, coded)
            codes.Writer(self.folder, 0).sweep(built)
            return built.recall if built else None

    def _build(self, view: View, old: codes.Codes | None, progress: Progress) -> codes.Index | None:
        """Write codes, of old ones' book and where they lack some, if there are old ones. Return None if they do not serve."""
        matrix, alive = self.snapshot()[1], np.flatnonzero(view.live)
        rng = np.random.default_rng(view.state.change)
        sample = np.array(matrix[np.sort(rng.permutation(alive)[: codes.SAMPLE])])
        writer = codes.Writer(self.folder, view.state.change + 1)
        file, book = (old.index.book, old.book) if old else writer.book(sample)
        stale = {int(place) for place in np.unique(view.tail // codes.BLOCK)}
        blocks = []
        with progress.task("codes", view.state.rows) as task:
            for place, start in enumerate(range(0, view.state.rows, codes.BLOCK)):
                if old and place < len(old.index.blocks) and place not in stale:
                    blocks.append(old.index.blocks[place])
                    task.advance(min(codes.BLOCK, view.state.rows - start))
                else:
                    blocks.append(writer.block(place, book, matrix, view.live, task.advance))
        return self._tried(codes.Index(file, tuple(blocks)), View.of(view.state, view.live, view.live), sample)

    def _tried(self, index: codes.Index, view: View, sample: Floats) -> codes.Index | None:
        """Return the index with the slack that it needs, and the recall that it has with it; None if none will do."""
        queries, matrix = np.concatenate(list(codes.trials(sample, _TRIALS))), self.snapshot()[1]
        limit = min(10, view.count)
        best = [
            exact.rank(query, matrix, rows, limit)
            for query, rows in zip(queries, exact.candidates(view, matrix, queries, limit), strict=True)
        ]
        loaded = codes.Codes.load(self.folder, self.dim, index)
        for slack in _SLACKS:
            loaded.index = replace(index, slack=slack)
            found = loaded.search(queries, limit, matrix, view.mask)
            settled = [(i, both[0]) for i, both in enumerate(found) if both is not None]
            if len(settled) < (1 - _LOST) * len(queries):
                return None
            ranked = [exact.rank(queries[i], matrix, rows, limit) for i, rows in settled]
            reached = codes.recall(ranked, [best[i] for i, _ in settled])
            if reached >= _GOAL:
                return replace(index, slack=slack, recall=round(reached, 5))
        return None

    def _ready(self) -> codes.Codes | None:
        """Return the codes of the newest state. Where their files are damaged, say so once and do without."""
        while True:
            self._refresh()
            index, seen = self._view.state.index, self._seen
            if index is None or index == self._damaged:
                self._codes = None
            elif self._codes is None or self._codes.index != index:
                try:
                    self._codes = codes.Codes.load(self.folder, self.dim, index, self._codes)
                except codes.DamagedError as error:
                    self._codes = None
                    self._refresh()
                    if self._seen != seen:  # they were built anew this very moment
                        continue
                    self._damaged = index
                    log.warning(
                        "%s: its codes are of no use, searches are slow until `hit library rebuild`: %s", self.folder, error
                    )
            return self._codes

    # -- the state

    def _refresh(self) -> None:
        """Read what other processes have written since."""
        path = self.folder / "state"
        try:
            with path.open("rb") as file:
                line = file.readline()
                if line == self._seen:
                    return
                bits = file.read()
            state, live, coded = parse(line, bits)
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError):
            raise UserError(path, "is damaged", "run `hit library rebuild`") from None
        if state.dim != self.dim:
            raise UserError(self.folder, f"holds vectors of width {state.dim}, not {self.dim}", "use another folder")
        try:
            self._matrix.view(state.rows)
        except EOFError as error:
            raise UserError(self._matrix.path, f"is damaged: {error}", "run `hit library verify`") from None
        self._view, self._seen = View.of(state, live, coded), line

    @contextlib.contextmanager
    def _writing(self) -> Iterator[View]:
        """Be the one thread of the one process that writes, from the newest state on."""
        with self._pen, files.locked(self.folder / ".lock", _WAIT):
            with self._guard:
                self._refresh()
            yield self._view

    def _publish(self, state: State, live: Flags, coded: Flags) -> None:
        state = replace(state, rows=len(live), change=self._view.state.change + 1)
        files.write_whole(self.folder / "state", dump(state, live, coded))
        with self._guard:
            self._refresh()


def _grown(flags: Flags, rows: int) -> Flags:
    grown = np.zeros(rows, np.bool_)
    grown[: len(flags)] = flags
    return grown


def _known(keys: Keys, live: Flags) -> Keys:
    """Return those keys that live, each once, ascending."""
    keys = np.asarray(keys, np.int64)
    if (np.diff(keys) <= 0).any():
        keys = np.unique(keys)
    keys = keys[(keys >= 0) & (keys < len(live))]
    return keys[live[keys]]


def _by_codes(index: codes.Codes, view: View, matrix: Floats, queries: Floats, limit: int, chosen: Keys | None) -> list[Keys]:
    """Return for each query rows among which its best are: by codes, and of the rows without any all that may be.

    A query that the codes cannot settle is answered as if there were none.
    """
    mask, tail = view.mask, view.tail
    if chosen is not None:
        mask = np.zeros_like(view.mask)
        mask[chosen] = view.coded[chosen]
        tail = chosen[~view.coded[chosen]]
    found: list[Keys] = []
    error = exact.error(view, queries)
    waiting = exact.candidates(view, matrix, queries, limit, tail)
    for place, settled in enumerate(index.search(queries, limit, matrix, mask)):
        if settled is None:
            found += exact.candidates(view, matrix, queries[place : place + 1], limit, chosen)
        else:
            rows, values = settled
            found.append(np.concatenate([rows[values >= exact.floor(values, limit, error[place])], waiting[place]]))
    return found
