"""A toy encoder without torch: it knows colours and their order, over the expert in plugin/hit_toy.py; and videos for it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from hit import video
from hit.config import ExpertConfig
from hit.types import Bytes, Features, Floats

PLUGIN = Path(__file__).parent / "plugin"
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "grey": (120, 120, 120)}
RATE = 8.0


class ToyEncoder:
    """Two parts: "feature" is the mean colour, "semantic" how it changes from the first half of a clip to the second."""

    def __init__(self, revision: str = "toy-1", diary: Path | None = None) -> None:
        self.id, self.revision, self.dim = "toy", revision, 8
        self.parts = {"feature": slice(0, 4), "semantic": slice(4, 8)}
        self.weights = {"feature": 1.0, "semantic": 1.0}
        self.experts = {"colour": ExpertConfig(options={"diary": str(diary)} if diary else {})}
        self.identities = {"colour": "colour 1"}

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        rows = []
        for text in texts:
            seen = [np.array(COLOURS[word]) / 255 for word in text.split() if word in COLOURS] or [np.full(3, 0.5)]
            rows.append(self._embed(np.array(seen)))
        return np.array(rows, np.float32)

    def embed_clips(self, clips: Sequence[Mapping[str, Features]]) -> Floats:
        rows = [self._embed(clip["colour"].values) for clip in clips]
        return np.array(rows, np.float32).reshape(-1, self.dim)

    def _embed(self, colours: Floats) -> Floats:  # (n, 3) -> (8,)
        half = (len(colours) + 1) // 2
        change = colours[half:].mean(axis=0) - colours[:half].mean(axis=0) if len(colours) > 1 else np.zeros(3)
        parts = [np.append(colours.mean(axis=0) - 0.3, 0.05), np.append(change, 0.05)]
        return np.concatenate([part / np.linalg.norm(part) for part in parts]).astype(np.float32)


def render(path: Path, colours: Sequence[str], seconds: float = 2.0, sound: bool = False) -> Path:
    """Write a video that shows each colour for `seconds`, with some texture; its content depends on all arguments."""

    def images() -> Iterable[Bytes]:
        noise = np.random.default_rng(0)
        for colour in colours:
            for i in range(round(seconds * RATE)):
                image = np.clip(np.array(COLOURS[colour]) + noise.integers(-12, 13, (48, 64, 3)), 0, 255).astype(np.uint8)
                image[8:16, (4 * i) % 48 : (4 * i) % 48 + 12] = 255 - image[8:16, (4 * i) % 48 : (4 * i) % 48 + 12]
                yield image

    samples = None
    if sound:
        times = np.arange(round(seconds * len(colours) * 16000), dtype=np.float32) / 16000
        samples = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(path, images(), RATE, samples)
    return path
