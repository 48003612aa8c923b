"""Faces in the picture, by a detector and, only where one is given, an embedder that tells people apart: OpenCV's, on ONNX files.

Off by default, in both halves. Where faces are is of use and names nobody; vectors that tell people apart are biometric data, for
which the law of many countries wants consent (GDPR, Article 9): whoever gives an `embedder` decides that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hit.errors import UserError
from hit.experts import network, pixels, windows
from hit.experts.pretrained import fingerprint
from hit.hub import line
from hit.types import Bytes, Features, Floats, FrameWant, Media

GRID = 4
FORM = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # YuNet's outputs for each cell of the picture, at each stride
STRIDES = (8, 16, 32)  # pixels
ALIGNED = 112  # pixels: the side of the picture of one face that SFace takes
DETECTOR = "give a YuNet model, such as the OpenCV Zoo's face_detection_yunet_2023mar.onnx"
EMBEDDER = "give an SFace model, such as the OpenCV Zoo's face_recognition_sface_2021dec.onnx"


class Face:
    """Looks for faces, of 10 pixels and more, in `rate` frames a second with `side` pixels along the shorter side.

    Without `embedder` a row a frame, 6 + 16 numbers: log2(1 + count of faces); the share of the picture that they cover; the
    largest one's centre (x, y), width and height, as shares of the picture's (0 without a face); the share covered of each cell
    of a 4 x 4 grid, row by row. With `embedder` a row a face a frame, the largest first: its identity, of unit length.

    `detector` and `embedder` are ONNX files in the forms of YuNet and SFace; faces below `confidence` are passed over. Raises
    UserError for files that do not work so.
    """

    licence = "the models'"
    hint = "detector: an .onnx file of YuNet's form (embedder, to tell people apart, only with their consent)"

    def __init__(
        self, detector: str, embedder: str = "", name: str = "face", rate: float = 1.0, side: int = 360, confidence: float = 0.8
    ) -> None:
        network.positive(detector, rate=rate, side=side, confidence=confidence)
        self.name, self._want = name, FrameWant(rate, side)
        self.wants = (self._want,)
        self._detector = _detector(detector, confidence)
        self._embedder: Any = _embedder(embedder) if embedder else None
        self.dim = 6 + GRID * GRID
        files = [_file(detector)]
        if embedder:
            example = np.zeros((ALIGNED, ALIGNED, 3), np.uint8)
            self.dim = network.width(embedder, "a face", EMBEDDER, lambda: self._embedder.feature(example))
            files.append(_file(embedder))
        weights = " ".join(fingerprint([file]) for file in files)
        self.identity = f"face/1 models={weights} rate={rate} side={side} confidence={confidence}"

    def extract(self, media: Media) -> Features:
        """Return (n, dim), a row a frame, or with an embedder a row a face; then n = 0 where there is none."""
        frames = media.frames[self._want]
        rows: list[Floats] = []
        places: list[int] = []  # of each row's frame
        for place, image in enumerate(frames.images):
            picture = np.ascontiguousarray(image[..., ::-1])  # OpenCV's models take BGR
            found = self._look(picture)
            seen = [_summary(found, picture)] if self._embedder is None else [self._embed(picture, face) for face in found]
            rows += seen
            places += [place] * len(seen)
        return Features(np.array(rows, np.float32).reshape(-1, self.dim), windows.spans(frames, self._want.rate)[places])

    def _look(self, picture: Bytes) -> Floats:
        """Return the faces (n, 15), the largest first: left, top, width, height, five landmarks, confidence."""
        self._detector.setInputSize(picture.shape[1::-1])
        _, found = self._detector.detect(picture)
        faces = np.zeros((0, 15), np.float32) if found is None else found
        return np.asarray(faces[np.argsort(-faces[:, 2] * faces[:, 3], kind="stable")], np.float32)

    def _embed(self, picture: Bytes, face: Floats) -> Floats:
        row: Floats = self._embedder.feature(self._embedder.alignCrop(picture, face)).reshape(-1)
        return row / max(float(np.linalg.norm(row)), 1e-12)


def _summary(faces: Floats, picture: Bytes) -> Floats:
    height, width = picture.shape[:2]
    covered = np.zeros((height, width, 1), np.float32)
    corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
    boxes = corners.clip(0, (width, height) * 2)  # what of them is in sight
    for left, top, right, bottom in boxes.round().astype(int):
        covered[top:bottom, left:right] = 1
    largest = np.zeros(4, np.float32)
    if len(boxes):
        left, top, right, bottom = boxes[0] / ((width, height) * 2)
        largest[:] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    return np.array([np.log2(1 + len(faces)), covered.mean(), *largest, *pixels.cells(covered, GRID)], np.float32)


def _detector(path: str, confidence: float) -> Any:
    """Return OpenCV's detector. It reads a model's outputs without looking at their shapes, so they are checked here."""
    file, side = _file(path), 64
    names = [f"{name}_{stride}" for stride in STRIDES for name in FORM]
    shapes = [((side // stride) ** 2, numbers) for stride in STRIDES for numbers in FORM.values()]
    with _checked(path, DETECTOR):
        model: Any = cv2.dnn.readNetFromONNX(str(file))
        model.setInput(np.zeros((1, 3, side, side), np.float32))
        found = [output.shape[1:] for output in model.forward(names)]
        detector = cv2.FaceDetectorYN.create(str(file), "", (side, side), confidence)
    if found != shapes:
        raise UserError(path, f"puts out {found[0]} where a detector of YuNet's form has {shapes[0]}", DETECTOR)
    return detector


def _embedder(path: str) -> Any:
    file = _file(path)
    with _checked(path, EMBEDDER):
        return cv2.FaceRecognizerSF.create(str(file), "")


def _file(path: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(path, "there is no such file", "give the path of an .onnx file")
    return file


@contextmanager
def _checked(path: str, fix: str) -> Iterator[None]:
    """Turn what OpenCV says of a stranger's model into one line, and keep it from writing its own."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    except cv2.error as error:
        raise UserError(path, f"cannot be used: {line(error)}", fix) from error
    finally:
        cv2.utils.logging.setLogLevel(level)
