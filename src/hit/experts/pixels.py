"""Small image measures that several experts share."""

import cv2
import numpy as np

from hit.types import Bytes, Floats

HUES = 12  # hue bins of `colours`
COLOURS = HUES + 3  # and black, grey, white
ORIENTATIONS = 8


def colours(image: Bytes) -> Floats:
    """Return how far each pixel belongs to each colour: (h, w, COLOURS), every pixel sums to 1.

    Pixels of little saturation or brightness go to black, grey and white, the others to the two hues beside theirs.
    """
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hue, saturation, value = cv2.split(hsv)
    chroma = np.clip((saturation - 0.15) / 0.2, 0, 1) * np.clip((value - 0.12) / 0.15, 0, 1)
    dark = np.clip((0.4 - value) / 0.25, 0, 1)
    bright = np.clip((value - 0.6) / 0.25, 0, 1)
    plain = [(1 - chroma) * share for share in (dark, 1 - dark - bright, bright)]
    return np.concatenate([spread_angle(hue * (np.pi / 180), chroma, HUES), np.stack(plain, axis=-1)], axis=-1)


def edges(image: Bytes) -> Floats:
    """Return edge strength by orientation, modulo half a turn: (h, w, ORIENTATIONS), of grey values in [0, 1]."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return spread_angle(np.arctan2(dy, dx) * 2, np.hypot(dx, dy), ORIENTATIONS)


def spread_angle(angle: Floats, weight: Floats, bins: int) -> Floats:
    """Share `weight` between the two of `bins` directions beside each angle (radians): shape of angle + (bins,)."""
    place = (angle * (bins / (2 * np.pi))) % bins
    gap = np.abs(place[..., None] - np.arange(bins + 1))  # to each bin's centre; the last is the first again
    share = np.clip(1 - gap, 0, None) * weight[..., None]
    share[..., 0] += share[..., bins]
    return np.asarray(share[..., :bins], np.float32)


def cells(measure: Floats, grid: int) -> Floats:
    """Average a measure (h, w, c) over `grid` x `grid` cells of the image: (grid * grid * c,)."""
    height, width, _ = measure.shape
    rows, columns = (np.arange(grid) * length // grid for length in (height, width))
    total = np.add.reduceat(np.add.reduceat(measure, rows, axis=0), columns, axis=1)  # (grid, grid, c)
    count = np.diff([*rows, height])[:, None] * np.diff([*columns, width])
    return np.asarray(total / count[..., None], np.float32).reshape(-1)
