"""Video files: probe, read, write. The only module that knows PyAV.

Time zero is the first picture of the video stream, whatever the container's clock says there. A picture is on screen
from its presentation time until the next one's; what is sampled at a time is what is on screen then.
"""

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from hit.errors import UserError
from hit.types import Audio, AudioWant, Bytes, Clip, Floats, Frames, FrameWant, Media, Want

log = logging.getLogger(__name__)

MAX_SIDE, MAX_PIXELS = 16_384, 100_000_000  # beyond these a header is taken for damaged or hostile
MAX_FAILURES = 250  # damaged packets in a row after which the rest of a file is given up
SEEK_FROM = 10.0  # seconds: where the first clip starts later than this, what comes before is not decoded
SLACK = 10.0  # seconds that a container may interleave sound behind its pictures
AHEAD = 20  # packets to look ahead for the presentation time that follows one; H.264 reorders at most 16 pictures
GAP = 0.05  # seconds by which sound may stray from its time stamps before it is placed anew
TICK = 1e-6  # seconds; times closer than this are the same time


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file's header and first picture say. Sizes are those on screen: upright, square pixels; 0 without video."""

    duration: float  # seconds of video, at least one frame's worth
    width: int
    height: int
    rate: float  # average pictures a second
    codec: str
    rotation: int  # degrees by which the coded pictures are turned counter-clockwise for display: 0, 90, 180, 270
    has_video: bool
    has_audio: bool
    audio_rate: int  # samples a second, 0 without audio


def probe(path: Path) -> VideoInfo:
    """Look at a file without reading it through. Raises UserError where it is no media file or no picture decodes."""
    with _Source(path) as source:
        audio_rate = source.audio.rate if source.audio else 0
        if source.video is None:
            length = (source.container.duration or 0) / av.time_base
            return VideoInfo(length, 0, 0, 0.0, "", 0, False, source.audio is not None, audio_rate)
        first = next(source.decoded([source.video], lambda begin, until: True), None)
        if first is None:
            raise source.nothing()
        width, height = source.display(first)
        duration = source.duration()
    if duration is None:
        with _Source(path) as source:
            duration = source.scan()
    duration = max(duration, 1 / source.rate)
    codec, rotation = source.codec, _rotation(first)
    return VideoInfo(duration, width, height, source.rate, codec, rotation, True, audio_rate > 0, audio_rate)


def read(path: Path, spans: Sequence[Clip], wants: Iterable[Want]) -> Iterator[Media]:
    """Decode all `wants` of all clips of one file in one sequential pass; yield each clip's media once it is complete.

    For a FrameWant the target times are clip.start + k / rate before the clip's (or the video's) end, and each gets the
    last picture presented at or before it (the first picture if there is none). The order is that of completion. A clip
    that begins after the last picture is not yielded. Damaged packets are skipped and logged. Raises UserError where the
    file cannot be read, holds no video, or where nothing of it decodes.
    """
    clips, distinct = sorted(spans, key=lambda clip: (clip.start, clip.end)), tuple(dict.fromkeys(wants))
    if not clips:
        return
    seek = clips[0].start > SEEK_FROM
    try:
        with _Source(path) as source:
            yield from _Reader(source, clips, distinct, seek).run()
    except _OvershotError:
        with _Source(path) as source:
            yield from _Reader(source, clips, distinct, False).run()


def frame(path: Path, time: float, side: int) -> Bytes:
    """Return the picture (height, width, 3) on screen at `time`, upright, its shorter side `side` long.

    Raises UserError where there is none.
    """
    want = FrameWant(1.0, side)
    for media in read(path, [Clip("", "", path, time, time + TICK)], [want]):
        image: Bytes = media.frames[want].images[0]
        return image
    raise UserError(path, f"has no picture at {time:.2f} s")


class _OvershotError(Exception):
    """A seek landed after the first clip's start."""


class _Source:
    """An open file: its streams, its clock, and packets that are decoded one by one."""

    def __init__(self, path: Path):
        self.path, self.damaged, self.reason = path, 0, ""
        try:
            self.container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
        except av.FFmpegError as error:
            if not path.exists():
                raise UserError(path, "there is no such file") from None
            why = "is empty" if path.is_file() and path.stat().st_size == 0 else f"not a readable video ({error.strerror})"
            raise UserError(path, why) from None
        streams = self.container.streams
        pictures = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
        self.video: Any = pictures[0] if pictures else None
        sounds = [stream for stream in streams.audio if stream.codec_context and stream.rate]
        self.audio: Any = sounds[0] if sounds else None
        self.origin, self.rate, self.codec = 0.0, 25.0, ""
        if self.video is not None:
            self._look_at(self.video)

    def _look_at(self, video: Any) -> None:
        context = video.codec_context
        if context is None:
            raise self._close(UserError(self.path, "its video codec is not one that can be decoded here"))
        if max(context.width, context.height) > MAX_SIDE or context.width * context.height > MAX_PIXELS:
            size = f"{context.width} x {context.height}"
            raise self._close(UserError(self.path, f"claims pictures of {size} pixels, more than can be read"))
        context.thread_count = 1  # whoever wants more cores reads more files at once
        self.codec = context.name
        if video.start_time is not None:
            self.origin = float(video.start_time * video.time_base)
        rate = video.average_rate or video.guessed_rate
        self.rate = float(rate) if rate else 25.0

    def __enter__(self) -> "_Source":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.container.close()
        if self.damaged:
            log.warning("%s: %d damaged packets skipped (%s)", self.path, self.damaged, self.reason)

    def _close(self, error: UserError) -> UserError:
        self.container.close()
        return error

    def nothing(self) -> UserError:
        """Return the error for a file of which no picture decodes."""
        why = f" ({self.damaged} damaged packets: {self.reason})" if self.damaged else ""
        return UserError(self.path, f"no picture in it can be decoded{why}", "the file is damaged or incomplete")

    def time(self, stamp: int | None, base: Fraction | None) -> float | None:
        """Return seconds since the first picture."""
        return None if stamp is None or base is None else float(stamp * base) - self.origin

    def duration(self) -> float | None:
        """Return the seconds of video according to the header, or None where it does not say."""
        if self.video is not None and self.video.duration:
            return float(self.video.duration * self.video.time_base)
        if not self.container.duration or self.container.duration < 0:
            return None
        return ((self.container.start_time or 0) + self.container.duration) / av.time_base - self.origin

    def scan(self) -> float:
        """Return the seconds of video by reading every packet's time stamp; for files whose header does not say."""
        end = 0.0
        for packet in self._packets([self.video]):
            begin = self.time(packet.pts, packet.time_base)
            if begin is not None:
                end = max(end, begin + (float(packet.duration * packet.time_base) if packet.duration else 1 / self.rate))
        return end

    def display(self, picture: av.VideoFrame) -> tuple[int, int]:
        """Return the width and height on screen of a decoded picture."""
        aspect = self.video.sample_aspect_ratio or Fraction(1)
        width, height = max(1, round(picture.width * max(aspect, 1))), max(1, round(picture.height / min(aspect, 1)))
        return (height, width) if _rotation(picture) % 180 else (width, height)

    def _packets(self, streams: list[Any]) -> Iterator[Any]:
        try:
            yield from self.container.demux(streams)
        except av.FFmpegError as error:  # a container that breaks off ends there
            self.damaged, self.reason = self.damaged + 1, str(error.strerror)

    def decoded(self, streams: list[Any], wanted: Callable[[float, float], bool]) -> Iterator[Any]:
        """Yield decoded pictures and sounds, one packet at a time.

        Pictures that nothing refers to are not decoded where `wanted` ((from, until) in seconds) says no. Raises UserError
        after too many damaged packets in a row.
        """
        row = dict.fromkeys((stream.index for stream in streams), 0)
        for packet in self._ahead(self._packets(streams), wanted):
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                row[packet.stream_index] += 1
                self.damaged, self.reason = self.damaged + 1, str(error.strerror)
                if row[packet.stream_index] > MAX_FAILURES:
                    raise UserError(self.path, f"{MAX_FAILURES} packets in a row cannot be decoded: {self.reason}") from None
                continue
            row[packet.stream_index] = 0
            yield from frames

    def _ahead(self, packets: Iterator[Any], wanted: Callable[[float, float], bool]) -> Iterator[Any]:
        """Pass packets on, telling the decoder for each whether it may skip it, if nothing refers to its picture.

        Only for H.264: HEVC's sub-layers may refer to pictures that are marked as not referred to.
        """
        if self.codec != "h264":
            yield from packets
            return
        queue: deque[Any] = deque()
        past: deque[int] = deque(maxlen=AHEAD)
        for packet in packets:
            if packet.stream is not self.video:
                yield packet
                continue
            queue.append(packet)
            if len(queue) > AHEAD:
                yield self._weighed(queue.popleft(), queue, past, wanted)
        while queue:
            yield self._weighed(queue.popleft(), queue, past, wanted)

    def _weighed(self, packet: Any, queue: deque[Any], past: deque[int], wanted: Callable[[float, float], bool]) -> Any:
        need = True
        if packet.pts is not None:
            later = [other.pts for other in queue if other.pts is not None and other.pts > packet.pts]
            later += [pts for pts in past if pts > packet.pts]
            past.append(packet.pts)
            if later:
                base = float(packet.time_base)
                need = wanted(packet.pts * base - self.origin, min(later) * base - self.origin)
        self.video.codec_context.skip_frame = "DEFAULT" if need else "NONREF"
        return packet


class _Ear:
    """Brings decoded sound to mono float at one rate, in stretches whose samples follow each other without a gap."""

    def __init__(self, rate: int):
        self.rate, self.expected = rate, -math.inf
        self._renew(0.0)

    def _renew(self, start: float) -> None:
        self.resampler = av.AudioResampler(format="flt", layout="mono", rate=self.rate)
        self.start, self.count = start, 0

    def hear(self, sound: av.AudioFrame, time: float) -> Iterator[tuple[float, Floats]]:
        """Yield (time of the first sample, samples)."""
        if abs(time - self.expected) > GAP:
            yield from self.finish()
            self._renew(time)
            self.expected = time
        self.expected += sound.samples / sound.sample_rate
        yield from self._collect(self.resampler.resample(sound))

    def finish(self) -> Iterator[tuple[float, Floats]]:
        """Yield what the resampler still holds."""
        if self.expected > -math.inf:
            yield from self._collect(self.resampler.resample(None))

    def _collect(self, sounds: list[av.AudioFrame]) -> Iterator[tuple[float, Floats]]:
        for sound in sounds:
            samples = np.asarray(sound.to_ndarray(), np.float32).reshape(-1)
            yield self.start + self.count / self.rate, samples
            self.count += len(samples)


class _Track:
    """The samples of one clip at one rate."""

    def __init__(self, clip: Clip, rate: int):
        self.clip, self.rate, self.start, self.count = clip, rate, clip.start, 0
        self.chunks: list[Floats] = []

    def add(self, time: float, samples: Floats) -> None:
        """Put samples where they belong: gaps become silence, what comes twice is kept once."""
        low = max(0, math.ceil((self.clip.start - time) * self.rate - TICK))
        high = len(samples)
        if self.clip.end < math.inf:
            high = min(high, math.ceil((self.clip.end - time) * self.rate - TICK))
        if high <= low:
            return
        if not self.chunks:
            self.start = time + low / self.rate
        ahead = round((time - self.start) * self.rate) + low - self.count
        if ahead > 0:
            self.chunks.append(np.zeros(ahead, np.float32))
        self.chunks.append(samples[low + max(0, -ahead) : high])
        self.count += len(self.chunks[-1]) + max(0, ahead)

    def audio(self) -> Audio:
        """Return all samples."""
        return Audio(np.concatenate([np.zeros(0, np.float32), *self.chunks]), self.rate, self.start)


class _Reel:
    """All that is collected for one clip."""

    def __init__(self, clip: Clip, wants: Sequence[Want], end: float):
        self.clip, self.end = clip, min(clip.end, end)
        self.films: dict[FrameWant, list[Bytes]] = {want: [] for want in wants if isinstance(want, FrameWant)}
        self.tracks = {want: _Track(clip, want.rate) for want in wants if isinstance(want, AudioWant)}

    def due(self, want: FrameWant) -> float:
        """Return the next time to sample, infinite once all are."""
        count = len(self.films[want])
        time = self.clip.start + count / want.rate
        return time if time < self.end - TICK or not count else math.inf

    def seen(self) -> bool:
        """Say whether every picture is in."""
        return all(self.due(want) == math.inf for want in self.films)

    def media(self) -> Media:
        """Return what was collected."""
        frames = {}
        for want, images in self.films.items():
            times = self.clip.start + np.arange(len(images)) / want.rate
            frames[want] = Frames(np.stack(images), times.astype(np.float32))
        return Media(self.clip, frames, {want: track.audio() for want, track in self.tracks.items()})


class _Reader:
    """One pass over one file."""

    def __init__(self, source: _Source, clips: list[Clip], wants: tuple[Want, ...], seek: bool):
        if source.video is None:
            raise UserError(source.path, "has no video stream", "only its sound could be read")
        self.source, self.wants, self.seek = source, wants, seek
        limit = source.duration() or math.inf  # a time stamp gone astray must not make an endless last frame
        self.waiting = deque(_Reel(clip, wants, limit + SLACK) for clip in clips)
        self.open: list[_Reel] = []
        self.held: av.VideoFrame | None = None
        self.now = self.heard = -math.inf
        self.size = (0, 0)
        self.images: dict[int, Bytes] = {}  # of the held picture, by side
        self.scalers: dict[int, VideoReformatter] = {}
        rates = {want.rate for want in wants if isinstance(want, AudioWant)} if source.audio else set()
        self.ears = {rate: _Ear(rate) for rate in rates}

    def run(self) -> Iterator[Media]:
        source = self.source
        streams = [source.video] if any(isinstance(want, FrameWant) for want in self.wants) else []
        streams += [source.audio] if self.ears else []
        if self.seek and source.video is not None:
            offset = self.waiting[0].clip.start - 1.0 + source.origin
            source.container.seek(math.floor(offset / source.video.time_base), stream=source.video)
        for item in source.decoded(streams, self.wanted) if streams else ():
            if isinstance(item, av.VideoFrame):
                self.see(item)
            else:
                self.hear(item)
            yield from self.finished()
            if not self.open and not self.waiting:
                return
        yield from self.rest()

    def wanted(self, begin: float, until: float) -> bool:
        """Say whether any clip samples a picture that is on screen from `begin` until `until`."""
        for reels in (self.open, self.waiting):
            for reel in reels:
                if reel.clip.start > until + TICK:
                    break  # both are in the order of their starts
                for want in reel.films:
                    step = max(0, math.ceil((begin - TICK - reel.clip.start) * want.rate - TICK))
                    if reel.clip.start + step / want.rate < min(until + TICK, reel.end):
                        return True
        return False

    def admit(self, time: float) -> None:
        """Open the clips that have begun by `time`."""
        while self.waiting and self.waiting[0].clip.start <= time:
            self.open.append(self.waiting.popleft())

    def see(self, picture: av.VideoFrame) -> None:
        """Give the picture held so far to all who sample before this one, then hold this one."""
        time = self.source.time(picture.pts, picture.time_base)
        if time is None:
            time = self.now + 1 / self.source.rate if self.held else 0.0
        if self.held is None:
            self.hold(picture)
            self.size = self.source.display(picture)
            if self.seek and time > self.waiting[0].clip.start + TICK:
                raise _OvershotError
        elif time <= self.now:
            return
        self.admit(time)
        self.sample(time)
        self.hold(picture)
        self.now = time

    def hold(self, picture: av.VideoFrame) -> None:
        """Make this the picture on screen."""
        self.held = picture
        self.images.clear()

    def sample(self, until: float) -> None:
        """Take the held picture for every time before `until`."""
        for reel in self.open:
            for want, images in reel.films.items():
                while reel.due(want) + TICK < until:
                    images.append(self.image(want.side))

    def image(self, side: int) -> Bytes:
        """Return the held picture as RGB at the size wanted."""
        if side not in self.images:
            assert self.held is not None
            width, height = _fit(self.source.path, self.size, side)
            turned = _rotation(self.held)
            scaled = self.scalers.setdefault(side, VideoReformatter()).reformat(
                self.held,
                *((height, width) if turned % 180 else (width, height)),
                format="rgb24",
                interpolation=Interpolation.BILINEAR,
                threads=1,
            )
            self.images[side] = np.ascontiguousarray(np.rot90(scaled.to_ndarray(), turned // 90))
        return self.images[side]

    def hear(self, sound: av.AudioFrame) -> None:
        """Give a stretch of sound to all clips that it falls into."""
        time = self.source.time(sound.pts, sound.time_base)
        if time is None:
            time = max(self.heard, 0.0)
        self.heard = time + sound.samples / sound.sample_rate
        self.admit(self.heard)
        for ear in self.ears.values():
            self.add(ear.rate, ear.hear(sound, time))

    def add(self, rate: int, stretches: Iterator[tuple[float, Floats]]) -> None:
        """Hand resampled stretches to the open clips."""
        for start, samples in stretches:
            for reel in self.open:
                for want, track in reel.tracks.items():
                    if want.rate == rate:
                        track.add(start, samples)

    def finished(self) -> Iterator[Media]:
        """Yield and forget the clips that lack nothing any more."""
        for reel in [reel for reel in self.open if reel.seen()]:
            delay = 1.0  # the resampler's
            if not self.ears or self.heard >= reel.end + delay or self.now >= reel.end + SLACK:
                self.open.remove(reel)
                yield reel.media()

    def rest(self) -> Iterator[Media]:
        """At the end of the file, complete the clips that are still open."""
        for ear in self.ears.values():
            self.add(ear.rate, ear.finish())
        pictured = any(isinstance(want, FrameWant) for want in self.wants)
        if pictured and self.held is None:
            raise self.source.nothing()
        end = self.now + self.lasting() if pictured else math.inf
        self.admit(end - TICK)
        for reel in self.open:
            reel.end = min(reel.end, end)
        self.sample(math.inf)
        for reel in self.open:
            yield reel.media()
        for reel in self.waiting:
            log.warning("%s: clip %s begins at or after the end, at %.2f s", self.source.path, reel.clip.id, reel.clip.start)

    def lasting(self) -> float:
        """Return for how long the held picture stays on screen if none follows."""
        assert self.held is not None
        length = float(self.held.duration * self.held.time_base) if self.held.duration and self.held.time_base else 0.0
        return length or 1 / self.source.rate


def _rotation(picture: av.VideoFrame) -> int:
    return round(picture.rotation / 90) * 90 % 360


def _fit(path: Path, size: tuple[int, int], side: int) -> tuple[int, int]:
    longer = max(side, round(side * max(size) / min(size)))
    if longer > MAX_SIDE:
        raise UserError(path, f"its pictures of {size[0]} x {size[1]} are too long and thin to be read")
    return (longer, side) if size[0] >= size[1] else (side, longer)


def write(path: Path, frames: Iterable[Bytes], rate: float, samples: Floats | None = None, sample_rate: int = 16000) -> None:
    """Encode `frames` (height, width, 3) at `rate` a second and mono `samples` in [-1, 1] as an H.264/AAC mp4.

    One thread, so that equal input yields equal bytes. The file appears whole or not at all. Sizes that 4:2:0 cannot
    hold are made even by repeating the last row or column.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _encode(part, iter(frames), Fraction(rate).limit_denominator(10010), samples, sample_rate)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(path: Path, frames: Iterator[Bytes], rate: Fraction, samples: Floats | None, sample_rate: int) -> None:
    first = next(frames)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height = first.shape[1] + first.shape[1] % 2, first.shape[0] + first.shape[0] % 2
        video.pix_fmt, video.codec_context.thread_count = "yuv420p", 1
        audio = None
        if samples is not None:
            audio = container.add_stream("aac", rate=sample_rate, layout="mono", options={"b": "64k"})
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
