"""Any audio model of `transformers` as an expert: a row a window of sound, from a hub id or a local folder."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hit import hub
from hit.errors import UserError
from hit.experts import network, windows
from hit.types import AudioWant, Features, Floats, Media


class AudioModel:
    """Plays windows of `seconds` to the model at `path` and takes its pooled output.

    AST, CLAP, wav2vec 2 and what is of their form; pooled as `Network.embed` says. Sound comes at the rate of the model's
    own feature extractor. Raises UserError where the folder or hub id does not hold such a model with safetensors weights.
    """

    licence = "the model's"
    hint = "path: an audio model of transformers, as a folder or a hub id"

    def __init__(
        self,
        path: str,
        name: str = "audio-model",
        seconds: float = 1.0,
        device: str = "cpu",
        dtype: str = "float32",
        batch: int = 8,
    ) -> None:
        network.positive(path, seconds=seconds, batch=batch)
        self.name, self._batch = name, batch
        folder = hub.fetch(path)
        self._extractor = _extractor(path, folder)
        rate = self._extractor.sampling_rate
        self._want, self._size = AudioWant(rate), max(1, round(seconds * rate))
        self.wants = (self._want,)
        if self._size > (longest := _longest(self._extractor)):
            why = f"takes {longest / rate:g} s of sound at once, and a window is {seconds:g} s long"
            raise UserError(path, why, "give a smaller option seconds")
        self._network = network.Network(path, folder, device, dtype)
        silence = np.zeros((1, self._size), np.float32)
        fix = "name an audio model, and windows of a length that it takes"
        self.dim = network.width(path, "sound", fix, lambda: self._embed(silence))
        self.identity = f"audio-model/2 {self._network.identity} preprocessing={_settings(self._extractor)} seconds={seconds}"

    def extract(self, media: Media) -> Features | None:
        """Return (n, dim), a row a window, or None without an audio track."""
        return self.extract_many([media])[0]

    def extract_many(self, medias: Sequence[Media]) -> list[Features | None]:
        """Return what `extract` does for each clip, from batches of windows of all of them."""
        tracks = [media.audio[self._want] for media in medias]
        clips = [windows.over(track, self._size) if len(track.samples) else None for track in tracks]
        return windows.features(self._embed, clips, self._batch, self.dim)

    def _embed(self, samples: Any) -> Floats:
        """Return a row for each window of samples."""
        heard = self._extractor(list(samples), sampling_rate=self._want.rate, return_tensors="np")
        inputs = {name: _narrow(np.asarray(values)) for name, values in heard.items()}
        if "is_longer" in inputs:
            # CLAP's extractor draws one window of a batch at random and says of it that it was cut; none is.
            inputs["is_longer"] = np.zeros_like(inputs["is_longer"], bool)
        return self._network.embed("audio", inputs)


def _narrow(values: Any) -> Any:
    return values.astype(np.float32) if np.issubdtype(values.dtype, np.floating) else values


def _extractor(path: str, folder: Path) -> Any:
    """Return the model's own feature extractor."""
    import transformers

    auto: Any = transformers.AutoFeatureExtractor
    try:
        extractor = auto.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever transformers makes of a stranger's folder is that folder's failing
        why = f"has no feature extractor for sound: {hub.line(error)}"
        raise UserError(path, why, "name an audio model, saved with its feature extractor") from error
    rate = getattr(extractor, "sampling_rate", None)
    if type(rate) is not int or not 0 < rate <= 192_000:
        why = f"is no audio model: its preprocessor_config.json gives {rate} as sampling_rate"
        raise UserError(path, why, "name an audio model, saved with its feature extractor")
    return extractor


def _longest(extractor: Any) -> float:
    """Return how many samples the extractor takes at once: of what is longer it would drop the end, or a random part."""
    if hasattr(extractor, "nb_max_samples"):  # CLAP
        return float(extractor.nb_max_samples)
    if hasattr(extractor, "num_mel_bins") and isinstance(frames := getattr(extractor, "max_length", None), int):  # AST
        return (0.010 * frames + 0.015) * float(extractor.sampling_rate)  # frames of 25 ms, one every 10 ms
    return float("inf")


def _settings(extractor: Any) -> str:
    """Return what decides over the extractor's numbers; AST's spectrograms are torchaudio's where that is installed."""
    settings = json.loads(extractor.to_json_string())
    chosen = {key: value for key, value in settings.items() if key not in ("processor_class", "transformers_version")}
    mels = "torchaudio" if find_spec("torchaudio") and hasattr(extractor, "num_mel_bins") else "numpy"
    return json.dumps(chosen | {"spectrogram": mels}, sort_keys=True)
