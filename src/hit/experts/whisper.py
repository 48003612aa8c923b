"""What is said, heard by a Whisper model of `transformers`."""

from typing import Any

import numpy as np
from tokenizers import Tokenizer

from hit import hub, pool
from hit.errors import UserError
from hit.experts import pretrained
from hit.types import Audio
from hit.video.subtitles import Cue

FILES = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json")
NEEDS = "name a Whisper model, as a folder in the form that transformers saves or as a hub id"
RATE = 16_000  # samples a second that Whisper takes
SILENT = 1e-3  # peak below which there is nothing to hear: on silence Whisper makes words up
# Whisper's own thresholds [Radford et al. 2022]: surer than that of silence, less sure of the words
NO_SPEECH, LOGPROB = 0.6, -1.0


class Whisper:
    """Turns sound into timed text, greedily, window by window of 30 s, each from where the words of the last one end.

    `path` is a folder or a hub id; `language` a code such as "en", or empty: the model finds it out. Raises UserError for
    what is not there, no Whisper model, or of another language.
    """

    def __init__(self, path: str, language: str = "", device: str = "cpu", dtype: str = "float32") -> None:
        folder = hub.fetch(path)
        if lacking := [name for name in FILES if not (folder / name).is_file()]:
            raise UserError(folder, f"has no {', '.join(lacking)}", NEEDS)
        if (kind := hub.read_table(folder / "config.json").get("model_type")) != "whisper":
            raise UserError(folder, f"a model of type {kind}", NEEDS)
        self._model: Any = pretrained.load(folder, folder, "WhisperForConditionalGeneration", dtype, NEEDS)[0]
        try:
            import torch
            from transformers import WhisperFeatureExtractor

            self._model.to(torch.device(device))
            self._listen: Any = WhisperFeatureExtractor.from_pretrained(folder)
            self._words = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises nothing more special
            raise UserError(folder, f"cannot be loaded: {hub.line(error)}", NEEDS) from error
        settings = self._model.generation_config
        if getattr(settings, "no_timestamps_token_id", None) is None:
            raise UserError(folder / "generation_config.json", "does not say how this model marks times", NEEDS)
        known = getattr(settings, "lang_to_id", None) or {}
        if language and f"<|{language}|>" not in known:
            there = ", ".join(sorted(code.strip("<|>") for code in known)) or "English only, without choice"
            raise UserError(folder, f"does not know the language '{language}'", f"there is {there}")
        # Models of English only take neither; the others need the task even where they find out the language.
        self._prompt = {"task": "transcribe"} if getattr(settings, "is_multilingual", False) else {}
        self._prompt |= {"language": language} if language else {}
        weights = pretrained.fingerprint([*folder.glob("*.safetensors"), *(folder / name for name in FILES)])
        self.identity = f"whisper/2 {weights} language={language or 'any'}" + ("" if dtype == "float32" else f" dtype={dtype}")

    def __call__(self, audio: Audio) -> list[Cue]:
        """Return what is said in sound of RATE samples a second, in the order of time; nothing where it is silent."""
        if not len(audio.samples) or float(np.abs(audio.samples).max()) < SILENT:
            return []
        import torch

        long = len(audio.samples) > self._listen.n_samples
        sound = self._listen(
            audio.samples,
            sampling_rate=audio.rate,
            return_tensors="pt",
            **({"truncation": False, "padding": "longest"} if long else {}),
        ).input_features  # (1, mels, frames)
        with torch.inference_mode(), pretrained.quiet():
            found = self._model.generate(
                sound.to(self._model.device, self._model.dtype),
                return_timestamps=True,
                return_segments=True,
                condition_on_prev_tokens=False,
                temperature=0.0,
                no_speech_threshold=NO_SPEECH,
                logprob_threshold=LOGPROB,
                stopping_criteria=[_alive],
                **self._prompt,
            )["segments"][0]
        return [cue for segment in found if (cue := self._cue(segment, audio)) is not None]

    def _cue(self, segment: Any, audio: Audio) -> Cue | None:
        # Whisper's vocabularies end with the end of text and what is no text: tasks, languages, times.
        end_of_text = self._model.generation_config.eos_token_id
        end_of_text = min(end_of_text) if isinstance(end_of_text, list) else end_of_text
        text = self._words.decode([token for token in segment["tokens"].tolist() if token < end_of_text])
        start, end = float(segment["start"]), min(float(segment["end"]), len(audio.samples) / audio.rate)
        if not text.strip() or end <= start:
            return None
        return Cue(audio.start + start, audio.start + end, " ".join(text.split()))


def _alive(ids: Any, _: Any, **__: Any) -> Any:
    """Show at each word that this process is at work; as a criterion to stop by, never say so."""
    pool.beat()
    return ids.new_zeros(len(ids), dtype=bool)
