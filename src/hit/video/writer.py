"""Encoding: frames and sound into an mp4 that every browser plays."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from hit.files import beside
from hit.types import Bytes, Floats

OPTIONS = {"preset": "veryfast", "crf": "20", "mbtree": "0"}  # x264's


def write(
    path: Path, frames: Iterable[Bytes], rate: float, samples: Floats | None = None, sample_rate: int = 16000, gop: int = 250
) -> None:
    """Encode `frames` (height, width, 3) at `rate` a second and mono `samples` in [-1, 1] as an H.264/AAC mp4.

    At most `gop` frames lie from one key picture to the next.
    One thread and no macroblock tree (x264's is not reproducible), so that equal input yields equal bytes. The file
    appears whole or not at all. Sizes that 4:2:0 cannot hold are made even by repeating the last row or column.
    """
    with beside(path) as part:
        _encode(part, iter(frames), Fraction(rate).limit_denominator(10010), samples, sample_rate, gop)


def _encode(path: Path, frames: Iterator[Bytes], rate: Fraction, samples: Floats | None, sample_rate: int, gop: int) -> None:
    first = next(frames)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=rate, options=OPTIONS | {"g": str(gop)})
        video.width, video.height = first.shape[1] + first.shape[1] % 2, first.shape[0] + first.shape[0] % 2
        video.pix_fmt, video.codec_context.thread_count = "yuv420p", 1
        audio = None
        if samples is not None:
            audio = container.add_stream("aac", rate=sample_rate, layout="mono", options={"b": "64k", "aac_coder": "fast"})
        sounded = 0
        for count, image in enumerate(_chain(first, frames), 1):
            even = np.pad(image, ((0, video.height - image.shape[0]), (0, video.width - image.shape[1]), (0, 0)), mode="edge")
            container.mux(video.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            if audio is not None and samples is not None:
                until = min(len(samples), round(count / rate * sample_rate))
                if until > sounded:
                    container.mux(audio.encode(_sound(samples[sounded:until], sounded, sample_rate)))
                    sounded = until
        container.mux(video.encode(None))
        if audio is not None and samples is not None:
            if len(samples) > sounded:
                container.mux(audio.encode(_sound(samples[sounded:], sounded, sample_rate)))
            container.mux(audio.encode(None))


def _chain(first: Bytes, rest: Iterator[Bytes]) -> Iterator[Bytes]:
    yield first
    yield from rest


def _sound(samples: Floats, offset: int, rate: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, offset, Fraction(1, rate)
    return frame
