"""What calibrations are made from and measured by: nonsense is made of the texts' own letters, first answers are judged."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from hit import confidence
from hit.errors import UserError
from hit.measure import measure
from hit.splits import Split
from hit.types import Features, Floats

DIM = 12


class Known:
    """An encoder that knows each text and clip by its number; others are noise."""

    id, revision, dim = "known", "1", 2 * DIM
    parts: Mapping[str, slice] = {"low": slice(0, DIM), "high": slice(DIM, 2 * DIM)}
    weights: Mapping[str, float] = {"low": 0.5, "high": 1.0}

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        return np.stack([self._vector(int(text.split()[-1]) if text.split()[-1].isdigit() else -1, text) for text in texts])

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        return np.stack([self._vector(int(clip["number"].values[0, 0]), "") for clip in clips])

    def _vector(self, number: int, text: str) -> Floats:
        found = np.random.default_rng(number if number >= 0 else zlib.crc32(text.encode())).normal(size=(2, DIM))
        found += 0.6 * np.random.default_rng([ord(letter) for letter in text]).normal(size=(2, DIM)) if text else 0
        return np.concatenate([row / np.linalg.norm(row) for row in found]).astype(np.float32)


def split(numbers: range) -> Split:
    features = [{"number": Features(np.array([[i]], np.float32), np.zeros((1, 2), np.float32))} for i in numbers]
    return Split([f"clip{i}" for i in numbers], features, [[f"it shows number {i}", f"number {i}"] for i in numbers])


def test_nonsense_is_as_long_as_texts_are_and_made_of_their_words_and_letters() -> None:
    texts = [f"a red ball rises {'then a blue box spins ' * (i % 2)}{i}" for i in range(60)]
    found = confidence.nonsense(texts, 30)
    assert found == confidence.nonsense(texts, 30)
    assert len(set(found)) == len(found) == 30
    words = {word for text in texts for word in text.split()}
    letters = {letter for word in words for letter in word}
    assert {len(text.split()) for text in found} == {5, 10}
    assert {letter for text in found for letter in text.replace(" ", "")} <= letters
    assert all(set(text.split()) <= words for text in found[1::3])  # a salad
    assert all(sorted(text.replace(" ", "")) in [sorted(t.replace(" ", "")) for t in texts] for text in found[::3])  # shuffled
    assert not set(found) & set(texts)
    assert len(confidence.nonsense(texts[:4], 30)) == 4
    assert confidence.nonsense([], 30) == []


def test_a_model_is_calibrated_and_measured() -> None:
    encoder = Known()
    by = confidence.calibrate(encoder, "rev", split(range(1000, 1300)), measure(encoder, split(range(200))))
    assert (by.revision, by.weight) == ("rev", 1.5)
    assert (by.clips.shape, by.texts.shape) == ((300, 24), (600, 24))
    assert by.scale.tolist() == [0.5] * DIM + [1.0] * DIM
    assert (by.about["clips"], by.about["texts"]) == (200, 400)
    fresh = measure(encoder, split(range(300, 420)))
    found = confidence.judged(fresh, by)
    assert {way: len(one.right) for way, one in found.items()} == {"t2v": 240, "v2t": 120}
    for way, level in (("t2v", fresh.ranks["t2v"]), ("v2t", fresh.ranks["v2t"])):
        assert found[way].right.mean() == pytest.approx((level["fused"][0] == 0).mean())  # without ties
        table = found[way].to_json()
        assert set(table) == {"ece", "brier", "refused", "threshold", "bins"}
        assert sum(one["count"] for one in table["bins"]) == len(found[way].right)
        assert table["refused"] == (found[way].confidence < by.ways[way].threshold).mean()
    assert found["t2v"].to_json()["ece"] < 0.1


def test_too_few_clips_are_refused() -> None:
    encoder = Known()
    for learnt, held in ((split(range(20, 60)), split(range(10))), (split(range(0)), split(range(30)))):
        with pytest.raises(UserError, match="too few"):
            confidence.calibrate(encoder, "rev", learnt, measure(encoder, held))
