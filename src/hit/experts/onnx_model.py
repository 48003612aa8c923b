"""Any ONNX image or audio model by path as an expert, with a small table that says how its input is made."""

import dataclasses
import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from hit.errors import UserError
from hit.experts import network, pictures, windows
from hit.experts.pretrained import fingerprint
from hit.hub import line
from hit.types import AudioWant, Features, Floats, FrameWant, Media, Want

NUMBERS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
INSTALL = "hit-video[onnx]"


@dataclass(frozen=True)
class ImageTable:
    """How frames become the model's input. Its size and layout need not be given where the model itself says them."""

    rate: float = 1.0  # frames a second
    size: int = 0  # pixels, both ways; 0: what the model says
    crop: bool = False  # bring the shorter side to `size` and cut the middle out, instead of squashing
    mean: tuple[float, ...] = ()  # of red, green and blue in [0, 1]; needed unless the model takes bytes
    std: tuple[float, ...] = ()
    layout: str = ""  # nchw or nhwc; empty: what the model says
    channels: str = "rgb"  # or bgr
    keyframes: bool = False  # content with key pictures where they are close enough (see hit.types.FrameWant)


@dataclass(frozen=True)
class AudioTable:
    """How sound becomes the model's input: windows of mono samples in [-1, 1]."""

    rate: int = 0  # samples a second; needed
    seconds: float = 0.0  # of a window; 0: what the model says, else one second


class OnnxModel:
    """Shows frames, or plays windows of sound, to the ONNX model at `path` and takes one of its outputs.

    Just one of `image` and `audio` is given: a table with keys of ImageTable or AudioTable. `output` names the output,
    else it is the first; what it has of places or steps is averaged. Raises UserError where the file cannot be run so.
    """

    licence = "the model's"
    packages: ClassVar = {"onnxruntime": INSTALL}
    hint = "path: an .onnx file; image or audio: how its input is made"

    def __init__(
        self,
        path: str,
        name: str = "onnx",
        image: Mapping[str, Any] | None = None,
        audio: Mapping[str, Any] | None = None,
        output: str = "",
        device: str = "cpu",
        batch: int = 16,
    ) -> None:
        network.positive(path, batch=batch)
        if (image is None) == (audio is None):
            why = "needs one of the options image and audio, which say how its input is made"
            raise UserError(path, why, "for example image = {mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]}")
        self.name, self._batch = name, batch
        file = Path(path).expanduser()
        self._session = _session(path, file, device)
        given = _input(path, self._session)
        self._input, self._shape, self._numbers = given.name, list(given.shape), NUMBERS[given.type]
        self._output = _output(path, self._session, output)
        self._sense: _Pictures | _Sounds
        if image is not None:
            self._sense = _Pictures(path, self._shape, given.type, _table(path, "image", ImageTable, image))
        else:
            self._sense = _Sounds(path, self._shape, _table(path, "audio", AudioTable, audio or {}))
        self.wants: tuple[Want, ...] = (self._sense.want,)
        fix = "see that the options fit the model"
        self.dim = network.width(path, "its input", fix, lambda: self._embed(self._sense.example()))
        about = {"output": self._output, "input": dataclasses.asdict(self._sense.table)}
        # large models keep their weights beside them, under these names
        parts = (file, file.with_name(f"{file.name}.data"), file.with_name(f"{file.name}_data"))
        weights = fingerprint(part for part in parts if part.is_file())
        self.identity = f"onnx/1 model={weights} options={json.dumps(about, sort_keys=True)}"

    def extract(self, media: Media) -> Features | None:
        """Return (n, dim), a row a frame or a window; None for sound without an audio track."""
        return self.extract_many([media])[0]

    def extract_many(self, medias: Sequence[Media]) -> list[Features | None]:
        """Return what `extract` does for each clip, from batches of rows of all of them."""
        clips = [self._sense.gather(media) for media in medias]
        return windows.features(self._embed, clips, self._batch, self.dim)

    def _embed(self, raw: Any) -> Floats:
        """Return rows (n, dim) for what was gathered."""
        values = self._sense.prepare(raw).astype(self._numbers)
        if len(self._shape) == 1:  # one waveform and no batch: what comes out are its steps
            return np.stack([self._pool(self._run(one)[None])[0] for one in values])
        size = self._shape[0] if isinstance(self._shape[0], int) else len(values)  # some take just so many at a time
        rows = []
        for at in range(0, len(values), size):
            part = values[at : at + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            rows.append(self._pool(self._run(filled))[: len(part)])
        if (count := sum(map(len, rows))) != len(values):
            raise ValueError(f"output '{self._output}' has {count} rows for {len(values)} inputs")
        return np.concatenate(rows)

    def _run(self, values: Any) -> Any:
        return self._session.run([self._output], {self._input: values})[0]

    def _pool(self, output: Any) -> Floats:
        """Average (n, steps, dim) over steps and (n, dim, height, width) over places."""
        if output.ndim == 3:
            output = output.mean(1)
        elif output.ndim == 4:
            output = output.mean((1, 2) if self._sense.last else (2, 3))
        return np.asarray(output.reshape(len(output), -1), np.float32)


class _Pictures:
    """Frames, resized and normalised."""

    def __init__(self, path: str, shape: list[Any], number: str, table: ImageTable) -> None:
        if len(shape) != 4:
            raise UserError(
                path, f"takes an input of {len(shape)} dimensions, which is no image", "give the option audio instead"
            )
        network.positive(path, **{"image.rate": table.rate})
        said = "nchw" if shape[1] == 3 else "nhwc" if shape[3] == 3 else ""
        layout = table.layout or said
        if layout not in ("nchw", "nhwc"):
            raise UserError(path, f"its input is {shape}: which is the colour?", "say image.layout, nchw or nhwc")
        if table.channels not in ("rgb", "bgr"):
            raise UserError(path, f"image.channels is '{table.channels}'", "it is rgb or bgr")
        self.last, own = layout == "nhwc", shape[1:3] if layout == "nhwc" else shape[2:]
        height, width = (table.size or length for length in own)
        if not all(isinstance(length, int) and 1 <= length <= pictures.LARGEST for length in (height, width)):
            why = f"takes pictures of {own[0]} x {own[1]}, and image.size is {table.size}"
            raise UserError(path, why, f"say image.size, from 1 to {pictures.LARGEST}")
        raw = number == "tensor(uint8)"
        if raw == bool(table.mean or table.std) or (
            not raw and not (len(table.mean) == len(table.std) == 3 and min(table.std) > 0)
        ):
            why = (
                "takes bytes: image.mean and image.std do not apply"
                if raw
                else "needs three numbers as image.mean and as image.std"
            )
            raise UserError(path, why, "leave them out" if raw else "ImageNet's are [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]")
        self.table = dataclasses.replace(table, size=0 if height != width else height, layout=layout)
        self._settings: dict[str, Any] = {
            "size": {"shortest_edge": max(height, width)} if table.crop else {"height": height, "width": width},
            "resample": Image.Resampling.BILINEAR,
            "do_center_crop": table.crop,
            "crop_size": {"height": height, "width": width},
            "do_rescale": not raw,
            "do_normalize": not raw,
            "image_mean": table.mean,
            "image_std": table.std,
        }
        self.want = FrameWant(table.rate, max(height, width) if table.crop else min(height, width), not table.keyframes)

    def example(self) -> Any:
        return np.zeros((1, self.want.side, self.want.side, 3), np.uint8)

    def gather(self, media: Media) -> tuple[Any, Floats] | None:
        frames = media.frames[self.want]
        return frames.images, windows.spans(frames, self.want.rate)

    def prepare(self, images: Any) -> Any:
        pixels = pictures.prepare(self._settings, images)  # (n, 3, height, width)
        if self.table.channels == "bgr":
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1) if self.last else pixels)


class _Sounds:
    """Windows of samples."""

    last = False

    def __init__(self, path: str, shape: list[Any], table: AudioTable) -> None:
        if len(shape) > 3 or (len(shape) == 3 and shape[1] not in (1, None) and not isinstance(shape[1], str)):
            raise UserError(
                path, f"takes an input of {shape}, which is no waveform", "it is (samples), (n, samples) or (n, 1, samples)"
            )
        if table.rate < 1 or table.seconds < 0:
            raise UserError(path, "needs the samples a second of its input", "say audio.rate, for example 16000")
        own = shape[-1] if isinstance(shape[-1], int) else 0
        self.size = max(1, round(table.seconds * table.rate)) if table.seconds else own or table.rate
        self.table = dataclasses.replace(table, seconds=self.size / table.rate)
        self.want, self._nested = AudioWant(table.rate), len(shape) == 3

    def example(self) -> Any:
        return np.zeros((1, self.size), np.float32)

    def gather(self, media: Media) -> tuple[Any, Floats] | None:
        audio = media.audio[self.want]
        return windows.over(audio, self.size) if len(audio.samples) else None

    def prepare(self, samples: Any) -> Any:
        rows = np.stack(samples)
        return rows[:, None] if self._nested else rows


def _session(path: str, file: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(path, "is run by onnxruntime, which is not installed", f"pip install '{INSTALL}'") from None
    if not file.is_file():
        raise UserError(path, "there is no such file", "give the path of an .onnx file")
    kind, _, number = device.partition(":")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(kind, "")
    if provider not in onnxruntime.get_available_providers() or (number and not number.isdecimal()):
        raise UserError(path, f"onnxruntime has no device '{device}' here", "say cpu, or install onnxruntime-gpu for cuda")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong comes as an exception
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0") or 0)  # which our workers are given; 0: all cores
    try:
        return onnxruntime.InferenceSession(file, options, providers=[(provider, {"device_id": number} if number else {})])
    except Exception as error:  # whatever onnxruntime makes of a stranger's file is that file's failing
        raise UserError(path, f"cannot be loaded: {line(error)}", "see that it is an ONNX model, and whole") from error


def _input(path: str, session: Any) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise UserError(path, f"takes {len(inputs)} inputs ({names}), not one", "export it with its picture or its sound alone")
    if inputs[0].type not in NUMBERS or not inputs[0].shape:
        why = f"takes {inputs[0].type} of {inputs[0].shape}, which is no picture and no sound"
        raise UserError(path, why, "export it with an input of floats or bytes")
    return inputs[0]


def _output(path: str, session: Any, wanted: str) -> str:
    names = [one.name for one in session.get_outputs()]
    if wanted and wanted not in names:
        near = difflib.get_close_matches(wanted, names, 1)
        raise UserError(path, f"has no output '{wanted}'", f"did you mean '{near[0]}'?" if near else f"it has {', '.join(names)}")
    return wanted or str(names[0])


def _table(path: str, option: str, kind: Any, given: Mapping[str, Any]) -> Any:
    """Return the table that a recipe gives as an option, checked key by key."""
    if not isinstance(given, Mapping):
        raise UserError(path, f"option '{option}' is {given!r}, not a table", f"for example {option} = {{rate = 1}}")
    values = dict(given)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in given.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            fix = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(fields)}"
            raise UserError(path, f"option '{option}' has no key '{key}'", fix)
        example = fields[key].default
        if isinstance(example, tuple):
            right = isinstance(value, list | tuple) and all(type(number) in (int, float) for number in value)
            values[key] = tuple(map(float, value)) if right else value
        else:
            values[key] = float(value) if type(example) is float and type(value) is int else value
            right = type(values[key]) is type(example)
        if not right:
            words = "a list of numbers" if isinstance(example, tuple) else f"of type {type(example).__name__}"
            raise UserError(path, f"option '{option}.{key}' is {value!r}, not {words}")
    return kind(**values)
