"""Concepts: texts alone score as a search for them, and examples move them to where an optimiser of ours' objective does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from hit import concept, search
from hit.concept import BACKGROUND, FREE, LINE, STEEP, TRUST, Background, Concept
from hit.errors import UserError
from hit.types import Floats
from toy import ToyEncoder
from upkeep_helpers import vectors

NONE = np.zeros((0, 8), np.float32)
GROUND = vectors(200, 1)


def objective(encoder: ToyEncoder, liked: Floats, disliked: Floats, ground: Floats) -> Floats:
    """Return the direction that docs/tagging.md asks for, by scipy's own optimiser: written from the formula alone."""
    said = concept.of_texts(encoder, ["red"]).direction.astype(np.float64)
    scores = ground.astype(np.float64) @ said
    slope = STEEP / scores.std()
    prior = np.append(slope * said, -STEEP * (scores.mean() / scores.std() + LINE))
    firm = np.append(np.full(8, ground.astype(np.float64).var(axis=0).sum() / FREE**2), 1 / STEEP**2)
    rows = [(row, 1.0, 1.0) for row in liked] + [(row, 0.0, 1.0) for row in disliked]
    share = (BACKGROUND if len(disliked) else max(BACKGROUND, len(liked))) / len(ground)
    rows += [(row, 0.0, share) for row in ground]

    def loss(found: Floats) -> float:
        total = 0.5 * float(firm @ (found - prior) ** 2)
        for row, right, weight in rows:
            odds = float(found[:-1] @ row + found[-1])
            total += weight * float(np.logaddexp(0, odds) - right * odds)
        return total

    best = minimize(loss, prior, method="BFGS", options={"gtol": 1e-7})
    found: Floats = best.x[:-1] / slope
    return found


@pytest.mark.parametrize(("liked", "disliked"), [(1, 0), (4, 0), (3, 5), (0, 3)])
def test_a_probe_is_the_optimum_of_its_objective(liked: int, disliked: int) -> None:
    encoder, one, other = ToyEncoder(), vectors(liked, 2), vectors(disliked, 3)
    ground = GROUND[:40]
    found = concept.make(encoder, ["red"], (), one, other, ground)
    assert found.kind == "probe"
    np.testing.assert_allclose(found.direction, objective(encoder, one, other, ground), atol=2e-4)


def test_without_an_example_it_is_the_texts_and_scores_as_a_search() -> None:
    encoder = ToyEncoder()
    found = concept.make(encoder, ["red", "blue"], ["green"], NONE, NONE, GROUND)
    said = concept.of_texts(encoder, ["red", "blue"], ["green"])
    assert found.kind == "text" and found.probabilities(found.scores(GROUND)) is None
    assert found.direction.tobytes() == said.direction.tobytes() and found.barred.tobytes() == said.barred.tobytes()
    single = concept.of_texts(encoder, ["red"])
    np.testing.assert_array_equal(single.direction, search.embed(search.Query(texts=["red"]), encoder))


@pytest.mark.parametrize("texts", [[], [""], ["red", "  "]])
def test_what_has_no_text_is_no_concept(texts: list[str]) -> None:
    with pytest.raises(UserError, match="has no text"):
        concept.make(ToyEncoder(), texts, (), GROUND[:2], NONE, GROUND)
    with pytest.raises(UserError, match="has no text"):
        concept.make(ToyEncoder(), ["red"], [""], NONE, NONE, GROUND)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(6)), st.permutations(range(4)), st.lists(st.integers(0, 5), max_size=3))
def test_the_order_of_examples_and_those_that_come_again_do_not_matter(
    one: list[int], other: list[int], again: list[int]
) -> None:
    encoder, liked, disliked = ToyEncoder(), vectors(6, 2), vectors(4, 3)
    first = concept.make(encoder, ["red"], (), liked, disliked, GROUND[:50])
    second = concept.make(encoder, ["red"], (), liked[[*one, *again]], disliked[other], GROUND[:50])
    assert first.direction.tobytes() == second.direction.tobytes()
    assert first.odds == second.odds and first.crossed == second.crossed


def test_examples_pull_and_push_and_what_is_measured_does_not_know_them() -> None:
    """In many dimensions a probe knows its own examples by heart: they count by what others say of them."""
    encoder = ToyEncoder()
    liked, disliked = vectors(6, 5), vectors(6, 6)
    found = concept.make(encoder, ["red"], (), liked, disliked, GROUND)
    before = concept.of_texts(encoder, ["red"])
    assert (found.scores(liked) - before.scores(liked)).mean() > (found.scores(disliked) - before.scores(disliked)).mean() + 0.1
    gap, honest = (float(score(liked).mean() - score(disliked).mean()) for score in (found.scores, found.honest))
    assert honest < gap  # of random vectors nothing is learnt for others
    others = vectors(5, 7)
    np.testing.assert_array_equal(found.honest(others), found.scores(others))
    left = concept.make(encoder, ["red"], (), liked, disliked, GROUND).honest(liked)
    assert not np.allclose(left, found.scores(liked))


def test_an_example_is_scored_by_a_probe_without_its_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concept, "TRUST", TRUST[:1])
    encoder, ground = ToyEncoder(), GROUND[:50]
    liked = vectors(concept.FOLDS, 2)  # one to a fold
    found = concept.make(encoder, ["red"], (), liked, NONE, ground)
    ordered = np.unique(liked, axis=0)
    for fold in range(concept.FOLDS):
        rest, kept = np.delete(ordered, fold, axis=0), np.delete(ground, np.s_[fold :: concept.FOLDS], axis=0)
        prior = concept._Prior.of(concept.of_texts(encoder, ["red"]), ground)
        rows = concept._Rows.of(rest, NONE, kept)._replace(weight=np.repeat([1.0, 5 / 50], [len(rest), len(kept)]))
        expected = prior.score(ordered[fold : fold + 1].astype(np.float64), prior.probe(rows))
        np.testing.assert_allclose(found.honest(ordered[fold : fold + 1]), expected, atol=1e-5)


def test_words_that_say_something_else_give_way_to_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """How far words are trusted, the examples decide: held to its words, the probe is worse at what it has not seen."""
    encoder, rng = ToyEncoder(), np.random.default_rng(0)
    meant = encoder.embed_texts(["blue"])[0]

    def near(count: int) -> Floats:
        return np.asarray(meant + 0.3 * rng.normal(size=(count, 8)), np.float32)

    liked, strangers = near(10), np.concatenate([near(200), vectors(200, 9)])
    free = concept.make(encoder, ["red"], (), liked, NONE, GROUND).scores(strangers)
    monkeypatch.setattr(concept, "TRUST", TRUST[:1])
    firm = concept.make(encoder, ["red"], (), liked, NONE, GROUND).scores(strangers)

    def wins(scores: Floats) -> float:
        return float((scores[:200, None] > scores[None, 200:]).mean())

    assert wins(free) > wins(firm) > 0.5


def test_probabilities_rise_with_scores_and_promise_what_comes_of_strangers() -> None:
    encoder, rng = ToyEncoder(), np.random.default_rng(0)
    centre = encoder.embed_texts(["red"])[0]

    def near(count: int) -> Floats:
        made = centre + 0.4 * rng.normal(size=(count, 8))
        found: Floats = made.reshape(-1, 2, 4) / np.linalg.norm(made.reshape(-1, 2, 4), axis=2, keepdims=True)
        return found.reshape(-1, 8).astype(np.float32)

    found = concept.make(encoder, ["red"], (), near(40), vectors(40, 8), GROUND)
    strangers, truth = np.concatenate([near(200), vectors(200, 9)]), np.repeat([1.0, 0.0], 200)
    sure = found.probabilities(found.scores(strangers))
    assert sure is not None and ((sure > 0) & (sure < 1)).all()
    order = np.argsort(found.scores(strangers))
    assert (np.diff(sure[order]) >= 0).all()
    assert abs(float(sure.mean()) - truth.mean()) < 0.1
    assert ((sure > 0.5) == truth).mean() > 0.85


def test_hard_cases_stay_finite() -> None:
    encoder = ToyEncoder()
    same = np.repeat(GROUND[:1], 50, axis=0)
    for liked, disliked, ground in (
        (same, NONE, GROUND),
        (same, same, GROUND),
        (GROUND, NONE, GROUND),
        (GROUND[:2], NONE, NONE),
        (GROUND[:2], GROUND[2:4], same),
        (NONE, GROUND[:3], GROUND),
        (np.zeros((2, 8), np.float32), NONE, GROUND),
    ):
        found = concept.make(encoder, ["red"], (), liked, disliked, ground)
        assert np.isfinite(found.direction).all() and np.isfinite(list(found.crossed.values())).all()
        sure = found.probabilities(found.scores(GROUND))
        assert (sure is None) == (not len(liked)) and (sure is None or np.isfinite(sure).all())


def test_percentiles_and_thresholds_are_those_that_one_counts() -> None:
    one = concept.of_texts(ToyEncoder(), ["red"])
    ground, scores = Background.of(one, GROUND), one.scores(vectors(30, 4))
    plain = one.scores(GROUND)
    np.testing.assert_allclose(ground.percentiles(scores), [100 * (plain < score).mean() for score in scores])
    for percentile in (0.0, 50.0, 97.3, 99.0, 100.0):
        line = ground.threshold(percentile)
        assert line in plain.astype(np.float64) and (plain < line).mean() * 100 >= percentile - 0.5


def test_what_fits_an_exception_better_is_excepted() -> None:
    encoder = ToyEncoder()
    found = concept.of_texts(encoder, ["red"], ["blue"])
    clips = encoder.embed_texts(["red", "blue", "grey"])
    assert found.excepted(clips, found.scores(clips)).tolist() == [False, True, bool(clips[2] @ (clips[1] - clips[0]) >= 0)]
    assert not Concept(found.direction, np.zeros((0, 8), np.float32)).excepted(clips, found.scores(clips)).any()


def test_where_nothing_was_found_nothing_is_shown() -> None:
    """A segment without words has no vector for a model of words: its score of 0 may be above a line, and says nothing."""
    found = concept.of_texts(ToyEncoder(), ["red"])
    clips = np.stack([-found.direction, np.zeros(8, np.float32), found.direction])
    assert found.excepted(clips, found.scores(clips)).tolist() == [False, True, False]


def test_alternatives_count_by_what_sets_them_apart() -> None:
    """What all alternatives say adds nothing: a constant between any two of them, and their exceptions, stays what it was."""
    encoder = ToyEncoder()
    said = [concept.of_texts(encoder, [colour], ["grey"]) for colour in ("red", "green", "blue")]
    found = concept.contrasted(said)
    assert {one.kind for one in found} == {"contrast"}
    scores, before = (np.stack([one.scores(GROUND) for one in own]) for own in (found, said))
    np.testing.assert_allclose(scores - scores[0], before - before[0], atol=1e-5)
    np.testing.assert_allclose(scores.sum(axis=0), 0, atol=1e-5)
    for one, other in zip(found, said, strict=True):
        assert (one.excepted(GROUND, one.scores(GROUND)) == other.excepted(GROUND, other.scores(GROUND))).all()
    assert concept.contrasted(said[:2]) == said[:2] and concept.contrasted([]) == []
