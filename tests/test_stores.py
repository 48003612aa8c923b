"""The contract of every vector store, held against a plain loop over a dict. What is the local store's own: test_local.py."""

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from hit import stores
from hit.errors import UserError
from hit.types import Floats, Keys, Store

DIM = 4
EXACT = {"local", "milvus-lite", "milvus-server"}  # kinds whose scores are right to the last bit of a float32
Hits = list[tuple[int, float]]
numbers = itertools.count()


@pytest.fixture(params=["local", "milvus-lite", "milvus-server"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opener(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Return a function that opens the same store whenever it is called."""
    where = tmp_path / "vectors" if kind == "local" else request.getfixturevalue(kind.replace("-", "_"))
    name = f"contract/{os.getpid()}_{next(numbers)}"
    return lambda: stores.open(where, DIM, name)


@pytest.fixture
def store(opener: Callable[[], Store]) -> Iterator[Store]:
    opened = opener()
    yield opened
    opened.close()


def oracle(content: Mapping[int, Floats], query: Floats, limit: int, allowed: Keys | None = None) -> Hits:
    scores = {
        key: float(np.float32(sum(float(a) * float(b) for a, b in zip(vector, query, strict=True))))
        for key, vector in content.items()
        if allowed is None or key in allowed
    }
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:limit]


def hits(answer: tuple[Keys, Floats]) -> Hits:
    keys, scores = answer
    assert keys.dtype == np.int64 and scores.dtype == np.float32 and keys.shape == scores.shape
    return list(zip(keys.tolist(), scores.tolist(), strict=True))


def check(kind: str, answer: tuple[Keys, Floats], expected: Hits) -> None:
    """Hold an answer against the oracle's: the same, or the same but for the last bits of scores that do not tie."""
    found = hits(answer)
    if kind in EXACT:
        assert found == expected
        return
    assert len(found) == len(expected)
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], rtol=1e-5, atol=1e-5)
    clear = {key: score for key, score in expected if sum(abs(score - other) < 1e-4 for _, other in expected) == 1}
    assert all(found[i][0] == key for i, (key, _) in enumerate(expected[:-1]) if key in clear)


def random_vectors(n: int, dim: int = DIM, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def keys(*some: int) -> Keys:
    return np.array(some, np.int64)


UNITS = np.eye(DIM, dtype=np.float32)


def test_answers_equal_a_plain_loop(kind: str, store: Store) -> None:
    vectors, queries = random_vectors(200), random_vectors(5, seed=1)
    store.put(np.arange(200), vectors)
    for limit in (1, 7, 1000):
        for query, answer in zip(queries, store.search(queries, limit), strict=True):
            check(kind, answer, oracle(dict(enumerate(vectors)), query, limit))


def test_filter_is_exact_and_ignores_unknown_keys(kind: str, store: Store) -> None:
    vectors, query = random_vectors(200), random_vectors(1, seed=1)
    store.put(np.arange(200), vectors)
    allowed = keys(17, 5, 17, 999, 60, 199, -1)
    for limit in (3, 10):
        check(kind, store.search(query, limit, allowed)[0], oracle(dict(enumerate(vectors)), query[0], limit, allowed))
    assert len(store.search(query, 10, allowed)[0][0]) == 4
    assert hits(store.search(query, 10, keys())[0]) == []
    assert hits(store.search(query, 10, keys(999))[0]) == []


def test_ties_come_in_the_order_of_keys(store: Store) -> None:
    store.put(np.random.default_rng(0).permutation(300), np.tile(UNITS[:1], (300, 1)))
    found, scores = store.search(UNITS[:1], 10)[0]
    assert found.tolist() == list(range(10)) and scores.tolist() == [1.0] * 10


def test_put_replaces_and_delete_is_seen_at_once(store: Store) -> None:
    store.put(keys(7, 3), UNITS[:2])
    assert hits(store.search(UNITS[:1], 9)[0]) == [(7, 1.0), (3, 0.0)]
    store.put(keys(3), 5 * UNITS[:1])
    assert hits(store.search(UNITS[:1], 9)[0]) == [(3, 5.0), (7, 1.0)]
    assert (store.delete(keys(3, 3, 999, -1)), store.count(), store.delete(keys())) == (1, 1, 0)
    assert hits(store.search(UNITS[:1], 9)[0]) == [(7, 1.0)]
    store.put(keys(3), UNITS[:1])
    assert store.count() == 2 and store.keys().tolist() == [3, 7]


def test_an_empty_store_answers_nothing(store: Store) -> None:
    assert store.count() == 0 and store.keys().tolist() == []
    assert [hits(answer) for answer in store.search(random_vectors(2), 5)] == [[], []]
    store.put(keys(), np.zeros((0, DIM), np.float32))
    assert store.search(np.zeros((0, DIM), np.float32), 5) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(store: Store, bad: float) -> None:
    vectors = random_vectors(2)
    vectors[1, 1] = bad
    for act in (lambda: store.put(keys(0, 1), vectors), lambda: store.search(vectors, 1)):
        with pytest.raises(ValueError, match="not finite"):
            act()
    assert store.count() == 0


def test_what_does_not_fit_is_refused_and_changes_nothing(store: Store) -> None:
    store.put(keys(1), random_vectors(1))
    for act in (lambda: store.put(keys(2), random_vectors(1, DIM + 1)), lambda: store.search(random_vectors(1, DIM + 1), 1)):
        with pytest.raises(UserError, match=f"width {DIM}"):
            act()
    for wrong in (keys(2), keys(2, 2), keys(2, -1)):
        with pytest.raises(ValueError, match="keys"):
            store.put(wrong, random_vectors(2 if len(wrong) == 2 else 3))
    with pytest.raises(ValueError, match="below 1"):
        store.search(random_vectors(1), 0)
    assert store.keys().tolist() == [1]


def test_it_is_all_there_when_opened_again(kind: str, store: Store, opener: Callable[[], Store]) -> None:
    store.put(np.arange(50), random_vectors(50))
    store.delete(np.arange(0, 50, 7))
    store.close()
    again = opener()
    content = {i: row for i, row in enumerate(random_vectors(50)) if i % 7}
    assert again.keys().tolist() == list(content)
    check(kind, again.search(UNITS[:1], 99)[0], oracle(content, UNITS[0], 99))
    again.close()


def test_threads_write_and_read_together(store: Store) -> None:
    def write(worker: int) -> None:
        for i in range(10):
            store.put(keys(10 * worker + i), random_vectors(1, seed=i))
            assert len(store.search(random_vectors(1), 1)[0][0]) == 1

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.keys().tolist() == list(range(40))
