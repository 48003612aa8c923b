"""Where the line is drawn: held to what one counts by hand, and to scipy's interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hit import concept
from hit.concept import Background
from hit.errors import UserError
from hit.tagging.thresholds import LEAST, Answered, Rule, by_precision, fit, precision, wilson
from toy import ToyEncoder
from upkeep_helpers import vectors

GROUND = vectors(100, 1)
SCORED = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=25)


@settings(deadline=None)
@given(SCORED, st.floats(0, 1))
def test_the_lowest_line_that_is_precise_enough(answers: list[tuple[int, bool]], wanted: float) -> None:
    scores, yes = np.array([one for one, _ in answers], np.float32), np.array([right for _, right in answers])
    good = [float(line) for line in scores if yes[scores >= line].mean() >= wanted]
    assert by_precision(scores, yes, wanted) == (min(good) if good else None)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_wilsons_interval(yes: int, no: int) -> None:
    if yes + no:
        expected = binomtest(yes, yes + no).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(wilson(yes, yes + no), (expected.low, expected.high), atol=1e-9)
    else:
        assert wilson(0, 0) == (0.0, 1.0)


def test_rules() -> None:
    one = concept.of_texts(ToyEncoder(), ["red"])
    ground = Background.of(one, GROUND)
    assert fit(Rule("score", 1.25), one, ground) == 1.25
    assert fit(Rule(), one, ground) == ground.threshold(99)
    shown = vectors(LEAST, 2)
    scores = one.scores(shown)
    yes = scores >= np.sort(scores)[4]
    assert fit(Rule("precision", 1.0), one, ground, Answered(shown, yes)) == np.sort(scores)[4]
    assert fit(Rule("precision", 0.0), one, ground, Answered(shown, yes)) == scores.min()


def test_a_precision_that_cannot_be_had() -> None:
    one = concept.of_texts(ToyEncoder(), ["red"])
    ground, shown = Background.of(one, GROUND), vectors(LEAST, 2)
    for answered in (None, Answered(shown[1:], np.ones(LEAST - 1, np.bool_))):
        with pytest.raises(UserError, match=f"needs {LEAST} answers, and there are {0 if answered is None else LEAST - 1}"):
            fit(Rule("precision", 0.5), one, ground, answered)
    yes = np.zeros(LEAST, np.bool_)
    yes[one.scores(shown).argmin()] = True
    with pytest.raises(UserError, match=r"none of 10 answers' scores reaches 0\.5: the best is 0\.10"):
        fit(Rule("precision", 0.5), one, ground, Answered(shown, yes))


def test_answers_about_examples_do_not_flatter() -> None:
    """A probe of random examples knows them by heart; measured by strangers it is no better than chance."""
    shown = vectors(12, 5)
    yes = np.arange(12) % 2 == 0
    one = concept.make(ToyEncoder(), ["red"], (), shown[yes], shown[~yes], GROUND)
    line = fit(Rule("precision", 0.5), one, Background.of(one, GROUND), Answered(shown, yes))
    assert line == by_precision(one.honest(shown), yes, 0.5) != by_precision(one.scores(shown), yes, 0.5)


def test_the_precision_of_answers_above_the_line() -> None:
    scores, yes = np.array([1, 2, 3, 4], np.float32), np.array([False, True, False, True])
    low, high = wilson(2, 3)
    assert precision(scores, yes, 2.0) == {"estimate": 2 / 3, "low": low, "high": high, "answered": 3}
    assert precision(scores, yes, 4.5) is None
