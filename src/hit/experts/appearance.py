"""What a frame looks like without any network: colours and edges over a grid."""

import numpy as np

from hit.experts import pixels
from hit.experts.windows import spans
from hit.types import Features, FrameWant, Media

GRID = 4


class Appearance:
    """One row a sampled frame: the share of each colour and edge orientation in each cell, square roots taken."""

    dim = GRID * GRID * (pixels.COLOURS + pixels.ORIENTATIONS)
    licence, megabytes = "Apache-2.0", 0.0

    def __init__(self, name: str = "appearance", rate: float = 2.0) -> None:
        self.name = name
        self.identity = f"appearance/1 grid={GRID} rate={rate}"
        self._want = FrameWant(rate, 64)
        self.wants = (self._want,)

    def extract(self, media: Media) -> Features:
        """Return (n, dim), a row a frame."""
        frames = media.frames[self._want]
        rows = [
            np.concatenate([pixels.cells(measure(image), GRID) for measure in (pixels.colours, pixels.edges)])
            for image in frames.images
        ]
        values = np.sqrt(np.array(rows, np.float32).reshape(-1, self.dim))
        return Features(values, spans(frames, self._want.rate))
