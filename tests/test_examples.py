"""The example runs as a user runs it: on photographs that a test draws, and on the real ones where they are."""

import csv
import io
import json
import runpy
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

import model_folders
import tiny_model
from hit import metrics, video
from hit.types import Clip, FrameWant

QUICK = (
    *("train.steps=2", "train.batch=4", "model.text.max_tokens=16", "model.dim=16", "--seeds", "1", "--json"),
    *("model.video.width=32", "model.video.heads=2", "model.video.ffn=64"),
)
COLOURS = ("red", "lime", "blue", "yellow", "white", "black")
LOOK = FrameWant(4.0, 32)


Main = Callable[[Sequence[str]], int]


@pytest.fixture(scope="module")
def main(root: Path) -> Main:
    """Return the command line of the example."""
    return cast(Main, runpy.run_path(str(root / "examples" / "exercise_photos.py"))["main"])


def photos(folder: Path, count: int) -> Path:
    """Write exercises whose poses are a colour each; the second photo of the first one has another size."""
    (folder / "photos").mkdir(parents=True)
    listed = []
    for i in range(count):
        listed.append({"id": f"e{i}", "name": f"Exercise {i}", "instructions": [f"Begin {COLOURS[i % 6]}.", "End grey."]})
        Image.new("RGB", (64, 48), COLOURS[i % 6]).save(folder / "photos" / f"e{i}_0.jpg")
        Image.new("RGB", (64, 50 if i == 0 else 48), "grey").save(folder / "photos" / f"e{i}_1.jpg")
    (folder / "exercises.json").write_text(json.dumps(listed))
    return folder


def rows(data: Path) -> list[dict[str, str]]:
    with (data / "captions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def outcome(main: Main, words: Sequence[object]) -> dict[str, Any]:
    """Run the example and return what it printed."""
    with redirect_stdout(io.StringIO()) as out:
        assert main(list(map(str, words))) == 0
    return dict(json.loads(out.getvalue().splitlines()[-1]))


@pytest.fixture(scope="module")
def drawn(main: Main, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sequence[object], dict[str, Any]]:
    """Return a folder in which the example has run to its end, the words it was run with, and what it printed."""
    folder = tmp_path_factory.mktemp("example")
    text = tiny_model.text_encoder(folder / "bert")
    words = (folder / "out", "--photos", photos(folder / "in", 12), "--model-folder", model_folders.vit(folder / "vit"))
    return folder, (*words, f"model.text.source={text}", *QUICK), outcome(main, (*words, f"model.text.source={text}", *QUICK))


def test_each_exercise_is_a_video_of_its_poses_one_after_the_other(drawn: tuple[Path, Sequence[object], object]) -> None:
    data = drawn[0] / "out" / "data"
    listed = rows(data)
    assert [row["split"] for row in listed].count("test") == 2  # one in six
    assert listed[0] | {"split": ""} == {"video": "e0.mp4", "caption": "Exercise 0. Begin red. End grey.", "split": ""}
    for i, row in enumerate(listed):
        path = data / "videos" / row["video"]
        about = video.probe(path)
        assert (about.codec, about.width, about.height) == ("h264", 64, 48)
        assert about.duration == pytest.approx(4.0)
        [media] = video.read(path, [Clip("", "", path)], [LOOK])
        means = media.frames[LOOK].images.mean(axis=(1, 2))
        first = np.array(Image.new("RGB", (1, 1), COLOURS[i % 6]).getpixel((0, 0)))
        assert np.abs(means[:6] - first).max() < 12  # to 1.5 s
        assert np.abs(means[8:] - 128).max() < 12  # from 2 s
        between = np.abs(means[7] - first).max()
        assert 12 < between < np.abs(128 - first).max() - 12  # at 1.75 s the one fades into the other


def test_the_held_out_exercises_depend_on_their_ids_alone(drawn: tuple[Path, Sequence[object], object]) -> None:
    held = {row["video"] for row in rows(drawn[0] / "out" / "data") if row["split"] == "test"}
    assert held == {"e6.mp4", "e9.mp4"}


def test_hit_and_the_baseline_are_measured_beside_chance(drawn: tuple[Path, Sequence[object], dict[str, Any]]) -> None:
    _, _, found = drawn
    assert found["chance"]["R1"] == 50
    for name, levels in {"hit": {"feature", "semantic", "fused"}, "linear": {"semantic", "fused"}}.items():
        result = found[name]
        assert (result["videos"], result["queries"], result["split"]) == (2, 2, "test")
        assert set(result["scores"]["t2v"]) == set(result["scores"]["v2t"]) == levels
        card = json.loads((drawn[0] / "out" / name / "seed-0" / "card.json").read_text())
        assert card["clips"] == {"train": 10, "validation": 0}


def test_a_second_run_does_only_what_is_missing(main: Main, drawn: tuple[Path, Sequence[object], dict[str, Any]]) -> None:
    folder, words, before = drawn
    videos = sorted((folder / "out" / "data" / "videos").glob("*.mp4"))
    kept = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in videos}
    lost = videos[3]
    lost.unlink()
    weights = (folder / "out" / "hit" / "seed-0" / "weights.safetensors").stat().st_mtime_ns
    again = outcome(main, words)
    assert again["hit"]["scores"] == before["hit"]["scores"]
    assert (folder / "out" / "hit" / "seed-0" / "weights.safetensors").stat().st_mtime_ns == weights
    assert lost.read_bytes() == kept.pop(lost)[0]  # equal input, equal bytes
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept} == kept


def test_chance_is_the_closed_form() -> None:
    found = metrics.summary(np.zeros(1, np.int64), np.array([39]))
    assert [found[name] for name in ("R1", "R5", "R10", "MdR")] == pytest.approx([2.5, 12.5, 25, 20.5])


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        ("no photos", "exercises.json: there is no such file (give the folder with exercises.json and photos/ by --photos)"),
        ("no model", "nowhere: there is no such folder (give a vision model, as transformers saves it, by --model-folder)"),
        ("no list", "exercises.json: is no list of exercises: KeyError: 'instructions'"),
        ("odd id", "exercises.json: is no list of exercises: ValueError: the id '../e0' is no file name"),
        ("lost photo", "e1_1.jpg: cannot be read: No such file or directory (fetch the photos again)"),
        ("damaged photo", "e1_1.jpg: cannot be read: "),
        ("other data", "data: holds other data (name another folder or remove this one)"),
        ("no seeds", "--seeds: 0 is less than 1"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    main: Main, capsys: pytest.CaptureFixture[str], tmp_path: Path, damage: str, line: str
) -> None:
    folder, model = photos(tmp_path / "in", 3), tmp_path / "model"
    model.mkdir()
    listed = json.loads((folder / "exercises.json").read_text())
    words: list[object] = [tmp_path / "out", "--photos", folder, "--model-folder", model]
    match damage:
        case "no photos":
            words[2] = tmp_path / "nowhere"
        case "no model":
            words[4] = tmp_path / "nowhere"
        case "no list":
            (folder / "exercises.json").write_text('[{"id": "a", "name": "b"}]')
        case "odd id":
            (folder / "exercises.json").write_text(json.dumps([listed[0] | {"id": "../e0"}]))
        case "lost photo":
            (folder / "photos" / "e1_1.jpg").unlink()
        case "damaged photo":
            whole = (folder / "photos" / "e1_1.jpg").read_bytes()
            (folder / "photos" / "e1_1.jpg").write_bytes(whole[: len(whole) // 2])
        case "other data":
            (tmp_path / "out" / "data").mkdir(parents=True)
            (tmp_path / "out" / "data" / "mine.txt").write_text("mine")
        case "no seeds":
            words += ["--seeds", 0]
    assert main(list(map(str, words))) == 2
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert (printed.out, last[:17]) == ("", "exercise_photos: ")
    assert line in last


def test_real_photographs_through_the_real_model(main: Main, shared_data: Path, tmp_path: Path) -> None:
    """Some of the 240 pairs, two steps: it all fits together. What it scores, examples/README.md says."""
    source, model = shared_data / "exercise_photos", shared_data.parent / "models" / "mobilenet_v2"
    if not (source.is_dir() and model.is_dir()):
        pytest.skip(f"no photographs at {source}, or no model at {model}")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photos").symlink_to(source / "photos")
    few = json.loads((source / "exercises.json").read_text())[:12]
    (tmp_path / "in" / "exercises.json").write_text(json.dumps(few))
    text = tiny_model.text_encoder(tmp_path / "bert")
    words = ("--photos", tmp_path / "in", "--model-folder", model, f"model.text.source={text}", *QUICK)
    found = outcome(main, (tmp_path / "out", *words))
    assert found["hit"]["queries"] == 2
    [shape] = (tmp_path / "out" / "data" / "features").glob("appearance-*/expert.json")
    assert json.loads(shape.read_text())["dim"] == 1280
