"""Post-processing against hubs, held against the whole matrix written out."""

import numpy as np
import pytest

from hit import hubness, metrics
from hit.types import Floats


def vectors(seed: int, count: int, dim: int = 6) -> Floats:
    x: Floats = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


@pytest.fixture(autouse=True, params=[2**24, 16])
def few_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SCORES", request.param)


def test_dual_softmax_is_the_score_times_the_softmax_over_the_queries() -> None:
    queries, items = vectors(0, 9), vectors(1, 5)
    scores = (queries @ items.T).astype(np.float64)
    prior = np.exp(20 * scores) / np.exp(20 * scores).sum(axis=0)
    rescored = hubness.dual_softmax(queries, items)(queries @ items.T)
    np.testing.assert_allclose(rescored, scores * prior, rtol=1e-4, atol=1e-7)


def test_a_bank_changes_only_queries_whose_first_item_is_a_hub() -> None:
    queries, items, bank = vectors(0, 40), vectors(1, 8), vectors(2, 4)
    scores = queries @ items.T
    hubs = set((bank @ items.T).argmax(axis=1).tolist())
    normal = np.exp(20 * scores.astype(np.float64)) / np.exp(20 * (bank @ items.T).astype(np.float64)).sum(axis=0)
    rescored = hubness.query_bank(bank, items)(scores)
    changed = 0
    for row in range(len(queries)):
        if int(scores[row].argmax()) in hubs:
            assert rescored[row].argsort().tolist() == normal[row].argsort().tolist()
            changed += 1
        else:
            assert rescored[row].tolist() == scores[row].tolist()
    assert 0 < changed < len(queries)


def test_a_hub_no_longer_takes_every_query() -> None:
    """Four items, the first near to all queries: by scores it wins them all, rescored each query finds its own."""
    items = np.eye(4, dtype=np.float32)
    queries = 0.5 * np.eye(4, dtype=np.float32)
    queries[:, 0] += 0.6
    own = np.arange(4)
    assert metrics.ranks(queries, items, own, own)[0].tolist() == [0, 1, 1, 1]
    for rule in (hubness.dual_softmax(queries, items), hubness.query_bank(queries[1:], items)):
        assert metrics.ranks(queries, items, own, own, rescore=rule)[0].tolist() == [0, 0, 0, 0]


def test_large_scores_do_not_overflow() -> None:
    queries, items = 50 * vectors(0, 6), vectors(1, 4)
    assert np.isfinite(hubness.log_partition(queries, items, 20.0)).all()
    assert np.isfinite(hubness.query_bank(queries, items)(queries @ items.T)).all()
