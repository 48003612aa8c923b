"""Batches: what a step sees depends on its number alone, and the frozen part of captions is computed once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import tiny_model
from hit import batches as module
from hit import train as training
from hit.batches import Captions, draw, drop_experts
from hit.config import ModelConfig, Recipe, TextTowerConfig, TrainConfig
from hit.model import HiT, text_shape
from hit.tokens import pack_texts
from hit.types import Features, Silent
from test_train import dataset, recipe


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 20))
def test_an_epoch_shows_every_clip_once(clips: int, batch: int, seed: int) -> None:
    options = TrainConfig(batch=batch, seed=seed)
    size = min(batch, clips)
    stream = np.concatenate([draw(clips, options, step)[0] for step in range(2 * clips)])
    assert len(stream) == 2 * clips * size
    for epoch in range(2):
        assert sorted(stream[epoch * clips : (epoch + 1) * clips]) == list(range(clips))


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 8), st.integers(0, 30))
def test_processes_share_a_batch_that_is_rounded_down(clips: int, batch: int, world: int, step: int) -> None:
    size = min(batch, clips)
    assume(world <= size)
    rows, choice = draw(clips, TrainConfig(batch=batch), step, world)
    assert len(rows) == len(choice) == size - size % world
    one = draw(clips, TrainConfig(batch=len(rows)), step)  # of a single process
    assert np.array_equal(rows, one[0])
    assert np.array_equal(choice, one[1])


def clip(rows: list[int]) -> dict[str, Features]:
    return {f"expert {i}": Features(np.ones((n, 2), np.float32), np.zeros((n, 2), np.float32)) for i, n in enumerate(rows)}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(any), st.floats(0, 1), st.integers(0, 2**32))
def test_dropping_experts_never_empties_a_clip(rows: list[int], chance: float, seed: int) -> None:
    whole = clip(rows)
    kept = drop_experts(whole, chance, np.random.default_rng(seed))
    assert kept
    assert all(kept[name] is whole[name] and len(whole[name].values) for name in kept)
    seen = {name for name, features in whole.items() if len(features.values)}
    assert drop_experts(whole, 0.0, np.random.default_rng(seed)).keys() == seen
    assert len(drop_experts(whole, 1.0, np.random.default_rng(seed))) == 1


@settings(max_examples=10)
@given(st.floats(0.05, 0.95), st.integers(2, 5))
def test_the_share_of_experts_dropped_is_the_chance(chance: float, experts: int) -> None:
    rng, whole, times = np.random.default_rng(0), clip([1] * experts), 2000
    dropped = [experts - len(drop_experts(whole, chance, rng)) for _ in range(times)]
    expected = experts * chance - chance**experts  # where all would go, one stays
    assert abs(np.mean(dropped) - expected) < 4 * np.std(dropped) / times**0.5


class Count(Silent):
    """Progress that counts the captions read."""

    def __init__(self) -> None:
        self.read, self.reading = 0.0, False

    def task(self, title: str, total: float | None) -> "Count":
        self.reading = title == "Reading captions"
        return self

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.read += steps if self.reading else 0


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    module._last.clear()
    yield
    module._last.clear()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batches")
    dataset(folder / "data")
    tiny_model.text_encoder(folder / "bert")
    return folder


def model(bert: Path, config: TextTowerConfig) -> HiT:
    found = HiT(ModelConfig(dim=8, text=config), {"sound": 4}, text_shape(bert))
    found.text.load(bert)
    return found.eval()


CAPTIONS = [[np.array([2, 4, 5, 3]), np.array([2, 5, 3])], [np.array([2, 6, 7, 8, 3])]]


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_kept_states_are_what_the_tower_would_compute(place: Path, blocks: int, pool: str) -> None:
    config = TextTowerConfig(str(place / "bert"), trained_blocks=blocks, feature_pool=pool, dropout=0.0, phases=2)  # type: ignore[arg-type]
    tower = model(place / "bert", config)
    rows, choice = np.array([1, 0]), np.array([5, 3])
    texts, lower = Captions(tower, CAPTIONS, Silent()).pick(rows, choice, 2)
    expected = [CAPTIONS[1][0], CAPTIONS[1][0], CAPTIONS[0][1], CAPTIONS[0][0]]  # in a circle, from the choice on
    assert np.array_equal(texts.ids, np.concatenate(expected))
    assert lower is not None
    for one, other in zip(tower.embed_text(texts, lower), tower.embed_text(pack_texts(expected)), strict=True):
        torch.testing.assert_close(one, other)


def test_nothing_is_kept_where_all_is_trained(place: Path) -> None:
    tower, count = model(place / "bert", TextTowerConfig(str(place / "bert"))), Count()
    assert Captions(tower, CAPTIONS, count).pick(np.array([0]), np.array([0]))[1] is None
    assert count.read == 0


def frozen(place: Path, **settings: object) -> Recipe:
    plan = recipe(place / "data", place / "bert", steps=3, **settings)
    return replace(plan, model=replace(plan.model, text=replace(plan.model.text, trained_blocks=1)))


def test_the_next_run_in_a_process_finds_the_captions_read(place: Path, tmp_path: Path) -> None:
    first, second, third = Count(), Count(), Count()
    plan = frozen(place)
    training.train(plan, tmp_path / "first", first, page=False)
    assert first.read > 20
    training.train(replace(plan, name="other", train=replace(plan.train, seed=1)), tmp_path / "between", third, page=False)
    training.train(plan, tmp_path / "second", second, page=False)
    assert second.read == third.read == 0
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("first", "second"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_other_captions_weights_or_blocks_are_read_anew(place: Path) -> None:
    base = TextTowerConfig(str(place / "bert"), trained_blocks=1)
    count = Count()
    other = model(place / "bert", base)
    with torch.no_grad():
        other.text.blocks[0].norm2.bias.add_(1)  # type: ignore[union-attr, operator]
    trained = model(place / "bert", base)
    with torch.no_grad():
        trained.text.blocks[1].norm2.bias.add_(1)  # type: ignore[union-attr, operator]
    for tower, captions, read in (
        (model(place / "bert", base), CAPTIONS, 3),
        (trained, CAPTIONS, 0),  # what learns is none of its business
        (model(place / "bert", base), CAPTIONS[:1], 2),
        (other, CAPTIONS[:1], 2),
        (model(place / "bert", replace(base, trained_blocks=0)), CAPTIONS[:1], 2),
        (model(place / "bert", replace(base, phases=2)), CAPTIONS[:1], 2),
        (model(place / "bert", replace(base, phases=2)), [CAPTIONS[0][::-1]], 2),
        (model(place / "bert", replace(base, phases=2)), [CAPTIONS[0][::-1]], 0),
    ):
        count.read = 0
        Captions(tower, captions, count)
        assert count.read == read
