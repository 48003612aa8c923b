"""Five numbers an expert: they guard decoding to RGB, measures, preprocessing, weights and pooling all at once.

A change here is a change of features that people have on disk: it takes a new identity ("appearance/2") and a line in
the changelog. `python tests/test_golden.py` prints the numbers as they are now.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import model_folders
from hit import experts
from hit.config import ExpertConfig
from hit.types import Audio, Clip, Floats, Frames, FrameWant, Media, Want

MOBILENET = Path(__file__).parents[2] / "shared" / "models" / "mobilenet_v2"
SECONDS = 3.0
GOLDEN: dict[str, tuple[list[int], list[float]]] = {
    "appearance": ([75, 135, 64, 76, 78], [0.6227, 0.17354, 0.53477, 0.20203, 0.38185]),
    "motion": ([26, 1, 2, 9, 10], [0.05934, 0.02963, 0.02336, 0.0464, 0.04093]),
    "objects": ([220, 9, 17, 63, 14], [-0.31851, 0.96875, 1.0, 0.01953, 0.79297]),
    "sound": ([16, 15, 14, 13, 8], [-5.27664, -3.98942, -1.3271, 1.19443, -5.43064]),
    "ocr": ([1, 2, 3, 4, 5], [-0.03132, -0.01152, -0.05521, 0.02933, -0.01822]),
    "speech": ([0, 1, 3, 4, 5], [-0.01614, 0.01662, 0.1297, 0.04875, 0.13539]),
    "face": ([11, 10, 6, 15, 7], [0.67407, 0.19111, 0.09333, 0.01778, 0.28]),
    "onnx": ([1, 4, 2, 3, 0], [-0.0734, 1.03632, 2.52773, 0.24543, 0.66293]),
    "mobilenet": ([213, 802, 651, 866, 402], [2.9982, 0.74635, 0.48992, 0.51435, 1.3927]),
}


def image(time: float, side: int) -> Any:
    """Draw one frame in integers only: a ramp, a checked band, and a red square that goes right and then down."""
    height, width = side, side * 4 // 3
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 // width, 255 - y * 255 // height, (x // 4 + y // 4) % 2 * 90 + 60], axis=-1)
    step = round(time * 8) * side // 40
    left, top = side // 8 + min(step, side // 3), side // 4 + max(0, step - side // 3)
    picture[top : top + side // 5, left : left + side // 5] = (230, 30, 20)
    return picture.astype(np.uint8)


def signed(picture: Any) -> Any:
    """Write where it can be read, beneath the square."""
    if len(picture) >= 480:
        cv2.rectangle(picture, (80, 360), (560, 440), (255, 255, 255), -1)
        cv2.putText(picture, "PLATFORM 7", (100, 420), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 4, cv2.LINE_AA)
    return picture


def media(wants: tuple[Want, ...], path: Path) -> Media:
    """Return what a reader would bring for a clip of three seconds, made without a decoder; a sign stands in large pictures."""
    frames, audio = {}, {}
    for want in wants:
        if isinstance(want, FrameWant):
            times = np.arange(round(SECONDS * want.rate)) / want.rate
            frames[want] = Frames(np.stack([signed(image(time, want.side)) for time in times]), times.astype(np.float32))
        else:
            time = np.arange(round(SECONDS * want.rate)) / want.rate
            sound = 0.3 * np.sin(2 * np.pi * (300 + 200 * time) * time) * (0.5 + 0.5 * np.sin(2 * np.pi * 2 * time))
            audio[want] = Audio(sound.astype(np.float32), want.rate, 0.0)
    return Media(Clip("golden", "golden", path, 0.0, SECONDS), frames, audio)


def configs(folder: Path) -> Iterator[tuple[str, ExpertConfig]]:
    """Yield every expert whose weights, if it has any, are on this machine; those of tiny models are written to `folder`."""
    yield from experts.DEFAULT.items()
    yield from {name: ExpertConfig() for name in ("ocr", "speech")}.items()
    yield "face", ExpertConfig("face", {"detector": str(model_folders.yunet(folder / "yunet.onnx")), "confidence": 0.5})
    colour = {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.25, 0.2]}
    yield "onnx", ExpertConfig("onnx", {"path": str(model_folders.onnx_picture(folder / "colour.onnx")), "image": colour})
    if MOBILENET.is_dir():
        yield "mobilenet", ExpertConfig("image-model", {"path": str(MOBILENET)})


def rows(config: ExpertConfig, name: str, folder: Path) -> Floats:
    (folder / "golden.srt").write_text("1\n00:00:00,500 --> 00:00:02,000\nThe train to the sea leaves at seven.\n")
    expert = experts.load(name, config)
    found = expert.extract(media(expert.wants, folder / "golden.mp4"))
    assert found is not None
    return found.values


@pytest.mark.parametrize("name", GOLDEN)
def test_the_numbers_are_what_they_always_were(name: str, tmp_path: Path) -> None:
    config = dict(configs(tmp_path)).get(name)
    if config is None:
        pytest.skip(f"its weights are not here: {MOBILENET}")
    places, numbers = GOLDEN[name]
    values = rows(config, name, tmp_path)
    assert values[len(values) // 2, places] == pytest.approx(numbers, rel=1e-4, abs=1e-4)


def test_every_expert_has_its_numbers() -> None:
    """But for `given`, which looks at nothing, and networks of transformers on clips and sound: of these no weights are here."""
    ours = {one.name for one in experts.describe() if one.package == "hit-video"}
    assert set(GOLDEN) - {"mobilenet"} | {"image-model", "video-model", "audio-model", "given"} == ours


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp())
    for name, config in configs(place):
        values = rows(config, name, place)
        middle = values[len(values) // 2].round(5)
        order = [place for place in np.argsort(-values.std(0), kind="stable") if abs(middle[place]) > 0.01]
        chosen = {float(middle[place]): int(place) for place in reversed(order)}  # what varies says most, each number once
        numbers = sorted(chosen, key=lambda number: order.index(chosen[number]))[:5]
        print(f'    "{name}": ({[chosen[number] for number in numbers]}, {[round(number, 5) for number in numbers]}),')
