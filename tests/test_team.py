"""Who works on what: whichever workers die and machines are lost, and whenever, each item ends once, in what is its own."""

import pickle
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from hit.pool.team import LOSSES, Limits, NodeLostError, Setup, Team, Worker, WorkerLostError
from hit.pool.worker import END, PART, WANT

DIES, GONE = b"dies", b"gone"
_AT_TIMES = st.integers(0, 2).map(lambda drawn: drawn == 1)  # not 0: what hypothesis draws first would go on for ever


@dataclass(frozen=True)
class _Item:
    name: int
    deadly: bool = False
    fatal: bool = False  # to the machine


class _Modelled(Worker):
    """A worker that draws some items ahead and then does the first, as far as it comes."""

    forgiven = 1

    def __init__(self, place: "_Place", alone: bool, ahead: int, placed: bool) -> None:
        super().__init__(Limits(), alone)
        self.place, self.ahead, self.placed = place, ahead, placed
        self.says = deque([END + pickle.dumps(None), WANT + pickle.dumps(None)])
        self.drawn: deque[tuple[int, _Item]] = deque()
        self.number, self.over, self.again, self.held = 0, False, False, deque[bytes]()

    def send(self, message: bytes) -> None:
        assert not self.over
        self.held.append(message)

    def work(self) -> None:
        """Do what there is to be done."""
        while self.held and not self.over:
            if self.again:  # it was at its end
                self.number, self.again = 0, False
                self.says.append(WANT + pickle.dumps(None))
            drawn = pickle.loads(self.held.popleft())
            if drawn is not None:
                self.drawn.append((self.number, drawn[0]))
                self.number += 1
            while self.drawn and not self.over and (drawn is None or len(self.drawn) > self.ahead):
                self.do(*self.drawn.popleft())
            if not self.over:
                self.says.append((END if drawn is None else WANT) + pickle.dumps(None))
            self.again = drawn is None

    def do(self, number: int, item: _Item) -> None:
        if item.deadly or item.fatal:
            self.says.append(GONE if item.fatal else DIES)
            self.over = True
        else:
            self.says += [PART + pickle.dumps((number, item.name)), PART + pickle.dumps((number, None))]

    def receive(self, most: float) -> bytes | None:
        message = self.says.popleft()
        if message == DIES:
            raise EOFError
        if message == GONE:
            raise NodeLostError("the machine was lost")
        return message

    def epitaph(self) -> str:
        return "modelled"

    def leave(self) -> None:
        assert not self.open

    def dismiss(self) -> None:
        pass

    def kill(self) -> None:
        self.place.living.discard(self)


class _Place:
    """Where what happens next is drawn."""

    def __init__(self, data: st.DataObject, losses: int) -> None:
        self.draw, self.losses = data.draw, losses
        self.room = self.draw(st.integers(1, 3))
        self.living: set[_Modelled] = set()

    def hire(self, setup: Setup, limits: Limits, alone: bool) -> Worker:
        worker = _Modelled(self, alone, self.draw(st.integers(0, 2)), self.draw(st.booleans()))
        self.living.add(worker)
        return worker

    def wait(self, workers: Sequence[_Modelled], seconds: float | None) -> list[Worker]:
        placed = [worker for worker in workers if worker.placed]
        if not placed or self.draw(_AT_TIMES):
            for worker in workers:
                worker.placed = True
            return []
        if self.losses and self.draw(_AT_TIMES):
            self.losses -= 1
            lost = self.draw(st.sampled_from(placed))
            lost.over, lost.says = True, deque([GONE])
            return [lost]
        for worker in placed:
            if worker.ready:
                worker.work()
        talking = [worker for worker in placed if worker.says]
        assert talking or len(placed) < len(workers), "nobody would ever say anything again"
        if not talking:
            for worker in workers:
                worker.placed = True
            return []
        return list(self.draw(st.lists(st.sampled_from(talking), min_size=1, unique=True)))

    def close(self) -> None:
        pass


@given(st.data(), st.lists(st.sampled_from(["", "", "", "deadly", "fatal"]), max_size=9), st.integers(0, LOSSES))
def test_each_item_ends_once_and_in_what_is_its_own(data: st.DataObject, kinds: list[str], losses: int) -> None:
    items = [_Item(number, kind == "deadly", kind == "fatal") for number, kind in enumerate(kinds)]
    fatal = kinds.count("fatal")
    place = _Place(data, losses)
    team = Team(place, (), Limits(), items)
    ended: list[tuple[_Item, object]] = []
    while True:
        ended += [(item, part) for item, part in team.gather()]
        if not team.workers:
            break
        for worker in team.ready():
            ended += [(item, part) for item, part in team.hear(worker) if part is None or isinstance(part, Exception)]
    team.dismiss()
    team.kill()
    assert not place.living
    assert Counter(item for item, _ in ended) == Counter(items)
    for item, end in ended:
        if item.fatal:
            assert isinstance(end, NodeLostError)
        elif item.deadly:
            assert isinstance(end, WorkerLostError)
        elif not fatal:
            assert end is None, "lost machines cost no item anything"
