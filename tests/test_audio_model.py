"""Audio models of transformers, tiny ones: what they yield is what the library's own call yields, and no chance is in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_folders
from hit import experts
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.types import Audio, AudioWant, Clip, Expert, Features, Media

RATES = {"ast": 16000, "clap": 8000, "wav2vec2": 16000}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {family: model_folders.audio(folder / family, family) for family in RATES}


def load(path: Path, **options: Any) -> Expert:
    return experts.load("net", ExpertConfig("audio-model", {"path": str(path), **options}))


def media(expert: Expert, seconds: float, start: float = 2.0) -> Media:
    [want] = expert.wants
    assert isinstance(want, AudioWant)
    samples = np.random.default_rng(1).normal(0, 0.1, round(seconds * want.rate)).astype(np.float32)
    return Media(Clip("a", "a", Path("a"), start), {}, {want: Audio(samples, want.rate, start)})


def hear(expert: Expert, heard: Media) -> Features:
    found = expert.extract(heard)
    assert found is not None
    return found


@pytest.mark.parametrize("family", RATES)
def test_a_row_is_what_the_model_itself_says_of_a_window(folders: dict[str, Path], family: str) -> None:
    import torch
    import transformers

    expert = load(folders[family], batch=2)
    assert expert.wants == (AudioWant(RATES[family]),)
    heard = media(expert, 3.2)
    found = hear(expert, heard)
    [audio] = heard.audio.values()
    auto: Any = transformers.AutoFeatureExtractor
    inputs = auto.from_pretrained(folders[family])(
        list(audio.samples[: 3 * audio.rate].reshape(3, -1)), sampling_rate=audio.rate, return_tensors="pt"
    )
    model = transformers.AutoModel.from_pretrained(folders[family]).eval()
    with torch.inference_mode():
        if family == "clap":
            assert inputs["is_longer"].sum() == 1, "its extractor draws one at random, which we do not follow"
            features = inputs["input_features"].float()
            expected = model.get_audio_features(input_features=features, is_longer=torch.zeros(3, 1)).pooler_output
        else:
            output = model(**inputs)
            expected = output.pooler_output if family == "ast" else output.last_hidden_state.mean(1)
    assert found.values == pytest.approx(expected.numpy(), abs=1e-4)
    assert found.times.tolist() == [[2.0, 3.0], [3.0, 4.0], [4.0, 5.0]]


@pytest.mark.parametrize("family", RATES)
def test_the_rows_of_a_clip_do_not_hang_on_chance_or_on_each_other(folders: dict[str, Path], family: str) -> None:
    one, many = load(folders[family], batch=1), load(folders[family], batch=64)
    heard = media(one, 5.0)
    rows = hear(many, heard).values
    for _ in range(3):
        assert np.array_equal(hear(many, heard).values, rows)
    assert hear(one, heard).values == pytest.approx(rows, abs=1e-5)
    assert one.identity == many.identity


@pytest.mark.parametrize(
    ("seconds", "times"),
    [(0.1, [(2.0, 2.1)]), (1.0, [(2.0, 3.0)]), (1.4, [(2.0, 3.0)]), (1.6, [(2.0, 3.0), (2.6, 3.6)])],
)
def test_windows_at_the_end_of_a_clip(folders: dict[str, Path], seconds: float, times: list[tuple[float, float]]) -> None:
    expert = load(folders["ast"])
    found = hear(expert, media(expert, seconds))
    assert found.times == pytest.approx(np.array(times), abs=1e-5)
    assert found.values.shape == (len(times), 16)


def test_no_track_is_no_feature(folders: dict[str, Path]) -> None:
    expert = load(folders["ast"])
    assert expert.extract(media(expert, 0.0)) is None


@pytest.mark.parametrize(("family", "longest"), [("ast", "1.015"), ("clap", "2")])
def test_a_window_that_would_be_cut_is_refused(folders: dict[str, Path], family: str, longest: str) -> None:
    with pytest.raises(UserError, match=rf"takes {longest} s of sound at once, and a window is 2.5 s long"):
        load(folders[family], seconds=2.5)


def test_the_extractor_is_part_of_the_identity(tmp_path: Path) -> None:
    import transformers

    folder = model_folders.audio(tmp_path / "ast", "ast")
    first = load(folder)
    assert '"spectrogram": "numpy"' in first.identity, "torchaudio would give other numbers, and is not installed here"
    transformers.ASTFeatureExtractor(max_length=100, num_mel_bins=32, mean=-3.0).save_pretrained(folder)
    assert load(folder).identity != first.identity


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({}, "has no feature extractor for sound"),
        ({"feature_extractor_type": "ASTFeatureExtractor", "sampling_rate": "fast"}, "sound|sampling_rate"),
        ({"feature_extractor_type": "ASTFeatureExtractor", "sampling_rate": 10**12}, "gives 1000000000000 as sampling_rate"),
        ({"feature_extractor_type": "NoSuchExtractor"}, "has no feature extractor for sound"),
    ],
)
def test_other_tables_say_what_is_wrong(tmp_path: Path, table: dict[str, Any], complaint: str) -> None:
    folder = model_folders.vit(tmp_path / "vit")
    model_folders.write(folder / "preprocessor_config.json", table)
    with pytest.raises(UserError, match=complaint) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
