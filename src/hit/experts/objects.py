"""What it is that moves, without any network: the moving thing cut out of each frame, its colours, outline and path."""

import cv2
import numpy as np

from hit.experts import pixels
from hit.experts.flow import flow
from hit.types import Bytes, Features, Floats, FrameWant, Media

CROP, CELLS = 32, 8
LAG = 2  # frames between which a change counts as motion
NOISE = 15  # change of colour (of 255) below which nothing moves
SPECKS = 20  # pixels that may change more without being a thing
PATH = 7
LOOK = pixels.COLOURS + CELLS * CELLS + (CELLS // 2) ** 2 * pixels.ORIENTATIONS + pixels.ORIENTATIONS


class Objects:
    """One row a stretch of `seconds`: colours, outline and edges of the thing that moves most, its place, size and path."""

    dim = LOOK + PATH + 4
    licence, megabytes = "Apache-2.0", 0.0

    def __init__(self, name: str = "objects", rate: float = 8.0, seconds: float = 0.5) -> None:
        self.name = name
        self.identity = f"objects/1 crop={CROP} cells={CELLS} lag={LAG} rate={rate} seconds={seconds}"
        self._want, self._steps = FrameWant(rate, 96), max(1, round(rate * seconds))
        self.wants = (self._want,)

    def extract(self, media: Media) -> Features:
        """Return (n, dim); n = 0 for a clip of a single frame."""
        frames = media.frames[self._want]
        count = len(frames.images)
        if count < 2:
            return Features(np.zeros((0, self.dim), np.float32), np.zeros((0, 2), np.float32))
        change = _change(frames.images, flow(frames)[1] * frames.images.shape[2] / self._want.rate)
        seen = [self._look_at(image, moved) for image, moved in zip(frames.images, change, strict=True)]
        starts = list(range(0, max(1, count - self._steps // 2), self._steps))
        ends = [*starts[1:], count]
        rows = [self._row(seen[a:b]) for a, b in zip(starts, ends, strict=True)]
        times = np.stack([frames.times[starts], np.append(frames.times, frames.times[-1])[ends]], axis=1)
        return Features(np.array(rows, np.float32), times)

    def _row(self, seen: list[tuple[Floats, Floats] | None]) -> Floats:
        """Average the looks; take the path's start, its change a second, and how long anything moved."""
        found = [(i, look, path) for i, s in enumerate(seen) if s is not None for look, path in [s]]
        if not found:
            return np.zeros(self.dim, np.float32)
        index = np.array([i for i, _, _ in found], np.float32)
        path = np.array([p for _, _, p in found])
        centred = index - index.mean()
        slope = centred @ path[:, :3] / max(float(centred @ centred), 1.0) * self._want.rate
        rest = [path.mean(0)[:3], slope, [len(found) / len(seen)], path.std(0)[:3], [float(path.mean(0)[3])]]
        return np.concatenate([np.mean([look for _, look, _ in found], axis=0), *rest]).astype(np.float32)

    def _look_at(self, image: Bytes, change: Bytes) -> tuple[Floats, Floats] | None:
        brighter = np.bincount(change.ravel(), minlength=256)[::-1].cumsum()[::-1]  # pixels that changed at least this much
        top = int(np.searchsorted(-brighter, -SPECKS, side="right")) - 1
        if top < NOISE:
            return None
        x, y, half = _blob(change, max(NOISE, 0.3 * top))
        shares = pixels.colours(cut := _cut(image, x, y, 1.5 * half + 3))
        x, y, half = _refine(_outline(shares), x, y, (1.5 * half + 3) * 2 / CROP)
        shares = pixels.colours(cut := _cut(image, x, y, 1.25 * half))
        mask = _outline(shares)
        colour = (shares * mask[..., None]).sum((0, 1)) / max(float(mask.sum()), 1e-6)
        edge = pixels.edges(cut)
        parts = [colour, pixels.cells(edge, CELLS // 2), (edge * mask[..., None]).mean(axis=(0, 1))]
        height, width = image.shape[:2]
        path = np.array([x / width, y / height, np.log2(2 * half / height), top / 255], np.float32)
        return np.concatenate([pixels.cells(mask[..., None], CELLS), *map(np.sqrt, parts)]), path


def _change(images: Bytes, camera: Floats) -> Bytes:
    """Return how much each pixel changed (n, h, w), of 255, towards the frames LAG before and after.

    The least of four differences: to either side, and with and without following the camera, so that neither what the
    object uncovers nor a still background nor writing that stands on the screen counts.
    """
    smooth = [cv2.GaussianBlur(image, (3, 3), 0) for image in images]
    path = np.concatenate([np.zeros((1, 2), np.float32), np.cumsum(camera, axis=0)])  # (n, 2) pixels
    result = np.full(images.shape, 255, np.uint8)
    for i in range(len(images)):
        for j in (i - LAG, i + LAG):
            if 0 <= j < len(images):
                dx, dy = np.rint(path[i] - path[j]).astype(int)
                for other in (smooth[j], *([np.roll(smooth[j], (dy, dx), axis=(0, 1))] if dx or dy else [])):
                    cv2.min(result[i], cv2.absdiff(smooth[i], other), dst=result[i])
    return np.stack([cv2.max(cv2.max(r, g), b) for r, g, b in map(cv2.split, result)])


def _blob(change: Bytes, least: float) -> tuple[float, float, float]:
    """Return the centre (x, y) and half the longer side of the box around the region that changed most, in pixels."""
    strong = np.where(change >= least, change, 0).astype(np.uint8)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(cv2.dilate(np.minimum(strong, 1), np.ones((5, 5), np.uint8)))
    mass = np.bincount(labels.ravel(), strong.ravel(), count)
    left, top, width, height, _ = boxes[1 + int(mass[1:].argmax())]
    return left + width / 2, top + height / 2, max(width, height) / 2


def _refine(mask: Floats, x: float, y: float, scale: float) -> tuple[float, float, float]:
    """Return the box of the mask's region nearest the middle, as `_blob` does; `scale` is pixels of the frame a cell."""
    count, _, boxes, centres = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8))
    if count < 2:
        return x, y, scale * CROP / 3
    away = np.hypot(*(centres[1:] - CROP / 2).T)
    left, top, width, height, _ = boxes[1 + int((boxes[1:, 4] / (away + 4)).argmax())]
    dx, dy = left + width / 2 - CROP / 2, top + height / 2 - CROP / 2
    return x + dx * scale, y + dy * scale, max(width, height, 4) / 2 * scale


def _cut(image: Bytes, x: float, y: float, half: float) -> Bytes:
    scale = CROP / (2 * half)
    matrix = np.array([[scale, 0, CROP / 2 - scale * x], [0, scale, CROP / 2 - scale * y]], np.float32)
    return np.asarray(cv2.warpAffine(image, matrix, (CROP, CROP), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _outline(shares: Floats) -> Floats:
    """Tell the thing in the middle of a crop from what surrounds it by its colours (CROP, CROP, c): a mask in [0, 1]."""
    quarter, eighth = CROP // 4, CROP // 10
    inner = shares[quarter:-quarter, quarter:-quarter].mean((0, 1))
    rim = np.ones((CROP, CROP), bool)
    rim[eighth:-eighth, eighth:-eighth] = False
    odds = (inner + 0.02) / (shares[rim].mean(0) + 0.02)
    mask = np.clip((shares * (odds / (1 + odds))).sum(-1) * 2 - 0.5, 0, 1)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0), np.float32)
