"""From a release to the table with one command, for each of MMT's three data sets; and the figures it stands beside."""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmt_release
from hit import config, metrics, reproduce
from hit.ablate import shipped_rows
from hit.config import RECIPES
from hit.errors import UserError
from hit.measure import read_queries
from hit.types import Silent

Run = Callable[..., "subprocess.CompletedProcess[str]"]
MAKERS = {"msrvtt-1ka": mmt_release.msrvtt, "activitynet": mmt_release.activitynet, "lsmdc": mmt_release.lsmdc}
TRAIN, TEST = 40, 24


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [
        ("msrvtt-1ka", 30),
        *((recipe, 2) for recipe in list(MAKERS)[1:]),
        *(pytest.param(recipe, 0, marks=pytest.mark.slow) for recipe in MAKERS),  # as many as it says
    ],
)
def test_a_release_becomes_a_table_with_one_command(recipe: str, steps: int, tmp_path: Path, hit: Run) -> None:
    settings = [f"train.steps={steps}"] if steps else []
    release = MAKERS[recipe](tmp_path / "release", TRAIN, TEST)
    words = ("reproduce", recipe, tmp_path / "out", *settings, "--data", release.root, "--small", "--seeds", "2", "--json")
    done = hit(*words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["videos"], len(found["runs"])) == (TEST, 2)
    for way in ("t2v", "v2t"):
        levels = found["scores"][way]
        assert set(levels) == {"feature", "semantic", "fused"}
        assert set(found["post"]) == {"dual softmax", "query bank"}
        fused = levels["fused"]["R1"]
        each = [run["scores"][way]["fused"]["R1"] for run in found["runs"]]
        assert (fused["mean"], fused["std"]) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
        assert fused["low"] <= fused["mean"] <= fused["high"]
        for level in ("feature", "semantic", "fused"):
            assert steps == 2 or levels[level]["R1"]["mean"] > 20  # what the words name is in the features; chance is 4
    for seed in (0, 1):
        queries = read_queries(tmp_path / "out" / f"seed-{seed}" / "queries.jsonl")
        score = metrics.summary(*queries["t2v"].ranks["fused"])
        assert score == pytest.approx(found["runs"][seed]["scores"]["t2v"]["fused"])
    table = (tmp_path / "out" / "table.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "HiT, ours, fused" in table
    for entry in reproduce.published(recipe):
        assert f"{entry['R1']:.1f}" in table
        assert entry["method"] in page
    again = hit(*words)
    assert json.loads(again.stdout.splitlines()[-1])["scores"] == found["scores"]


@pytest.mark.parametrize(
    ("baseline", "steps", "settings"),
    [
        ("mmt", 2, {"loss.kind": "max-margin", "model.video.semantic_pool": "experts"}),
        ("linear", 2, {"model.video.layers": 0, "model.text.trained_blocks": 0}),
        ("bank-1024", 2, {"loss.bank": 1024, "loss.momentum": 0.9}),
        ("batch-32", 1, {"train.batch": 32}),  # half as many steps as of sixteen
    ],
)
def test_a_baseline_is_trained_in_its_place(tmp_path: Path, baseline: str, steps: int, settings: dict[str, Any]) -> None:
    release = mmt_release.msrvtt(tmp_path / "release", 20, 8)
    order = reproduce.Order(
        "msrvtt-1ka", tmp_path / "out", release.root, (0,), baseline, small=True, overrides=("train.steps=2",)
    )
    found = reproduce.reproduce(order, Silent())
    card = json.loads((tmp_path / "out" / "seed-0" / "card.json").read_text())
    for key, value in settings.items():
        place = card["recipe"]
        for part in key.split("."):
            place = place[part]
        assert place == value
    assert card["steps"] == steps
    assert (found["small"], found["partial"]) == (True, True)
    names = [line.name for line in reproduce.table_lines(found, "t2v")]
    assert f"{baseline}, ours, semantic" in names
    # a level that was not trained is no row
    assert (f"{baseline}, ours, feature" in names) == (baseline not in ("mmt", "linear"))
    assert found["scores"]["t2v"]["fused"]["R1"]["std"] is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"baseline": "banana"}, r"--baseline: there is no 'banana' \(one of semantic, hcm"),
        ({"recipe": "msvd"}, "data.cut: the recipe names no cut of MMT's release"),
        ({"overrides": ("data.cut=vatex",)}, "data.cut: 'vatex' is no cut of MMT's release"),
        ({"overrides": ("data.test_split=nosuch",)}, r"has no split 'nosuch' \(add data.test_split=NAME; there are test, train"),
        ({"overrides": ("train.seed=4",)}, r"train.seed=4: is set by the command itself \(use --seeds"),
        ({"small": False}, r"release: train has 7 clips .*published.*import a part of it with --allow-partial\)"),
    ],
)
def test_what_cannot_be_reproduced_is_named_before_anything_is_trained(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    release = mmt_release.msrvtt(tmp_path / "release")
    order: dict[str, Any] = {"recipe": "msrvtt-1ka", "out": tmp_path / "out", "data": release.root, "small": True, **changes}
    with pytest.raises(UserError, match=complaint):
        reproduce.reproduce(reproduce.Order(**order), Silent())
    assert not (tmp_path / "out" / "seed-0").exists()


def test_a_part_of_a_release_does_not_pass_for_the_whole_later(tmp_path: Path) -> None:
    release = mmt_release.msrvtt(tmp_path / "release", 20, 8)
    order = reproduce.Order("msrvtt-1ka", tmp_path / "out", release.root, (0,), small=True, overrides=("train.steps=1",))
    reproduce.reproduce(order, Silent())
    with pytest.raises(UserError, match=r"data: was imported with --allow-partial: .*published"):
        reproduce.reproduce(dataclasses.replace(order, small=False), Silent())
    page, table = ((tmp_path / "out" / name).read_text() for name in ("report.html", "table.md"))
    assert "8 captions and 8 clips of the split test, a part of the release; 1 seed, the recipe" in table.splitlines()[0]
    assert "a part of the release" in page


def test_an_out_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="out: cannot be made"):
        reproduce.reproduce(reproduce.Order("msvd", tmp_path / "out", tmp_path), Silent())


def test_every_published_figure_has_its_source() -> None:
    recipes = {path.stem for path in RECIPES.glob("*.toml")}
    entries = [entry for recipe in sorted(recipes) for entry in reproduce.published(recipe)]
    assert {entry["benchmark"] for entry in entries} == {
        "msrvtt-1ka",
        "msrvtt-1kb",
        "msrvtt-full",
        "activitynet",
        "lsmdc",
        "msvd",
    }
    for entry in entries:
        assert len(entry["source"]) > 10, entry
        assert entry["way"] in ("t2v", "v2t")
        assert set(entry) <= {"benchmark", "method", "way", "source", "std", *reproduce.FIGURES}
        recalls = [entry[key] for key in ("R1", "R5", "R10", "R50") if key in entry]
        assert recalls == sorted(recalls)
        assert len(recalls) >= 1


@pytest.mark.parametrize("recipe", ["msrvtt-1ka", "msrvtt-1kb", "msrvtt-full", "activitynet", "lsmdc", "msvd"])
def test_the_recipes_are_those_of_the_reference(recipe: str) -> None:
    """Settings of MMT's public configs, as shared/design/method.md has them."""
    plan = config.load(recipe)
    long = recipe == "activitynet"
    assert plan.train.batch == (32 if long else 128)
    assert plan.model.video.max_tokens == plan.model.text.max_tokens == (100 if long else 30)
    assert (plan.train.lr, plan.train.decay_factor) == (5e-5, 0.9 if long else 0.95)
    if recipe != "msvd":
        assert plan.train.steps * plan.train.batch == 50 * 32_000
    assert plan.model.text.source == "google-bert/bert-base-uncased"
    small = config.load(recipe, shipped_rows("small")["small"].overrides)
    assert small.train.steps < 100
