"""ONNX models by path: small ones, whose answers are known in closed form."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import model_folders
from hit import experts
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Audio, AudioWant, Clip, Expert, Features, Frames, FrameWant, Media
from model_folders import FLOAT, INT64, UINT8

COLOUR = {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.25, 0.2]}


def load(path: Path | str, **options: Any) -> Expert:
    return experts.load("net", ExpertConfig("onnx", {"path": str(path), **options}))


def complaint(path: Path | str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def show(expert: Expert, images: Any) -> Features:
    [want] = expert.wants
    assert isinstance(want, FrameWant)
    times = np.arange(len(images), dtype=np.float32) / np.float32(want.rate)
    found = expert.extract(Media(Clip("a", "a", Path("a")), {want: Frames(images, times)}, {}))
    assert found is not None
    return found


def play(expert: Expert, samples: Any, start: float = 0.0) -> Features | None:
    [want] = expert.wants
    assert isinstance(want, AudioWant)
    return expert.extract(Media(Clip("a", "a", Path("a")), {}, {want: Audio(samples.astype(np.float32), want.rate, start)}))


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch", [1, 2, 16])
@pytest.mark.parametrize("length", ["n", 1, 2])
def test_pictures(tmp_path: Path, images: Any, length: int | str, batch: int) -> None:
    expert = load(model_folders.onnx_picture(tmp_path / "net.onnx", (length, 3, 32, 32)), image=COLOUR, batch=batch)
    assert expert.wants == (FrameWant(1.0, 32),)
    found = show(expert, images)
    colour = (images.mean((1, 2)) / 255 - COLOUR["mean"]) / COLOUR["std"]
    assert found.values == pytest.approx(colour @ model_folders.matrix(), abs=1e-5)
    assert found.times.tolist() == [[i, i + 1] for i in range(5)]


def test_another_output_is_averaged_over_places(tmp_path: Path, images: Any) -> None:
    path = model_folders.onnx_picture(tmp_path / "net.onnx")
    expert = load(path, image=COLOUR | {"channels": "bgr", "rate": 4}, output="picture")
    found = show(expert, images)
    assert found.values == pytest.approx(((images.mean((1, 2)) / 255 - COLOUR["mean"]) / COLOUR["std"])[:, ::-1], abs=1e-5)
    assert found.times[1].tolist() == [0.25, 0.5]
    assert "has no output 'pictur' (did you mean 'picture'?)" in complaint(path, image=COLOUR, output="pictur")
    assert "it has row, picture" in complaint(path, image=COLOUR, output="42")


def test_bytes_with_colours_last(tmp_path: Path, images: Any) -> None:
    shape = ("n", 24, 32, 3)
    path = tmp_path / "net.onnx"
    model_folders.onnx(path, [("Cast", "image", "same")], {"image": (UINT8, shape)}, {"same": shape})
    expert = load(path, image={})
    assert expert.wants == (FrameWant(1.0, 24),)
    wide = np.tile(images, (1, 1, 2, 1))[:, :24, :40]
    squashed = [np.asarray(PIL.Image.fromarray(image).resize((32, 24), PIL.Image.Resampling.BILINEAR)) for image in wide]
    assert show(expert, wide).values == pytest.approx(np.mean(squashed, axis=(1, 2)), abs=1e-4)
    assert "mean and image.std do not apply" in complaint(path, image=COLOUR)


def test_the_middle_is_cut_out_instead_of_squashing(tmp_path: Path, images: Any) -> None:
    wide = np.concatenate([np.zeros_like(images)[:, :, :10], images, np.full_like(images, 255)[:, :, :10]], axis=2)
    path = model_folders.onnx_picture(tmp_path / "net.onnx", ("n", 3, "h", "w"))
    expert = load(path, image=COLOUR | {"crop": True, "size": 32})
    assert show(expert, wide).values == pytest.approx(show(load(path, image=COLOUR | {"size": 32}), images).values, abs=1e-5)
    assert "say image.size" in complaint(path, image=COLOUR)


@pytest.mark.parametrize(
    ("shape", "table"), [((2, 400), {}), (("n", 1, "samples"), {"seconds": 0.5}), (("samples",), {"seconds": 0.5})]
)
def test_sound(tmp_path: Path, shape: Any, table: dict[str, Any]) -> None:
    """The model tells the means of two steps, halves of a window, which the expert averages."""
    halves: list[int | str] = [-1, 2, 200] if len(shape) > 1 else [2, 200]
    weights = {"shape": np.array(halves, np.int64), "average": np.full((200, 1), 1 / 200, np.float32)}
    nodes = [("Reshape", "sound shape", "halves"), ("MatMul", "halves average", "out")]
    out: dict[str, model_folders.Shape] = {"out": [*("n" for _ in halves[:-2]), 2, 1]}
    path = model_folders.onnx(tmp_path / "net.onnx", nodes, {"sound": (FLOAT, shape)}, out, weights)
    expert = load(path, audio={"rate": 800, **table})
    samples = np.random.default_rng(0).normal(size=1300)
    found = play(expert, samples, 7.0)
    assert found is not None
    windows = np.stack([samples[:400], samples[400:800], samples[800:1200]])
    assert found.values == pytest.approx(windows.mean(1)[:, None], abs=1e-5)
    assert found.times.tolist() == [[7.0, 7.5], [7.5, 8.0], [8.0, 8.5]]
    assert play(expert, np.zeros(0)) is None
    one_by_one = load(path, audio={"rate": 800, **table}, batch=1)
    again = play(one_by_one, samples, 7.0)
    assert again is not None
    assert again.values == pytest.approx(found.values, abs=1e-6)
    assert one_by_one.identity == expert.identity


def test_the_identity_holds_the_file_and_what_decides(tmp_path: Path) -> None:
    path = model_folders.onnx_picture(tmp_path / "a.onnx")
    first = load(path, image=COLOUR).identity
    assert load(shutil.copy(path, tmp_path / "b.onnx"), image=COLOUR, batch=2).identity == first
    assert load(path, image=COLOUR | {"layout": "nchw", "size": 32, "rate": 1}).identity == first, "it is what the model says"
    others = [
        load(path, image=COLOUR | {"std": [0.3, 0.3, 0.3]}).identity,
        load(path, image=COLOUR | {"channels": "bgr"}).identity,
        load(path, image=COLOUR, output="picture").identity,
    ]
    (tmp_path / "a.onnx.data").write_bytes(b"weights beside the model")
    others.append(load(path, image=COLOUR).identity)
    (tmp_path / "a.onnx.data").unlink()
    path.write_bytes(path.read_bytes().replace(b"tiny", b"wiry"))
    others.append(load(path, image=COLOUR).identity)
    assert len({first, *others}) == 6


def test_what_cannot_be_run_says_why(tmp_path: Path) -> None:
    path = model_folders.onnx_picture(tmp_path / "net.onnx")
    assert "there is no such file" in complaint(tmp_path / "none.onnx", image=COLOUR)
    assert "needs one of the options image and audio" in complaint(path)
    assert "needs one of the options image and audio" in complaint(path, image=COLOUR, audio={"rate": 8000})
    assert "which is no waveform" in complaint(path, audio={"rate": 8000})
    assert "no device 'cuda' here" in complaint(path, image=COLOUR, device="cuda")
    assert "no device 'tpu' here" in complaint(path, image=COLOUR, device="tpu")
    for size in (0, len(path.read_bytes()) // 2, 3):
        (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:size])
        complaint(tmp_path / "cut.onnx", image=COLOUR)
    (tmp_path / "cut.onnx").write_bytes(b"\x80\x04garbage" * 100)
    assert "cannot be loaded" in complaint(tmp_path / "cut.onnx", image=COLOUR)
    unknown = model_folders.onnx(
        tmp_path / "u.onnx", [("Guess", "image", "out")], {"image": (FLOAT, ("n", 3, 8, 8))}, {"out": ("n",)}
    )
    assert "cannot be loaded" in complaint(unknown, image=COLOUR)
    two = {"image": (FLOAT, ("n", 3, 8, 8)), "words": (FLOAT, ("n", 3, 8, 8))}
    both = model_folders.onnx(tmp_path / "b.onnx", [("Add", "image words", "out")], two, {"out": ("n", 3, 8, 8)})
    assert "takes 2 inputs (image, words), not one" in complaint(both, image=COLOUR)
    words = model_folders.onnx(tmp_path / "w.onnx", [("Cast", "words", "out")], {"words": (INT64, ("n", 8))}, {"out": ("n", 8)})
    assert "which is no picture and no sound" in complaint(words, image=COLOUR)
    sound = model_folders.onnx(tmp_path / "s.onnx", [("Neg", "sound", "out")], {"sound": (FLOAT, (1, 400))}, {"out": (1, 400)})
    assert "which is no image" in complaint(sound, image=COLOUR)
    assert "say audio.rate" in complaint(sound, audio={})
    assert "does not turn its input into features" in complaint(sound, audio={"rate": 800, "seconds": 2.0})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "needs three numbers as image.mean and as image.std"),
        ({"mean": [0.5], "std": [0.5]}, "needs three numbers"),
        ({"men": [0.5]}, "has no key 'men' (did you mean 'mean'?)"),
        ({"zzz": 1}, "there are rate, size"),
        ({"mean": "grey"}, "option 'image.mean' is 'grey', not a list of numbers"),
        ({"size": "224"}, "option 'image.size' is '224', not of type int"),
        (COLOUR | {"crop": 1}, "option 'image.crop' is 1, not of type bool"),
        (COLOUR | {"size": -1}, "say image.size"),
        (COLOUR | {"size": 10**9}, "say image.size"),
        (COLOUR | {"rate": 0}, "it must be above 0"),
        (COLOUR | {"layout": "chwn"}, "say image.layout"),
        (COLOUR | {"channels": "cmy"}, "it is rgb or bgr"),
        (COLOUR | {"size": 16}, "does not turn its input into features"),
        (COLOUR | {"std": [0, 0, 0]}, "needs three numbers"),
        (3, "option 'image' is 3, not a table"),
    ],
)
def test_tables_are_checked(tmp_path: Path, table: Any, words: str) -> None:
    assert words in complaint(model_folders.onnx_picture(tmp_path / "net.onnx"), image=table)


def test_without_onnxruntime_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = model_folders.onnx_picture(tmp_path / "net.onnx")
    assert complaint(path, image=COLOUR).endswith("not installed (pip install 'hit-video[onnx]')")


def test_weights_elsewhere_on_the_machine_are_not_read(tmp_path: Path) -> None:
    """A model may keep weights in files beside it, and a hostile one might name any other file."""
    (tmp_path / "secret").write_bytes(bytes(60))
    folder = tmp_path / "model"
    folder.mkdir()
    path = model_folders.onnx_picture(folder / "net.onnx")
    outside = model_folders.elsewhere(path, "../secret")
    assert "cannot be loaded" in complaint(outside, image=COLOUR)
    (folder / "weights").write_bytes(model_folders.matrix().tobytes())
    assert load(model_folders.elsewhere(path, "weights"), image=COLOUR).dim == 5
