"""Small pictures of a whole video on one sheet, for a pointer that hovers over its timeline."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hit.types import Bytes

COLUMNS, MOST = 10, 100  # tiles in a row, and on a sheet
WIDTH, TALLEST = 160, 480  # pixels of a tile


@dataclass(frozen=True, slots=True)
class Sheet:
    """How the tiles lie, row by row: the k-th shows the video at k * interval."""

    interval: float  # seconds from one tile to the next
    columns: int
    rows: int
    width: int  # of a tile, in pixels
    height: int

    def tiled(self, images: Sequence[Bytes]) -> Bytes:
        """Lay out images (height, width, 3) of any size near the tiles'; after the last one, it is repeated."""
        sheet = np.zeros((self.rows * self.height, self.columns * self.width, 3), np.uint8)
        for place in range(self.rows * self.columns):
            image = images[min(place, len(images) - 1)]
            if image.shape[:2] != (self.height, self.width):
                image = np.asarray(Image.fromarray(image).resize((self.width, self.height)))
            y, x = (place // self.columns) * self.height, (place % self.columns) * self.width
            sheet[y : y + self.height, x : x + self.width] = image
        return sheet


def sheet_of(duration: float, size: tuple[int, int]) -> Sheet:
    """Return how to lay out a video of `duration` seconds whose pictures are of `size` (width, height)."""
    interval = max(1.0, duration / MOST)
    count = max(1, math.ceil(duration / interval - 1e-9))
    columns = min(COLUMNS, count)
    height = min(TALLEST, max(1, round(WIDTH * size[1] / size[0])))
    return Sheet(interval, columns, math.ceil(count / columns), WIDTH, height)


def vtt(sheet: Sheet, duration: float, url: str) -> str:
    """Return the WebVTT track that says where on the sheet at `url` each stretch of the video is shown."""
    cues = ["WEBVTT\n"]
    for place in range(sheet.rows * sheet.columns):
        start, end = place * sheet.interval, min(duration, (place + 1) * sheet.interval)
        if start < end:
            x, y = place % sheet.columns * sheet.width, place // sheet.columns * sheet.height
            cues.append(f"{_clock(start)} --> {_clock(end)}\n{url}#xywh={x},{y},{sheet.width},{sheet.height}\n")
    return "\n".join(cues)


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def jpeg(image: Bytes, quality: int = 82) -> bytes:
    """Return an image (height, width, 3) as JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
