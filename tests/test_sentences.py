"""Texts become the vectors that MiniLM's own library gives, whatever else is in the batch."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import tiny_model
from hit.errors import UserError
from hit.experts.sentences import BATCH, Sentences
from hit.video.subtitles import Cue


@pytest.fixture(scope="module")
def minilm() -> Sentences:
    return Sentences()


def test_minilm_gives_the_numbers_it_always_gave(minilm: Sentences) -> None:
    [vector] = minilm(["a man is playing a guitar"])
    # Made by sentence-transformers: guards tokenizer, weights, pooling and length at once.
    assert vector[:5] == pytest.approx([0.02016606, -0.00675801, -0.00676309, -0.06437629, -0.16051675], abs=1e-5)
    assert (minilm.dim, len(vector)) == (384, 384)


def test_texts_of_one_meaning_are_close(minilm: Sentences) -> None:
    one, two, other = minilm(["a man is playing a guitar", "somebody plays an instrument", "quarterly revenue grew"])
    assert one @ two > 0.5 > 0.2 > one @ other


def test_a_batch_changes_nothing(minilm: Sentences) -> None:
    texts = [f"line {i} " + "word " * (i % 7) for i in range(BATCH + 3)] + ["", "x" * 3000, "日本語 🎉 naïve", "\x00"]
    together = minilm(texts)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)
    for i in (0, BATCH, BATCH + 3, len(texts) - 2):
        assert minilm([texts[i]])[0] == pytest.approx(together[i], abs=1e-5)
    assert minilm([]).shape == (0, 384)


def test_cues_become_features(minilm: Sentences) -> None:
    found = minilm.features([Cue(0.5, 1.0, "a guitar"), Cue(1.0, 2.25, "a drum")])
    assert found.times.tolist() == [[0.5, 1.0], [1.0, 2.25]]
    assert found.texts == ("a guitar", "a drum")
    assert np.array_equal(found.values, minilm(["a guitar", "a drum"]))
    nothing = minilm.features([])
    assert (nothing.values.shape, nothing.times.shape, nothing.texts) == ((0, 384), (0, 2), ())


def test_the_identity_names_the_weights(tmp_path: Path) -> None:
    folder = tiny_model.text_encoder(tmp_path / "bert")
    first = Sentences(str(folder))
    assert first.dim == 32
    assert first.identity == Sentences(str(shutil.copytree(folder, tmp_path / "copy"))).identity
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value + torch.tensor(0.01) for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    assert Sentences(str(folder)).identity != first.identity


def test_encoders_that_do_not_load_say_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_model.text_encoder(tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    capfd.readouterr()
    save_file(dict(list(weights.items())[:5]), folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"bert: lacks \d+ of the model's weights"):
        Sentences(str(folder))
    (folder / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(UserError, match="bert: cannot be loaded") as caught:
        Sentences(str(folder))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "no bars and no warnings of transformers"
