"""A step: parts change nothing, and each option of the recipe does what it says."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import tiny_model
from hit import train as training
from hit.config import Recipe
from hit.types import Silent
from test_train import TWO, StopAt, dataset, recipe

KINDS = ("momentum", "in-batch", "max-margin")


def plan(place: Path, **sections: Mapping[str, Any]) -> Recipe:
    """Return a recipe of two experts without dropout, with some settings of its sections replaced.

    The rates are low: Adam divides by the size of a gradient, and so makes much of the last bits of one that is next to none.
    """
    base = replace(recipe(place / "data", place / "bert", steps=6, batch=7, lr=1e-4, lr_text=1e-4), experts=TWO)
    video, text = replace(base.model.video, dropout=0.0), replace(base.model.text, dropout=0.0)
    data = replace(base.data, val_share=0.0)  # no validation and no curves, which would take longer than these runs
    base = replace(base, data=data, model=replace(base.model, video=video, text=text))
    return replace(base, **{name: replace(getattr(base, name), **values) for name, values in sections.items()})


def result(recipe: Recipe, out: Path) -> dict[str, Tensor]:
    """Train, and return all that the last checkpoint holds: both encoders, banks, temperature, Adam's moments."""
    training.train(recipe, out, Silent(), page=False)
    return load_file(sorted((out / "run" / "checkpoints").iterdir())[-1])


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-5, rtol=1e-4, msg=f"{name} differs")


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor], part: str) -> float:
    """Return the largest change of the query encoder's weights whose names begin with `part`."""
    start = f"module.query.{part}"
    return max(float((tensor - before[name]).abs().max()) for name, tensor in after.items() if name.startswith(start))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("step")
    dataset(folder / "data")
    tiny_model.text_encoder(folder / "bert")
    return folder


VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "all": {"train": {"hold_video": 0.5, "captions": 2, "expert_dropout": 0.5}, "loss": {"feature_weight": 0.5}},
    "semantic": {"train": {"hold_video": 0.5}, "loss": {"feature_weight": 0.0}},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_change_nothing(place: Path, tmp_path: Path, kind: str, variant: str) -> None:
    sections = VARIANTS[variant]
    loss = {"kind": kind, "learn_temperature": kind != "max-margin", **sections.get("loss", {})}
    whole = plan(place, loss=loss, train=sections.get("train", {}))
    parts = replace(whole, train=replace(whole.train, accumulate=3))  # of 3, 2 and 2 clips
    one = result(whole, tmp_path / "whole")
    same(one, result(parts, tmp_path / "parts"))
    start = result(replace(whole, train=replace(whole.train, steps=1, hold_video=1.0)), tmp_path / "start")
    assert moved(start, one, "video") > 1e-4
    assert moved(start, one, "text") > 1e-4


STILL: dict[str, Any] = {"lr": 0.0, "lr_text": 0.0, "steps": 1}


@pytest.fixture(scope="module")
def start(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """All as it is before anything has moved; the bank holds the keys of one batch."""
    return result(plan(place, train=STILL), tmp_path_factory.mktemp("start"))


@pytest.mark.parametrize(("setting", "moves"), [("lr", {"video", "heads"}), ("lr_text", {"text"}), ("lr_heads", {"heads"})])
def test_each_part_has_its_own_rate(place: Path, tmp_path: Path, start: dict[str, Tensor], setting: str, moves: set[str]) -> None:
    after = result(plan(place, train={**STILL, setting: 1e-3}), tmp_path)
    assert {part for part in ("video", "text", "heads") if moved(start, after, part)} == moves


def test_the_temperature_is_learnt_and_kept(place: Path, tmp_path: Path, start: dict[str, Tensor]) -> None:
    learnt = result(plan(place, loss={"learn_temperature": True}, train={"lr_heads": 1e-3}), tmp_path / "learnt")
    change = float((learnt["module.log_temperature"] - start["module.log_temperature"]).abs())
    assert 1e-3 < change < 1e-2
    fixed = result(plan(place), tmp_path / "fixed")
    assert torch.equal(fixed["module.log_temperature"], start["module.log_temperature"])


def test_the_video_side_is_held_and_let_go(place: Path, tmp_path: Path, start: dict[str, Tensor]) -> None:
    training.train(plan(place, train={"hold_video": 0.5, "lr": 1e-3}), tmp_path, Silent(), page=False)
    held, free = (load_file(path) for path in sorted((tmp_path / "run" / "checkpoints").iterdir()))
    for part in ("video", "heads.video"):
        assert moved(start, held, part) == 0
        assert moved(start, free, part) > 1e-4
    assert all(moved(start, held, part) > 1e-4 for part in ("text", "heads.text"))


def test_keys_have_dropout_only_if_told_and_always_all_experts(place: Path, tmp_path: Path, start: dict[str, Tensor]) -> None:
    def bank(name: str, dropout: float, loss: Mapping[str, Any], train: Mapping[str, Any]) -> Tensor:
        base = plan(place, loss=loss, train={**STILL, **train})
        video, text = replace(base.model.video, dropout=dropout), replace(base.model.text, dropout=dropout)
        return result(replace(base, model=replace(base.model, video=video, text=text)), tmp_path / name)["module.bank"]

    assert torch.equal(bank("off", 0.1, {}, {"expert_dropout": 0.9}), start["module.bank"])
    assert (bank("on", 0.1, {"key_dropout": True}, {}) - start["module.bank"]).abs().max() > 0.01


def test_the_momentum_ends_where_it_is_told_to(place: Path, tmp_path: Path) -> None:
    def lag(final: float | None) -> float:
        after = result(plan(place, loss={"momentum": 1.0, "final_momentum": final}), tmp_path / str(final))
        return float((after["module.query.text.blocks.0.up.weight"] - after["module.key.text.blocks.0.up.weight"]).abs().max())

    assert lag(None) > 3 * lag(0.0) > 0


@pytest.mark.parametrize("options", [{"captions": 2}, {"expert_dropout": 0.5}, {"whiten_heads": True}, {"autocast": "bfloat16"}])
def test_an_option_is_no_idle_one(place: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    without, with_it = result(plan(place), tmp_path / "without"), result(plan(place, train=options), tmp_path / "with")
    assert moved(without, with_it, "") > 1e-5
    assert {tensor.dtype for tensor in with_it.values()} == {tensor.dtype for tensor in without.values()}
    assert all(tensor.isfinite().all() for tensor in with_it.values())


ALL = {"hold_video": 0.3, "captions": 2, "expert_dropout": 0.5, "accumulate": 2, "lr_heads": 2e-4, "whiten_heads": True}


@pytest.mark.parametrize(("kind", "autocast"), [("momentum", "bfloat16"), ("momentum", "float16"), ("in-batch", "bfloat16")])
def test_with_all_options_at_once_a_run_that_stopped_ends_as_if_it_had_not(
    place: Path, tmp_path: Path, kind: str, autocast: str
) -> None:
    loss = {"kind": kind, "learn_temperature": True, "key_dropout": True, "final_momentum": 1.0}
    base = plan(place, loss=loss, train={**ALL, "autocast": autocast, "checkpoint_every": 1, "steps": 12})
    video, text = replace(base.model.video, dropout=0.1), replace(base.model.text, dropout=0.1, trained_blocks=1)
    base = replace(base, model=replace(base.model, video=video, text=text))
    unbroken = result(base, tmp_path / "unbroken")
    for more in (2, 2, 6):
        with pytest.raises(KeyboardInterrupt):
            training.train(base, tmp_path / "broken", StopAt(more))
    broken = result(base, tmp_path / "broken")
    assert broken.keys() == unbroken.keys()
    assert [name for name, tensor in broken.items() if not torch.equal(tensor, unbroken[name])] == []
    notes = []
    for folder in ("broken", "unbroken"):
        with safe_open(tmp_path / folder / "run" / "checkpoints" / "step-00000012.safetensors", "pt") as file:
            notes.append(file.metadata())
    assert notes[0] == notes[1]
    assert (json.loads(notes[0]["notes"])["scaler"] != {}) == (autocast == "float16")


@pytest.mark.slow
@pytest.mark.parametrize("packed", [True, False])
def test_compiled_blocks_train_to_the_same(place: Path, tmp_path: Path, packed: bool) -> None:
    base = plan(place, model={"packed": packed}, train={"checkpoint_every": 2})
    compiled = replace(base, train=replace(base.train, compile=True))
    plain, fast = result(base, tmp_path / "plain"), result(compiled, tmp_path / "fast")
    same(plain, fast)
    assert any(not torch.equal(tensor, plain[name]) for name, tensor in fast.items())  # so it was another program
    with pytest.raises(KeyboardInterrupt):
        training.train(compiled, tmp_path / "broken", StopAt(3))
    torch.compiler.reset()  # as a new process begins
    broken = result(compiled, tmp_path / "broken")
    same(broken, fast)
    # Packed, each batch has its own shape, and which of them the code was made for depends on which came first.
    assert packed or all(torch.equal(tensor, fast[name]) for name, tensor in broken.items())
