"""Video models of transformers, tiny ones: what they yield is what the library's own call yields."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import model_folders
from hit import experts
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Clip, Expert, Features, Frames, FrameWant, Media

FAMILIES = ("videomae", "timesformer", "vivit", "vjepa2", "xclip")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {family: model_folders.video(folder / family, family) for family in FAMILIES}


def load(path: Path, **options: Any) -> Expert:
    return experts.load("net", ExpertConfig("video-model", {"path": str(path), **options}))


def media(expert: Expert, count: int, start: float = 3.0) -> Media:
    [want] = expert.wants
    assert isinstance(want, FrameWant)
    images = np.random.default_rng(count).integers(0, 255, (count, want.side, want.side + 9, 3), dtype=np.uint8)
    times = (start + np.arange(count) / want.rate).astype(np.float32)
    return Media(Clip("a", "a", Path("a"), start), {want: Frames(images, times)}, {})


def look(expert: Expert, seen: Media) -> Features:
    found = expert.extract(seen)
    assert found is not None
    return found


def pixels(images: Any, scale: float = 1 / 255, offset: float = 0) -> Any:
    """Prepare frames as model_folders.PICTURES says, written again: they are 32 high already, and too wide."""
    left = (images.shape[2] - 32) // 2
    colour = images[:, :, left : left + 32].astype(np.float64) * scale - offset
    return ((colour - model_folders.PICTURES["image_mean"]) / model_folders.PICTURES["image_std"]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_is_what_the_model_itself_says_of_a_window(folders: dict[str, Path], family: str) -> None:
    import torch
    import transformers

    expert = load(folders[family], batch=2)
    seen = media(expert, 11)
    found = look(expert, seen)
    images = next(iter(seen.frames.values())).images
    ready = pixels(images, offset=1.0 if family == "vivit" else 0.0)
    windows = torch.from_numpy(np.stack([ready[at : at + 4] for at in (0, 4, 7)])).float()
    model = transformers.AutoModel.from_pretrained(folders[family]).eval()
    with torch.inference_mode():
        if family == "xclip":
            expected = model.get_video_features(pixel_values=windows).pooler_output
        elif family == "vjepa2":
            expected = model(pixel_values_videos=windows).last_hidden_state.mean(1)
        else:
            hidden = model(pixel_values=windows).last_hidden_state
            expected = hidden.mean(1) if family == "videomae" else hidden[:, 0]
    assert found.values == pytest.approx(expected.numpy(), abs=1e-4)


@pytest.mark.parametrize(
    ("count", "times"),
    [
        (1, [(3.0, 3.5)]),
        (3, [(3.0, 4.5)]),
        (4, [(3.0, 5.0)]),
        (5, [(3.0, 5.0)]),
        (6, [(3.0, 5.0), (4.0, 6.0)]),
        (8, [(3.0, 5.0), (5.0, 7.0)]),
    ],
)
def test_windows_at_the_end_of_a_clip(folders: dict[str, Path], count: int, times: list[tuple[float, float]]) -> None:
    expert = load(folders["videomae"], rate=2.0)
    found = look(expert, media(expert, count))
    assert found.times.tolist() == [list(time) for time in times]
    assert found.values.shape == (len(times), expert.dim)


def test_a_short_clip_stays_on_its_last_frame(folders: dict[str, Path]) -> None:
    expert = load(folders["videomae"])
    short = media(expert, 2)
    [want, frames] = next(iter(short.frames.items()))
    longer = Frames(frames.images[[0, 1, 1, 1]], np.arange(4, dtype=np.float32))
    assert np.array_equal(look(expert, short).values, look(expert, Media(short.clip, {want: longer}, {})).values)


def test_a_model_of_any_length_takes_the_frames_of_the_option(folders: dict[str, Path]) -> None:
    expert = load(folders["vjepa2"], frames=8)
    assert len(look(expert, media(expert, 16)).values) == 2
    assert expert.identity != load(folders["vjepa2"]).identity
    with pytest.raises(UserError, match=r"does not turn frames into features.*number of frames that it takes"):
        load(folders["videomae"], frames=6)
    with pytest.raises(UserError, match="option 'frames' is -1"):
        load(folders["videomae"], frames=-1)


@pytest.mark.parametrize("crop", [{"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}, {"do_center_crop": False}])
def test_frames_are_prepared_as_videomae_prepares_them(tmp_path: Path, crop: dict[str, Any]) -> None:
    from transformers import AutoImageProcessor

    from hit.experts import pictures

    table = model_folders.PICTURES | crop | {"image_processor_type": "VideoMAEImageProcessor"}
    model_folders.write(tmp_path / "preprocessor_config.json", table)
    theirs: Any = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    images = list(np.random.default_rng(0).integers(0, 255, (3, 48, 70, 3), dtype=np.uint8))
    expected = theirs([[PIL.Image.fromarray(image) for image in images]], return_tensors="np")["pixel_values"][0]
    assert pictures.prepare(table, images) == pytest.approx(expected, abs=1e-5)


def test_an_old_table_names_the_shorter_side(tmp_path: Path) -> None:
    folder = model_folders.video(tmp_path / "videomae", "videomae")
    identity = load(folder).identity
    model_folders.write(folder / "preprocessor_config.json", model_folders.PICTURES | {"size": 32})
    assert load(folder).identity == identity


def test_a_table_within_that_of_a_whole_processor(tmp_path: Path) -> None:
    folder = model_folders.video(tmp_path / "videomae", "videomae")
    identity = load(folder).identity
    (folder / "preprocessor_config.json").unlink()
    model_folders.write(folder / "processor_config.json", {"video_processor": model_folders.PICTURES})
    assert load(folder).identity == identity


def test_a_model_of_pictures_is_refused(tmp_path: Path) -> None:
    folder = model_folders.clip(tmp_path / "clip")
    model_folders.write(folder / "preprocessor_config.json", model_folders.PICTURES)
    with pytest.raises(UserError, match="does not say how many frames"):
        load(folder)
