"""Dense optical flow between consecutive frames, computed once for all experts that look at motion."""

import itertools
from functools import lru_cache

import cv2
import numpy as np

from hit.types import Floats, Frames

GRID = 4  # flow is kept at every 4th pixel: it is smooth, and the experts only count it


@lru_cache(maxsize=1)
def flow(frames: Frames) -> tuple[Floats, Floats]:
    """Return flow (n - 1, h, w, 2) in frame widths a second, camera motion taken out, and that camera motion (n - 1, 2).

    DIS flow [Kroeger 2016] on grey images. Camera motion is the median over the frame.
    """
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in frames.images]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    none = np.zeros((*grey[0].shape, 2), np.float32)
    fields = np.stack([dis.calc(a, b, none)[GRID // 2 :: GRID, GRID // 2 :: GRID] for a, b in itertools.pairwise(grey)])
    seconds = np.diff(frames.times).clip(min=1e-3)[:, None, None, None]
    fields = (fields / (frames.images.shape[2] * seconds)).astype(np.float32)
    camera = np.median(fields, axis=(1, 2))
    return fields - camera[:, None, None], camera
