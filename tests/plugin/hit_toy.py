"""An expert of another package, as a stranger would write one: the mean colour of frames."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from hit import extract, pool
from hit.types import Features, FrameWant, Media

WANT = FrameWant(2.0, 16)


class Colour:
    """Mean red, green and blue in [0, 1], twice a second. It dies, fails, waits or talks on files whose names ask for it."""

    def __init__(self, name: str = "colour", diary: str = "", gate: str = "", hold: float = -1.0) -> None:
        self.name, self.dim, self.identity = name, 3, "colour 1"
        self.wants = (WANT,)
        self.diary = diary  # a file to which every clip that is looked at is added
        self.gate = gate  # until it is there, files wait that are called so
        if hold >= 0:
            extract.HOLD = hold  # in this process

    def extract(self, media: Media) -> Features:
        """Return a row for each frame."""
        if self.diary:
            with Path(self.diary).open("a") as file:
                file.write(media.clip.id + "\n")
        while "waiting" in media.clip.path.name and not Path(self.gate).exists():
            pool.beat()
            time.sleep(0.05)
        if "deadly" in media.clip.path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "puzzling" in media.clip.path.name:
            raise ZeroDivisionError("a puzzle")
        frames = media.frames[WANT]
        values = frames.images.mean(axis=(1, 2), dtype=np.float32) / 255
        talks = "talking" in media.clip.path.name
        texts = tuple(f"The picture at {time:.1f} \ud800" for time in frames.times) if talks else None
        return Features(values, np.stack([frames.times, frames.times + 0.5], axis=1), texts)
