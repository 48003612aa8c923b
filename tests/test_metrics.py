"""Ranks and recalls against matrices that one can check by eye, a slow oracle and closed forms."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hit import metrics


def found(scores: list[list[float]], right: list[int]) -> tuple[list[int], list[int]]:
    """Rank items by given scores: queries are rows, items the unit vectors."""
    matrix = np.array(scores, np.float32)
    above, tied = metrics.ranks(matrix, np.eye(matrix.shape[1], dtype=np.float32), np.array(right), np.arange(matrix.shape[1]))
    return above.tolist(), tied.tolist()


def test_ranks_by_eye() -> None:
    assert found([[0.9, 0.1, 0.2], [0.9, 0.1, 0.2], [0.3, 0.3, 0.2]], [0, 1, 1]) == ([0, 2, 0], [0, 0, 1])


def test_all_equal_scores_chance_and_not_all_or_nothing() -> None:
    above, tied = found([[0.5] * 10] * 4, [0, 3, 5, 9])
    scores = metrics.summary(np.array(above), np.array(tied))
    assert (scores["R1"], scores["R5"], scores["R10"], scores["R50"]) == pytest.approx((10, 50, 100, 100))
    assert (scores["MdR"], scores["MnR"]) == (5.5, 5.5)


def test_perfect_scores() -> None:
    above, tied = found(np.eye(6).tolist(), list(range(6)))
    scores = metrics.summary(np.array(above), np.array(tied))
    assert {scores[key] for key in ("R1", "R5", "R10", "R50")} == {100.0}
    assert scores["geometric_mean"] == pytest.approx(100)
    assert (scores["MdR"], scores["MnR"]) == (1, 1)


def test_best_of_several_captions_counts() -> None:
    videos, texts = np.eye(2, dtype=np.float32), np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], np.float32)
    above, _ = metrics.ranks(videos, texts, np.arange(2), np.array([0, 0, 1]))
    assert above.tolist() == [0, 1]  # video 0 by its second caption; video 1's only caption is behind 0's first


@given(st.integers(1, 7), st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 2**16))
def test_where_nothing_ties_ranks_are_those_of_mmt_s_rule(dim: int, counts: list[int], seed: int) -> None:
    """MMT sorts: a caption's rank is its video's place; a video's is the best place of its captions among all captions."""
    rng = np.random.default_rng(seed)
    videos, texts = rng.normal(size=(len(counts), dim)).astype(np.float32), rng.normal(size=(sum(counts), dim)).astype(np.float32)
    owner, ids = np.repeat(np.arange(len(counts)), counts), np.arange(len(counts))
    scores = texts @ videos.T
    if len(np.unique(scores)) < scores.size:
        return
    places = [int(np.flatnonzero(np.argsort(-row) == own)[0]) for row, own in zip(scores, owner, strict=True)]
    assert metrics.ranks(texts, videos, owner, ids)[0].tolist() == places
    best = [min(np.flatnonzero(owner[np.argsort(-scores[:, video])] == video)) for video in ids]
    assert metrics.ranks(videos, texts, ids, owner)[0].tolist() == best


def test_not_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        found([[np.nan, 1.0]], [0])


def test_a_query_without_a_right_item_is_an_error() -> None:
    with pytest.raises(ValueError, match="no right item"):
        found([[0.0, 1.0]], [7])


@given(
    hnp.arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=st.integers(-2, 2)),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_against_a_slow_oracle(scores: "np.ndarray[tuple[int, int], np.dtype[np.int8]]", chunk: int, random: "object") -> None:
    queries, items = scores.shape
    group = np.arange(items) % 3
    right = np.arange(queries) % min(3, items)
    above, tied = metrics.ranks(scores.astype(np.float32), np.eye(items, dtype=np.float32), right, group, chunk)
    for i in range(queries):
        best = max(scores[i, j] for j in range(items) if group[j] == right[i])
        assert above[i] == sum(scores[i, j] > best for j in range(items) if group[j] != right[i])
        assert tied[i] == sum(scores[i, j] == best for j in range(items) if group[j] != right[i])


def test_ties_equal_the_mean_over_all_orders_of_the_tied() -> None:
    above, tied = np.array([2]), np.array([3])
    scores = metrics.summary(above, tied)
    ranks = np.array([3, 4, 5, 6])  # the right one may stand first to last among the four that tie
    assert scores["R5"] == pytest.approx(100 * (ranks <= 5).mean())
    assert scores["MnR"] == ranks.mean()


def test_one_vector_holds_the_weighted_sum_of_both_levels() -> None:
    rng = np.random.default_rng(0)
    query, clips = rng.normal(size=(2, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    parts, weights = {"feature": slice(0, 4), "semantic": slice(4, 8)}, {"feature": 0.3, "semantic": 1.7}
    fused = (query * metrics.weighting(parts, weights, 8)) @ clips.T
    two = 0.3 * query[:, :4] @ clips[:, :4].T + 1.7 * query[:, 4:] @ clips[:, 4:].T
    assert np.abs(fused - two).max() < 1e-6


def test_retrieval_reports_each_level_and_fused_in_both_directions() -> None:
    clips = np.tile(np.eye(3, dtype=np.float32), 2)
    texts = np.concatenate([np.roll(np.eye(3, dtype=np.float32), 1, axis=0), np.eye(3, dtype=np.float32)], axis=1)
    parts, weights = {"feature": slice(0, 3), "semantic": slice(3, 6)}, {"feature": 1.0, "semantic": 2.0}
    scores = metrics.retrieval(texts, clips, np.arange(3), parts, weights)
    for way in ("t2v", "v2t"):
        assert {level: values["R1"] for level, values in scores[way].items()} == {"feature": 0, "semantic": 100, "fused": 100}


def test_memory_is_bounded_by_a_block_of_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SCORES", 2**14)
    rng = np.random.default_rng(0)
    texts, clips = rng.normal(size=(6000, 4)).astype(np.float32), rng.normal(size=(300, 4)).astype(np.float32)
    owner, ids = np.arange(6000) % 300, np.arange(300)
    for arguments in ((texts, clips, owner, ids), (clips, texts, ids, owner)):
        whole = metrics.ranks(*arguments, chunk=6000)
        tracemalloc.start()
        blocks = metrics.ranks(*arguments)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert all(np.abs(a - b).max() <= 1 for a, b in zip(blocks, whole, strict=True))  # BLAS rounds by the block
        assert peak < 2**20  # the full matrix has 7.2 MB


def test_recall_is_the_share_of_ranks_up_to_k() -> None:
    above = np.array([0, 1, 1, 4, 60])
    assert metrics.recall_at(above, np.zeros(5, np.int64), [1, 2, 4, 5, 61]).tolist() == [20, 60, 60, 80, 100]
    chance = metrics.recall_at(np.zeros(3, np.int64), np.full(3, 9), range(1, 12))  # ten that tie
    assert chance == pytest.approx([*range(10, 101, 10), 100])


def test_summary_reads_its_recalls_off_the_curve() -> None:
    rng = np.random.default_rng(0)
    above, tied = rng.integers(0, 90, 400), rng.integers(0, 5, 400)
    curve, scores = metrics.recall_at(above, tied, range(1, 51)), metrics.summary(above, tied)
    assert [scores[f"R{k}"] for k in metrics.RECALLS] == [curve[k - 1] for k in metrics.RECALLS]
    assert (np.diff(curve) >= 0).all()
    assert scores["MnR"] == pytest.approx(metrics.expected_rank(above, tied).mean())


def test_levels_are_ranked_by_their_own_part_and_fused_by_the_weighted_sum() -> None:
    rng = np.random.default_rng(0)
    texts, clips = rng.normal(size=(12, 8)).astype(np.float32), rng.normal(size=(4, 8)).astype(np.float32)
    owner, weights = np.repeat(np.arange(4), 3), {"feature": 0.5, "semantic": 2.0}
    found = metrics.ranks_by_level(texts, clips, owner, {"feature": slice(0, 4), "semantic": slice(4, 8)}, weights)
    feature, semantic = texts[:, :4] @ clips[:, :4].T, texts[:, 4:] @ clips[:, 4:].T
    for level, scores in {"feature": feature, "semantic": semantic, "fused": 0.5 * feature + 2 * semantic}.items():
        own = scores[np.arange(12), owner]
        assert found["t2v"][level][0].tolist() == (scores > own[:, None]).sum(axis=1).tolist()
        best = np.array([scores[owner == i, i].max() for i in range(4)])
        assert found["v2t"][level][0].tolist() == (scores > best).sum(axis=0).tolist()
    assert metrics.summaries(found)["t2v"]["fused"] == metrics.summary(*found["t2v"]["fused"])


def test_unroll_names_each_caption_s_clip() -> None:
    texts, owner = metrics.unroll([["a", "b"], ["c"], ["d", "e"]])
    assert (texts, owner.tolist()) == (["a", "b", "c", "d", "e"], [0, 0, 1, 2, 2])
