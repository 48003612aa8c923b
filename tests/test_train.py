"""Training: it learns, it goes on exactly where it stopped, and it says clearly why it cannot."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import tiny_model
from hit import config, encoder, experts, features
from hit import train as training
from hit.config import DataConfig, ExpertConfig, LossConfig, ModelConfig, Recipe, TextTowerConfig, TrainConfig, VideoTowerConfig
from hit.errors import UserError
from hit.evaluate import evaluate
from hit.splits import Split, hold_out
from hit.types import Features, Silent

COLOURS, SHAPES = ("red", "green", "blue"), ("ball", "box")
HEARS = ExpertConfig("given", {"dim": 5, "source": "a test"})
TWO = {"sound": ExpertConfig(), "hears": HEARS}  # the second one has something to say of every eighth clip only


def dataset(folder: Path, clips: int = 24) -> Path:
    """Write a data set whose features say plainly what its captions say; the videos themselves are not looked at."""
    rng = np.random.default_rng(0)
    (folder / "videos").mkdir(parents=True)
    lines, found = ["video,caption,split"], {}
    heard: dict[str, Features | None] = {}
    for i in range(clips):
        colour, shape = COLOURS[i % 3], SHAPES[i % 2]
        (folder / "videos" / f"{i}.mp4").touch()
        split = "test" if i >= clips - 6 else "train"
        lines += [f"{i}.mp4,a {colour} {shape} {verb},{split}" for verb in ("rises", "spins")]
        values = rng.normal(0, 0.3, (5, 120)).astype(np.float32)
        values[:, COLOURS.index(colour)] += 3
        values[:, 3 + SHAPES.index(shape)] += 3
        times = np.stack([np.arange(5), np.arange(1, 6)], axis=1).astype(np.float32)
        found[str(i)] = Features(values, times)
        heard[str(i)] = None if i % 8 else Features(values[:2, :5], times[:2])
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    features.Folder(folder / "features", experts.load("sound", ExpertConfig())).write(found)
    features.Folder(folder / "features", experts.load("hears", HEARS)).write(heard)
    return folder


def recipe(data: Path, text: Path, **settings: object) -> Recipe:
    video = VideoTowerConfig(width=32, layers=2, heads=2, ffn=64)
    steps = {"steps": 10, "batch": 6, "lr": 1e-3, "lr_text": 1e-3, "validate_every": 4, "checkpoint_every": 3}
    return Recipe(
        name="small",
        data=DataConfig(str(data), val_share=0.2),
        experts={"sound": ExpertConfig()},
        model=ModelConfig(dim=16, video=video, text=TextTowerConfig(str(text))),
        loss=LossConfig(bank=16, momentum=0.9),
        train=TrainConfig(**{**steps, "threads": 1, **settings}),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    dataset(folder / "data")
    tiny_model.text_encoder(folder / "bert")
    return folder


@pytest.fixture(scope="module")
def unbroken(place: Path) -> Path:
    training.train(recipe(place / "data", place / "bert"), place / "unbroken", Silent())
    return place / "unbroken"


class StopAt(Silent):
    """Progress that ends the run when the loop reports its Nth step."""

    def __init__(self, step: int, how: signal.Signals | None = None) -> None:
        self.left, self.how = step, how

    def task(self, title: str, total: float | None) -> "StopAt":
        self.counting = title == "Training"
        return self

    def advance(self, steps: float = 1, note: str = "") -> None:
        if self.counting and steps == 1:
            self.left -= 1
            if self.left == 0 and self.how:
                os.kill(os.getpid(), self.how)
            if self.left == 0:
                raise KeyboardInterrupt


def test_it_learns_what_there_is_to_learn(place: Path, tmp_path: Path) -> None:
    card = training.train(
        recipe(place / "data", place / "bert", steps=60, validate_every=60), tmp_path / "model", Silent(), page=False
    )
    scores = evaluate(tmp_path / "model", place / "data", "test", Silent())
    # six clips, each of another colour and shape: the right one first, where chance is one in six
    assert scores["t2v"]["fused"]["R1"] > 80
    assert scores["v2t"]["fused"]["R1"] > 80
    assert (scores["queries"], scores["videos"], scores["seed"]) == (12, 6, 0)
    assert card["history"][-1]["loss"] < 10


def test_a_model_folder_is_whole_and_says_what_made_it(unbroken: Path) -> None:
    files = {
        "card.json",
        "report.html",
        "report.html.json",
        "config.toml",
        "text_config.json",
        "tokenizer.json",
        "weights.safetensors",
    }
    assert {path.name for path in unbroken.iterdir()} == files | {"run"}
    card = json.loads((unbroken / "card.json").read_text())
    assert card["recipe"]["train"]["steps"] == card["steps"] == 10
    assert card["clips"]["train"] + card["clips"]["validation"] == 18
    assert [entry["step"] for entry in card["history"]] == [4, 8, 10]
    assert card["revision"] == encoder.load_encoder(unbroken).revision
    assert card["experts"]["sound"].startswith("sound/")
    assert {"torch", "numpy", "python"} <= set(card["versions"])
    assert any((unbroken / "run" / "tensorboard").iterdir())


@pytest.mark.parametrize("step", [1, 3, 5, 10])
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(place: Path, unbroken: Path, tmp_path: Path, step: int) -> None:
    plan = recipe(place / "data", place / "bert")
    with pytest.raises(KeyboardInterrupt):
        training.train(plan, tmp_path / "model", StopAt(step))
    assert not (tmp_path / "model" / "card.json").exists()
    card = training.train(plan, tmp_path / "model", Silent(), page=False)
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == (unbroken / "weights.safetensors").read_bytes()
    assert card["history"] == json.loads((unbroken / "card.json").read_text())["history"]


KILLED = """
import signal, sys
sys.path.insert(0, sys.argv[1])
import torch
from pathlib import Path
from hit import train
from test_train import StopAt, recipe
train.train(recipe(Path(sys.argv[2]), Path(sys.argv[3])), Path(sys.argv[4]), StopAt(8, signal.SIGKILL))
"""


def test_a_run_that_was_killed_goes_on(place: Path, unbroken: Path, tmp_path: Path) -> None:
    words = [Path(__file__).parent, place / "data", place / "bert", tmp_path / "model"]
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in sorted((tmp_path / "model/run/checkpoints").iterdir())] == [
        "step-00000003.safetensors",
        "step-00000006.safetensors",
    ]
    (tmp_path / "model/run/checkpoints/step-00000009.partial").write_bytes(b"half of a checkpoint")
    training.train(recipe(place / "data", place / "bert"), tmp_path / "model", Silent(), page=False)
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == (unbroken / "weights.safetensors").read_bytes()
    assert not list((tmp_path / "model/run/checkpoints").glob("*.partial"))


def test_a_run_that_is_told_to_end_keeps_its_step_and_goes_on(place: Path, tmp_path: Path) -> None:
    plan = recipe(place / "data", place / "bert", steps=100, validate_every=50, checkpoint_every=1000)
    (tmp_path / "plan.toml").write_text(tomli_w.dumps(config.to_table(plan)))
    words = [sys.executable, "-m", "hit", "train", str(tmp_path / "plan.toml"), str(tmp_path / "ended"), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("Training:  30%"):
                break
        process.terminate()
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (143, "")
    (checkpoint,) = (tmp_path / "ended" / "run" / "checkpoints").iterdir()
    step = int(checkpoint.stem.removeprefix("step-"))
    lines = [line for line in errors.splitlines() if not line.startswith("Training:")]
    assert lines == [f"hit: step {step}: ended by a SIGTERM, with a checkpoint (the same command goes on from here)"]
    training.train(plan, tmp_path / "ended", Silent(), page=False)
    training.train(plan, tmp_path / "unbroken", Silent(), page=False)
    one, other = (tmp_path / name / "weights.safetensors" for name in ("ended", "unbroken"))
    assert one.read_bytes() == other.read_bytes()


def test_a_finished_run_is_left_alone(place: Path, unbroken: Path) -> None:
    before = (unbroken / "weights.safetensors").stat().st_mtime_ns
    training.train(recipe(place / "data", place / "bert"), unbroken, StopAt(1))
    assert (unbroken / "weights.safetensors").stat().st_mtime_ns == before


def test_another_run_is_not_gone_on_with_and_what_differs_is_named(place: Path, unbroken: Path) -> None:
    plan = recipe(place / "data", place / "bert")

    def refused(other: Recipe, names: str) -> None:
        with pytest.raises(UserError, match=rf"unbroken: holds another run: not the same {names} \(choose another folder"):
            training.train(other, unbroken, Silent())

    refused(replace(plan, train=replace(plan.train, seed=1)), "train.seed")
    refused(replace(plan, loss=replace(plan.loss, bank=8), train=replace(plan.train, lr_heads=0.1)), "loss.bank, train.lr_heads")
    refused(replace(plan, experts=TWO), "experts.hears")
    refused(replace(plan, data=replace(plan.data, val_share=0.5)), "data.val_share, training clips")
    many = replace(plan.train, seed=1, steps=3, batch=2, lr=0.1, captions=2)
    refused(replace(plan, train=many), "train.batch, train.captions, train.lr and 2 more")


def test_a_loss_that_is_not_finite_stops_the_run(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step \d+: the loss became nan \(lower train.lr"):
        training.train(recipe(place / "data", place / "bert", lr=1e30, clip_norm=1e30), tmp_path / "model", Silent())
    assert not (tmp_path / "model" / "card.json").exists()


def test_what_is_missing_is_named(place: Path, tmp_path: Path) -> None:
    plan = recipe(place / "data", place / "bert")
    with pytest.raises(UserError, match="names no data set"):
        training.train(replace(plan, data=DataConfig()), tmp_path / "a", Silent())
    with pytest.raises(UserError, match=r"no features of 'motion'.*hit extract"):
        training.train(replace(plan, experts={"sound": ExpertConfig(), "motion": ExpertConfig()}), tmp_path / "b", Silent())
    with pytest.raises(UserError, match="split 'rehearsal' has no clips"):
        training.train(replace(plan, data=replace(plan.data, train_split="rehearsal")), tmp_path / "c", Silent())


def test_a_model_is_not_evaluated_with_other_experts(place: Path, unbroken: Path, tmp_path: Path) -> None:
    for path in unbroken.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(text.replace("sound/2", "sound/0"))
    with pytest.raises(UserError, match=r"is now 'sound/2.*trained with 'sound/0"):
        evaluate(tmp_path, place / "data", "test", Silent())


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    settings = TrainConfig(steps=100, warmup=0.1)
    rates = [training.schedule(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1)
    assert rates[55] == pytest.approx(0.5)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert 0 < rates[99] < 0.01
    held = [training.schedule(step, replace(settings, decay=0.2)) for step in range(100)]
    assert held[9:81] == [1.0] * 72
    assert held[90] == pytest.approx(0.5)


def test_the_learning_rate_falls_by_a_factor_for_every_32_000_clips() -> None:
    settings = TrainConfig(steps=800, batch=128, warmup=0.01, decay_factor=0.95)
    rates = [training.schedule(step, settings) for step in range(800)]
    assert rates[8:250] == [1.0] * 242
    assert rates[250:500] == pytest.approx([0.95] * 250)
    assert rates[799] == pytest.approx(0.95**3)


def test_holding_out_depends_on_the_clip_alone() -> None:
    ids = [f"clip {i}" for i in range(500)]
    split = Split(ids, [{}] * 500, [["a"]] * 500)
    rest, held = hold_out(split, 0.1)
    assert sorted([*rest.ids, *held.ids]) == sorted(ids)
    assert abs(len(held.ids) - 50) < 3 * math.sqrt(45)
    fewer = hold_out(Split(ids[:250], [{}] * 250, [["a"]] * 250), 0.1)[1]
    assert set(fewer.ids) == set(held.ids) & set(ids[:250])


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from hit import checkpoint
from hit.config import LossConfig
from hit.errors import UserError
from test_momentum import build
contrast = build(LossConfig(bank=16))
optimizer = torch.optim.AdamW(contrast.query.parameters())
folder = Path(sys.argv[2])
checkpoint.save(folder, 1, contrast, optimizer, {}, 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoint.save(folder, 2, contrast, optimizer, {}, 2)
except UserError as error:
    print(error)
print(checkpoint.restore(folder, contrast, optimizer)[0], [path.name for path in folder.iterdir()])
"""


def test_a_full_disk_is_said_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    words = [sys.executable, "-c", FULL, str(Path(__file__).parent), str(tmp_path)]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    assert "step-00000002.safetensors: cannot be written" in lines[0]
    assert lines[1] == "1 ['step-00000001.safetensors']"


def test_a_damaged_checkpoint_is_named(place: Path, tmp_path: Path) -> None:
    plan = recipe(place / "data", place / "bert")
    with pytest.raises(KeyboardInterrupt):
        training.train(plan, tmp_path, StopAt(4))
    (path,) = (tmp_path / "run" / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"step-00000003.safetensors: a damaged checkpoint"):
        training.train(plan, tmp_path, Silent())


def test_an_embedding_does_not_depend_on_the_batch(unbroken: Path) -> None:
    model = encoder.load_encoder(unbroken)
    texts = ["a red ball", "a blue box spins then a green ball rises"]
    assert np.abs(model.embed_texts(texts) - np.concatenate([model.embed_texts([text]) for text in texts])).max() < 1e-6
    assert not model.model.training
    with pytest.raises(UserError, match="a text: is empty"):
        model.embed_texts(["a red ball", "  "])
    assert torch.is_grad_enabled()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return dataset(tmp_path / "data")


def test_a_value_that_is_no_number_is_named_by_its_file(place: Path, data: Path, tmp_path: Path) -> None:
    (shard,) = (data / "features").glob("sound-*/*.safetensors")
    with safe_open(shard, "numpy") as file:
        header = file.metadata()
    tensors = load_file(shard)
    tensors["values"][7, 3] = np.nan
    save_file(tensors, shard, header)
    with pytest.raises(
        UserError, match=rf"{shard.name}: is damaged: .* not finite \(delete this file and run `hit extract` again"
    ):
        training.train(recipe(data, place / "bert"), tmp_path / "model", Silent())


def test_an_empty_caption_is_named_by_its_line(place: Path, data: Path, tmp_path: Path) -> None:
    with (data / "captions.csv").open("a") as file:
        file.write("3.mp4, ,train\n")
    with pytest.raises(UserError, match="line 50: the caption is empty"):
        training.train(recipe(data, place / "bert"), tmp_path / "model", Silent())


def test_a_clip_of_which_no_expert_saw_anything_is_left_out(place: Path, data: Path, tmp_path: Path) -> None:
    plan = replace(recipe(data, place / "bert", steps=2), experts={"hears": HEARS})
    card = training.train(replace(plan, data=replace(plan.data, val_share=0.0)), tmp_path / "model", Silent())
    assert card["clips"] == {"train": 3, "validation": 0}  # clips 0, 8 and 16 of 18; and fewer than the batch of 6
    assert card["scores"] == {}


def test_a_caption_is_cut_after_as_many_tokens_as_the_recipe_says(place: Path, data: Path, tmp_path: Path) -> None:
    weights = []
    for words in ("a red ball rises", "a red ball rises then a green box spins"):
        lines = (data / "captions.csv").read_text().splitlines()
        lines[1] = f"0.mp4,{words},train"
        (data / "captions.csv").write_text("\n".join(lines))
        plan = recipe(data, place / "bert", steps=4)
        plan = replace(plan, model=replace(plan.model, text=replace(plan.model.text, max_tokens=6)))  # [CLS] and [SEP] are two
        training.train(plan, tmp_path / words, Silent(), page=False)
        weights.append((tmp_path / words / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"steps": 0}, "train.steps: 0 is less than 1"),
        ({"accumulate": 0}, "train.accumulate: 0 is less than 1"),
        ({"keep_checkpoints": 0}, "train.keep_checkpoints: 0 is less than 1"),
        ({"expert_dropout": 1.5}, "train.expert_dropout: 1.5 is not between 0 and 1"),
        ({"hold_video": -0.5}, "train.hold_video: -0.5 is not between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(place: Path, tmp_path: Path, settings: dict[str, float], line: str) -> None:
    with pytest.raises(UserError, match=line):
        training.train(recipe(place / "data", place / "bert", **settings), tmp_path, Silent())


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_checkpoints_are_kept(place: Path, tmp_path: Path, keep: int) -> None:
    training.train(recipe(place / "data", place / "bert", keep_checkpoints=keep), tmp_path, Silent(), page=False)
    steps = [int(path.stem[-2:]) for path in sorted((tmp_path / "run" / "checkpoints").iterdir())]
    assert steps == [3, 6, 9, 10][-keep:]
