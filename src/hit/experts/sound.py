"""What a clip sounds like without any network: log-mel statistics."""

from functools import lru_cache

import numpy as np

from hit.types import AudioWant, Features, Floats, Media

RATE, WINDOW, HOP, MELS = 16_000, 512, 160, 40
FLOOR = 1e-6  # mel power below which nothing is heard


class Sound:
    """One row a stretch of `seconds`: each mel band's mean, deviation and drift (second half - first half), in log power."""

    dim = 3 * MELS
    licence, megabytes = "Apache-2.0", 0.0

    def __init__(self, name: str = "sound", seconds: float = 0.5) -> None:
        self.name = name
        self.identity = f"sound/2 mels={MELS} seconds={seconds}"
        self._want, self._seconds = AudioWant(RATE), seconds
        self.wants = (self._want,)

    def extract(self, media: Media) -> Features | None:
        """Return (n, dim), or None without an audio track."""
        audio = media.audio[self._want]
        if len(audio.samples) < WINDOW:
            return None
        frames = np.lib.stride_tricks.sliding_window_view(audio.samples, WINDOW)[::HOP]  # (frames, WINDOW)
        power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
        mel = np.log10((power @ filters().T).clip(min=FLOOR)).astype(np.float32)  # (frames, MELS)
        length = round(self._seconds * RATE / HOP)
        parts = [mel[i : i + length] for i in range(0, len(mel), length)]
        if len(parts) > 1 and len(parts[-1]) < length / 2:  # a short rest joins the part before it
            parts[-2:] = [np.concatenate(parts[-2:])]
        rows = [np.concatenate([p.mean(0), p.std(0), _drift(p)]) for p in parts]
        starts = audio.start + np.cumsum([0, *map(len, parts)]) * HOP / RATE
        return Features(np.array(rows, np.float32), np.stack([starts[:-1], starts[1:]], axis=1).astype(np.float32))


def _drift(part: Floats) -> Floats:
    half = max(1, len(part) // 2)
    drift: Floats = np.subtract(part[half - len(part) :].mean(0), part[:half].mean(0))  # of a single frame: none
    return drift


@lru_cache
def filters() -> Floats:
    """Triangles (MELS, WINDOW / 2 + 1) evenly spaced from 50 Hz to RATE / 2 on the mel scale, 2595 log10(1 + f / 700)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (50, RATE / 2))
    corners = 700 * (10 ** (np.linspace(low, high, MELS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    triangles = np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)).clip(min=0)
    return np.asarray(triangles / triangles.sum(axis=1, keepdims=True).clip(min=1), np.float32)
