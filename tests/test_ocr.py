"""What is written in real video files is read, with the times at which it stands there."""

import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from hit import experts, features, video
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.experts import ocr
from hit.experts.ocr import Line, Ocr
from hit.types import Bytes, Clip, Features

RATE = 5  # pictures a second


@pytest.fixture(scope="module")
def expert() -> Ocr:
    return Ocr()


def card(*lines: str, size: tuple[int, int] = (480, 270), letters: int = 24) -> Bytes:
    """Return a dim coloured gradient with lines of words."""
    corners = np.array([[[40, 60, 90], [90, 40, 60]], [[20, 90, 60], [60, 60, 30]]], np.uint8)
    image = Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)
    for count, line in enumerate(lines):
        place, font = (20, 20 + count * 60), ImageFont.load_default(letters)
        ImageDraw.Draw(image).text(place, line, font=font, fill="white", stroke_width=1, stroke_fill="black")
    return np.asarray(image)


def film(path: Path, scenes: Sequence[tuple[float, Bytes]]) -> Path:
    """Write a video of pictures that each stand for some seconds, a little noise on each."""
    rng = np.random.default_rng(0)

    def pictures() -> Iterator[Bytes]:
        for seconds, image in scenes:
            for _ in range(round(seconds * RATE)):
                yield np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)

    video.write(path, pictures(), RATE)
    return path


def look(expert: Ocr, path: Path, start: float = 0.0, end: float = float("inf")) -> Features:
    [media] = video.read(path, [Clip("a", "a", path, start, end)], expert.wants)
    return expert.extract(media)


def test_words_stand_while_they_stand(tmp_path: Path, expert: Ocr) -> None:
    slide = card("Quarterly revenue", "grew 12 %")
    path = film(tmp_path / "talk.mp4", [(2, card()), (3, slide), (1, card()), (2, card("Departures 14:25"))])
    found = look(expert, path)
    assert found.texts == ("Quarterly revenue\ngrew 12 %", "Departures 14:25")
    assert found.times.tolist() == [[2.0, 5.0], [6.0, 8.0]]
    assert found.values.shape == (2, 384)
    assert found.values @ expert._sentences(["how much money was earned"])[0] @ [1, -1] > 0.1
    part = look(expert, path, 3.5, 6.75)
    assert part.texts == found.texts
    assert part.times.tolist() == [[3.5, 5.5], [6.5, 6.75]]


def test_nothing_written_is_no_row(tmp_path: Path, expert: Ocr) -> None:
    found = look(expert, film(tmp_path / "plain.mp4", [(2, card())]))
    assert (found.values.shape, found.times.shape, found.texts) == ((0, 384), (0, 2), ())
    noise = np.random.default_rng(0).integers(0, 255, (270, 480, 3), dtype=np.uint8)
    assert look(expert, film(tmp_path / "noise.mp4", [(1, noise)])).texts == ()


def test_frames_that_hardly_differ_are_read_once(tmp_path: Path, expert: Ocr, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Bytes] = []
    original: Callable[[Ocr, Bytes], list[Line]] = Ocr._read

    def count(self: Ocr, image: Bytes) -> list[Line]:
        read.append(image)
        return original(self, image)

    monkeypatch.setattr(Ocr, "_read", count)
    path = film(tmp_path / "still.mp4", [(6, card("One of us")), (6, card("One of six"))])
    assert look(expert, path).texts == ("One of us", "One of six"), "a changed word is a changed picture"
    assert len(read) == 2


@pytest.mark.parametrize("letters", [10, 14, 40])
def test_sizes_of_letters(tmp_path: Path, expert: Ocr, letters: int) -> None:
    path = film(tmp_path / "sizes.mp4", [(1, card("Platform nine", letters=letters))])
    assert look(expert, path).texts == ("Platform nine",)


def test_lines_of_which_it_is_not_sure_are_left_out(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [(1, card("Platform nine", "x"))])
    assert look(Ocr(), path).texts == ("Platform nine",), "a single letter is mostly a stain"
    assert look(Ocr(confidence=1.1), path).texts == ()


def test_turned_and_portrait_pictures(tmp_path: Path, expert: Ocr) -> None:
    path = film(tmp_path / "tall.mp4", [(1, card("Way out", size=(270, 480)))])
    assert look(expert, path).texts == ("Way out",)


_line = st.tuples(st.sampled_from(["exit", "exit here", "room 204", "room 205", "open all day"]), st.floats(0.6, 1))
_readings = st.lists(st.lists(_line, max_size=3), max_size=8)


@given(_readings)
def test_stretches_cover_just_what_was_read(readings: list[list[Line]]) -> None:
    seen = [(float(at), at + 1.0, lines) for at, lines in enumerate(readings)]
    cues = ocr.stretches(seen)
    assert all(one.end <= two.start for one, two in itertools.pairwise(cues))
    covered = {at for cue in cues for at in range(int(cue.start), int(cue.end))}
    assert covered == {at for at, lines in enumerate(readings) if lines}
    for cue in cues:
        inside = readings[int(cue.start) : int(cue.end)]
        assert cue.text in {"\n".join(text for text, _ in lines) for lines in inside}
        assert all(ocr.same(one, two) for one, two in itertools.pairwise(inside))


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (["exit here"], ["exit hcre"], True),
        (["room 204"], ["room 205"], False),
        (["exit"], ["entrance"], False),
        (["exit", "here"], ["exit"], False),
        ([], [], True),
    ],
)
def test_same(one: list[str], two: list[str], same: bool) -> None:
    assert ocr.same([(text, 1.0) for text in one], [(text, 1.0) for text in two]) == same


def test_a_slip_of_one_frame_does_not_break_a_stretch() -> None:
    seen = [(0.0, 1.0, [("EXIT HERE", 0.9)]), (1.0, 2.0, [("EXIT HCRE", 0.7)]), (2.0, 3.0, [("EXIT HERE", 0.99)])]
    [cue] = ocr.stretches(seen)
    assert (cue.start, cue.end, cue.text) == (0.0, 3.0, "EXIT HERE")


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "onnxruntime" else original(name, *more))
    with pytest.raises(UserError) as caught:
        experts.load("signs", ExpertConfig("ocr"))
    assert str(caught.value) == "expert 'signs': RapidOCR is not installed (pip install 'hit-video[ocr]')"


def test_the_identity_holds_the_models_and_what_reads(expert: Ocr) -> None:
    assert "rapidocr=3." in expert.identity
    assert expert._sentences.identity in expert.identity
    assert len({expert.identity, Ocr(side=360).identity, Ocr(confidence=0.9).identity}) == 3


def test_there_is_one_opencv() -> None:
    """Two packages that both bring cv2 overwrite each other's files."""
    from importlib.metadata import packages_distributions

    assert packages_distributions()["cv2"] == ["opencv-python-headless"]
    assert cv2.__version__


def test_from_a_folder_of_files_to_words(tmp_path: Path) -> None:
    """`hit extract` with both experts of words: what is written and said comes back from the features."""
    (tmp_path / "videos").mkdir()
    film(tmp_path / "videos" / "talk.mp4", [(2, card("Quarterly revenue")), (2, card())])
    film(tmp_path / "videos" / "walk.mp4", [(2, card())])
    (tmp_path / "videos" / "talk.srt").write_text(
        "1\n00:00:00,500 --> 00:00:01,500\nWe grew by <b>twelve</b> percent – naïvely.\n"
    )
    (tmp_path / "captions.csv").write_text("video,caption\ntalk.mp4,a talk\nwalk.mp4,a walk\n")
    (tmp_path / "words.toml").write_text("[experts.ocr]\n[experts.speech]\n")
    run = [
        sys.executable,
        "-m",
        "hit",
        "extract",
        str(tmp_path),
        "--recipe",
        str(tmp_path / "words.toml"),
        "--workers",
        "1",
        "--json",
    ]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed"] == []
    loaded = experts.load_all({name: ExpertConfig() for name in ("ocr", "speech")})
    found = features.load(tmp_path / "features", loaded, ["talk", "walk"])
    assert found["talk"]["ocr"].texts == ("Quarterly revenue",)
    assert found["talk"]["speech"].texts == ("We grew by twelve percent – naïvely.",)
    assert found["talk"]["speech"].times.tolist() == [[0.5, 1.5]]
    assert found["walk"]["ocr"].texts == ()
    assert "speech" not in found["walk"], "no subtitles and no model: nobody can tell"
