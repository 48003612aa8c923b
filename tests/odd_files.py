"""Files as they come in: one row each, with how it is made and what must come of it.

A film shows ten pictures in a second, each of which says in eight bars which one it is; what a file shows is thus known
from how it was made. Everything is written by PyAV, or patched in the bytes that PyAV wrote.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

import subtitled
from hit.types import Bytes

RATE = 10  # pictures a second
ALL = tuple(range(10))
TENTHS = tuple(number / RATE for number in ALL)
QUICK = {  # options that make an encoder quick, and its frames come in order
    "libx264": {"preset": "ultrafast", "bf": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0:pools=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "mpeg4": {"qscale": "2", "flags": "+qscale", "bf": "0"},
    "mjpeg": {"qscale": "2", "flags": "+qscale"},
}


Maker = Callable[[Path], object]


@dataclass(frozen=True)
class Odd:
    """A file: its name, its maker, and either the reason for which it is refused or what it holds."""

    name: str
    make: Maker
    reason: str = ""  # the whole reason, without the file's name
    opens: bool = False  # where it is refused: `probe` has nothing against it
    seen: Sequence[int] = ALL  # which picture is on screen at 0, 0.1, 0.2 ... seconds
    seconds: float = 1.0  # according to `probe`
    size: tuple[int, int] = (96, 64)  # on screen
    rotation: int = 0
    codec: str = "h264"
    sound: float | None = None  # seconds of it, None without an audio track
    rate: float = RATE  # at which pictures are looked at
    segments: int = 1  # into which `hit index` cuts it


# -- making


def bars(number: int, size: tuple[int, int] = (96, 64)) -> Bytes:
    """Return a picture (height, width, 3) of eight bars, black or white: its number in binary."""
    bits = np.unpackbits(np.array([number % 256], np.uint8))
    row = bits[np.arange(size[0]) * 8 // size[0]] * np.uint8(200) + np.uint8(20)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (size[1], size[0], 3)))


def number(image: Bytes) -> int:
    """Return which picture it is."""
    return int(np.packbits([bar.mean() > 120 for bar in np.array_split(image.mean((0, 2)), 8)])[0])


def film(
    path: Path,
    codec: str = "libx264",
    *,
    times: Iterable[float] = TENTHS,
    size: tuple[int, int] = (96, 64),
    pix: str = "yuv420p",
    rate: int = RATE,
    sound: str = "",
    hz: int = 16000,
    layout: str = "mono",
    heard: tuple[float, float] = (0.0, 1.0),
    options: dict[str, str] | None = None,
    format: str | None = None,  # noqa: A002
    muxing: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    rotation: int = 0,
    base: Fraction | None = None,
    more: Callable[[Any], Iterable[Any]] | None = None,
) -> None:
    """Write a film: pictures at `times`, a hum of codec `sound` from `heard[0]` to `heard[1]`, and the packets of `more`."""
    with av.open(str(path), "w", format=format, options=muxing or {}) as container:
        base = base or Fraction(1, rate)
        video: Any = container.add_stream(codec, rate=rate, options={**QUICK.get(codec, {}), **(options or {})})
        video.width, video.height, video.pix_fmt = *size, pix
        video.codec_context.time_base = video.time_base = base
        video.codec_context.thread_count = 1
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation:
            video.set_display_rotation(rotation)
        audio: Any = container.add_stream(sound, rate=hz, layout=layout) if sound else None
        packets = list(more(container)) if more else []
        for count, time in enumerate(times):
            upright = bars(count, size[::-1] if rotation % 180 == 90 else size)
            coded = np.ascontiguousarray(np.rot90(upright, -round(rotation / 90)))
            picture = av.VideoFrame.from_ndarray(coded, format="rgb24")
            picture.pts, picture.time_base = round(time / base), base
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio:
            container.mux(hum(audio, hz, layout, *heard))
        container.mux(packets)


def hum(stream: Any, hz: int, layout: str, begin: float, end: float) -> list[Any]:
    """Return the packets of a sine of 440 Hz."""
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(round((end - begin) * hz)) / hz)
    channels = len(av.AudioLayout(layout).channels)
    samples = np.ascontiguousarray(np.repeat(wave[None].astype(np.float32), channels, 0))
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = hz, round(begin * hz), Fraction(1, hz)
    resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=hz)
    pieces = [*resampler.resample(frame), *resampler.resample(None), None]
    return [packet for piece in pieces for packet in stream.encode(piece)]


def sound_only(path: Path, codec: str, hz: int = 16000, format: str | None = None) -> None:  # noqa: A002
    """Write a second of sound without pictures."""
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=hz, layout="mono")
        container.mux(hum(stream, hz, "mono", 0.0, 1.0))


def text(path: Path, content: str | bytes) -> None:
    """Write a file that holds just this."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def altered(change: Callable[[bytes], bytes], make: Maker = film) -> Maker:
    """Return the maker of a film whose bytes are changed."""

    def write(path: Path) -> None:
        make(path)
        content = path.read_bytes()
        changed = change(content)
        assert changed != content, "nothing was changed: this proves nothing"
        path.write_bytes(changed)

    return write


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Return (position, bytes) of each packet of pictures, in the file's order."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos is not None]


def cut(packets: float, make: Maker = film) -> Maker:
    """Return the maker of a film that breaks off after so many packets of pictures, the last one perhaps in part."""

    def write(path: Path) -> None:
        make(path)
        position, size = packets_of(path)[int(packets)]
        path.write_bytes(path.read_bytes()[: position + round(size * (packets % 1))])

    return write


def spoilt(packets: Sequence[int], make: Maker = film) -> Maker:
    """Return the maker of a film in which these packets hold zeros only."""

    def write(path: Path) -> None:
        make(path)
        content, places = bytearray(path.read_bytes()), packets_of(path)
        for position, size in (places[packet] for packet in packets):
            content[position : position + size] = bytes(size)
        path.write_bytes(content)

    return write


def patch(after: bytes, offset: int, new: bytes) -> Callable[[bytes], bytes]:
    """Return a change that overwrites bytes `offset` after the end of each occurrence of `after`."""

    def change(content: bytes) -> bytes:
        done, start = bytearray(content), 0
        while (found := content.find(after, start)) >= 0:
            at = start = found + len(after)
            done[at + offset : at + offset + len(new)] = new
        return bytes(done)

    return change


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Return a change that replaces bytes."""
    return lambda content: content.replace(old, new)


def stamped(stamps: Sequence[float]) -> Maker:
    """Return the maker of a film whose packets carry other time stamps (seconds) than those they were encoded with."""

    def write(path: Path) -> None:
        with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
            video: Any = container.add_stream("libx264", rate=RATE, options={**QUICK["libx264"], "g": "1"})
            video.time_base = video.codec_context.time_base = Fraction(1, 1000)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            pictures = [av.VideoFrame.from_ndarray(bars(number), format="rgb24") for number in ALL]
            coded = [packet for picture in [*pictures, None] for packet in video.encode(picture)]
            for count, (packet, stamp) in enumerate(zip(coded, stamps, strict=True)):
                packet.pts, packet.dts = round(stamp / packet.time_base), count - 100  # only the order of decoding has to grow
                container.mux(packet)

    return write


def joined(*makes: Maker) -> Maker:
    """Return the maker of a file that is several files, one after the other."""

    def write(path: Path) -> None:
        content = b""
        for make in makes:
            make(path)
            content += path.read_bytes()
        path.write_bytes(content)

    return write


def second_picture(container: Any) -> Iterable[Any]:
    """Add a second video stream, of grey."""
    video = container.add_stream("libx264", rate=RATE, options=QUICK["libx264"])
    video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
    grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
    return [*video.encode(grey), *video.encode(None)]


def second_sound(container: Any) -> Iterable[Any]:
    """Add a second audio stream, longer and of another rate."""
    stream = container.add_stream("aac", rate=44100, layout="stereo")
    return hum(stream, 44100, "stereo", 0.0, 3.0)


def no_sound(container: Any) -> Iterable[Any]:
    """Add an audio stream to which nothing is ever written."""
    container.add_stream("aac", rate=16000, layout="mono")
    return []


def subtitles(path: Path, codec: str) -> None:
    """Write a film at 25/s with a text track, which lasts longer than it."""
    subtitled.write(path, [(codec, [(0.1, 5.0, "One line")])], [bars(number) for number in ALL])


def cover(container: Any) -> Iterable[Any]:
    """Add an attached picture."""
    stream = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 320, 320, "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic
    return list(stream.encode(av.VideoFrame.from_ndarray(np.full((320, 320, 3), 99, np.uint8), format="rgb24")))


def picture(path: Path, kind: str) -> None:
    """Write a still picture."""
    Image.fromarray(bars(5)).save(path, kind)


def playlist(path: Path, content: str) -> None:
    """Write a playlist that names a film, and the film."""
    film(path.with_name("named.ts"))
    path.write_text(content)


def double(number: float) -> bytes:
    """Return a number as Matroska and FLV write it."""
    return struct.pack(">d", number)


# -- the table

BROKEN = "not a readable video (Invalid data found when processing input)"
FORBIDDEN = "of a kind that is not read here, or damaged (convert it to mp4 or mkv)"
DAMAGED = "(the file is damaged or incomplete)"
EMPTY = f"no picture in it can be decoded {DAMAGED}"
SPOILT = f"no picture in it can be decoded (10 damaged packets: Invalid data found when processing input) {DAMAGED}"
SOUND = "has no video stream (only its sound could be read)"
TEN = "00112233445566778899aabbccddeeff"  # a key

P = partial
SHORT = tuple(n / 25 for n in ALL)  # times at 25/s, the least that MPEG-2 and DV know
MUTE = P(film)
FRONT = P(film, muxing={"movflags": "+faststart"})
FRAGMENTS = P(film, muxing={"movflags": "frag_keyframe+empty_moov"}, options={"g": "5"})
ALONE = P(film, options={"g": "1"})  # each picture by itself
JPEG = P(film, codec="mjpeg", pix="yuvj420p")
RAW = P(film, codec="rawvideo", pix="bgr24")
GIF = P(film, codec="gif", pix="rgb8")
MPEG1 = P(film, codec="mpeg2video", rate=25, times=SHORT)
VP9 = P(film, codec="libvpx-vp9")
AV1 = P(film, codec="libsvtav1")
HEVC = P(film, codec="libx265")
VFR = (0, 0.04, 0.5, 0.52, 0.54, 0.7, 0.75, 0.8, 0.9, 0.95)
VFR_SEEN = (0, 1, 1, 1, 1, 2, 4, 5, 7, 8, 9)
MISSED = (0, 1, 2, 2, 4, 5, 5, 7, 8, 9)  # the fourth and the seventh picture are damaged

CODECS = [
    Odd("h264.mp4", MUTE),
    Odd("aac.mp4", P(film, sound="aac"), sound=1.0),
    Odd("pcm.mov", P(film, sound="pcm_s16le"), sound=1.0),
    Odd("flac.mkv", P(film, sound="flac"), sound=1.0),
    Odd("stream.ts", P(film, sound="aac"), sound=1.0),
    Odd("bluray.m2ts", P(film, sound="mp2", format="mpegts", muxing={"mpegts_m2ts_mode": "1"}), sound=1.0),
    Odd("flash.flv", P(film, sound="aac"), sound=1.0),
    Odd("phone.3gp", P(film, codec="h263", size=(176, 144)), size=(192, 144), codec="h263"),
    Odd("program.mpg", P(MPEG1, sound="mp2"), rate=25, seconds=0.4, codec="mpeg2video", sound=1.0),
    Odd("dvd.vob", P(MPEG1, sound="mp2"), rate=25, seconds=0.4, codec="mpeg2video", sound=1.0),
    Odd("camera.mxf", MPEG1, rate=25, seconds=0.4, codec="mpeg2video"),
    Odd("divx.avi", P(film, codec="mpeg4", sound="ac3", hz=32000), codec="mpeg4", sound=1.0),
    Odd("jpeg.avi", P(JPEG, sound="pcm_u8", hz=8000), codec="mjpeg", sound=1.0),
    Odd("raw.avi", RAW, codec="rawvideo"),
    Odd("huffyuv.avi", P(film, codec="huffyuv", pix="yuv422p"), codec="huffyuv"),
    Odd("media.wmv", P(film, codec="wmv2"), codec="wmv2"),
    Odd("moving.gif", GIF, codec="gif"),
    Odd("moving.apng", P(film, codec="apng", pix="rgb24"), codec="apng"),
    Odd("theirs.ogv", P(film, codec="libvpx"), codec="vp8"),
    Odd("vp8.webm", P(film, codec="libvpx", sound="libopus", hz=48000), codec="vp8", seconds=1.008, sound=1.0),
    Odd("vp9.webm", P(VP9, sound="libopus", hz=48000), codec="vp9", seconds=1.008, sound=1.0),
    Odd("alpha.webm", P(VP9, pix="yuva420p"), codec="vp9"),
    Odd("av1.mp4", AV1, codec="libdav1d"),
    Odd("av1.webm", AV1, codec="libdav1d"),
    Odd("hevc.mp4", HEVC, codec="hevc"),
    Odd("hevc 10 bit.mkv", P(HEVC, pix="yuv420p10le"), codec="hevc"),
    Odd("h264 10 bit.mp4", P(film, pix="yuv420p10le")),
    Odd("h264 422.mkv", P(film, pix="yuv422p")),
    Odd("h264 444.mp4", P(film, pix="yuv444p")),
    Odd("h264 grey.mkv", P(film, pix="gray")),
    Odd("prores.mov", P(film, codec="prores_ks", pix="yuv422p10le"), codec="prores"),
    Odd("animation.mov", P(film, codec="qtrle", pix="argb"), codec="qtrle"),
    Odd("ffv1.mkv", P(film, codec="ffv1"), codec="ffv1"),
    Odd("ffv1.nut", P(film, codec="ffv1"), codec="ffv1"),
    Odd("b-frames.mp4", P(film, options={"bf": "3", "b-pyramid": "normal"})),
    Odd("raw.h264", P(film, rate=25, times=SHORT), rate=25, seconds=0.4),
    Odd("raw.hevc", P(HEVC, rate=25, times=SHORT), rate=25, seconds=0.4, codec="hevc"),
    Odd("raw.ivf", VP9, codec="vp9"),
    Odd("raw.obu", P(AV1, rate=25, times=SHORT), rate=25, seconds=0.4, codec="libdav1d"),
    Odd("raw.y4m", P(film, codec="rawvideo", format="yuv4mpegpipe"), codec="rawvideo"),
    Odd("raw.mjpeg", P(JPEG, rate=25, times=SHORT), rate=25, seconds=0.4, codec="mjpeg"),
    Odd(
        "tape.dv",
        P(film, codec="dvvideo", size=(720, 576), rate=25, times=SHORT[:5]),
        rate=25,
        seen=ALL[:5],
        seconds=0.2,
        size=(768, 576),
        codec="dvvideo",
    ),
]
PICTURES = [
    *[Odd(f"turned {turn}.mp4", P(film, rotation=turn), size=(64, 96), rotation=turn) for turn in (90, 270)],
    Odd("turned 180.mp4", P(film, rotation=180), rotation=180),
    Odd("turned by little.mp4", P(film, rotation=30)),
    Odd("wide pixels.mp4", P(film, aspect=Fraction(4, 3)), size=(128, 64)),
    Odd("high pixels.mp4", P(film, aspect=Fraction(1, 3)), size=(96, 192)),
    Odd("odd size.mkv", P(film, codec="ffv1", size=(97, 65)), size=(97, 65), codec="ffv1"),
    Odd("not by sixteen.mp4", P(film, size=(98, 66)), size=(98, 66)),
    Odd("small.mkv", P(film, codec="ffv1", size=(8, 8)), size=(8, 8), codec="ffv1"),
    Odd("one pixel.mkv", P(film, codec="ffv1", size=(1, 1)), size=(1, 1), codec="ffv1", seen=[0] * 10),
    Odd("tower.mkv", P(film, codec="ffv1", size=(8, 240)), size=(8, 240), codec="ffv1"),
    Odd(
        "thread.mkv",
        P(film, codec="ffv1", size=(2048, 2)),
        "its pictures of 2048 x 2 are too long and thin to be read",
        opens=True,
    ),
    Odd("interlaced.mp4", P(film, options={"flags": "+ildct+ilme", "x264-params": "interlaced=1"})),
    Odd("interlaced.mpg", P(MPEG1, options={"flags": "+ildct+ilme"}), rate=25, seconds=0.4, codec="mpeg2video"),
    Odd(
        "changes size.h264",
        joined(P(film, rate=25, times=SHORT), P(film, rate=25, times=SHORT, size=(64, 96))),
        rate=25,
        seen=ALL * 2,
        seconds=0.8,
    ),
    Odd("huge header.avi", altered(patch(b"strf", 4 + 4, struct.pack("<ii", 60000, 60000)), JPEG), codec="mjpeg"),
    Odd("huge raw.avi", altered(patch(b"strf", 4 + 4, struct.pack("<ii", 60000, 60000)), RAW), SPOILT),
    Odd("negative raw.avi", altered(patch(b"strf", 4 + 4, struct.pack("<ii", -96, -64)), RAW), SPOILT),
    Odd("huge.gif", altered(patch(b"GIF89a", 0, b"\xff\xff\xff\xff"), GIF), SPOILT),
    Odd("huge pictures.avi", altered(patch(b"\xff\xc0\x00\x11\x08", 0, b"\xff\xff\xff\xff"), JPEG), SPOILT),
    Odd(
        "huge.mkv",
        P(film, codec="ffv1", size=(16386, 2), times=[0.0]),
        "claims pictures of 16386 x 2 pixels, more than can be read",
    ),
]
TIMES = [
    Odd("varying.mp4", P(film, times=VFR, base=Fraction(1, 100)), seen=VFR_SEEN, seconds=1.05),
    Odd("varying.mkv", P(film, times=VFR, base=Fraction(1, 100)), seen=VFR_SEEN, seconds=1.05),
    Odd("one.mp4", P(film, times=[0]), seen=[0], seconds=0.1),
    Odd("one.gif", P(GIF, times=[0]), seen=[0], seconds=0.1, codec="gif"),
    Odd("one.webm", P(VP9, times=[0]), seen=[0], seconds=0.1, codec="vp9"),
    Odd("one.avi", P(JPEG, times=[0]), seen=[0], seconds=0.1, codec="mjpeg"),
    Odd("late.mp4", P(film, times=[5 + n / RATE for n in ALL], sound="aac"), sound=0.0),
    Odd("late.mkv", P(film, times=[5 + n / RATE for n in ALL], sound="flac"), sound=0.0),
    Odd("early.mov", P(film, times=[n / RATE - 0.5 for n in ALL]), seen=ALL[5:], seconds=0.5),
    Odd("early.mp4", P(film, times=[n / RATE - 0.5 for n in ALL], sound="aac"), seen=ALL[5:], seconds=0.5, sound=1.0),
    Odd("early.ts", P(film, times=[n / RATE - 0.5 for n in ALL], muxing={"avoid_negative_ts": "disabled"})),
    Odd("clock runs over.ts", P(film, times=[95443.2 + n / RATE for n in ALL])),  # 2 ** 33 / 90000 s
    Odd("slow.mp4", P(film, times=[0, 10, 20], rate=1), seen=[0] * 10 + [1] * 10 + [2], seconds=21, rate=1, segments=3),
    Odd("quick.mp4", P(film, rate=240, times=[n / 240 for n in range(240)]), seen=range(240), rate=240),
    Odd("live.mkv", P(film, muxing={"live": "1"}, sound="flac"), sound=1.0),
    Odd("fragments.mp4", FRAGMENTS),
    Odd("stray.mkv", stamped([0, 0.1, 0.2, 0.3, 2e6, 0.5, 0.6, 0.7, 0.8, 0.9]), seen=(0, 1, 2, 3, 3, 5, 6, 7, 8, 9)),
    Odd("stray first.mkv", stamped([2e6, *(n / RATE for n in ALL[1:])]), seen=[0], seconds=0.1),
    Odd("stray last.mkv", stamped([*(n / RATE for n in ALL[:-1]), 2e6]), seen=ALL[:-1], seconds=0.9),
    Odd("leaps.mkv", stamped([n / RATE + 5e6 * (n > 4) for n in ALL]), seen=ALL[:5], seconds=0.5),
    Odd("back.mkv", stamped([0, 0.1, 0.2, 0.3, 0.2, 0.5, 0.6, 0.6, 0.8, 0.9]), seen=(0, 1, 2, 3, 3, 5, 6, 6, 8, 9)),
    *[
        Odd(f"claims {name}.mkv", altered(patch(b"\x44\x89\x88", 0, double(claim))))
        for name, claim in [("317 years", 1e13), ("less than nothing", -1e13), ("infinity", np.inf), ("nothing", np.nan)]
    ],
    Odd("claims 317 years.flv", altered(patch(b"duration\x00", 0, double(1e10)))),
    Odd("claims years.mp4", altered(patch(b"mdhd", 16, b"\xff\xff\xff\xfe"))),
    Odd(
        "claims years.avi",
        altered(patch(b"strh", 4 + 32, b"\xff\xff\xff\x7f"), P(film, codec="mpeg4")),
        codec="mpeg4",
    ),
    Odd("days between pictures.mp4", altered(patch(b"stts", 12, b"\x7f\xff\xff\xff")), seen=[0]),
]
STREAMS = [
    Odd("song.mp4", P(sound_only, codec="aac"), SOUND, opens=True),
    Odd("song.mp3", P(sound_only, codec="libmp3lame"), SOUND, opens=True),
    Odd("song.wav", P(sound_only, codec="pcm_s16le"), SOUND, opens=True),
    Odd("song.ogg", P(sound_only, codec="libopus", hz=48000), SOUND, opens=True),
    Odd("song.flac", P(sound_only, codec="flac"), SOUND, opens=True),
    Odd("two films.mkv", P(film, more=second_picture)),
    Odd("two sounds.mp4", P(film, sound="aac", more=second_sound), sound=1.0),
    Odd("two sounds.ts", P(film, sound="aac", more=second_sound), sound=1.0),
    Odd("sound that never comes.mkv", P(film, more=no_sound), sound=0.0),
    Odd("long sound.mp4", P(film, sound="aac", heard=(0, 3)), sound=3.0),
    Odd("late sound.mkv", P(film, sound="flac", heard=(0.5, 1)), sound=0.5),
    Odd("six channels.mkv", P(film, sound="flac", layout="5.1"), sound=1.0),
    Odd("telephone.mov", P(film, sound="pcm_alaw", hz=8000), sound=1.0),
    Odd("bats.mkv", P(film, sound="flac", hz=96000), sound=1.0),
    Odd("cover.mp4", P(film, more=cover)),
    Odd("cover.mkv", P(film, more=cover)),
    Odd("subtitles.mp4", P(subtitles, codec="mov_text"), rate=25, seconds=0.4),
    Odd("subtitles.mkv", P(subtitles, codec="ass"), rate=25, seconds=0.4),
]
DAMAGE = [
    Odd("empty.mp4", P(text, content=b""), "is empty"),
    Odd("one byte.mp4", P(text, content=b"\0"), BROKEN),
    Odd("zeros.mp4", P(text, content=bytes(20000)), BROKEN),
    Odd("noise.mp4", P(text, content=np.random.default_rng(0).bytes(20000)), BROKEN),
    Odd("page.mp4", P(text, content="<html><body>Not found</body></html>\n"), BROKEN),
    Odd("only a brand.mp4", P(text, content=struct.pack(">I", 16) + b"ftypisom\0\0\2\0"), BROKEN),
    Odd("photo.mp4", P(picture, kind="png"), FORBIDDEN),
    Odd("photo.mov", P(picture, kind="jpeg"), FORBIDDEN),
    Odd("really webm.mp4", P(VP9, format="webm"), codec="vp9"),
    Odd("really mp4.avi", P(film, format="mp4")),
    Odd("really a stream.mkv", P(film, format="mpegts")),
    Odd("really gif.mp4", P(GIF, format="gif"), codec="gif"),
    Odd("really avi.gif", P(film, codec="mpeg4", format="avi"), codec="mpeg4"),
    *[
        Odd(f"cut at {packets}.{ending}", cut(packets, make), seen=(0, 1, 2), seconds=seconds, codec=codec)
        for packets in (3, 3.5)
        for ending, make, seconds, codec in [
            ("mp4", FRONT, 1.0, "h264"),
            ("mkv", MUTE, 1.0, "h264"),
            ("ts", MUTE, 0.3, "h264"),
            ("flv", MUTE, 1.0, "h264"),
            ("webm", VP9, 0.3, "vp9"),
        ]
    ],
    Odd("cut at 3.gif", cut(3, GIF), seen=(0, 1, 2), seconds=0.3, codec="gif"),
    Odd("cut at 3.5.gif", cut(3.5, GIF), seen=(0, 1, 2, 2), seconds=0.4, codec="gif"),  # half of the fourth is drawn
    Odd("cut av1.mp4", cut(3.5, P(AV1, muxing={"movflags": "+faststart"})), seen=ALL[:3], codec="libdav1d"),
    Odd("cut hevc.mp4", cut(3.5, P(HEVC, muxing={"movflags": "+faststart"})), seen=ALL[:3], codec="hevc"),
    Odd("cut fragments.mp4", cut(7.5, FRAGMENTS), seen=ALL[:7]),
    Odd("cut before the pictures.mp4", cut(0, FRONT), EMPTY),
    Odd("cut before the index.mp4", cut(5), BROKEN),
    Odd("spoilt.mp4", spoilt([3, 6], ALONE), seen=MISSED),
    Odd("spoilt.avi", spoilt([3, 6], JPEG), seen=MISSED, codec="mjpeg"),
    Odd("spoilt at first.mp4", spoilt([0], ALONE), seen=(1, *ALL[1:])),
    Odd("spoilt.mkv", spoilt([3, 6], P(film, codec="ffv1")), seen=ALL[:3], codec="ffv1"),  # with the blocks' headers
    Odd("all spoilt.mp4", spoilt(ALL, ALONE), SPOILT),
    Odd("all spoilt.webm", spoilt(ALL, VP9), EMPTY),
    Odd("no head.ts", altered(lambda content: content[376:])),
    Odd("no head.mkv", altered(lambda content: content[300:]), BROKEN),
    Odd("no head.flv", altered(lambda content: content[100:]), BROKEN),
    Odd("junk behind.mp4", altered(lambda content: content + bytes(1000) + b"junk" * 100)),
    Odd("one after the other.mp4", joined(FRONT, FRONT)),
    Odd("one after the other.ts", joined(MUTE, MUTE)),  # what comes with earlier time stamps is not shown
    Odd("one after the other.gif", joined(GIF, GIF), seen=ALL * 2, codec="gif"),
    Odd("unknown codec.mp4", altered(swap(b"avc1", b"zzzz")), "its video codec is not one that can be decoded here"),
    Odd("no parameters.mp4", altered(patch(b"avcC", 0, bytes(20))), SPOILT),
    Odd("sizes beyond the end.mp4", altered(patch(b"stsz", 12, b"\x7f\xff\xff\xff")), EMPTY),
    Odd("places beyond the end.mp4", altered(patch(b"stco", 8, b"\x7f\xff\xff\xff")), EMPTY),
    Odd("too many sizes.mp4", altered(patch(b"stsz", 8, b"\x7f\xff\xff\xff")), BROKEN),
    Odd(
        "encrypted.mp4",
        P(film, muxing={"encryption_scheme": "cenc-aes-ctr", "encryption_key": TEN, "encryption_kid": TEN}),
        "is encrypted (only a copy without encryption can be read)",
    ),
]
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nnamed.ts\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
PLAYLISTS = [
    Odd("concat.mp4", P(playlist, content="ffconcat version 1.0\nfile named.ts\n"), FORBIDDEN),
    Odd("hls.mp4", P(playlist, content=HLS), BROKEN),
    Odd("hls.m3u8", P(playlist, content=HLS + "# a playlist of another name\n"), FORBIDDEN),
    Odd("session.sdp", P(playlist, content=SDP), FORBIDDEN),
    Odd("session.mp4", P(playlist, content=SDP), FORBIDDEN),
]
ODD = [*CODECS, *PICTURES, *TIMES, *STREAMS, *DAMAGE, *PLAYLISTS]
