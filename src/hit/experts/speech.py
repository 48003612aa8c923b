"""What is said: subtitles where a video has some, else what a Whisper model hears, as timed text."""

import math
from functools import lru_cache
from pathlib import Path

from hit import video
from hit.errors import UserError
from hit.experts.sentences import Sentences
from hit.experts.whisper import RATE, Whisper
from hit.types import AudioWant, Features, Media, Want
from hit.video import subtitles
from hit.video.subtitles import Cue


class Speech:
    """One row a line that is said during the clip, as its sentence vector and as `texts`.

    A .srt or .vtt file beside the video is read first, then a text track within it; only where there is neither does the
    Whisper model `model` (a folder or a hub id; empty: none) listen, on `device` in `dtype`, for `language` (a code such as
    "en"; empty: any). `text` is the encoder of the vectors. Side files are part of a video's content (`hit.content`): where one
    changes, the video is looked at again.
    """

    licence, megabytes = "Apache-2.0", 0.0  # a Whisper model's own come on top

    def __init__(
        self,
        name: str = "speech",
        model: str = "",
        language: str = "",
        device: str = "cpu",
        dtype: str = "float32",
        text: str = "minilm",
    ) -> None:
        self._whisper = Whisper(model, language, device, dtype) if model else None
        self._sentences = Sentences(text)
        self._want = AudioWant(RATE)
        self.wants: tuple[Want, ...] = (self._want,) if self._whisper else ()
        self.name, self.dim = name, self._sentences.dim
        heard = self._whisper.identity if self._whisper else "subtitles only"
        self.identity = f"speech/1 {heard} {self._sentences.identity}"

    def extract(self, media: Media) -> Features | None:
        """Return (n, dim) with texts; n = 0 where nothing is said, None where nobody can tell."""
        clip = media.clip
        cues = _subtitles(clip.path)
        if cues is None:
            if self._whisper is None or not len(media.audio[self._want].samples):
                return None
            cues = self._whisper(media.audio[self._want])
        end = _length(clip.path) if cues and math.isinf(clip.end) else clip.end
        inside = [cue for cue in cues if cue.start < end and cue.end > clip.start]
        return self._sentences.features([Cue(max(cue.start, clip.start), min(cue.end, end), cue.text) for cue in inside])


@lru_cache(maxsize=1)  # the clips of one file come one after the other
def _subtitles(path: Path) -> list[Cue] | None:
    """Return the subtitles of a video, None where it has none."""
    if (cues := subtitles.beside(path)) is not None:
        return cues
    try:
        return subtitles.embedded(path)
    except UserError:
        return None  # a picture that is looked at as a video: whoever decodes a video has said already what is wrong with it


@lru_cache(maxsize=1)
def _length(path: Path) -> float:
    return video.probe(path).duration
