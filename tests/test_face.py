"""Faces, by tiny models in the forms of YuNet and SFace whose answers are known: a red block of 8 x 8 pixels is a face."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import model_folders
from hit import experts
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Clip, Expert, Features, Frames, FrameWant, Media

HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return str(model_folders.yunet(folder / "yunet.onnx")), str(model_folders.sface(folder / "sface.onnx"))


def load(detector: str | Path, embedder: str | Path = "", **options: Any) -> Expert:
    given = {"detector": str(detector), "embedder": str(embedder), "side": HEIGHT, **options}
    return experts.load("face", ExpertConfig("face", given))


def look(expert: Expert, *pictures: Any) -> Features:
    [want] = expert.wants
    assert isinstance(want, FrameWant)
    frames = Frames(np.stack(pictures), np.arange(len(pictures), dtype=np.float32) / np.float32(want.rate))
    return experts.run({"face": expert}, Media(Clip("a", "a", Path("a")), {want: frames}, {}))["face"]


def picture(*blocks: tuple[int, int], ground: tuple[int, int, int] = (0, 0, 0)) -> Any:
    """Draw faces whose middle blocks begin at (top, left)."""
    image = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
    for top, left in blocks:
        image[top : top + 8, left : left + 8] = (255, 0, 0)
    return image


def test_where_faces_are(models: tuple[str, str]) -> None:
    expert = load(models[0], rate=2.0)
    blue = picture((24, 40))[..., ::-1]
    found = look(expert, picture((24, 40)), picture(), picture((24, 40), (0, 0), (24, 72)), blue)
    assert found.values.shape == (4, expert.dim)
    assert found.times.tolist() == [[0, 0.5], [0.5, 1], [1, 1.5], [1.5, 2]]
    one, none, three, other = found.values
    cells = np.zeros((4, 4))  # of 16 x 24 pixels; the face goes from row 12 to 44 and from column 32 to 56
    cells[:3, 1], cells[:3, 2] = np.array([4, 16, 12]) * 16 / 384, np.array([4, 16, 12]) * 8 / 384
    assert one[:6] == pytest.approx([1, 24 * 32 / (HEIGHT * WIDTH), 44 / 96, 28 / 64, 24 / 96, 32 / 64])
    assert one[6:] == pytest.approx(cells.reshape(-1))
    assert not none.any()
    assert not other.any(), "channels are told apart"
    assert three[0] == pytest.approx(2), "log2(1 + 3)"
    assert three[1] == pytest.approx((2 * 24 * 32 + 16 * 20) / (HEIGHT * WIDTH)), "of the one in the corner, what is in sight"
    assert three[6:].reshape(4, 4)[0, 0] == pytest.approx(16 * 16 / 384)


def test_who_they_are_only_where_an_embedder_is_given(models: tuple[str, str]) -> None:
    expert = load(*models)
    assert expert.dim == 5
    grounds = [(0, 90, 30), (0, 0, 200)]
    empty = picture()
    found = look(expert, picture((24, 40), ground=grounds[0]), empty, picture((24, 16), (24, 64), ground=grounds[1]))
    assert found.times[:, 0].tolist() == [0, 2, 2], "a row a face a frame"
    share = 8 * 8 / (28 * 28)  # of the square that is cut out and brought to 112 x 112
    mean = share * np.array([255, 0, 0]) + (1 - share) * np.array([grounds[0], grounds[1], grounds[1]])  # (3, 3)
    expected = mean @ model_folders.matrix()
    assert found.values == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=0.01)
    assert np.linalg.norm(found.values, axis=1) == pytest.approx(1, abs=1e-5)
    assert look(expert, empty, empty).values.shape == (0, 5)


def test_the_largest_comes_first(models: tuple[str, str], tmp_path: Path) -> None:
    """At a stride of 16 the same model finds faces of twice the size."""
    image = picture((24, 8))
    image[16:32, 48:64] = (255, 0, 0)
    twice = look(load(models[0]), image).values[0]
    assert twice[2:6] == pytest.approx([56 / 96, 28 / 64, 48 / 96, 56 / 64]), "of what is in sight"


def test_models_and_options_are_part_of_the_identity(models: tuple[str, str], tmp_path: Path) -> None:
    first = load(models[0]).identity
    assert load(shutil.copy(models[0], tmp_path / "moved.onnx")).identity == first
    other = model_folders.yunet(tmp_path / "other.onnx", ("height", "width"))
    identities = {load(*models).identity, load(models[0], confidence=0.5).identity, load(other).identity, first}
    assert len(identities) == 4


def complaint(*paths: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        load(*paths)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(paths[-1]))
    return str(caught.value)


def test_files_that_cannot_be_used_say_so_in_one_line(
    models: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = cv2.utils.logging.getLogLevel()
    detector, embedder = models
    assert "there is no such file" in complaint(tmp_path / "none.onnx")
    assert "there is no such file" in complaint(detector, tmp_path / "none.onnx")
    whole = Path(detector).read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 100):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        assert "give a YuNet model" in complaint(tmp_path / "cut.onnx")
        assert "give an SFace model" in complaint(detector, tmp_path / "cut.onnx")
    assert "give a YuNet model" in complaint(embedder)
    assert "give an SFace model" in complaint(detector, detector)
    turned = model_folders.yunet(tmp_path / "turned.onnx", cls_8_t=np.array([1, 1, -1], np.int64))
    assert "puts out (1, 64) where a detector of YuNet's form has (64, 1)" in complaint(turned)
    assert capfd.readouterr().err == "", "OpenCV keeps silent"
    assert cv2.utils.logging.getLogLevel() == before


def test_nobody_is_looked_for_by_default() -> None:
    [about] = [one for one in experts.describe() if one.name == "face"]
    assert (about.default, about.ready) == (False, False)
    assert "consent" in about.lacks
    with pytest.raises(UserError, match="lacks the option 'detector'"):
        experts.load("face", ExpertConfig())
