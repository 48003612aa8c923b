"""Pictures of things and words, drawn once and blended into many frames."""

import functools

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hit.datasets.corpus.scenes import Thing
from hit.types import Bytes, Floats

RADII = {"tiny": 6.5, "small": 10.0, "medium": 15.0, "large": 21.0}
HUES = {  # hue (degrees), saturation, value; each clip strays a little
    "red": (0, 0.95, 0.85), "orange": (28, 1.0, 1.0), "yellow": (55, 0.95, 0.97), "green": (120, 0.85, 0.65),
    "blue": (222, 0.9, 0.9), "purple": (276, 0.8, 0.65), "pink": (330, 0.42, 1.0), "white": (0, 0.0, 0.97),
    "grey": (0, 0.03, 0.5), "brown": (25, 0.6, 0.38), "black": (0, 0.0, 0.1),
}  # fmt: skip
_MASTER = 64  # radius in pixels at which things are drawn, before they are scaled down
_SIDE = 2 * _MASTER + 12

Picture = tuple[Floats, float]  # premultiplied RGBA, colours in [0, 255] and alpha in [0, 1]; the scale it is drawn for


def draw(thing: Thing, rng: Generator, largest: float = 1.0) -> Picture:
    """Draw a thing for scales up to `largest`."""
    mask = _mask(thing.shape)
    hue, saturation, value = HUES[thing.colour]
    tone = _rgb(hue + rng.uniform(-6, 6), saturation * rng.uniform(0.85, 1.0), min(1.0, value * rng.uniform(0.88, 1.08)))
    marked = _pattern(thing.texture, rng.uniform(-0.1, 0.1))
    colour = np.where(marked[..., None], 0.3 * tone, tone)
    inner = cv2.erode(mask, np.ones((7, 7), np.uint8))
    colour = colour * (0.35 + 0.65 * inner[..., None] / 255)  # a dark rim stands out from any background
    pixels = np.dstack([colour * 255, np.ones(mask.shape)]) * (mask[..., None] / 255)
    size = int(np.ceil(RADII[thing.size] * largest * _SIDE / _MASTER)) + 2
    small = cv2.resize(pixels.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32), largest


def paste(image: Bytes, picture: Picture, centre: tuple[float, float], scale: float, angle: float) -> None:
    """Blend a picture into `image` in place, turned by `angle` (in turns); what is outside the image is cut off."""
    pixels, largest = picture
    half, zoom = len(pixels) / 2, scale / largest
    reach = int(np.ceil(half * zoom * 1.42)) + 1
    left, top = int(np.floor(centre[0])) - reach, int(np.floor(centre[1])) - reach
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(image.shape[1], left + 2 * reach + 2), min(image.shape[0], top + 2 * reach + 2)
    if x0 >= x1 or y0 >= y1:
        return
    matrix = cv2.getRotationMatrix2D((half - 0.5, half - 0.5), angle * 360, zoom)
    matrix[:, 2] += np.array([centre[0] - x0 - half + 0.5, centre[1] - y0 - half + 0.5])
    patch = cv2.warpAffine(pixels, matrix, (x1 - x0, y1 - y0))
    below = image[y0:y1, x0:x1]
    below[:] = np.minimum(below * (1 - patch[..., 3:]) + patch[..., :3], 255)


def write(word: str, width: int, height: int, rng: Generator) -> Floats:
    """Return the word as a premultiplied RGBA overlay (height, width, 4), at the top or at the bottom of the screen."""
    fonts = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)
    font, size = fonts[rng.integers(len(fonts))], rng.uniform(0.55, 0.8)
    (long, tall), _ = cv2.getTextSize(word, font, size, 1)
    x = int(rng.integers(3, max(4, width - long - 3)))
    y = tall + 4 if rng.random() < 0.5 else height - 6
    ink = np.zeros((height, width), np.uint8)
    cv2.putText(ink, word, (x, y), font, size, 255, 1, cv2.LINE_AA)
    edge = np.asarray(cv2.dilate(ink, np.ones((3, 3), np.uint8)))
    light = np.array([(255, 255, 255), (255, 255, 200), (210, 240, 255)])[rng.integers(3)]
    return np.dstack([ink[..., None] / 255 * light, edge / 255]).astype(np.float32)


def _pattern(texture: str, phase: float) -> NDArray[np.bool_]:
    """Return where the texture is dark."""
    y, x = (np.mgrid[:_SIDE, :_SIDE] - _SIDE / 2) / _MASTER
    x, y = x + phase, y - phase
    if texture == "striped":
        return np.asarray(np.floor(x / 0.28) % 2 == 0)
    if texture == "checkered":
        return np.asarray((np.floor(x / 0.42) + np.floor(y / 0.42)) % 2 == 0)
    if texture == "dotted":
        return np.asarray(np.hypot(x % 0.52 - 0.26, y % 0.52 - 0.26) < 0.15)
    return np.zeros(x.shape, bool)


@functools.cache
def _mask(shape: str) -> Bytes:
    """Return the silhouette of a shape."""
    mask = np.zeros((_SIDE, _SIDE), np.uint8)
    if shape == "ring":
        cv2.circle(mask, (_SIDE // 2, _SIDE // 2), int(_MASTER * 0.76), 255, int(_MASTER * 0.42), cv2.LINE_AA)
        return mask
    points = np.stack(_outline(shape), axis=1) * _MASTER + _SIDE / 2
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask


def _outline(shape: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of a shape's corners, within about 1 of the origin; y points down."""
    turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    if shape == "box":
        return np.array([-0.84, 0.84, 0.84, -0.84]), np.array([-0.84, -0.84, 0.84, 0.84])
    if shape == "triangle":
        return np.array([0, 0.98, -0.98]), np.array([-1, 0.8, 0.8])
    if shape == "star":
        spikes, lengths = np.arange(10) * np.pi / 5, np.array([1, 0.42] * 5)
        return lengths * np.sin(spikes), -lengths * np.cos(spikes)
    if shape == "cross":
        x = np.array([-1, 1, 1, 3, 3, 1, 1, -1, -1, -3, -3, -1]) / 3.1
        return x, np.roll(x, 3)
    if shape == "heart":
        y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
        return 1.02 * np.sin(turn) ** 3, -(y + 2.5) / 16
    return np.sin(turn), -np.cos(turn)  # a ball


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    """Convert hue in degrees, saturation and value to RGB (3,) in [0, 1]."""
    place = (np.array([5, 3, 1]) + hue / 60) % 6
    return np.asarray(value * (1 - saturation * np.clip(np.minimum(place, 4 - place), 0, 1)))
