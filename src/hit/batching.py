"""An encoder for many threads: the texts that they ask for at the same time are embedded together."""

import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from hit.analysis import ServingEncoder
from hit.config import ExpertConfig
from hit.types import Features, Floats

MOST = 32  # texts embedded at once: more gain little, and whoever comes next waits for all of them
KEPT = 4096  # texts whose rows are remembered
_LONGEST = 500  # characters of a text that is remembered


class Batching:
    """Another encoder, that one thread makes use of for all who call.

    A lone call is begun at once; what comes meanwhile is embedded together when that is done, up to `most` texts. Rows may so
    differ in their last bits from those of a text that is embedded alone. The rows of the `keep` texts that were asked for
    last are remembered, unless that is 0. `asked`, `known`, `embedded` and `batches` count texts that were asked for, that
    were remembered, that were not, and the calls of the encoder that those took.
    """

    def __init__(self, encoder: ServingEncoder, most: int = MOST, keep: int = KEPT) -> None:
        self.id, self.revision, self.dim = encoder.id, encoder.revision, encoder.dim
        self._encoder, self._most, self._keep = encoder, most, keep
        self._kept: OrderedDict[str, Floats] = OrderedDict()
        self._guard = threading.Lock()  # over what is remembered and counted
        self._desk = _Desk(encoder, most)
        self.asked = self.known = 0
        # The thread knows the desk alone: it ends when nobody holds this encoder any more.
        self._end = weakref.finalize(self, self._desk.close)

    def close(self) -> None:
        """End the thread, once it has done what it was asked for. Later calls raise RuntimeError, but for what is remembered."""
        self._end()

    @property
    def parts(self) -> Mapping[str, slice]:
        """The encoder's own."""
        return self._encoder.parts

    @property
    def weights(self) -> Mapping[str, float]:
        """The encoder's own."""
        return self._encoder.weights

    @property
    def experts(self) -> Mapping[str, ExpertConfig]:
        """The encoder's own."""
        return self._encoder.experts

    @property
    def identities(self) -> Mapping[str, str]:
        """The encoder's own."""
        return self._encoder.identities

    @property
    def embedded(self) -> int:
        """How many texts the encoder was given."""
        return self._desk.embedded

    @property
    def batches(self) -> int:
        """In how many calls."""
        return self._desk.batches

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens the encoder reads; 0 where it does not count them."""
        count: Callable[[Sequence[str]], int] | None = getattr(self._encoder, "count_tokens", None)
        return count(texts) if count else 0

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        """Return (N, dim), as the encoder does, and while it does nothing else."""
        with self._desk.at_work:
            return self._encoder.embed_clips(clips)

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Return (N, dim). Raises what the encoder raises for these texts; those of others do no harm."""
        rows = self._remembered(texts)
        lacking = list(dict.fromkeys(text for text in texts if text not in rows))
        for start in range(0, len(lacking), self._most):  # one part after the other, so that others come between
            some = lacking[start : start + self._most]
            rows |= zip(some, self._desk.ask(some), strict=True)
        self._remember({text: rows[text] for text in lacking})
        return np.array([rows[text] for text in texts], np.float32).reshape(-1, self.dim)

    def _remembered(self, texts: Sequence[str]) -> dict[str, Floats]:
        with self._guard:
            rows = {text: self._kept[text] for text in texts if text in self._kept}
            for text in rows:
                self._kept.move_to_end(text)
            self.asked += len(texts)
            self.known += sum(text in rows for text in texts)
        return rows

    def _remember(self, rows: Mapping[str, Floats]) -> None:
        with self._guard:
            self._kept.update((text, row.copy()) for text, row in rows.items() if len(text) <= _LONGEST)
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)


class _Call:
    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.rows: Future[Sequence[Floats]] = Future()


class _Desk:
    """Where calls wait, and the thread that answers them. It is started by the first one."""

    def __init__(self, encoder: ServingEncoder, most: int) -> None:
        self.encoder, self.most = encoder, most
        self.at_work = threading.Lock()
        self.embedded = self.batches = 0
        self._some = threading.Condition()
        self._calls: deque[_Call] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, texts: Sequence[str]) -> Sequence[Floats]:
        """Wait for the rows of at most `most` distinct texts."""
        call = _Call(texts)
        with self._some:
            if self._closed:
                raise RuntimeError("the encoder is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="batching", daemon=True)
                self._thread.start()
            self._calls.append(call)
            self._some.notify()
        return call.rows.result()

    def close(self) -> None:
        """Have the thread end when nothing waits any more."""
        with self._some:
            self._closed = True
            self._some.notify()

    def _work(self) -> None:
        while calls := self._next():
            with self.at_work:
                self._answer(calls)
            del calls  # so that nothing is held on to while nothing is asked

    def _next(self) -> list[_Call]:
        """Wait for calls; return those that fit together, the first ones first. None are left when the desk is closed."""
        with self._some:
            self._some.wait_for(lambda: self._calls or self._closed)
            found: list[_Call] = []
            room = self.most
            while self._calls and len(self._calls[0].texts) <= room:
                found.append(self._calls.popleft())
                room -= len(found[-1].texts)
            return found

    def _answer(self, calls: Sequence[_Call]) -> None:
        """Embed the texts of calls together; where that fails, half of them at a time, down to those that fail by themselves."""
        texts = list(dict.fromkeys(text for call in calls for text in call.texts))
        try:
            rows: dict[str, Any] = dict(zip(texts, self.encoder.embed_texts(texts), strict=True))
        except Exception as error:
            if len(calls) == 1:
                calls[0].rows.set_exception(error)
                return
            for half in (calls[: len(calls) // 2], calls[len(calls) // 2 :]):
                self._answer(half)
            return
        self.embedded, self.batches = self.embedded + len(texts), self.batches + 1
        for call in calls:
            call.rows.set_result([rows[text] for text in call.texts])
