"""What is written in the picture: RapidOCR on frames that differ, as timed text."""

import difflib
import importlib.util
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from hit import pool
from hit.errors import UserError
from hit.experts.pretrained import fingerprint
from hit.experts.sentences import Sentences
from hit.types import Bytes, Features, Floats, FrameWant, Media
from hit.video.subtitles import Cue

CELL = 8  # pixels: frames are compared by the means of cells of this side, which a changed word changes and coding noise does not
CHANGED = 10  # of 255: by how much one cell's mean has to differ for a frame to be read
ALIKE = 0.85  # share of letters in common from which two readings of a line are taken for the same line

INSTALL = "hit-video[ocr]"

Line = tuple[str, float]  # what is written and how sure the reader is, in [0, 1]


class Ocr:
    """One row a stretch of time in which the same text stands: all its lines, as their sentence vector and as `texts`.

    Looks at `rate` frames a second with `side` pixels along the shorter side (letters of less than about 10 pixels are lost;
    a 16:9 frame of 480 takes 1.2 MB) and reads those that differ from the last one read. Lines below `confidence` and
    those without two letters or digits are dropped. `text` is the encoder of the vectors. With `keyframes` it is content with
    key pictures where they are close enough (see `hit.types.FrameWant`). Raises UserError where RapidOCR is not installed.
    """

    licence, megabytes = "Apache-2.0", 27.0  # PP-OCRv6 small, in RapidOCR's wheel
    packages: ClassVar = {"rapidocr": INSTALL}

    def __init__(
        self,
        name: str = "ocr",
        rate: float = 1.0,
        side: int = 480,
        confidence: float = 0.8,
        text: str = "minilm",
        keyframes: bool = False,
    ) -> None:
        if not all(importlib.util.find_spec(package) for package in ("rapidocr", "onnxruntime")):
            raise UserError(f"expert '{name}'", "RapidOCR is not installed", f"pip install '{INSTALL}'")
        self._sentences = Sentences(text)
        self._reader = _reader(side)
        self._want, self._confidence = FrameWant(rate, side, not keyframes), confidence
        self.name, self.dim, self.wants = name, self._sentences.dim, (self._want,)
        self.identity = (
            f"ocr/1 rapidocr={version('rapidocr')} {_models()} rate={rate} side={side} confidence={confidence} "
            f"{self._sentences.identity}{' keyframes' * keyframes}"
        )

    def extract(self, media: Media) -> Features:
        """Return (n, dim) with texts, the lines of each joined by line breaks; n = 0 where nothing is written."""
        frames = media.frames[self._want]
        times: list[float] = frames.times.tolist()
        ends = [*times[1:], min(times[-1] + 1 / self._want.rate, media.clip.end)]
        return self._sentences.features(stretches(list(zip(times, ends, self._lines(frames.images), strict=True))))

    def _lines(self, images: Bytes) -> list[list[Line]]:
        """Return what is written in each image; what hardly differs from the last one read is not read again."""
        found: list[list[Line]] = []
        last: Floats | None = None
        for image in images:
            small = _reduced(image)
            if last is None or np.abs(small - last).max() > CHANGED:
                found.append(self._read(image))
                pool.beat()
                last = small
            else:
                found.append(found[-1])
        return found

    def _read(self, image: Bytes) -> list[Line]:
        result = self._reader(np.ascontiguousarray(image[..., ::-1]))
        if result.txts is None:
            return []
        lines = [(" ".join(text.split()), float(score)) for text, score in zip(result.txts, result.scores, strict=True)]
        return [line for line in lines if line[1] >= self._confidence and sum(map(str.isalnum, line[0])) >= 2]


def stretches(seen: Sequence[tuple[float, float, list[Line]]]) -> list[Cue]:
    """Join what was read at (start, end) where the same text goes on, keeping the surest reading; without the empty ones."""
    joined: list[tuple[float, float, list[Line]]] = []
    for start, end, lines in seen:
        if joined and joined[-1][1] >= start and same(joined[-1][2], lines):
            begun, _, before = joined[-1]
            joined[-1] = (begun, end, max(before, lines, key=_sureness))
        else:
            joined.append((start, end, lines))
    return [Cue(start, end, "\n".join(text for text, _ in lines)) for start, end, lines in joined if lines]


def same(one: Sequence[Line], two: Sequence[Line]) -> bool:
    """Say whether two readings are of the same lines: as many, each alike but for a few letters, and with the same digits."""
    return len(one) == len(two) and all(_alike(a, b) for (a, _), (b, _) in zip(one, two, strict=True))


def _alike(one: str, two: str) -> bool:
    if one == two:
        return True
    # A letter read wrongly is a slip; another digit is another floor, price or year.
    return re.findall(r"\d", one) == re.findall(r"\d", two) and difflib.SequenceMatcher(None, one, two, False).ratio() >= ALIKE


def _sureness(lines: Sequence[Line]) -> float:
    return sum(score for _, score in lines)


def _reduced(image: Bytes) -> Floats:
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    size = (max(1, width // CELL), max(1, height // CELL))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def _reader(side: int) -> Any:
    from rapidocr import RapidOCR

    one_thread = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    # Pictures come upright, so that no line has to be turned; frames are read at the size at which they come.
    return RapidOCR(params={"Global.use_cls": False, "Global.log_level": "error", "Det.limit_side_len": side, **one_thread})


def _models() -> str:
    spec = importlib.util.find_spec("rapidocr")
    assert spec is not None, "looked for in the constructor"
    assert spec.origin is not None, "a package with code"
    return fingerprint(Path(spec.origin).parent.glob("models/*.onnx"))
