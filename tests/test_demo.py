"""The main job from end to end, small: real files, real models, killed and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hit import text
from hit.errors import UserError

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SIZE = ("--clips", "16", "--steps", "3", "--json")


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    try:
        text.locate("minilm")
    except UserError as error:
        pytest.skip(str(error))


def outcome(done: "subprocess.CompletedProcess[str]") -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def lasting(report: dict[str, object]) -> dict[str, object]:
    """Return what must not depend on how the demo came about: no times, no places."""
    kept = {key: value for key, value in report.items() if key not in ("seconds", "library", "model")}
    hits = [[(hit["clip_id"], round(hit["score"], 5)) for hit in found["hits"]] for found in report["searches"]]  # type: ignore[attr-defined]
    return {**kept, "searches": hits}


def check(report: dict[str, object]) -> None:
    """Hold that a demo says what it is to say."""
    assert (report["clips"], report["captions"]) == (16, 64)
    assert set(report["seconds"]) >= {"render", "extract", "train", "evaluate", "index"}  # type: ignore[call-overload]
    for way in ("t2v", "v2t"):
        for level in ("feature", "semantic", "fused"):
            assert set(report[way][level]) >= {"R1", "R5", "R10", "MdR", "MnR"}  # type: ignore[index]
    assert 0 <= report["order_pairs_accuracy"] <= 100  # type: ignore[operator]
    assert 0 <= report["colour_pairs_accuracy"] <= 100  # type: ignore[operator]
    tags, policy = dict(report["tags"]), dict(report["policy"])  # type: ignore[call-overload]
    assert set(tags["macro_f1"]) <= {"colour", "shape", "motion", "sound"} and all(0 <= x <= 1 for x in tags["macro_f1"].values())
    assert sum(policy["counts"].values()) == report["test_clips"] and policy["cases"] >= policy["counts"]["review"]


# In the middle of rendering, extracting, training and indexing: the first sign of each on the disk. (What each of them makes of
# being killed, their own tests say; here it is that a demo takes up what it finds.)
SIGNS = ("corpus/videos/*/*.mp4", "corpus/features/*/*.safetensors", "model/run/run.json", "library/library.db")


@pytest.mark.parametrize("signs", [SIGNS[1:3], pytest.param(SIGNS, marks=pytest.mark.slow)], ids=["twice", "everywhere"])
def test_a_demo_that_is_killed_ends_as_an_undisturbed_one(hit: Run, hit_apart: Run, tmp_path: Path, signs: Sequence[str]) -> None:
    """One goes through; a second one is killed again and again, and ends the same; the first, done once more, does not change."""
    whole = tmp_path / "whole"
    told = outcome(hit("demo", whole, *SIZE))
    check(told)
    found = outcome(hit("search", told["library"], "a red ball", "--limit", "2", "--json"))
    assert len(found["hits"]) == 2  # type: ignore[arg-type]
    assert set(found["model"]) >= {"id", "revision"}  # type: ignore[call-overload]
    words = [sys.executable, "-m", "hit", "demo", str(tmp_path / "killed"), *SIZE]
    for sign in signs:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + 120
        while process.poll() is None and not list((tmp_path / "killed").glob(sign)):
            assert time.monotonic() < until, f"no {sign}"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert lasting(outcome(hit_apart(*words[3:]))) == lasting(told)
    assert lasting(outcome(hit("demo", whole, *SIZE))) == lasting(told)
