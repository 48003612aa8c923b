"""Busy procedural backgrounds, of little saturation and medium brightness, so that what happens stays visible."""

import cv2
import numpy as np
from numpy.random import Generator

from hit.types import Bytes, Floats


def draw(kind: str, width: int, height: int, rng: Generator) -> Bytes:
    """Return a texture (height, width, 3) of one of the kinds in `scenes.BACKGROUNDS`."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if kind == "clutter":
        return _clutter(width, height, rng)
    field = {"noise": _noise, "gradient": _gradient, "grid": _grid, "wood": _wood, "bricks": _bricks}[kind](x, y, rng)
    mix = np.clip(0.75 * field + 0.25 * _noise(x, y, rng), 0, 1)[..., None]
    return np.asarray(255 * (_dull(rng) * (1 - mix) + _dull(rng) * mix), np.uint8)


def _dull(rng: Generator) -> Floats:
    grey = rng.uniform(0.15, 0.62)
    return np.asarray(np.clip(grey + rng.uniform(0.0, 0.14) * rng.uniform(-1, 1, 3), 0, 1), np.float32)


def _noise(x: Floats, y: Floats, rng: Generator) -> Floats:
    total = np.zeros_like(x)
    for cells, weight in ((4, 0.5), (9, 0.3), (22, 0.3)):
        total += weight * cv2.resize(rng.random((cells, cells)).astype(np.float32), x.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return total


def _gradient(x: Floats, y: Floats, rng: Generator) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * x + np.sin(angle) * y) / x.shape[1]
    return np.asarray(0.5 + 0.5 * np.sin(ramp * rng.uniform(2, 9) + rng.uniform(0, 6)), np.float32)


def _grid(x: Floats, y: Floats, rng: Generator) -> Floats:
    cell, line = rng.uniform(11, 26), rng.uniform(1, 3)
    tiles = rng.random((16, 32))[(y // cell).astype(int) % 16, (x // cell).astype(int) % 32]
    return np.asarray(np.where((x % cell < line) | (y % cell < line), 1.0, 0.5 * tiles), np.float32)


def _wood(x: Floats, y: Floats, rng: Generator) -> Floats:
    if rng.random() < 0.5:
        x, y = y, x
    bend = 3 * np.sin(x / rng.uniform(18, 45) + rng.uniform(0, 6)) + 2 * np.sin(x / rng.uniform(7, 14))
    return np.asarray(0.5 + 0.5 * np.sin((y + bend) / rng.uniform(1.6, 4)) * np.sin(y / rng.uniform(15, 40)), np.float32)


def _bricks(x: Floats, y: Floats, rng: Generator) -> Floats:
    high = rng.uniform(8, 15)
    row = (y // high).astype(int)
    shifted = x + (row % 2) * high
    tones = rng.random((24, 24))[row % 24, (shifted // (2 * high)).astype(int) % 24]
    return np.asarray(np.where((y % high < 1.5) | (shifted % (2 * high) < 1.5), 0.95, 0.7 * tones), np.float32)


def _clutter(width: int, height: int, rng: Generator) -> Bytes:
    image = np.full((height, width, 3), 255 * _dull(rng), np.uint8)
    for _ in range(int(rng.integers(15, 40))):
        points = rng.uniform((0, 0), (width, height)) + rng.uniform(-28, 28, (int(rng.integers(3, 6)), 2))
        cv2.fillPoly(image, [points.astype(np.int32)], (255 * _dull(rng)).tolist(), cv2.LINE_AA)
    return image
