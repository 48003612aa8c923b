"""What is the local store's own: exact sums, codes, several processes, faults."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hit import stores
from hit.arrays import Matrix
from hit.errors import UserError
from hit.stores import codes, exact, local
from hit.stores.local import Local
from hit.types import Floats, Keys, Silent
from test_stores import DIM, UNITS, hits, keys, oracle, random_vectors

WIDE = 32  # width of vectors whose codes tell something


def resize(monkeypatch: pytest.MonkeyPatch, sizes: dict[ModuleType, dict[str, object]]) -> None:
    for module, names in sizes.items():
        for name, value in names.items():
            monkeypatch.setattr(module, name, value)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make codes of libraries that are small, in small blocks."""
    resize(monkeypatch, {local: {"_SMALL": 64, "_SPARSE": 12}})
    resize(monkeypatch, {codes: {"BLOCK": 512, "_CHUNK": 200, "_REACHES": (150, 300), "_LOOK": 16}})


def clusters(n: int, seed: int = 0) -> Floats:
    """Return vectors (n, WIDE) of about unit length, near to one of twenty centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, WIDE))
    vectors = (centres[rng.integers(0, 20, n)] + 0.7 * rng.normal(size=(n, WIDE))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def weighed(n: int, seed: int = 1) -> Floats:
    """Return queries (n, WIDE) that weigh the two halves of a vector as users may."""
    return clusters(n, seed) * np.repeat([[1, 1], [1, 0], [0.2, 1], [0, 1]], WIDE // 2, axis=1)[np.arange(n) % 4].astype(
        np.float32
    )


KEYS = st.integers(0, 40)
VECTORS = st.tuples(*[st.integers(-3, 3)] * DIM)  # small integers: many exact ties


class Machine(RuleBasedStateMachine):
    """Any order of puts, deletions, builds of codes and reopenings, with a second reader that stays open."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.content: dict[int, Floats] = {}
        self.store, self.reader = self.open(), self.open()

    def open(self) -> Local:
        return Local(Path(self.folder.name), DIM)

    @rule(items=st.dictionaries(KEYS, VECTORS, max_size=20))
    def put(self, items: dict[int, tuple[int, ...]]) -> None:
        vectors = np.array(list(items.values()), np.float32).reshape(-1, DIM)
        self.store.put(keys(*items), vectors)
        self.content |= dict(zip(items, vectors, strict=True))

    @rule(chosen=st.lists(KEYS, max_size=5))
    def delete(self, chosen: list[int]) -> None:
        assert self.store.delete(keys(*chosen)) == len({*chosen} & {*self.content})
        for key in chosen:
            self.content.pop(key, None)

    @rule(anew=st.booleans())
    def build(self, anew: bool) -> None:
        assert (self.store.build(anew=anew) is not None) == (len(self.content) >= 16)

    @rule()
    def reopen(self) -> None:
        self.store = self.open()

    @rule(query=VECTORS, limit=st.integers(1, 6), allowed=st.none() | st.lists(KEYS))
    def search(self, query: tuple[int, ...], limit: int, allowed: list[int] | None) -> None:
        vector, some = np.array(query, np.float32), None if allowed is None else keys(*allowed)
        for store in (self.store, self.reader):
            assert hits(store.search(vector[None], limit, some)[0]) == oracle(self.content, vector, limit, some)

    @invariant()
    def everything_is_there(self) -> None:
        assert self.store.count() == len(self.content)
        assert self.reader.keys().tolist() == sorted(self.content)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


def test_any_order_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """With scans that give out next to nothing, so that queries are settled late or not at all, and never by good luck."""
    resize(monkeypatch, {local: {"_SMALL": 4, "_SPARSE": 1, "_LOST": 1.0, "_SLACKS": (99.0,)}})
    resize(monkeypatch, {codes: {"BLOCK": 16, "_REACHES": (8, 30), "_LOOK": 2}})
    run_state_machine_as_test(Machine, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n=st.integers(1, 5000), dim=st.sampled_from([7, 64]), q=st.integers(1, 5), limit=st.integers(1, 40), seed=st.integers(0, 99)
)
def test_best_of_many_are_the_best_by_exact_sums(n: int, dim: int, q: int, limit: int, seed: int) -> None:
    """Rows that nearly tie: a float32 product ranks them wrongly, or differently at another place in the file."""
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(1, dim)) + 1e-7 * rng.normal(size=(n, dim))).astype(np.float32)
    queries = rng.normal(size=(q, dim)).astype(np.float32)
    places = rng.permutation(n)
    with tempfile.TemporaryDirectory() as folder:
        store = Local(Path(folder), dim)
        half = n // 2
        store.put(places[:half], vectors[:half])
        store.put(places[half:], vectors[half:])
        store.put(keys(n), -1e-6 * vectors[:1] * np.sign(vectors[0] @ queries[0]))  # far away and tiny
        store.delete(keys(n))
        sums = (vectors.astype(np.float64) @ queries.astype(np.float64).T).astype(np.float32)
        for i, answer in enumerate(store.search(queries, limit)):
            expected = zip(places.tolist(), sums[:, i].tolist(), strict=True)
            assert hits(answer) == sorted(expected, key=lambda hit: (-hit[1], hit[0]))[:limit]


def test_chunks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "CHUNK", 1)  # the smallest chunk: 1024 rows
    vectors, queries = random_vectors(5000), random_vectors(3, seed=1)
    store = Local(tmp_path, DIM)
    store.put(np.arange(5000), vectors)
    store.delete(np.arange(0, 5000, 3))
    content = {i: row for i, row in enumerate(vectors) if i % 3}
    for allowed in (None, np.arange(0, 5000, 2), np.arange(1500, 4500)):  # the last one without a gap
        for query, answer in zip(queries, store.search(queries, 50, allowed), strict=True):
            assert hits(answer) == oracle(content, query, 50, allowed)


# -- codes


def test_codes_find_what_a_look_at_every_row_finds(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For users' weights, filters, deletions, and rows that wait for their codes."""
    store, plain = Local(tmp_path / "codes", WIDE), Local(tmp_path / "plain", WIDE)
    vectors, queries = clusters(3000), weighed(40)
    for one in (store, plain):
        one.put(np.arange(2500), vectors[:2500])
    assert store.due() and store.recall() is None
    assert store.build() == store.recall() and (store.recall() or 0) >= 0.995
    for one in (store, plain):
        one.delete(np.arange(0, 2500, 9))
        one.put(np.arange(2500, 3000), vectors[2500:])
        one.put(np.arange(3, 2500, 50), clusters(50, seed=5))  # other vectors where there were some
    scans = counted(monkeypatch)
    for allowed in (None, np.arange(0, 3000, 5), np.arange(2400), np.arange(0, 3000, 60)):
        found, expected = store.search(queries, 10, allowed), plain.search(queries, 10, allowed)
        assert codes.recall(found, expected) >= 0.99
        for query, (rows, scores), (_, wanted) in zip(queries, found, expected, strict=True):
            assert len(rows) == len(wanted)
            again = exact.rank(query, store.snapshot()[1], rows, 10)
            assert (again[0].tolist(), again[1].tolist()) == (rows.tolist(), scores.tolist())
            assert allowed is None or np.isin(rows, allowed).all()
            assert np.isin(rows, plain.keys()).all()
    assert len(scans) == 3  # the filter that keeps 50 rows needs none


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each search by codes."""
    calls: list[int] = []
    real = codes.Codes.search

    def search(self: codes.Codes, queries: Floats, *rest: Any) -> Any:
        calls.append(len(queries))
        return real(self, queries, *rest)

    monkeypatch.setattr(codes.Codes, "search", search)
    return calls


def test_a_margin_of_next_to_nothing_is_seen_by_the_trial(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Local(tmp_path, WIDE)
    store.put(np.arange(3000), clusters(3000))
    monkeypatch.setattr(local, "_SLACKS", (-9.0,))
    assert store.build() is None and store.recall() is None
    monkeypatch.setattr(local, "_SLACKS", (-9.0, 3.0))
    assert (store.build() or 0) >= 0.995


def test_vectors_that_codes_do_not_tell_apart_are_all_looked_at(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    vectors = (clusters(1) + 1e-6 * rng.normal(size=(2000, WIDE))).astype(np.float32)
    vectors[:20] = clusters(20, seed=3)  # a book is made for these
    store = Local(tmp_path, WIDE)
    store.put(np.arange(2000), vectors)
    assert store.due()
    assert store.build() is None and "do not tell" in caplog.text
    assert not store.due() and [path.name for path in tmp_path.glob("[bc]o*-*")] == []  # nor is it tried again before it doubles
    scans = counted(monkeypatch)
    sums = (vectors.astype(np.float64) @ vectors[99].astype(np.float64)).astype(np.float32)
    assert store.search(vectors[99:100], 10)[0][0].tolist() == np.lexsort((np.arange(2000), -sums))[:10].tolist()
    assert scans == []


def test_a_still_picture_does_not_hide_behind_its_copies(tmp_path: Path, small: None) -> None:
    """Of more rows that are alike than a scan gives out, the first ones are found: the query is not settled by codes."""
    vectors = clusters(3000)
    vectors[1000:1400] = vectors[0]
    store = Local(tmp_path, WIDE)
    store.put(np.arange(3000), vectors)
    assert store.build()
    assert store.search(vectors[:1], 10)[0][0].tolist() == [0, *range(1000, 1009)]


def test_what_is_added_is_coded_without_touching_the_rest(tmp_path: Path, small: None) -> None:
    store = Local(tmp_path, WIDE)
    store.put(np.arange(1500), clusters(1500))
    store.build()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("[bc]o*-*")}
    assert sorted(name.split("-")[:-1] for name in before) == [["book"], ["codes", "0"], ["codes", "1"], ["codes", "2"]]
    store.put(np.arange(1500, 1560), clusters(60, seed=2))
    assert not store.due()
    store.put(np.arange(1560, 1600), clusters(40, seed=3))
    assert store.due()
    assert store.build() and not store.due() and len(store._view.tail) == 0
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("[bc]o*-*")}
    changed = set(before) - set(after)
    assert [name.split("-")[1] for name in changed] == ["2"] and len(set(after) - set(before)) == 2
    assert {name: before[name] for name in set(before) - changed} == {name: after[name] for name in set(before) - changed}
    store.build(anew=True)
    assert not set(after) & {path.name for path in tmp_path.glob("[bc]o*-*")}


def test_a_library_that_has_grown_gets_a_new_book(tmp_path: Path, small: None) -> None:
    store = Local(tmp_path, WIDE)
    books = []
    for end in (400, 1600, 2000, 2001):
        store.put(np.arange(end), clusters(end))
        store.build()
        (book,) = tmp_path.glob("book-*")
        books.append(book.name)
    assert books[0] == books[1] != books[2] == books[3]  # 2000 is more than four times 400


def test_an_odd_width_and_a_small_library_have_no_codes(tmp_path: Path, small: None) -> None:
    odd, few = Local(tmp_path / "odd", 7), Local(tmp_path / "few", WIDE)
    odd.put(np.arange(500), random_vectors(500, 7))
    few.put(np.arange(60), clusters(60))
    assert [(one.due(), one.build(), one.recall()) for one in (odd, few, Local(tmp_path / "none", 2))] == [
        (False, None, None)
    ] * 3


class Watched(Silent):
    """Progress that calls something at each step."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.call()


def test_searches_go_on_while_codes_are_built(tmp_path: Path, small: None) -> None:
    store, reader, vectors = Local(tmp_path, WIDE), Local(tmp_path, WIDE), clusters(1500)
    store.put(np.arange(1500), vectors)
    found = []

    def look() -> None:
        for one in (store, reader):
            thread = threading.Thread(target=lambda one=one: found.append(one.search(vectors[:1], 1)[0][0].tolist()))
            thread.start()
            thread.join(60)

    for _ in range(2):  # without old codes, and with
        store.build(Watched(look), anew=True)
    assert len(found) >= 2 * 2 * 3 and all(keys == [0] for keys in found)


def test_a_reader_that_comes_while_codes_are_replaced_takes_the_new_ones(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = Local(tmp_path, WIDE), Local(tmp_path, WIDE)
    writer.put(np.arange(1500), clusters(1500))
    writer.build()
    real = codes.Codes.load.__func__  # type: ignore[attr-defined]

    def load(cls: type[codes.Codes], *rest: Any) -> codes.Codes:  # the state was read; now its files go
        monkeypatch.setattr(codes.Codes, "load", classmethod(real))
        writer.build(anew=True)
        loaded: codes.Codes = real(cls, *rest)
        return loaded

    monkeypatch.setattr(codes.Codes, "load", classmethod(load))
    assert reader.search(clusters(1500)[:1], 1)[0][0].tolist() == [0]
    assert reader._codes and reader._codes.index == writer._view.state.index and caplog.text == ""


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if how == "cut" else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
@pytest.mark.parametrize("name", ["book-*", "codes-1-*"])
def test_damaged_codes_are_said_once_and_done_without(
    tmp_path: Path, small: None, caplog: pytest.LogCaptureFixture, name: str, how: str
) -> None:
    Local(tmp_path, WIDE).put(np.arange(1500), clusters(1500))
    Local(tmp_path, WIDE).build()
    (path,) = tmp_path.glob(name)
    spoil(path, how)
    store, content = Local(tmp_path, WIDE), dict(enumerate(clusters(1500)))
    for query in weighed(3):
        assert hits(store.search(query[None], 10)[0]) == oracle(content, query, 10)
    assert caplog.text.count("hit library rebuild") == 1 and path.name in caplog.text
    assert store.recall() is None and store.due()
    assert store.build() and store.recall() and Local(tmp_path, WIDE).recall()


def test_codes_of_another_kind_of_processor_are_not_used(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Local(tmp_path, WIDE)
    store.put(np.arange(1500), clusters(1500))
    store.build()
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert Local(tmp_path, WIDE).recall() is None and "made on" in caplog.text


# -- processes and faults


def test_a_put_of_what_is_there_writes_no_vector(tmp_path: Path) -> None:
    """The matrix may be the library's own, in which the vectors lie before the store hears of them."""
    store = Local(tmp_path, DIM)
    store.put(np.arange(3), random_vectors(3))
    (tmp_path / "state").unlink()
    before = (tmp_path / "vectors.f32").stat().st_mtime_ns
    again = Local(tmp_path, DIM)
    assert again.count() == 0
    again.put(np.arange(3), random_vectors(3))
    assert again.count() == 3 and (tmp_path / "vectors.f32").stat().st_mtime_ns == before
    assert again.search(UNITS[:1], 3)[0][1].tolist() == store.search(UNITS[:1], 3)[0][1].tolist()


def test_what_a_dead_writer_left_does_not_count(tmp_path: Path, small: None) -> None:
    store, clean = Local(tmp_path / "left", WIDE), Local(tmp_path / "clean", WIDE)
    for one in (store, clean):
        one.put(np.arange(600), clusters(600))
    with (store.folder / "vectors.f32").open("ab") as file:
        file.write(np.full((700, WIDE), np.nan, "<f4").tobytes())
    for name in ("book-99", "codes-0-99", "codes-7-1"):
        (store.folder / name).write_bytes(b"half of")
    for one in (store, clean):
        one.put(keys(900), clusters(1, seed=8))  # the rows before it stay as they were left
        assert one.build()
    names = [sorted(path.name for path in one.folder.glob("codes-*")) for one in (store, clean)]
    assert names[0] == names[1] and len(names[0]) == 2
    assert all((store.folder / name).read_bytes() == (clean.folder / name).read_bytes() for name in names[0])
    for opened in (store, Local(store.folder, WIDE)):
        assert opened.count() == 601
        assert opened.search(clusters(1, seed=8), 1)[0][0].tolist() == [900]


def test_a_code_does_not_outlive_its_vector(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies when he has replaced a vector, and has not yet said so, leaves the old or the new: found, with its score."""
    store = Local(tmp_path, WIDE)
    store.put(np.arange(1500), clusters(1500))
    store.build()
    real = Matrix.write

    def write(self: Matrix, rows: Keys, vectors: Floats) -> None:
        real(self, rows, vectors)
        raise InterruptedError

    monkeypatch.setattr(Matrix, "write", write)
    new = 3 * clusters(1, seed=8)
    with pytest.raises(InterruptedError):
        store.put(keys(7), new)
    scans = counted(monkeypatch)
    found, scores = Local(tmp_path, WIDE).search(new, 1)[0]
    assert found.tolist() == [7] and scores[0] == pytest.approx(9, rel=1e-5) and scans


@pytest.mark.parametrize("how", ["cut", "foreign", "of another format"])
def test_a_damaged_state_names_the_way_out(tmp_path: Path, how: str) -> None:
    Local(tmp_path, DIM).put(np.arange(99), random_vectors(99))
    path = tmp_path / "state"
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-1], "foreign": b"{}", "of another format": data.replace(b'"format": 2', b'"format": 1')}[how])
    with pytest.raises(UserError, match="hit library rebuild"):
        Local(tmp_path, DIM)
    (tmp_path / "state").unlink()
    Local(tmp_path, DIM).put(np.arange(99), random_vectors(99))
    assert Local(tmp_path, DIM).count() == 99


def test_another_width_and_lost_vectors_are_refused(tmp_path: Path) -> None:
    Local(tmp_path, DIM).put(keys(0), random_vectors(1))
    with pytest.raises(UserError, match=f"width {DIM}, not 3"):
        Local(tmp_path, 3)
    (tmp_path / "vectors.f32").write_bytes(b"")
    with pytest.raises(UserError, match="hit library verify"):
        Local(tmp_path, DIM)
    with pytest.raises(UserError, match="no kind of store"):
        stores.open("pigeon://hole", DIM)


def test_a_second_writer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_WAIT", 0.05)
    store = Local(tmp_path, DIM)
    acts: list[Callable[[Local], object]] = [
        lambda one: one.put(keys(0), UNITS[:1]),
        lambda one: one.delete(keys(0)),
        Local.build,
    ]
    for act in acts:
        with store._writing(), pytest.raises(UserError, match="another process is writing"):
            act(Local(tmp_path, DIM))


WRITER = """
import sys, numpy as np
from pathlib import Path
from hit.stores import codes, local
local._SMALL = 30; local._SPARSE = 1; local._LOST = 1.0; local._SLACKS = 99.0,
codes.BLOCK = 64; codes._REACHES = 40, 400; codes._LOOK = 4
store = local.Local(Path(sys.argv[1]), 4)
round = store.count() // 10
while True:  # each round adds twenty rows, removes every second of them, and replaces those of the round before
    some = np.arange(max(0, 20 * round - 20), 20 * round + 20)
    some = some[(some >= 20 * round) | (some % 2 == 0)]
    store.put(some, np.stack([some, np.full(len(some), round), 0 * some, 1 + 0 * some], 1).astype(np.float32))
    store.delete(some[some % 2 == 1])
    if round % 3 == 2:
        store.build()
    print(round, flush=True)
    round += 1
"""


@pytest.fixture
def as_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    resize(monkeypatch, {local: {"_SMALL": 30, "_SPARSE": 1}, codes: {"BLOCK": 64, "_REACHES": (40, 400), "_LOOK": 4}})


def test_a_reader_sees_whole_states_while_another_process_writes(
    tmp_path: Path, as_the_writer: None, caplog: pytest.LogCaptureFixture
) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    store, last = Local(tmp_path, 4), -1
    for _ in range(15):
        acknowledged = int(writer.stdout.readline())
        for _ in range(3):
            found, scores = store.search(UNITS[:1], 5)[0]
            assert scores.tolist() == found.tolist() == sorted(found.tolist(), reverse=True)
            assert found[0] >= max(last, 20 * acknowledged + 18)
            last = int(found[0]) - 1  # odd ones go
    writer.kill()
    writer.wait()
    assert store.recall() == 1.0 and caplog.text == ""


def kill_while_writing(folder: Path, rounds: int) -> Iterator[int]:
    for i in range(rounds):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout
        for _ in range(1 + 3 * i % 7):
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        yield int(rest[-1]) if rest else last


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_while_writing_loses_nothing_that_was_acknowledged(tmp_path: Path, as_the_writer: None, rounds: int) -> None:
    coded = []
    for acknowledged in kill_while_writing(tmp_path, rounds):
        store = Local(tmp_path, 4)
        there = store.keys()
        last = int(there[-1]) // 20
        assert last in (acknowledged, acknowledged + 1)
        odd = there[there % 2 == 1]
        assert odd.tolist() in ([], list(range(20 * last + 1, 20 * last + 20, 2)))  # put, and not yet removed
        assert there[there % 2 == 0].tolist() == list(range(0, 20 * last + 20, 2))
        found, scores = store.search(UNITS[:1], len(there))[0]
        assert dict(zip(found.tolist(), scores.tolist(), strict=True)) == {key: key for key in there.tolist()}
        found, scores = store.search(UNITS[1:2], len(there))[0]
        old = np.minimum(found // 20 + 1, last)  # one that was to be replaced in the last round is old or new
        assert ((scores == old) | ((found // 20 == last) & (scores == last + 1))).all()
        assert store.search(UNITS[:1], 3)[0][0].tolist() == there[::-1][:3].tolist()
        coded.append(store.recall())
        store.delete(odd)
    assert coded[-1] == 1.0
