"""A copy of a video that every browser plays and seeks in quickly."""

import contextlib
import math
import os
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from hit.errors import UserError
from hit.files import beside
from hit.types import Bytes, Floats, Where
from hit.video.collect import TICK, Ear
from hit.video.reader import SCALING, OvershotError, converted
from hit.video.source import BACK, STILL, Source, rotation

KEYS = 2.0  # seconds from one key picture to the next, at most
BASE = Fraction(1, 90_000)  # the clock of the pictures
RATE = 48_000  # samples a second
LONGEST = 4096  # pixels of the longer side that hardware decodes
X264 = {"preset": "veryfast", "crf": "23", "forced-idr": "1"}
AAC = {"b": "128k", "aac_coder": "fast"}


def rendition(
    path: Where,
    target: Path,
    tick: Callable[[float], None] | None = None,
    side: int = 1080,
    span: tuple[float, float] = (0.0, math.inf),
) -> float:
    """Encode a video, or a span of it (seconds), as H.264 and AAC in an mp4; return the seconds of pictures written.

    Pictures come upright, with square pixels, each at its time; the shorter side is at most `side` pixels long. Sound is
    mono or stereo. A key picture comes at least every KEYS seconds. Damaged packets are skipped; a file that breaks off gives
    what comes before. `tick` is called with the time of each picture; what it raises ends the work. The file appears whole
    or not at all. Raises UserError where the file cannot be read or has no picture in the span.
    """
    size = _size(path, side)
    with beside(target) as part:
        for back in BACK:
            with contextlib.suppress(OvershotError), Source(path) as source:
                if source.seek(span[0], back):
                    return _encode(source, part, size, span, span[0] > back, tick)
        raise UserError(path, f"has no picture between {span[0]:.2f} and {span[1]:.2f} s")


def _size(path: Where, side: int) -> tuple[int, int]:
    """Return the width and height of the copy: even, of the video's shape."""
    with Source(path) as source:
        size = source.display(source.first())
    scale = min(1.0, side / min(size), LONGEST / max(size))
    width, height = (max(2, round(length * scale / 2) * 2) for length in size)
    return width, height


def _encode(
    source: Source,
    part: Path,
    size: tuple[int, int],
    span: tuple[float, float],
    sought: bool,
    tick: Callable[[float], None] | None,
) -> float:
    start, end = span
    streams = [source.video] if source.audio is None else [source.video, source.audio]
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        film = Film(source, container, size, span, sought)
        track = None if source.audio is None else Track(container, source.audio, span)
        for item in source.decoded(streams, lambda begin, until: until > start - TICK and begin < end):
            if not isinstance(item, av.VideoFrame):
                time = source.time(item.pts, item.time_base)
                if track and time is not None and time <= max(film.now, start) + STILL:
                    track.hear(item, time)
                continue
            film.see(item)
            if sought and film.late:
                raise OvershotError
            if tick:
                tick(film.now)
            if film.now >= end and (track is None or track.full or film.now >= end + 1):
                break
        film.finish()
        if not film.written:
            raise OvershotError if sought or start > 0 else source.nothing()
        if track:
            track.finish()
    return film.written


class Film:
    """The pictures' way into the copy. A picture is held until it is known how long it stays on screen."""

    def __init__(self, source: Source, container: Any, size: tuple[int, int], span: tuple[float, float], sought: bool):
        self.source, self.container, self.size, self.sought, (self.start, self.end) = source, container, size, sought, span
        self.stream = container.add_stream(
            "libx264",
            rate=Fraction(source.rate).limit_denominator(10010),
            options=X264 | {"g": str(math.ceil(KEYS * max(source.rate, 1.0)))},
        )
        self.stream.width, self.stream.height, self.stream.pix_fmt = *size, "yuv420p"
        self.stream.time_base = self.stream.codec_context.time_base = BASE
        self.stream.codec_context.thread_count = max(1, (os.cpu_count() or 2) // 2)
        self._colour(source.video.codec_context)
        self.scaler, self.now = VideoReformatter(), -math.inf
        self.held: av.VideoFrame | None = None
        self.key, self.written, self.late = -math.inf, 0.0, False
        self.lasting: dict[int, int] = {}  # of pictures by their time stamps

    def _colour(self, given: Any) -> None:
        """Mark the copy's colours as the source's are marked; those of RGB become what browsers take unmarked ones for."""
        context, rgb = self.stream.codec_context, given.format is not None and given.format.is_rgb
        self.space = Colorspace.ITU709 if rgb else None
        context.color_range = ColorRange.MPEG
        for name in ("color_primaries", "color_trc", "colorspace"):
            setattr(context, name, Colorspace.ITU709 if rgb else getattr(given, name))

    def see(self, picture: av.VideoFrame) -> None:
        """Write the picture held so far until this one, which is then held."""
        time = self.source.time(picture.pts, picture.time_base)
        if time is None:
            time = self.now + 1 / self.source.rate if self.held else 0.0
        if self.held is None:
            if abs(time) > STILL and self.start == 0:  # the header is wrong about when it begins
                self.source.origin, time = self.source.origin + time, 0.0
            self.late = time > self.start + TICK
            if not self.sought:  # the first picture stands for what comes before it too
                time = min(time, self.start)
        elif time <= self.now or time > self.now + STILL:  # astray
            return
        self.write(time)
        self.held, self.now = picture, time

    def write(self, until: float) -> None:
        """Encode the picture held, if it is on screen in the span."""
        begin, until = max(self.now, self.start), min(until, self.end)
        if self.held is None or until <= begin + TICK:
            return
        picture = self.image(self.held)
        picture.pts, picture.time_base = round((begin - self.start) / BASE), BASE
        picture.pict_type = PictureType.NONE  # it has that of the source, which the encoder would follow
        if begin >= self.key + KEYS - TICK:
            picture.pict_type, self.key = PictureType.I, begin
        self.written = until - self.start
        self.lasting[picture.pts] = max(1, round(self.written / BASE) - picture.pts)
        self.mux(self.stream.encode(picture))

    def mux(self, packets: list[Any]) -> None:
        """Pass packets on, each with the time for which its picture is shown."""
        for packet in packets:
            packet.duration = self.lasting.pop(packet.pts)
            self.container.mux(packet)

    def image(self, picture: av.VideoFrame) -> av.VideoFrame:
        """Return a picture upright, of the copy's size and format."""
        turned = rotation(picture)
        width, height = self.size[::-1] if turned % 180 else self.size
        convert = partial(
            self.scaler.reformat,
            width=width,
            height=height,
            format="yuv420p",
            dst_colorspace=self.space,
            dst_color_range=ColorRange.MPEG,
            **SCALING,
        )
        scaled = converted(picture, convert)
        if not turned:
            return scaled
        return av.VideoFrame.from_ndarray(_turned(np.asarray(scaled.to_ndarray(), np.uint8), turned), format="yuv420p")

    def finish(self) -> None:
        """Write the last picture."""
        if self.held is not None:
            self.write(self.now + self.source.lasting(self.held))
        if self.written:
            self.mux(self.stream.encode(None))


def _turned(planes: Bytes, turned: int) -> Bytes:
    """Turn a picture in YUV 4:2:0, its planes below each other as rows of the width, counter-clockwise."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    parts = [np.rot90(plane, turned // 90) for plane in (luma, *chroma)]
    return np.concatenate([part.ravel() for part in parts]).reshape(-1, parts[0].shape[1])


class Stereo(Ear):
    """Keeps mono mono, and brings all other sound to two channels; samples (n, channels)."""

    def __init__(self, layout: str):
        self.layout = layout
        super().__init__(RATE)

    def _renew(self, start: float) -> None:
        self.resampler = av.AudioResampler(format="flt", layout=self.layout, rate=self.rate)
        self.start, self.count = start, 0

    def samples(self, sound: av.AudioFrame) -> Floats:
        """Return the samples of resampled sound."""
        # FFmpeg's mixture of floats goes beyond [-1, 1].
        return np.clip(np.asarray(sound.to_ndarray(), np.float32).reshape(sound.samples, -1), -1, 1)


class Track:
    """The sound's way into the copy: silence where there is none, what comes twice once."""

    def __init__(self, container: Any, audio: Any, span: tuple[float, float]):
        self.layout = "mono" if audio.codec_context.layout.nb_channels == 1 else "stereo"
        self.container, (self.start, self.end) = container, span
        self.stream = container.add_stream("aac", rate=RATE, layout=self.layout, options=AAC)
        self.ear, self.count, self.full = Stereo(self.layout), 0, False

    def hear(self, sound: av.AudioFrame, time: float) -> None:
        """Take a stretch of sound that begins at `time`."""
        for begin, samples in self.ear.hear(sound, time):
            self.add(begin, samples)

    def add(self, time: float, samples: Floats) -> None:
        """Encode samples (n, channels), those that fall into the span and come after all before them."""
        ahead = round((time - self.start) * RATE) - self.count
        while ahead > 0 and self.count < (self.end - self.start) * RATE:
            blank = min(ahead, RATE)
            ahead -= blank
            self.encode(np.zeros((blank, samples.shape[1]), np.float32))
        self.encode(samples[max(0, -ahead) :])
        self.full = self.count >= (self.end - self.start) * RATE

    def encode(self, samples: Floats) -> None:
        """Encode samples up to the end of the span."""
        if self.end < math.inf:
            samples = samples[: max(0, round((self.end - self.start) * RATE) - self.count)]
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.count, Fraction(1, RATE)
        self.count += len(samples)
        self.container.mux(self.stream.encode(frame))

    def finish(self) -> None:
        """Encode what is still on its way."""
        for time, samples in self.ear.finish():
            self.add(time, samples)
        if self.count:
            self.container.mux(self.stream.encode(None))
