"""How things move without any network: histograms of optical flow."""

import numpy as np

from hit.experts import pixels
from hit.experts.flow import flow
from hit.types import Features, Floats, FrameWant, Media

GRID, DIRECTIONS = 3, 8
STILL = 0.02  # frame widths a second below which nothing moves


class Motion:
    """One row a stretch of `seconds`: flow by direction in each cell and in all, how it spreads and turns, the camera's."""

    dim = (GRID * GRID + 1) * DIRECTIONS + 6
    licence, megabytes = "Apache-2.0", 0.0

    def __init__(self, name: str = "motion", rate: float = 8.0, seconds: float = 0.5) -> None:
        self.name = name
        self.identity = f"motion/1 grid={GRID} directions={DIRECTIONS} rate={rate} seconds={seconds}"
        self._want, self._steps = FrameWant(rate, 96), max(1, round(rate * seconds))
        self.wants = (self._want,)

    def extract(self, media: Media) -> Features:
        """Return (n, dim); n = 0 for a clip of a single frame."""
        frames = media.frames[self._want]
        if len(frames.images) < 2:
            return Features(np.zeros((0, self.dim), np.float32), np.zeros((0, 2), np.float32))
        fields, camera = flow(frames)
        starts = range(0, len(fields), self._steps)
        rows = [self._row(fields[i : i + self._steps], camera[i : i + self._steps]) for i in starts]
        ends = [min(i + self._steps, len(fields)) for i in starts]
        times = np.stack([frames.times[list(starts)], frames.times[ends]], axis=1)
        return Features(np.array(rows, np.float32), times)

    def _row(self, fields: Floats, camera: Floats) -> Floats:
        field, view = fields.mean(0), camera.mean(0)
        speed = np.hypot(field[..., 0], field[..., 1])
        moving = np.where(speed > STILL, speed, 0)
        histogram = pixels.spread_angle(np.arctan2(field[..., 1], field[..., 0]), moving, DIRECTIONS)
        dxx, dyx = np.gradient(field[..., 0], axis=1), np.gradient(field[..., 0], axis=0)
        dxy, dyy = np.gradient(field[..., 1], axis=1), np.gradient(field[..., 1], axis=0)
        weight = moving / max(float(moving.sum()), 1e-6)
        spread, turn = ((dxx + dyy) * weight).sum(), ((dxy - dyx) * weight).sum()  # divergence, curl
        rest = [10 * spread, 10 * turn, 10 * abs(turn), np.sqrt(moving.mean()), 5 * view[0], 5 * view[1]]
        shares = np.sqrt(np.concatenate([pixels.cells(histogram, GRID), histogram.mean(axis=(0, 1))]))
        return np.concatenate([shares, np.array(rest, np.float32)])
