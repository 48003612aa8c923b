"""An open file: its streams, its clock, and its packets, decoded one by one."""

import logging
import math
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
from av.stream import Disposition
from av.video.frame import PictureType

from hit import places
from hit.errors import UserError
from hit.types import Far, Where

log = logging.getLogger(__name__)

MAX_SIDE, MAX_PIXELS = 16_384, 100_000_000  # beyond these a header is taken for damaged or hostile
MAX_FAILURES = 250  # damaged packets in a row after which the rest of a file is given up
STILL = 3600.0  # seconds after which the next time stamp is taken for damaged: no picture stays on screen for longer
GUESSED = ("mpeg", "nut")  # formats without a length, which FFmpeg guesses too short by a few pictures
LEAN = 1000  # bytes a second; a header that claims more time than that leaves room for is not believed
BACK = (1.0, 10.0, math.inf)  # seconds before a time to seek to, the next where the one before landed behind that time
AHEAD = 20  # packets to look ahead for the presentation time that follows one; H.264 reorders at most 16 pictures

# What is opened, by FFmpeg's names: containers and streams that hold what they show. Playlists and scripts (hls, dash, concat,
# sdp) would have it open other files, whatever their own name says.
FORMATS = (
    "mov matroska avi mpegts mpeg mpegvideo flv asf gif ogg mxf nut ivf obu av1 h264 hevc m4v h263 mjpeg dv rm wtv apng "
    "yuv4mpegpipe mp3 aac ac3 eac3 wav w64 flac aiff amr"
)


class UnkeyedError(Exception):
    """What a file marks as a key picture cannot be decoded by itself."""


@dataclass(frozen=True, slots=True)
class Index:
    """What a file's packets say without being decoded."""

    keys: tuple[float, ...]  # when key pictures, which need no other one, come on screen: seconds, in order
    end: float  # when the last picture goes: seconds

    def gap(self) -> float:
        """Return the most seconds from a key picture, or from the start, to the next one, or to the end."""
        return max(later - earlier for earlier, later in pairwise(sorted((0.0, *self.keys, self.end))))


class Source:
    """An open file: its streams, its clock, and packets that are decoded one by one."""

    def __init__(self, path: Where):
        self.path, self.damaged, self.reason = path, 0, ""
        self.size, source, protocol = _opened(path)
        allowed = {"protocol_whitelist": protocol, "format_whitelist": ",".join(FORMATS.split())}
        try:
            self.container = av.open(source, options=allowed, metadata_errors="replace")
        except av.ArgumentError:  # what a format that is not allowed ends in
            raise UserError(path, "of a kind that is not read here, or damaged", "convert it to mp4 or mkv") from None
        except av.FFmpegError as error:
            raise UserError(path, f"not a readable video ({error.strerror})") from None
        streams = self.container.streams
        pictures = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
        self.video: Any = pictures[0] if pictures else None
        sounds = [stream for stream in streams.audio if stream.codec_context and stream.rate]
        self.audio: Any = sounds[0] if sounds else None
        self.origin, self.rate, self.codec, self.intra = 0.0, 25.0, "", False
        if self.video is None and self.audio is None:
            raise self._close(UserError(path, "not a readable video (there is neither picture nor sound in it)"))
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
        self.codec, self.intra = context.name, context.codec.intra_only
        if video.start_time is not None:
            self.origin = float(video.start_time * video.time_base)
        rate = video.average_rate or video.guessed_rate
        self.rate = float(rate) if rate and 1 / STILL <= rate <= 1000 else 25.0

    def __enter__(self) -> "Source":
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

    def pictures(self) -> Any:
        """Return the video stream. Raises UserError where there is none."""
        if self.video is None:
            raise UserError(self.path, "has no video stream", "only its sound could be read")
        return self.video

    def first(self) -> av.VideoFrame:
        """Decode the first picture. Raises UserError where there is no video stream, or nothing in it decodes."""
        picture: av.VideoFrame | None = next(self.decoded([self.pictures()], lambda begin, until: True), None)
        if picture is None:
            raise self.nothing()
        return picture

    def seek(self, time: float, back: float) -> bool:
        """Go to a key picture at or, where the container is inexact, near `back` seconds before `time`.

        Where that would be before the beginning, the file is read from there. Say whether it can be done.
        """
        if time <= back:
            return True
        try:
            self.container.seek(math.floor((time - back + self.origin) / self.video.time_base), stream=self.video)
        except (av.FFmpegError, OverflowError):  # the file cannot be sought in, or has no time that late
            return False
        return True

    def time(self, stamp: int | None, base: Fraction | None) -> float | None:
        """Return seconds since the first picture."""
        return None if stamp is None or base is None else float(stamp * base) - self.origin

    def duration(self) -> float | None:
        """Return the seconds of video according to the header, or None where it does not say or cannot be right."""
        seconds = 0.0
        if self.video is not None and self.video.duration:
            seconds = float(self.video.duration * self.video.time_base)
        elif self.container.duration:
            seconds = ((self.container.start_time or 0) + self.container.duration) / av.time_base - self.origin
        believed = 0 < seconds <= self.size / LEAN and self.container.format.name not in GUESSED
        return seconds if believed else None

    def scan(self, tick: Callable[[float], None] | None = None) -> Index:
        """Read all packets of the pictures, or else of the sound, without decoding any: for what the header does not say."""
        keys, end = [], 0.0
        for packet in self.packets([self.video or self.audio]):
            if not packet.size:
                continue  # the one that ends a stream
            begin = self.time(packet.pts, packet.time_base)
            if begin is not None and packet.is_keyframe and not packet.is_discard:
                keys.append(begin)
            if begin is None:
                begin = end
            if begin <= end + STILL:
                end = max(end, begin + self.lasting(packet))
                if tick:
                    tick(end)
        return Index(tuple(sorted(key for key in keys if key <= end)), end)

    def lasting(self, shown: Any) -> float:
        """Return the seconds for which a packet or a picture says that it is shown, else those that one usually is."""
        length = float(shown.duration * shown.time_base) if shown.duration and shown.time_base else 0.0
        return length if 0 < length <= STILL else 1 / self.rate

    def display(self, picture: av.VideoFrame) -> tuple[int, int]:
        """Return the width and height on screen of a decoded picture."""
        aspect = self.video.sample_aspect_ratio
        aspect = aspect if aspect and aspect > 0 else Fraction(1)
        width, height = max(1, round(picture.width * max(aspect, 1))), max(1, round(picture.height / min(aspect, 1)))
        return (height, width) if rotation(picture) % 180 else (width, height)

    def packets(self, streams: list[Any]) -> Iterator[Any]:
        """Yield the packets of some streams as they come, up to where the container ends or breaks off."""
        try:
            yield from self.container.demux(streams)
        except av.FFmpegError as error:  # a container that breaks off ends there
            self.damaged, self.reason = self.damaged + 1, str(error.strerror)
        except IndexError:  # PyAV at the end of a file in which further streams turned up: those known at first are through
            log.debug("%s: further streams turned up", self.path)

    def decoded(
        self, streams: list[Any], wanted: Callable[[float, float], bool], keys: tuple[float, ...] | None = None
    ) -> Iterator[Any]:
        """Yield decoded pictures and sounds, one packet at a time.

        Pictures that nothing refers to are not decoded where `wanted` ((from, until) in seconds) says no. Given the times of
        the key pictures, only these are decoded, and of them those that are wanted until the next one. Raises UserError after
        too many damaged packets in a row and where they are encrypted, UnkeyedError for a key picture that is none.
        """
        row = dict.fromkeys((stream.index for stream in streams), 0)
        packets = self.packets(streams)
        for packet in self._ahead(packets, wanted) if keys is None else self._keys(packets, keys, wanted):
            if packet.has_sidedata("encryption_info"):  # decoders would see noise in it
                raise UserError(self.path, "is encrypted", "only a copy without encryption can be read")
            try:
                frames = packet.decode() if keys is None or packet.stream is not self.video else self._alone(packet)
            except MemoryError:  # PyAV's is an FFmpegError as well, and says nothing of the packet
                raise
            except av.FFmpegError as error:
                row[packet.stream_index] += 1
                self.damaged, self.reason = self.damaged + 1, str(error.strerror)
                if row[packet.stream_index] > MAX_FAILURES:
                    raise UserError(self.path, f"{MAX_FAILURES} packets in a row cannot be decoded: {self.reason}") from None
                continue
            row[packet.stream_index] = 0
            yield from frames

    def _keys(self, packets: Iterator[Any], keys: tuple[float, ...], wanted: Callable[[float, float], bool]) -> Iterator[Any]:
        """Pass on sound, and the key pictures that are wanted until the next one."""
        until = dict(pairwise((*keys, math.inf)))
        for packet in packets:
            if packet.stream is not self.video:
                yield packet
                continue
            begin = self.time(packet.pts, packet.time_base)
            # The first one stands for what comes before it too.
            if packet.is_keyframe and begin in until and wanted(0.0 if begin == keys[0] else begin, until[begin]):
                yield packet

    def _alone(self, packet: Any) -> list[Any]:
        """Decode a key picture by itself: no decoder waits for what comes next, or misses what came before."""
        context, rest = self.video.codec_context, av.Packet()
        rest.stream, rest.time_base = packet.stream, packet.time_base
        try:
            frames = [*packet.decode(), *rest.decode()]
        finally:
            context.flush_buffers()
        if [frame.pict_type for frame in frames] != [PictureType.I]:
            raise UnkeyedError
        return frames

    def _ahead(self, packets: Iterator[Any], wanted: Callable[[float, float], bool]) -> Iterator[Any]:
        """Pass packets on, telling the decoder for each whether it may skip it, if nothing refers to its picture.

        Only for H.264: HEVC's sub-layers may refer to pictures that are marked as not referred to. Of codecs whose pictures
        never refer to each other, what is not wanted is left out.
        """
        if self.codec != "h264" and not self.intra:
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
                yield from self._weighed(queue.popleft(), queue, past, wanted)
        while queue:
            yield from self._weighed(queue.popleft(), queue, past, wanted)

    def _weighed(self, packet: Any, queue: deque[Any], past: deque[int], wanted: Callable[[float, float], bool]) -> Iterator[Any]:
        need = True
        if packet.pts is not None:
            later = [other.pts for other in queue if other.pts is not None and other.pts > packet.pts]
            later += [pts for pts in past if pts > packet.pts]
            if later and past:  # the first picture stands for what comes before it too
                base = float(packet.time_base)
                need = wanted(packet.pts * base - self.origin, min(later) * base - self.origin)
            past.append(packet.pts)
        if not self.intra:
            self.video.codec_context.skip_frame = "DEFAULT" if need else "NONREF"
        if need or not self.intra:
            yield packet


def rotation(picture: av.VideoFrame) -> int:
    """Return by how much a coded picture is turned counter-clockwise for display: 0, 90, 180 or 270."""
    return round(picture.rotation / 90) * 90 % 360


def _opened(path: Where) -> tuple[int, Any, str]:
    """Return a file's bytes, what FFmpeg is to read, and by which protocol it may. Raises UserError where it is no file."""
    if not isinstance(path, Far):
        return _size(path), f"file:{path}", "file"
    try:
        file = places.open_far(path)
    except FileNotFoundError:
        raise UserError(path, "there is no such file") from None
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise UserError(path, "is empty")
    file.seek(0)
    return size, _Reading(file), "none"  # it is read by us: FFmpeg has nothing to open


class _Reading:
    """A file as PyAV reads it: what goes wrong is raised once, and then there is no more of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell, self._broken = file, file.seek, file.tell, False

    def read(self, size: int) -> bytes:
        if self._broken:
            return b""
        try:
            return self._file.read(size)
        except Exception:
            self._broken = True
            raise


def _size(path: Path) -> int:
    """Return the bytes of a file. Raises UserError where it is none: to open a pipe or a device may never end."""
    try:
        look = path.stat()
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be opened ({error.strerror})"
        raise UserError(path, why) from None
    if not stat.S_ISREG(look.st_mode):
        raise UserError(path, "is a folder" if stat.S_ISDIR(look.st_mode) else "is not a file but a pipe, a socket or a device")
    if not look.st_size:
        raise UserError(path, "is empty")
    return look.st_size
