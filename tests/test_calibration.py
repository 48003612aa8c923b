"""Calibration: where the truth is known confidence is what it says, in libraries of any size; files are whole or refused."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from hit import calibration, hubness, reliability
from hit.calibration import CERTAIN, LEAST, NO_ITEM, Calibration, Fit, Ground, Held, libraries
from hit.errors import UserError
from hit.metrics import Ints
from hit.types import Floats

DIM, KNOWN = 24, 8  # what the model knows lies in a few of the dimensions


def unit(rows: Any) -> Floats:
    found: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


class World:
    """Clips are directions, texts more or less blurred copies of them, and nonsense points anywhere."""

    def __init__(self, seed: int, clips: int, captions: int = 3) -> None:
        rng = np.random.default_rng(seed)
        clear = rng.normal(size=(clips, DIM)) * np.where(np.arange(DIM) < KNOWN, 1.0, 0.25)
        self.clips = unit(clear)
        self.owner: Ints = np.repeat(np.arange(clips), captions)
        blur = rng.uniform(0.05, 0.35, (len(self.owner), 1))
        self.texts = unit(self.clips[self.owner] + blur * rng.normal(size=(len(self.owner), DIM)))
        self.nonsense = unit(rng.normal(size=(clips * captions, DIM)))


def fitted(seed: int = 0, clips: int = 150) -> Calibration:
    held, rest = World(seed, clips), World(seed + 1, 400)
    pairs = Held(held.texts, held.clips, held.owner, held.nonsense[:150])
    return calibration.fit("rev-1", (np.full(DIM, 0.5, np.float32), 0.5), pairs, rest.clips, rest.texts)


@pytest.fixture(scope="module")
def made() -> Calibration:
    return fitted()


def first(by: Calibration, texts: Floats, clips: Floats, way: str = "t2v") -> tuple[Any, Any]:
    scores = (texts * by.scale) @ clips.T
    best, rows = scores.argmax(axis=1), np.arange(len(texts))
    return by.judge_each(texts * by.scale, rows, scores[rows, best], len(clips), way).astype(np.float64), best


@pytest.mark.parametrize("size", [30, 150, 600])
def test_confidence_is_how_often_the_first_answer_is_right_in_libraries_of_any_size(made: Calibration, size: int) -> None:
    sure, right = [], []
    for seed in range(100, 100 + 1200 // size):
        world = World(seed, size)
        found, best = first(made, world.texts, world.clips)
        sure.append(found)
        right.append((best == world.owner).astype(np.float64))
    confidence, outcome = np.concatenate(sure), np.concatenate(right)
    assert 0.3 < outcome.mean() < 0.97  # there is something to be unsure about
    assert reliability.ece(reliability.bins(confidence, outcome)) < 0.06
    assert reliability.brier(confidence, outcome) < outcome.mean() * (1 - outcome.mean())  # better than knowing the mean


def test_nonsense_has_no_good_match_and_good_queries_have(made: Calibration) -> None:
    world = World(7, 300)
    good, best = first(made, world.texts, world.clips)
    odd, _ = first(made, world.nonsense, world.clips)
    assert (odd < made.threshold).mean() > 0.65
    assert (good[best == world.owner] < made.threshold).mean() < 0.1
    assert 0 < made.threshold <= CERTAIN


def test_texts_for_a_clip_are_judged_too(made: Calibration) -> None:
    world = World(8, 300, 1)
    sure, best = first(made, world.clips, world.texts, "v2t")
    assert reliability.ece(reliability.bins(sure, (best == world.owner).astype(np.float64))) < 0.08


def test_e_is_the_number_of_wrong_clips_that_score_as_high() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0.1, 0.3, 1_000_000)
    for z in (-1.0, 0.0, 1.0, 2.5, 3.5):
        counted = int((scores >= 0.1 + 0.3 * z).sum())
        assert math.exp(calibration.log_e(np.array([z]), len(scores))[0]) == pytest.approx(counted, rel=5 / math.sqrt(counted))
    assert np.isfinite(calibration.log_e(np.array([-1e9, 1e9]), 10)).all()


def test_e_is_that_of_the_background_whatever_all_scores_have_in_common() -> None:
    rng = np.random.default_rng(1)
    queries, clips, shift = (rng.normal(size=(n, DIM)).astype(np.float32) for n in (3, 5000, 1))
    rows = np.array([0, 1, 2, 2])
    scores = np.array([1.0, 4.0, 9.0, 12.0], np.float32)
    plain = Ground.of(queries, clips, queries).signs(rows, scores, 70)
    shifted = Ground.of(queries, clips + shift, queries).signs(rows, scores + (queries @ shift[0])[rows], 70)
    np.testing.assert_allclose(shifted[:, 1], plain[:, 1], rtol=1e-3, atol=1e-3)
    larger = Ground.of(queries, clips, queries).signs(rows, scores, 700)
    np.testing.assert_allclose(plain[:, 1] - larger[:, 1], math.log(10))


def test_a_better_score_is_never_less_sure_and_a_larger_library_never_surer(made: Calibration) -> None:
    world = World(9, 5)
    scores = np.linspace(-1, 1, 200).astype(np.float32)
    for query in world.texts[:5]:
        by_size = np.stack([made.judge(query * made.scale, scores, size) for size in (1, 10, 1000, 10**6)])
        assert ((by_size >= 0) & (by_size <= 1)).all()
        assert (np.diff(by_size, axis=1) >= 0).all()
        assert (np.diff(by_size, axis=0) <= 0).all()


def test_a_hit_is_judged_alone_and_the_length_of_a_query_does_not_matter(made: Calibration) -> None:
    world = World(10, 20)
    query = world.texts[0] * made.scale
    scores = world.clips @ query
    together = made.judge(query, scores, 20)
    assert [made.judge(query, scores[[i]], 20)[0] for i in range(20)] == pytest.approx(together.tolist(), rel=1e-5)
    np.testing.assert_allclose(made.judge(7 * query, 7 * scores, 20), together, rtol=1e-4)


def test_libraries_are_of_several_sizes_and_hold_one_item_of_a_group() -> None:
    group = np.concatenate([np.repeat(np.arange(40), 3), np.full(100, NO_ITEM)])
    sizes = []
    for alike, items in libraries(group):
        own = group[items][group[items] >= 0]
        assert len(set(own.tolist())) == len(own)
        assert len(set(items.tolist())) == len(items)
        sizes.append((alike, len(own), len(items) - len(own)))
    assert sizes == [(1, 40, 0), *[(2, 20, 0)] * 2, *[(4, 10, 0)] * 4, *[(8, 5, 0)] * 8, (1, 40, 25), (1, 40, 100)]


def test_the_same_pairs_give_the_same_calibration(made: Calibration) -> None:
    again = fitted()
    assert again.ways == made.ways
    assert again.about == made.about


def test_likeness_counts_up_to_enough_and_nothing_counts_against(made: Calibration) -> None:
    fit = made.ways["t2v"]
    assert min(fit.cosine, fit.surprise, fit.familiar, fit.resonant) >= 0
    signs = np.array([[0.5, 3.0, fit.familiar_enough, fit.resonant_enough], [0.5, 3.0, 9.0, 9.0], [0.5, 3.0, -9.0, -9.0]])
    enough, more, unlike = fit.confidence(signs).tolist()
    assert more == enough > unlike


def test_normalised_scores_rank_as_a_query_bank_does(made: Calibration) -> None:
    world = World(11, 60)
    query = world.texts[4] * made.scale
    scores = world.clips @ query
    rule = hubness.query_bank(made.texts * made.scale / 0.5, world.clips)
    expected = rule((scores / np.float32(0.5))[None])[0]
    assert made.normalise(query, scores, world.clips).argsort().tolist() == expected.argsort().tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(made: Calibration, bad: float) -> None:
    query, scores = np.ones(DIM, np.float32), np.ones(2, np.float32)
    with pytest.raises(ValueError, match="not finite"):
        made.judge(query, np.array([1.0, bad], np.float32), 9)
    with pytest.raises(ValueError, match="not finite"):
        made.judge(np.where(np.arange(DIM) == 3, np.float32(bad), query), scores, 9)
    for shaped in ((query[1:], scores, 9), (query, scores[None], 9), (query, scores, 0)):
        with pytest.raises(ValueError, match="quer"):
            made.judge(*shaped)


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(UserError, match=f"19 clips to fit it to .* at least {LEAST}"):
        fitted(clips=19)


def test_what_is_saved_is_opened_again(made: Calibration, tmp_path: Path) -> None:
    assert Calibration.load(tmp_path, "rev-1") is None
    made.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["background.safetensors", "calibration.json"]
    one = Calibration.load(tmp_path, "rev-1")
    assert one
    assert (one.ways, one.about, one.weight, one.threshold) == (made.ways, made.about, made.weight, made.threshold)
    np.testing.assert_allclose(one.clips, made.clips, atol=1e-3)
    assert one.clips.dtype == np.float32
    world = World(12, 30)
    np.testing.assert_allclose(first(one, world.texts, world.clips)[0], first(made, world.texts, world.clips)[0], atol=0.02)
    one.save(tmp_path)
    two = Calibration.load(tmp_path, "rev-1")
    assert two
    assert (two.texts == one.texts).all()
    calibration.forget(tmp_path)
    calibration.forget(tmp_path)
    assert Calibration.load(tmp_path, "rev-1") is None


def damage(folder: Path, how: str) -> None:
    path, tensors = folder / "calibration.json", folder / "background.safetensors"
    table = json.loads(path.read_text())
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[:100])
        case "no text":
            path.write_bytes(b"\xff\xfe")
        case "a list":
            path.write_text("[1]")
        case "a folder":
            path.unlink()
            path.mkdir()
        case "NaN":
            path.write_text(path.read_text().replace(f"{table['ways']['t2v']['surprise']!r}", "NaN", 1))
        case "no way":
            del table["ways"]["v2t"]
            path.write_text(json.dumps(table))
        case "no background":
            tensors.unlink()
        case "another background":
            rows = load(tensors.read_bytes())
            tensors.write_bytes(save({**rows, "clips": rows["clips"][1:]}))
        case "newer":
            path.write_text(json.dumps({**table, "format": 2}))
        case "half a background":
            data = tensors.read_bytes()[:1000]
            tensors.write_bytes(data)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("cut", "cannot be read"),
        ("no text", "cannot be read"),
        ("a list", "cannot be read"),
        ("a folder", "cannot be read"),
        ("NaN", "cannot be read"),
        ("no way", "cannot be read"),
        ("no background", "background.safetensors is not there"),
        ("another background", "not the one"),
        ("half a background", "not the one"),
        ("newer", "newer than this program's"),
    ],
)
def test_what_is_damaged_is_one_line(made: Calibration, tmp_path: Path, how: str, says: str) -> None:
    made.save(tmp_path)
    damage(tmp_path, how)
    with pytest.raises(UserError) as caught:
        Calibration.load(tmp_path, "rev-1")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_revision_of_the_model_is_refused(made: Calibration, tmp_path: Path) -> None:
    replace(made, revision="rev-2").save(tmp_path)
    with pytest.raises(UserError, match="is of model revision rev-2, not of rev-1"):
        Calibration.load(tmp_path, "rev-1")


def test_a_fit_with_closed_odds() -> None:
    """Intercept -1, one for the cosine of 0.25 doubled, half a nat of surprise, and both likenesses beyond enough."""
    fit = Fit(-1.0, 2.0, 0.5, 1.0, 3.0, 0.1, 0.2, 0.5)
    odds = -1 + 2 * 0.25 + 0.5 * 4 + 0.1 + 3 * 0.2
    assert fit.confidence(np.array([[0.25, 4.0, 0.7, 0.7]])) == pytest.approx([1 / (1 + math.exp(-odds))])
