"""`hit calibrate` from end to end: training calibrates by itself, any model can be, evaluation says how well its word is kept."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_folders
import tiny_model
from hit import experts, features
from hit import train as training
from hit.calibrate import calibrate
from hit.calibration import Calibration
from hit.config import DataConfig, ExpertConfig, LossConfig, ModelConfig, Recipe, TextTowerConfig, TrainConfig, VideoTowerConfig
from hit.encoder import read_card
from hit.errors import UserError
from hit.evaluate import evaluate
from hit.types import Features, Silent
from hit.zeroshot import Plan, make

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COLOURS, SHAPES, VERBS = ("red", "green", "blue"), ("ball", "box"), ("rises", "spins")
CLIPS = 84


def dataset(folder: Path, name: str, config: ExpertConfig, splits: tuple[str, ...]) -> Path:
    """Write a data set whose features say plainly what its captions say, by turns in the given splits."""
    rng, expert = np.random.default_rng(0), experts.load(name, config)
    (folder / "videos").mkdir(parents=True)
    lines, found = ["video,caption,split"], {}
    for i in range(CLIPS):
        words = [COLOURS[i % 3], SHAPES[i // 3 % 2], VERBS[i // 6 % 2]]
        (folder / "videos" / f"{i}.mp4").touch()
        captions = (f"a {' '.join(words)}", f"{' '.join(words[::-1])} a")
        lines += [f"{i}.mp4,{caption},{splits[i // 12 % len(splits)]}" for caption in captions]
        values = rng.normal(0, 0.3, (4, expert.dim)).astype(np.float32)
        for place, word in enumerate(words):
            values[:, 4 * place + (*COLOURS, *SHAPES, *VERBS).index(word) % 4] += 3
        found[str(i)] = Features(values, np.stack([np.arange(4), np.arange(1, 5)], axis=1).astype(np.float32))
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    features.Folder(folder / "features", expert).write(found)
    return folder


def recipe(data: Path, text: Path, **settings: Any) -> Recipe:
    steps = {"steps": 12, "batch": 12, "lr": 1e-3, "lr_text": 1e-3, "validate_every": 12, "checkpoint_every": 12, "threads": 1}
    return Recipe(
        name="small",
        data=DataConfig(str(data), **settings),
        experts={"sound": ExpertConfig()},
        model=ModelConfig(dim=16, video=VideoTowerConfig(width=32, layers=2, heads=2, ffn=64), text=TextTowerConfig(str(text))),
        loss=LossConfig(bank=16, momentum=0.9),
        train=TrainConfig(**steps),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a data set of three splits, and a model that was trained on it."""
    folder = tmp_path_factory.mktemp("calibrate")
    dataset(folder / "data", "sound", ExpertConfig(), ("train", "train", "val", "test"))
    text = tiny_model.text_encoder(folder / "bert")
    training.train(recipe(folder / "data", text), folder / "model", Silent(), page=True)
    return folder


def kept(model: Path) -> tuple[bytes, ...]:
    return tuple((model / name).read_bytes() for name in ("calibration.json", "background.safetensors"))


def test_training_calibrates_and_a_finished_run_that_lacks_it_does_so_again(place: Path) -> None:
    before = kept(place / "model")
    by = Calibration.load(place / "model", read_card(place / "model")["revision"])
    assert by
    assert by.about["clips"] == 24
    assert (len(by.clips), len(by.texts)) == (48, 24)
    for name in ("calibration.json", "background.safetensors"):
        (place / "model" / name).unlink()
    training.train(recipe(place / "data", place / "bert"), place / "model", Silent())
    assert kept(place / "model") == before


def test_the_verb_makes_what_training_made(place: Path, hit: Run) -> None:
    before = kept(place / "model")
    found = calibrate(place / "model", place / "data", "", Silent())
    assert kept(place / "model") == before
    assert found["split"] == "val"
    assert set(found["t2v"]) == {"ece", "brier", "refused"}
    assert calibrate(place / "model", place / "data", "val", Silent()) == found
    json.dumps(found, allow_nan=False)
    told = hit("calibrate", place / "model", place / "data")
    assert "text to video: ECE 0." in told.stdout, told.stderr
    assert kept(place / "model") == before


def test_evaluation_measures_it_and_draws_it(place: Path, tmp_path: Path) -> None:
    scores = evaluate(place / "model", place / "data", "test", Silent(), page=tmp_path / "page.html")
    for way, queries in (("t2v", 24), ("v2t", 12)):
        found = scores["confidence"][way]
        assert sum(one["count"] for one in found["bins"]) == queries
        assert 0 <= found["ece"] <= 1
        assert 0 <= found["refused"] <= 1
    text = (tmp_path / "page.html").read_text()
    assert "<h2>Confidence</h2>" in text
    assert text.count("as promised") == 2
    json.dumps(scores, allow_nan=False, default=str)


def test_a_model_without_one_is_measured_as_ever(place: Path, tmp_path: Path) -> None:
    training.train(recipe(place / "data", place / "bert"), tmp_path / "bare", Silent(), page=False)
    assert not (tmp_path / "bare" / "calibration.json").exists()
    scores = evaluate(tmp_path / "bare", place / "data", "test", Silent(), page=tmp_path / "page.html")
    assert "confidence" not in scores
    assert "<h2>Confidence</h2>" not in (tmp_path / "page.html").read_text()


def test_clips_that_training_held_out_are_those_that_are_fitted_to(place: Path, tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", "sound", ExpertConfig(), ("train",))
    training.train(recipe(data, place / "bert", val_share=0.4), tmp_path / "model", Silent())
    before = kept(tmp_path / "model")
    found = calibrate(tmp_path / "model", data, "", Silent())
    assert kept(tmp_path / "model") == before
    assert found["clips"] == read_card(tmp_path / "model")["clips"]["validation"]
    with pytest.raises(UserError, match="has learnt from it"):
        calibrate(tmp_path / "model", data, "train", Silent())
    with pytest.raises(UserError, match="its split 'moon' has no clips"):
        calibrate(tmp_path / "model", data, "moon", Silent())


def test_a_zero_shot_model_is_calibrated_on_half_of_the_clips_there_are(tmp_path: Path) -> None:
    network = model_folders.tokenizer(model_folders.clip(tmp_path / "clip"))
    card = make(tmp_path / "model", Plan(image=str(network), ocr=False, speech=False), print)
    config = ExpertConfig("image-model", {"path": str(network)})
    data = dataset(tmp_path / "data", "image", config, ("train",))
    found = calibrate(tmp_path / "model", data, "", Silent())
    assert Calibration.load(tmp_path / "model", card["revision"])
    assert found["clips"] + found["background"]["clips"] == CLIPS
    assert 30 < found["clips"] < 54
    assert "confidence" in evaluate(tmp_path / "model", data, "train", Silent())
