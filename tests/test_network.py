"""Folders of strangers: what is wrong with one is said in one line, nothing of it is run, and its weights name the features."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_folders
from hit import experts
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Audio, AudioWant, Clip, Expert, Features, Frames, FrameWant, Media

KINDS = ("image-model", "video-model", "audio-model")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "image-model": model_folders.vit(folder / "vit"),
        "video-model": model_folders.video(folder / "videomae", "videomae"),
        "audio-model": model_folders.audio(folder / "ast", "ast"),
    }


@pytest.fixture
def folders(originals: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Return copies that a test may spoil."""
    return {kind: shutil.copytree(folder, tmp_path / kind) for kind, folder in originals.items()}


def load(kind: str, path: Path | str, **options: Any) -> Expert:
    return experts.load("net", ExpertConfig(kind, {"path": str(path), **options}))


def complaint(kind: str, path: Path | str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(kind, path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path)), text
    assert text.endswith(")"), f"says what to do: {text}"
    return text


def see(expert: Expert) -> Features:
    """Show an expert two seconds of noise."""
    noise, [want] = np.random.default_rng(0), expert.wants
    clip, times = Clip("a", "a", Path("a")), np.arange(16, dtype=np.float32) / np.float32(8)
    if isinstance(want, AudioWant):
        samples = noise.normal(0, 0.1, 2 * want.rate).astype(np.float32)
        found = expert.extract(Media(clip, {}, {want: Audio(samples, want.rate, 0.0)}))
    else:
        assert isinstance(want, FrameWant)
        images = noise.integers(0, 255, (16, want.side, want.side, 3), dtype=np.uint8)
        found = expert.extract(Media(clip, {want: Frames(images, times)}, {}))
    assert found is not None
    return found


def edit(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_part_of_the_identity_and_its_place_is_not(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    first = load(kind, folders[kind]).identity
    moved = folders[kind].rename(tmp_path / "moved")
    assert load(kind, moved).identity == first
    weights = load_file(moved / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, moved / "model.safetensors", {"format": "pt"})
    assert load(kind, moved).identity != first


@pytest.mark.parametrize("kind", KINDS)
def test_half_the_precision_is_near_and_has_a_name_of_its_own(kind: str, originals: dict[str, Path]) -> None:
    whole, half = load(kind, originals[kind]), load(kind, originals[kind], dtype="bfloat16")
    assert half.identity != whole.identity
    exact, rough = see(whole).values, see(half).values
    assert rough.dtype == np.float32
    assert not np.array_equal(exact, rough)
    assert rough == pytest.approx(exact, abs=0.1)
    assert "dtype is one of float32, bfloat16, float16" in complaint(kind, originals[kind], dtype="int8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", [{"batch": 0}, {"batch": -1}])
def test_a_number_that_cannot_be_is_refused_at_once(kind: str, originals: dict[str, Path], option: dict[str, Any]) -> None:
    assert "it must be above 0" in complaint(kind, originals[kind], **option)
    assert "it must be above 0" in complaint(kind, originals[kind], **{"seconds" if kind == "audio-model" else "rate": 0.0})


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(folder.parent / "run")))


def _other_code(folder: Path) -> None:
    edit(folder, model_type="mine", auto_map={"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine"})
    (folder / "mine.py").write_text(f"open({str(folder.parent / 'run')!r}, 'w')\nclass Mine: ...\n")


def _cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _lying_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")


def _fewer_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(dict(sorted(weights.items())[:5]), folder / "model.safetensors", {"format": "pt"})


def _no_numbers(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({name: value * float("nan") for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled": (_pickled, "has no weights in safetensors form"),
    "code": (_other_code, "cannot be loaded"),
    "cut": (_cut_weights, "cannot be loaded"),
    "header": (_lying_header, "cannot be loaded"),
    "fewer": (_fewer_weights, "of the model's weights"),
    "nan": (_no_numbers, "numbers that are not finite"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no weights in safetensors form"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "cannot be loaded"),
    "config of words": (lambda folder: (folder / "config.json").write_text("{"), "config.json: is not JSON"),
    "config of a list": (lambda folder: (folder / "config.json").write_text("[]"), "config.json: is not a table"),
    "unknown family": (lambda folder: edit(folder, model_type="nobody-knows"), "cannot be loaded"),
    "wrong type": (lambda folder: edit(folder, hidden_size="many"), "cannot be loaded"),
    "other width": (lambda folder: edit(folder, hidden_size=64), "cannot be loaded"),
    "vast": (lambda folder: edit(folder, hidden_size=10**7, intermediate_size=10**7), "asks for a far larger model"),
    "endless": (lambda folder: edit(folder, num_hidden_layers=10**8), "asks for 100000000 as num_hidden_layers"),
    "no heads": (lambda folder: edit(folder, num_attention_heads=0), "cannot be loaded"),
}


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("kind", KINDS)
def test_a_spoilt_folder_gives_one_line_and_runs_nothing(kind: str, spoil: str, folders: dict[str, Path], tmp_path: Path) -> None:
    change, words = SPOILT[spoil]
    change(folders[kind])
    assert words in complaint(kind, folders[kind])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("sizes", [{"image_size": 10**7}, {"num_frames": 10**8}, {"image_size": [4096, 4096], "num_frames": 99}])
def test_pictures_without_end_are_refused(sizes: dict[str, Any], folders: dict[str, Path]) -> None:
    """VideoMAE would write a row for each place of the picture, before its first weight."""
    edit(folders["video-model"], **sizes)
    assert "pixels at once" in complaint("video-model", folders["video-model"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_sense_is_refused(kind: str, originals: dict[str, Path]) -> None:
    for other, folder in originals.items():
        if other != kind:
            complaint(kind, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_here_is_missed_at_once(kind: str, tmp_path: Path) -> None:
    assert "there is no such folder" in complaint(kind, tmp_path / "nowhere")
    assert "there is no such folder" in complaint(kind, "a/b/c")
    complaint(kind, "nobody/nothing")
    complaint(kind, tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        {"size": {}},
        {"size": "large"},
        {"size": {"shortest_edge": 10**9}},
        {"size": {"width": 8}},
        {"crop_size": [8, 8]},
        {"crop_size": -3},
        {"resample": 99},
        {"resample": "best"},
        {"image_mean": 0.5},
        {"image_std": ["a", "b", "c"]},
        {"image_std": [0.5, 0.5, 0]},
        {"rescale_factor": "1/255"},
    ],
)
@pytest.mark.parametrize("kind", ["image-model", "video-model"])
def test_a_table_of_nonsense_is_named(kind: str, table: dict[str, Any], folders: dict[str, Path]) -> None:
    path = folders[kind] / "preprocessor_config.json"
    model_folders.write(path, model_folders.PICTURES | {"image_processor_type": "NoSuchProcessor"} | table)
    with pytest.raises(UserError, match=r"says of .* what is no such thing") as caught:
        load(kind, folders[kind])
    assert str(caught.value).startswith(str(path))
