"""The contract of every vector store, held against a plain loop over a dict."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hit import stores
from hit.errors import UserError
from hit.stores.local import Local
from hit.types import Floats, Store

DIM = 3
KINDS: dict[str, Callable[[Path], Store]] = {"local": lambda folder: stores.open(folder, DIM)}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return KINDS[request.param](tmp_path / "vectors")


def oracle(content: dict[str, Floats], query: Floats, limit: int, allowed: list[str] | None = None) -> list[tuple[str, float]]:
    scores = {
        key: float(np.float32(sum(float(a) * float(b) for a, b in zip(vector, query, strict=True))))
        for key, vector in content.items()
        if allowed is None or key in allowed
    }
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:limit]


def random_vectors(n: int, dim: int = DIM, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_answers_equal_a_plain_loop(store: Store) -> None:
    vectors, queries = random_vectors(200), random_vectors(5, seed=1)
    content = {f"id {i}": row for i, row in enumerate(vectors)}
    store.put(list(content), vectors)
    for limit in (1, 7, 1000):
        for query, hits in zip(queries, store.search(queries, limit), strict=True):
            assert hits == oracle(content, query, limit)


def test_filter_is_exact_and_ignores_unknown_ids(store: Store) -> None:
    vectors, query = random_vectors(200), random_vectors(1, seed=1)
    content = {str(i): row for i, row in enumerate(vectors)}
    store.put(list(content), vectors)
    allowed = ["5", "17", "17", "nobody", "60", "199"]
    assert store.search(query, 3, allowed)[0] == oracle(content, query[0], 3, allowed)
    assert len(store.search(query, 10, allowed)[0]) == 4
    assert store.search(query, 10, []) == [[]]
    assert store.search(query, 10, ["nobody"]) == [[]]


def test_ties_come_in_the_order_of_ids(store: Store) -> None:
    names = [f"{i:03d}" for i in np.random.default_rng(0).permutation(300)]
    store.put(names, np.tile(random_vectors(1), (300, 1)))
    assert [key for key, _ in store.search(random_vectors(1), 10)[0]] == [f"{i:03d}" for i in range(10)]


def test_put_replaces_and_delete_is_seen_at_once(store: Store) -> None:
    store.put(["a", "b", "a"], np.eye(3, dtype=np.float32))  # twice in one call: the last counts
    assert store.search(np.eye(3, dtype=np.float32)[2:], 1) == [[("a", 1.0)]]
    store.put(["a"], 5 * np.eye(3, dtype=np.float32)[:1])
    assert store.search(np.eye(3, dtype=np.float32)[:1], 9) == [[("a", 5.0), ("b", 0.0)]]
    assert (store.delete(["a", "a", "nobody"]), store.count(), store.delete([])) == (1, 1, 0)
    assert store.search(np.eye(3, dtype=np.float32)[:1], 9) == [[("b", 0.0)]]
    store.put(["a"], np.eye(3, dtype=np.float32)[:1])
    assert store.count() == 2 and sorted(store.ids()) == ["a", "b"]


def test_an_empty_store_answers_nothing(store: Store) -> None:
    assert store.count() == 0 and store.ids() == []
    assert store.search(random_vectors(2), 5) == [[], []]
    store.put([], np.zeros((0, DIM), np.float32))
    assert store.search(np.zeros((0, DIM), np.float32), 5) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(store: Store, bad: float) -> None:
    vectors = random_vectors(2)
    vectors[1, 1] = bad
    for act in (lambda: store.put(["a", "b"], vectors), lambda: store.search(vectors, 1)):
        with pytest.raises(ValueError, match="not finite"):
            act()
    assert store.count() == 0


def test_what_does_not_fit_is_refused_and_changes_nothing(store: Store) -> None:
    store.put(["a"], random_vectors(1))
    with pytest.raises(UserError, match="width 3"):
        store.put(["b"], random_vectors(1, 4))
    with pytest.raises(UserError, match="width 3"):
        store.search(random_vectors(1, 4), 1)
    for ids in (["b"], ["b", ""], ["b", "c\0d"]):
        with pytest.raises(ValueError, match="id"):
            store.put(ids, random_vectors(2 if len(ids) == 2 else 3))
    with pytest.raises(ValueError, match="below 1"):
        store.search(random_vectors(1), 0)
    assert store.ids() == ["a"]


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=3)
VECTORS = st.tuples(*[st.integers(-3, 3)] * DIM)  # small integers: many exact ties


class Machine(RuleBasedStateMachine):
    """Any order of puts, deletions, squeezes and reopenings, with a second reader that stays open."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.content: dict[str, Floats] = {}
        self.store, self.reader = self.open(), self.open()

    def open(self) -> Local:
        return Local(Path(self.folder.name), DIM)

    @rule(items=st.lists(st.tuples(NAMES, VECTORS), max_size=8))
    def put(self, items: list[tuple[str, tuple[int, ...]]]) -> None:
        vectors = np.array([vector for _, vector in items], np.float32).reshape(-1, DIM)
        self.store.put([key for key, _ in items], vectors)
        self.content |= {key: row for (key, _), row in zip(items, vectors, strict=True)}

    @rule(data=st.data(), stray=NAMES)
    def delete(self, data: st.DataObject, stray: str) -> None:
        chosen = data.draw(st.lists(st.sampled_from([*self.content, stray]), max_size=5))
        assert self.store.delete(chosen) == len({*chosen} & {*self.content})
        for key in chosen:
            self.content.pop(key, None)

    @rule()
    def compact(self) -> None:
        self.store.compact()
        assert len(list(Path(self.folder.name).glob("vectors-*"))) == 1

    @rule()
    def reopen(self) -> None:
        self.store = self.open()

    @rule(query=VECTORS, limit=st.integers(1, 6), data=st.data())
    def search(self, query: tuple[int, ...], limit: int, data: st.DataObject) -> None:
        allowed = data.draw(st.none() | st.lists(st.sampled_from([*self.content, "?"])))
        vector = np.array(query, np.float32)
        for store in (self.store, self.reader):
            assert store.search(vector[None], limit, allowed) == [oracle(self.content, vector, limit, allowed)]

    @invariant()
    def everything_is_there(self) -> None:
        assert self.store.count() == len(self.content)
        assert set(self.reader.ids()) == set(self.content)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n=st.integers(1, 5000), dim=st.sampled_from([7, 64]), q=st.integers(1, 5), limit=st.integers(1, 40), seed=st.integers(0, 99)
)
def test_best_of_many_are_the_best_by_exact_sums(n: int, dim: int, q: int, limit: int, seed: int) -> None:
    """Rows that nearly tie: a float32 product ranks them wrongly, or differently at another place in the file."""
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(1, dim)) + 1e-7 * rng.normal(size=(n, dim))).astype(np.float32)
    queries = rng.normal(size=(q, dim)).astype(np.float32)
    names = [f"{i:05d}" for i in rng.permutation(n)]
    with tempfile.TemporaryDirectory() as folder:
        store = Local(Path(folder), dim)
        half = n // 2
        store.put(names[:half], vectors[:half])
        store.put(names[half:], vectors[half:])
        store.put(["far away and tiny"], -1e-6 * vectors[:1] * np.sign(vectors[0] @ queries[0]))
        store.delete(["far away and tiny"])
        exact = (vectors.astype(np.float64) @ queries.astype(np.float64).T).astype(np.float32)
        for i, hits in enumerate(store.search(queries, limit)):
            assert hits == sorted(zip(names, exact[:, i].tolist(), strict=True), key=lambda h: (-h[1], h[0]))[:limit]


def test_what_a_dead_writer_left_is_overwritten(tmp_path: Path) -> None:
    Local(tmp_path, DIM).put(["a", "b"], np.eye(3, dtype=np.float32)[:2])
    Local(tmp_path, DIM).delete(["a"])
    for name in ("vectors-0.f32", "ids-0.bin", "dead-0.u64"):
        with (tmp_path / name).open("ab") as file:
            file.write(b"\x01garbage, longer than what follows\0" * 99)
    store = Local(tmp_path, DIM)
    store.put(["c"], np.eye(3, dtype=np.float32)[2:])
    store.delete(["b"])
    for opened in (store, Local(tmp_path, DIM)):
        assert opened.search(np.ones((1, 3), np.float32), 9) == [[("c", 1.0)]]


def test_a_reader_that_comes_while_files_are_squeezed_takes_the_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Local(tmp_path, DIM)
    writer.put(["a", "b"], random_vectors(2))
    real, calls = Local._load, []

    def load(self: Local, manifest: object) -> None:  # the manifest was read; now its files go
        calls.append(manifest)
        if len(calls) == 1:
            monkeypatch.setattr(Local, "_load", real)
            writer.compact()
        real(self, manifest)  # type: ignore[arg-type]

    monkeypatch.setattr(Local, "_load", load)
    assert sorted(Local(tmp_path, DIM).ids()) == ["a", "b"] and calls


def test_chunks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.stores.local._CHUNK", 1)  # the smallest chunk: 1024 rows
    vectors, queries = random_vectors(5000), random_vectors(3, seed=1)
    names = [str(i) for i in range(5000)]
    store = Local(tmp_path, DIM)
    store.put(names, vectors)
    store.delete(names[::3])
    content = {name: row for i, (name, row) in enumerate(zip(names, vectors, strict=True)) if i % 3}
    for allowed in (None, names[::2]):
        for query, hits in zip(queries, store.search(queries, 50, allowed), strict=True):
            assert hits == oracle(content, query, 50, allowed)


def test_mostly_dead_rows_are_squeezed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.stores.local._SLACK", 10)
    store, reader = Local(tmp_path, DIM), Local(tmp_path, DIM)
    for seed in range(20):
        store.put([str(i) for i in range(8)], random_vectors(8, seed=seed))
    assert sum(path.stat().st_size for path in tmp_path.glob("vectors-*")) <= 8 * 4 * DIM * 4
    assert reader.search(random_vectors(1), 8) == store.search(random_vectors(1), 8)
    assert len(list(tmp_path.iterdir())) == 5  # manifest, lock, vectors, ids, dead


def test_another_width_or_a_foreign_manifest_is_refused(tmp_path: Path) -> None:
    Local(tmp_path, DIM).put(["a"], random_vectors(1))
    with pytest.raises(UserError, match="width 3, not 4"):
        Local(tmp_path, 4)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="not a manifest"):
        Local(tmp_path, DIM)
    with pytest.raises(UserError, match="no kind of store"):
        stores.open("pigeon://hole", DIM)


def test_lost_files_are_named_not_guessed(tmp_path: Path) -> None:
    Local(tmp_path, DIM).put(["a"], random_vectors(1))
    (tmp_path / "vectors-0.f32").unlink()
    with pytest.raises(UserError, match="gone"):
        Local(tmp_path, DIM)


def test_a_second_writer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hit.stores.local._WAIT", 0.05)
    store = Local(tmp_path, DIM)
    with store._writing(), pytest.raises(UserError, match="another process is writing"):
        Local(tmp_path, DIM).put(["a"], random_vectors(1))


def test_threads_write_and_read_together(store: Store) -> None:
    def write(worker: int) -> None:
        for i in range(10):
            store.put([f"{worker} {i}"], random_vectors(1, seed=i))
            assert store.search(random_vectors(1), 1)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 40


WRITER = """
import sys, numpy as np
from pathlib import Path
from hit.stores.local import Local
import hit.stores.local
hit.stores.local._SLACK = 60
store = Local(Path(sys.argv[1]), 4)
round = store.count() // 10
while True:  # each round adds ten ids and replaces the ten before them
    ids = [str(i) for i in range(max(0, 10 * round - 10), 10 * round + 10)]
    store.put(ids, np.array([[float(key), round, 0, 1] for key in ids], np.float32))
    print(round, flush=True)
    round += 1
"""


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


def test_kill_while_writing_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    for acknowledged in kill_while_writing(tmp_path, 8):
        store = Local(tmp_path, 4)
        rounds, rest = divmod(store.count(), 10)
        assert rest == 0 and rounds in (acknowledged + 1, acknowledged + 2)  # a put is there whole or not at all
        ids = [str(i) for i in range(store.count())]
        assert sorted(store.ids()) == sorted(ids)
        by_id = dict(store.search(np.eye(4, dtype=np.float32)[:1], len(ids))[0])
        assert by_id == {key: float(key) for key in ids}
        written = dict(store.search(np.eye(4, dtype=np.float32)[1:2], len(ids))[0])
        assert written == {key: min(float(key) // 10 + 1, rounds - 1) for key in ids}
