"""The measurements of tagging measure what they say."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toy import ToyEncoder
from upkeep_helpers import vectors


@pytest.fixture(scope="module")
def scripts(root: Path) -> dict[str, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "examples"))
        names = ("tag_measures", "corpus_tags", "exercise_tags")
        return {name: runpy.run_path(str(root / "examples" / f"{name}.py")) for name in names}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12))
def test_the_line_that_is_chosen_has_the_highest_f1(scripts: dict[str, Any], clips: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([one for one, _ in clips], np.float32), np.array([one for _, one in clips])

    def f1(line: float) -> float:
        right = sum(score >= line and shown for score, shown in clips)
        wrong = sum((score >= line) != shown for score, shown in clips)
        return right / (right + wrong / 2) if right + wrong else 0.0

    line = scripts["corpus_tags"]["best_line"](scores, truth)
    assert f1(line) == max(map(f1, range(-3, 4)))


def test_what_is_told_apart_has_full_marks_and_the_same_examples_serve_all(scripts: dict[str, Any]) -> None:
    tools, encoder = scripts["tag_measures"], ToyEncoder()
    shown = np.arange(60) % 2 == 0
    near = 0.05 * vectors(60, 3) + encoder.embed_texts(["red", "blue"])[1 - shown.astype(np.int64)]
    clips = tools["Clips"](near[:40], near[40:], vectors(100, 4))
    tasks = [tools["Task"]("colour", name, [name], marks[:40], marks[40:]) for name, marks in (("red", shown), ("blue", ~shown))]
    methods = tools["learnt"](encoder, tasks, clips, 2)
    found = tools["precisions"](tasks, methods, clips)
    assert set(found) == {"words", "words, each label by itself", "chance"} | {
        f"{n} {how}" for n in (5, 20) for how in ("words and examples", "examples alone")
    }
    assert found["chance"]["mean"] == 50 and found["words"]["mean"] == pytest.approx(100) and found["words"]["deviation"] is None
    assert found["5 words and examples"]["mean"] == found["20 examples alone"]["mean"] == pytest.approx(100)
    assert found["words"]["groups"] == {"colour": pytest.approx(100)} and len(tools["rows"](found)) == 7
    again = tools["learnt"](encoder, tasks, clips, 2)
    for name, runs in methods.items():
        for run, other in zip(runs, again[name], strict=True):
            for scorer, same in zip(run, other, strict=True):
                np.testing.assert_array_equal(scorer(clips.test), same(clips.test))


def test_what_is_missing_is_told_in_one_line(scripts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (
        ("exercise_tags", [str(tmp_path / "out"), "--data", str(tmp_path)]),
        ("corpus_tags", [str(tmp_path / "model"), str(tmp_path)]),
    ):
        assert scripts[name]["main"](words) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"{name}: ") and told.count("\n") == 1


@pytest.mark.slow
def test_the_exercises_are_tagged(scripts: dict[str, Any], shared_data: Path, tmp_path: Path) -> None:
    found = scripts["exercise_tags"]["example"](
        tmp_path,
        shared_data / "exercises",
        1,
        ["train.steps=2", "model.text.trained_blocks=0"],
        scripts["exercise_tags"]["console"].Bars(),
    )
    assert found["clips"] == {"learn": 868, "test": 93}
    assert found["precision"]["20 words and examples"]["mean"] > found["precision"]["chance"]["mean"]
