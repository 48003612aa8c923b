"""What is said: subtitles first, then what a Whisper model hears; lines lie within the clip and carry their words."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import subtitled
import tiny_model
import tiny_whisper
from hit import experts, video
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.experts.speech import Speech
from hit.experts.whisper import RATE, Whisper
from hit.types import Audio, AudioWant, Clip, Features

SCRIPT = "<|0.20|> hello world <|0.80|> <|1.00|> how are you <|1.50|>".split()  # noqa: SIM905
LINES = [(0.5, 1.0, "Hello"), (1.0, 2.5, "How are you?"), (3.0, 9.0, "Good bye")]
LISTENS = AudioWant(RATE)


@pytest.fixture(scope="module")
def reader() -> Speech:
    return Speech()


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.write(tmp_path_factory.mktemp("models") / "whisper", SCRIPT)


def film(path: Path, seconds: float, loud: float = 0.1, start: float = 0.0) -> Path:
    """Write a grey video with noise from `start`; without an audio track where it is not loud at all."""
    samples = np.random.default_rng(0).normal(0, loud, round(seconds * RATE)).astype(np.float32)
    samples[: round(start * RATE)] = 0
    video.write(path, [np.full((64, 96, 3), 90, np.uint8)] * round(seconds * 5), 5, samples if loud else None, RATE)
    return path


def listen(expert: Speech, path: Path, start: float = 0.0, end: float = float("inf")) -> Features | None:
    [media] = video.read(path, [Clip("a", path.name, path, start, end)], expert.wants)
    return experts.run({"speech": expert}, media).get("speech")


def lines(found: Features | None) -> list[tuple[float, float, str]]:
    assert found is not None
    assert found.texts is not None
    return [(*map(float, np.round(times, 3)), text) for times, text in zip(found.times, found.texts, strict=True)]  # type: ignore[misc]


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "subrip"), ("a.mp4", "mov_text")])
def test_lines_of_a_track_lie_within_the_clip(tmp_path: Path, reader: Speech, name: str, codec: str) -> None:
    path = subtitled.write(tmp_path / name, [(codec, LINES)])
    end = video.probe(path).duration  # of the pictures; the header of the mkv says when its last line ends, which is later
    assert end == pytest.approx(4, abs=0.05)
    assert lines(listen(reader, path)) == [*LINES[:2], (3.0, round(end, 3), "Good bye")]
    assert lines(listen(reader, path, 1.25, 3.5)) == [(1.25, 2.5, "How are you?"), (3.0, 3.5, "Good bye")]
    assert lines(listen(reader, path, 2.5, 3.0)) == [], "nobody says anything then"
    whole = listen(reader, path)
    assert whole is not None
    assert np.array_equal(whole.values, reader._sentences([text for *_, text in LINES]))


def test_a_side_file_is_read_before_the_track(tmp_path: Path, reader: Speech) -> None:
    path = subtitled.write(tmp_path / "film.mp4", [("mov_text", LINES)])
    (tmp_path / "film.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nnot as the track says\n")
    assert lines(listen(reader, path)) == [(1.0, 2.0, "not as the track says")]


def test_without_subtitles_and_without_a_model_nobody_can_tell(tmp_path: Path, reader: Speech) -> None:
    assert reader.wants == ()
    assert listen(reader, film(tmp_path / "talk.mp4", 1)) is None


def test_whisper_hears_window_by_window(tmp_path: Path, whisper: Path) -> None:
    expert = Speech(model=str(whisper), language="en")
    assert expert.wants == (LISTENS,)
    path = film(tmp_path / "talk.mp4", 5)
    said = [(0.2, 0.8, "hello world"), (1.0, 1.5, "how are you")]
    expected = [(start + offset, end + offset, text) for offset in (0, 2, 4) for start, end, text in said]
    found = lines(listen(expert, path))
    for (start, end, text), (begin, until, words) in zip(found, expected, strict=False):
        assert (start, end) == pytest.approx((begin, until), abs=0.03)
        assert text == words
    assert len(found) == 5, "the last window is a second long, and its second line begins where it ends"
    part = lines(listen(expert, path, 1.5, 2.4))
    assert [text for *_, text in part] == ["hello world"]
    assert part[0][:2] == pytest.approx((1.7, 2.3), abs=0.03)


def test_whisper_listens_only_where_there_are_no_subtitles(tmp_path: Path, whisper: Path) -> None:
    expert = Speech(model=str(whisper))
    path = film(tmp_path / "talk.mp4", 2)
    assert [text for *_, text in lines(listen(expert, path))] == ["hello world", "how are you"], "whatever the language is"
    shutil.copy(path, tmp_path / "other.mp4")
    (tmp_path / "other.srt").write_text("00:00:00,000 --> 00:00:01,000\nread\n")
    assert lines(listen(expert, tmp_path / "other.mp4")) == [(0.0, 1.0, "read")]


def test_whisper_hears_with_half_the_precision(tmp_path: Path, whisper: Path) -> None:
    path = film(tmp_path / "a.mkv", 3)
    whole, half = Speech(model=str(whisper)), Speech(model=str(whisper), dtype="bfloat16")
    assert lines(listen(half, path)) == lines(listen(whole, path)) != []
    assert half.identity != whole.identity
    with pytest.raises(UserError, match="dtype is one of float32"):
        Speech(model=str(whisper), dtype="int8")


def test_silence_is_no_row_and_no_track_is_no_answer(tmp_path: Path, whisper: Path) -> None:
    expert = Speech(model=str(whisper), language="en")
    assert lines(listen(expert, film(tmp_path / "quiet.mp4", 1, 1e-6))) == []
    assert listen(expert, film(tmp_path / "mute.mp4", 1, 0.0)) is None


def test_times_count_from_the_videos_start(whisper: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    [cue] = Whisper(str(whisper), "en")(Audio(noise[: round(0.9 * RATE)], RATE, 100.0))
    assert (cue.start, cue.end) == pytest.approx((100.2, 100.8))
    assert cue.text == "hello world"


def test_a_model_that_hears_no_words(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    for number, script in enumerate(
        [["<|0.00|>", "<|0.00|>"], ["<|0.20|>", "<|0.40|>"], ["<|0.00|>", "<|nospeech|>", "<|0.50|>"]]
    ):
        assert Whisper(str(tiny_whisper.write(tmp_path / str(number), script)), "de")(Audio(noise, RATE, 0.0)) == []


def test_an_english_model_takes_neither_language_nor_task(tmp_path: Path, whisper: Path) -> None:
    folder = shutil.copytree(whisper, tmp_path / "english")
    table = json.loads((folder / "generation_config.json").read_text())
    table = {key: value for key, value in table.items() if key not in ("lang_to_id", "task_to_id")} | {"is_multilingual": False}
    (folder / "generation_config.json").write_text(json.dumps(table))
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    Whisper(str(folder))(Audio(noise, RATE, 0.0))
    with pytest.raises(UserError, match=r"does not know the language 'en' \(there is English only"):
        Whisper(str(folder), "en")


def test_the_identity_holds_all_that_decides(tmp_path: Path, whisper: Path, reader: Speech) -> None:
    folder = shutil.copytree(whisper, tmp_path / "copy")
    first = Whisper(str(folder)).identity
    assert first == Whisper(str(whisper)).identity
    table = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(table | {"max_length": 20}))
    assert len({first, Whisper(str(folder)).identity, Whisper(str(whisper), "de").identity}) == 3
    heard = Speech(model=str(whisper)).identity
    assert first in heard
    assert reader._sentences.identity in heard
    assert heard != reader.identity != Speech(text=str(tiny_model.text_encoder(tmp_path / "bert"))).identity


def test_models_that_do_not_load_say_why(tmp_path: Path, whisper: Path) -> None:
    def complaint(folder: Path, **options: Any) -> str:
        with pytest.raises(UserError) as caught:
            experts.load("speech", ExpertConfig("speech", {"model": str(folder), **options}))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "there is no such folder" in complaint(tmp_path / "nowhere")
    assert "does not know the language 'fr' (there is de, en)" in complaint(whisper, language="fr")
    assert "cannot be loaded" in complaint(whisper, device="gameboy")
    broken = shutil.copytree(whisper, tmp_path / "broken")
    config = (broken / "config.json").read_text()
    (broken / "config.json").write_text(config.replace('"whisper"', '"bert"'))
    assert "a model of type bert" in complaint(broken)
    (broken / "config.json").write_text("{")
    assert "config.json: is not JSON" in complaint(broken)
    (broken / "config.json").write_text(config)
    settings = (broken / "generation_config.json").read_text()
    (broken / "generation_config.json").write_text(settings.replace("no_timestamps_token_id", "other_id"))
    assert "does not say how this model marks times" in complaint(broken)
    (broken / "generation_config.json").unlink()
    assert "has no generation_config.json" in complaint(broken)
    (broken / "generation_config.json").write_text(settings)
    (broken / "model.safetensors").write_bytes(b"garbage")
    assert "cannot be loaded" in complaint(broken)
    (broken / "model.safetensors").unlink()
    assert "has no weights in safetensors form" in complaint(broken)


def test_a_still_picture_says_nothing(tmp_path: Path, reader: Speech) -> None:
    from PIL import Image

    from hit import analysis

    for name in ("photo.png", "photo.webp", "photo.jpg"):
        Image.fromarray(np.full((64, 96, 3), 90, np.uint8)).save(tmp_path / name)
        assert reader.extract(analysis.still(tmp_path / name, reader.wants)) is None


def test_words_survive_indexing(tmp_path: Path, reader: Speech) -> None:
    from hit import analysis
    from hit.segments import SegmentConfig

    path = subtitled.write(tmp_path / "a.mkv", [("subrip", LINES)])
    pieces = analysis.analyse("a", path, {"speech": reader}, SegmentConfig())
    pieces = pickle.loads(pickle.dumps(pieces))  # as they come from a worker process
    assert [piece.features["speech"].texts for piece in pieces] == [("Hello", "How are you?", "Good bye")]
