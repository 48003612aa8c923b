"""Ablation tables: rows under one budget, resumed run by run, and figures that are the runs' own."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tomli_w

import test_train
import tiny_model
from hit import ablate, config, pool, train
from hit.ablate import Row
from hit.errors import UserError
from hit.types import Silent

ROWS = [Row("hit", "HCM + MCC", ()), Row("small", "batch 3", ("train.batch=3",))]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablate")
    test_train.dataset(folder / "data")
    plan = test_train.recipe(folder / "data", tiny_model.text_encoder(folder / "bert"), steps=4)
    (folder / "recipe.toml").write_text(tomli_w.dumps(config.to_table(plan)))
    return folder / "recipe.toml"


@pytest.fixture(scope="module")
def done(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("table")
    ablate.ablate(recipe, out, (), ROWS, (0, 1), 1, Silent())
    return out


def test_every_row_is_trained_with_every_seed_on_as_many_pairs(done: Path) -> None:
    lines = ablate.read(done)
    assert {(line["row"], line["seed"]) for line in lines} == {("hit", 0), ("hit", 1), ("small", 0), ("small", 1)}
    assert {line["row"]: line["steps"] for line in lines} == {"hit": 4, "small": 8}  # half the batch, twice the steps
    assert all(line["commit"] and line["versions"]["torch"] and line["device"] for line in lines)
    assert not list((done / "runs").iterdir())


def test_a_run_is_what_hit_train_makes_of_the_same_recipe(recipe: Path, done: Path, tmp_path: Path) -> None:
    plan = config.load(recipe, ["train.batch=3", "train.steps=8", "train.seed=1", "train.validate_every=8"])
    scores = train.train(plan, tmp_path / "model", Silent(), page=False)["history"][-1]
    (line,) = (line for line in ablate.read(done) if (line["row"], line["seed"]) == ("small", 1))
    assert (line["t2v"], line["v2t"], line["loss"]) == (scores["t2v"], scores["v2t"], scores["loss"])


def test_tables_hold_means_and_deviations_over_the_seeds(recipe: Path, done: Path) -> None:
    found = ablate.ablate(recipe, done, (), ROWS, (0, 1), 1, Silent())
    ranks = [line["t2v"]["fused"]["MdR"] for line in ablate.read(done) if line["row"] == "hit"]
    assert found["rows"][0]["MdR"] == {"mean": pytest.approx(np.mean(ranks)), "std": pytest.approx(np.std(ranks, ddof=1))}
    assert [entry["seeds"] for entry in found["rows"]] == [2, 2]
    table = (done / "table.md").read_text().splitlines()
    assert len(table) == 4
    assert table[2].startswith("| hit | HCM + MCC | 2 | ")
    with (done / "table.csv").open() as file:
        told = list(csv.DictReader(file))
    assert [line["device"] for line in told] == [line["device"] for line in ablate.read(done)]
    assert "</svg>" in (done / "plot.svg").read_text()


def test_what_is_done_is_not_done_again(recipe: Path, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (done / "results.jsonl").read_bytes()
    started: list[object] = []
    run = pool.run

    def counting(function, items, workers):  # type: ignore[no-untyped-def]
        started.extend(items)
        return run(function, items, workers)

    monkeypatch.setattr(pool, "run", counting)
    ablate.ablate(recipe, done, (), ROWS, (0, 1), 1, Silent())
    assert started == []
    assert (done / "results.jsonl").read_bytes() == before


def test_two_rows_of_the_same_settings_are_one_run(recipe: Path, tmp_path: Path) -> None:
    same = Row("batch", "the recipe's own", (f"train.batch={config.load(recipe).train.batch}",))
    found = ablate.ablate(recipe, tmp_path, (), [ROWS[0], same], (0,), 1, Silent())
    assert [line["row"] for line in ablate.read(tmp_path)] == ["hit"]
    hit, batch = found["rows"]
    assert (hit["row"], batch["row"]) == ("hit", "batch")
    assert hit["R@1"] == batch["R@1"]


def test_a_level_that_is_not_trained_has_no_figures_and_one_seed_no_deviation(recipe: Path, tmp_path: Path) -> None:
    semantic = Row("semantic", "one level", ("loss.feature_weight=0", "model.level_weights=[0,1]"))
    found = ablate.ablate(recipe, tmp_path, (), [semantic], (0,), 1, Silent())
    (entry,) = found["rows"]
    assert entry["feature R@1"] is None
    assert entry["R@1"]["std"] is None
    assert entry["R@1"] == entry["semantic R@1"]
    assert (tmp_path / "table.md").read_text().splitlines()[2].startswith("| semantic | one level | 1 |  | ")


def test_another_budget_is_another_result(recipe: Path, tmp_path: Path) -> None:
    ablate.ablate(recipe, tmp_path, (), ROWS[:1], (0,), 1, Silent())
    found = ablate.ablate(recipe, tmp_path, ("train.steps=2",), ROWS[:1], (0,), 1, Silent())
    assert [line["steps"] for line in ablate.read(tmp_path)] == [4, 2]
    assert found["runs"] == 1  # the table shows the budget that was asked for


def test_a_run_that_fails_is_named_and_the_others_are_kept(recipe: Path, tmp_path: Path) -> None:
    rows = [Row("bad", "a block that is not there", ("model.video.feature_block=7",)), ROWS[0]]
    with pytest.raises(UserError, match=r"bad, seed 0: model.video.feature_block: 7 is not a block.*1 of 2 runs failed"):
        ablate.ablate(recipe, tmp_path, (), rows, (0,), 1, Silent())
    assert [line["row"] for line in ablate.read(tmp_path)] == ["hit"]


def test_a_defect_of_ours_is_no_line_for_the_user(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablate, "_work", len)  # a Job has no length
    with pytest.raises(TypeError, match="no len"):
        ablate.ablate(recipe, tmp_path, (), ROWS[:1], (0,), 1, Silent())


def test_a_damaged_results_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps({"row": "hit"}) + "\n{half")
    with pytest.raises(UserError, match=r"results.jsonl: is damaged"):
        ablate.read(tmp_path)


def test_the_shipped_rows_fit_every_recipe() -> None:
    rows = ablate.shipped_rows()
    assert [row.name for row in ablate.choose(["core"], rows)] == list(ablate.CORE)
    assert len(ablate.choose(["all", "core"], rows)) == len(rows)
    for row in rows.values():
        assert config.load("flickr8k", row.overrides) is not None
    plan = config.load("flickr8k", rows["semantic"].overrides)
    assert (plan.loss.kind, plan.loss.feature_weight, plan.model.level_weights) == ("in-batch", 0, (0, 1))
    with pytest.raises(UserError, match="there is no row 'banana'"):
        ablate.choose(["hit", "banana"], rows)
