"""Decoding: files whose every frame says which it is, read in all the ways that files come in."""

import itertools
import logging
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hit import video
from hit.errors import UserError
from hit.types import AudioWant, Bytes, Clip, Frames, FrameWant, Media, Want
from hit.video.source import MAX_FAILURES

LEVELS = 256  # frames that the bars tell apart
SOUND = 16000


def shade(number: int, height: int = 64, width: int = 96) -> Bytes:
    """Return a picture of eight bars, black or white: its number in binary."""
    bits = np.unpackbits(np.array([number % LEVELS], np.uint8))
    row = bits[np.arange(width) * 8 // width] * np.uint8(200) + np.uint8(20)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def number(image: Bytes) -> int:
    """Return which frame a picture is."""
    row = image.mean((0, 2))
    return int(np.packbits([bar.mean() > 120 for bar in np.array_split(row, 8)])[0])


def numbers(frames: Frames) -> list[int]:
    """Return which frame each picture is."""
    return [number(image) for image in frames.images]


def clip(path: Path, start: float = 0.0, end: float = math.inf, name: str = "c") -> Clip:
    return Clip(name, path.name, path, start, end)


def one(path: Path, want: FrameWant, start: float = 0.0, end: float = math.inf) -> Frames:
    [media] = video.read(path, [clip(path, start, end)], [want])
    return media.frames[want]


def encode(
    path: Path,
    times: Iterable[float],
    pictures: Iterable[Bytes],
    codec: str = "libx264",
    aspect: Fraction | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
) -> Path:
    """Write a file with any presentation times, by PyAV itself."""
    base = Fraction(1, 10_000)
    with av.open(str(path), "w", options=muxing or {}) as container:
        stream: Any = container.add_stream(codec, rate=25, options={"preset": "veryfast", **(options or {})})
        for time, picture in zip(times, pictures, strict=False):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if not stream.codec_context.is_open:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.codec_context.time_base = base
                stream.time_base = base
                if aspect:
                    stream.codec_context.sample_aspect_ratio = aspect
                if rotation:
                    stream.set_display_rotation(rotation)
            frame.pts, frame.time_base = round(time / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s at 25/s, a click at each full second, B-frames that nothing refers to."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    samples = np.zeros(12 * SOUND, np.float32)
    samples[::SOUND] = 0.9
    video.write(path, (shade(count) for count in range(300)), 25, samples, SOUND)
    return path


def test_probe(film: Path) -> None:
    info = video.probe(film)
    assert (info.width, info.height, info.rate, info.codec, info.rotation) == (96, 64, 25.0, "h264", 0)
    assert info.duration == pytest.approx(12.0)
    assert (info.has_video, info.has_audio, info.audio_rate) == (True, True, SOUND)


@settings(max_examples=25, deadline=None)
@given(
    start=st.floats(0, 11.5),
    length=st.floats(0.01, 5),
    rate=st.floats(0.3, 40),
)
def test_samples_are_what_is_on_screen(film: Path, start: float, length: float, rate: float) -> None:
    frames = one(film, FrameWant(rate, 16), start, start + length)
    end = min(start + length, 12.0)
    count = max(1, math.ceil((end - start) * rate - 1e-4))
    assert abs(len(frames.images) - count) <= 1
    expected = start + np.arange(len(frames.images)) / rate
    assert frames.times == pytest.approx(expected, abs=1e-5)
    for seen, time in zip(numbers(frames), expected, strict=True):
        on_screen = {math.floor(moment * 25) % LEVELS for moment in (time - 2e-6, time + 2e-6)}
        assert seen in on_screen


def test_full_rate_gives_every_frame_once(film: Path) -> None:
    assert numbers(one(film, FrameWant(25.0, 16))) == [count % LEVELS for count in range(300)]


def test_fractional_rates_do_not_drift(tmp_path: Path) -> None:
    video.write(tmp_path / "ntsc.mp4", (shade(count) for count in range(240)), 30000 / 1001)
    assert video.probe(tmp_path / "ntsc.mp4").rate == pytest.approx(29.97, abs=0.001)
    frames = one(tmp_path / "ntsc.mp4", FrameWant(1.0, 16))
    assert numbers(frames) == [math.floor(second * 30000 / 1001) % LEVELS for second in range(9)]


def test_variable_frame_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 0.54, 2.0, 2.1, 3.0]
    path = encode(tmp_path / "vfr.mp4", times, map(shade, itertools.count()), options={"bf": "3"})
    moments = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0]
    expected = [max(index for index, time in enumerate(times) if time <= moment) for moment in moments]
    assert numbers(one(path, FrameWant(4.0, 16)))[:13] == expected


def test_a_transport_stream_starts_at_zero(tmp_path: Path) -> None:
    path = encode(tmp_path / "stream.ts", np.arange(50) / 25, map(shade, itertools.count()))
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time, "else this proves nothing"
    assert video.probe(path).duration == pytest.approx(2.0, abs=0.05)
    assert numbers(one(path, FrameWant(5.0, 16))) == list(range(0, 50, 5))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.mkv", "libx265"), ("a.avi", "mpeg4"), ("a.mov", "libx264")]
)
def test_containers_and_codecs(tmp_path: Path, name: str, codec: str) -> None:
    options = {"libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}, "libx265": {"x265-params": "log-level=none"}}.get(
        codec, {}
    )
    path = encode(tmp_path / name, np.arange(25) / 25, map(shade, itertools.count()), codec, options=options)
    assert numbers(one(path, FrameWant(5.0, 64))) == [0, 5, 10, 15, 20]


def test_a_fragmented_file_has_its_whole_length(tmp_path: Path) -> None:
    muxing = {"movflags": "frag_keyframe+empty_moov"}
    path = encode(tmp_path / "f.mp4", np.arange(100) / 25, map(shade, itertools.count()), options={"g": "10"}, muxing=muxing)
    assert video.probe(path).duration == pytest.approx(4.0, abs=0.05)
    assert len(one(path, FrameWant(5.0, 16)).images) == 20


def test_a_file_whose_header_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    path = encode(tmp_path / "live.mkv", np.arange(100) / 25, map(shade, itertools.count()), muxing={"live": "1"})
    with av.open(str(path)) as container:
        assert not container.duration, "else this proves nothing"
    assert video.probe(path).duration == pytest.approx(4.0, abs=0.05)
    assert len(one(path, FrameWant(5.0, 16)).images) == 20


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_files_come_upright(tmp_path: Path, rotation: int) -> None:
    upright = np.full((96, 64, 3), 40, np.uint8)
    upright[:32, :32] = (220, 40, 40)  # a red corner, top left
    coded = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    path = encode(tmp_path / "turned.mp4", [0.0, 0.1], [coded] * 2, rotation=rotation)
    info = video.probe(path)
    assert (info.rotation, info.width, info.height) == (rotation, 64, 96)
    image = one(path, FrameWant(1.0, 32)).images[0]
    assert image.shape == (48, 32, 3)
    assert image[4, 4, 0] > 180 > 100 > image[-4, 4, 0]
    assert image[4, -4, 0] < 100


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mp4", [0.0, 0.1], [shade(0)] * 2, aspect=Fraction(4, 3))
    info = video.probe(path)
    assert (info.width, info.height) == (128, 64)
    assert one(path, FrameWant(1.0, 32)).images.shape[1:] == (32, 64, 3)
    path = encode(tmp_path / "tall.mp4", [0.0, 0.1], [shade(0)] * 2, aspect=Fraction(1, 3))
    assert one(path, FrameWant(1.0, 32)).images.shape[1:] == (64, 32, 3)


@pytest.mark.parametrize(
    ("size", "side", "expected"), [((67, 31), 24, (52, 24)), ((31, 67), 24, (24, 52)), ((33, 33), 48, (48, 48))]
)
def test_the_shorter_side_is_exact(tmp_path: Path, size: tuple[int, int], side: int, expected: tuple[int, int]) -> None:
    video.write(tmp_path / "odd.mp4", [shade(3, *size)] * 3, 10)
    height, width = one(tmp_path / "odd.mp4", FrameWant(1.0, side)).images.shape[1:3]
    assert (height, width) == pytest.approx(expected, abs=2)  # coded sizes are even
    assert min(height, width) == side


def test_sound_is_where_it_was(film: Path) -> None:
    for rate in (SOUND, 22_050, 8_000):
        [media] = video.read(film, [clip(film, 2.5, 6.5)], [AudioWant(rate)])
        audio = media.audio[AudioWant(rate)]
        assert audio.start == pytest.approx(2.5, abs=1 / rate)
        assert len(audio.samples) == pytest.approx(4 * rate, abs=1)
        for second in (3, 4, 5, 6):
            around = slice(round((second - 0.3 - audio.start) * rate), round((second + 0.3 - audio.start) * rate))
            loudest = audio.start + (around.start + int(np.abs(audio.samples[around]).argmax())) / rate
            assert loudest == pytest.approx(second, abs=0.002)


def test_sound_after_a_seek_is_where_it_was(film: Path) -> None:
    [media] = video.read(film, [clip(film, 10.5, 12.0)], [AudioWant(SOUND), FrameWant(5.0, 16)])
    audio = media.audio[AudioWant(SOUND)]
    assert audio.start + np.abs(audio.samples).argmax() / SOUND == pytest.approx(11, abs=0.002)
    assert len(audio.samples) == pytest.approx(1.5 * SOUND, abs=1)


def test_no_audio_track_means_no_samples(tmp_path: Path) -> None:
    video.write(tmp_path / "mute.mp4", [shade(0)] * 5, 5)
    choices: list[list[Want]] = [[AudioWant(SOUND), FrameWant(1.0, 16)], [AudioWant(SOUND)]]
    for wants in choices:
        [media] = video.read(tmp_path / "mute.mp4", [clip(tmp_path / "mute.mp4", 0.2)], wants)
        assert media.audio[AudioWant(SOUND)].samples.shape == (0,)


def same(one: Media, two: Media) -> bool:
    """Compare pictures exactly; sound, which a seek makes start anew, closely."""
    frames = all(np.array_equal(one.frames[want].images, two.frames[want].images) for want in one.frames)
    times = all(np.array_equal(one.frames[want].times, two.frames[want].times) for want in one.frames)
    sounds = all(
        abs(len(one.audio[want].samples) - len(two.audio[want].samples)) <= 1
        and abs(one.audio[want].start - two.audio[want].start) < 1e-3
        for want in one.audio
    )
    return frames and times and sounds


def test_overlapping_clips_equal_clips_read_alone(film: Path) -> None:
    wants: list[Want] = [FrameWant(8.0, 32), FrameWant(2.0, 48), FrameWant(2.0, 32), AudioWant(SOUND)]
    bounds = [(10.7, 11.9), (0, 3), (0, 12), (1, 2), (1.51, 4.3), (2.999, 3.0), (11, 99), (0.02, math.inf)]
    clips = [clip(film, start, end, f"{start}-{end}") for start, end in bounds]
    together = {media.clip.id: media for media in video.read(film, clips, wants)}
    assert set(together) == {clip.id for clip in clips}
    for alone in clips:
        [media] = video.read(film, [alone], wants)
        assert same(media, together[alone.id]), alone.id


@pytest.mark.parametrize("name", ["far.mp4", "far.mkv", "far.ts", "far.avi"])
@pytest.mark.parametrize("gop", ["25", "1000"])
def test_a_seek_gives_the_same_pictures(tmp_path: Path, name: str, gop: str) -> None:
    codec = "mpeg4" if name == "far.avi" else "libx264"
    options = {"g": gop, "bf": "0" if codec == "mpeg4" else "2"} | ({} if codec == "mpeg4" else {"x264-params": "open-gop=1"})
    path = encode(tmp_path / name, np.arange(500) / 25, map(shade, itertools.count()), codec, options=options)
    start = 11.28 if name == "far.avi" else 11.3
    expected = [math.floor((start + index / 5) * 25 + 1e-3) % LEVELS for index in range(10)]
    assert numbers(one(path, FrameWant(5.0, 16), start, start + 2)) == expected
    assert number(video.frame(path, 19.5, 16)) == math.floor(19.5 * 25) % LEVELS


def test_clips_are_yielded_as_soon_as_they_are_complete(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    original = video.reader.Reader.see

    def count(reader: video.reader.Reader, picture: av.VideoFrame) -> None:
        nonlocal decoded
        decoded += 1
        original(reader, picture)

    monkeypatch.setattr(video.reader.Reader, "see", count)
    clips = [clip(film, second, second + 1, str(second)) for second in range(4)]
    for second, media in enumerate(video.read(film, clips, [FrameWant(2.0, 16), AudioWant(SOUND)])):
        assert media.clip.id == str(second)
        assert decoded < 25 * (second + 1) + 15
    assert decoded < 120, "what comes after the last clip is not decoded"


def test_frames_that_nobody_samples_are_skipped_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (30, 48, 64, 3), dtype=np.uint8)
    path = encode(
        tmp_path / "b.mp4", np.arange(120) / 25, (noise[n % 30] for n in range(120)), options={"bf": "3", "b-pyramid": "none"}
    )
    want = FrameWant(3.0, 48)
    skipping = one(path, want)
    monkeypatch.setattr(video.source.Source, "_ahead", lambda self, packets, wanted: packets)
    assert np.array_equal(skipping.images, one(path, want).images)


def test_a_clip_beyond_the_end_is_not_yielded(film: Path) -> None:
    got = [
        media.clip.id
        for media in video.read(film, [clip(film, 11.9, name="in"), clip(film, 12.0, name="out")], [FrameWant(1.0, 16)])
    ]
    assert got == ["in"]


def test_one_frame(tmp_path: Path) -> None:
    video.write(tmp_path / "one.mp4", [shade(7)], 5)
    assert video.probe(tmp_path / "one.mp4").duration == pytest.approx(0.2)
    assert numbers(one(tmp_path / "one.mp4", FrameWant(2.0, 16))) == [7]


def test_a_picture_for_a_thumbnail(film: Path) -> None:
    image = video.frame(film, 11.5, 40)
    assert image.shape == (40, 60, 3)
    assert number(image) == 287 % LEVELS
    assert number(video.frame(film, 99, 40)) == 299 % LEVELS


def damage(source: Path, target: Path, at: float, length: int) -> Path:
    content = bytearray(source.read_bytes())
    begin = int(len(content) * at)
    for index in range(begin, min(begin + length, len(content))):
        content[index] ^= 0xA5
    target.write_bytes(content)
    return target


def test_damaged_packets_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    pictures = (np.repeat(np.repeat(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8), 8, 0), 8, 1) for _ in range(100))
    samples = rng.normal(0, 0.2, 4 * SOUND).astype(np.float32)
    video.write(tmp_path / "good.mp4", pictures, 25, samples, SOUND)
    path = damage(tmp_path / "good.mp4", tmp_path / "bad.mp4", 0.5, 3000)
    see, hear = FrameWant(5.0, 16), AudioWant(SOUND)
    with caplog.at_level(logging.WARNING):
        [media] = video.read(path, [clip(path)], [see, hear])
    [good] = video.read(tmp_path / "good.mp4", [clip(path)], [see, hear])
    assert "damaged packets skipped" in caplog.text
    assert len(media.frames[see].images) == 20
    assert np.array_equal(media.frames[see].images[:5], good.frames[see].images[:5])
    assert len(media.audio[hear].samples) >= 3 * SOUND


def test_too_much_damage_ends_it(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "x.avi", np.arange(MAX_FAILURES + 100) / 25, map(shade, itertools.count()), "mpeg4", options={"g": "1"}
    )
    content = path.read_bytes()
    spoiled = content.replace(b"\x00\x00\x01\xb6", b"\x00\x00\x01\x00").replace(b"\x00\x00\x01\xb0", b"\xff\xff\xff\xff")
    path.write_bytes(spoiled)
    with pytest.raises(
        UserError, match=rf"{path.name}: ({MAX_FAILURES} packets in a row cannot be decoded|no picture in it can be decoded)"
    ):
        one(path, FrameWant(1.0, 16))


def test_truncated_files_give_what_they_have(tmp_path: Path, film: Path) -> None:
    content = film.read_bytes()
    path = tmp_path / "half.mp4"
    path.write_bytes(content[: len(content) // 2])
    frames = one(path, FrameWant(5.0, 16))
    assert 5 <= len(frames.images) < 60
    assert numbers(frames)[:5] == [0, 5, 10, 15, 20]
    path.write_bytes(content[:200])
    with pytest.raises(UserError, match=r"half.mp4: not a readable video"):
        video.probe(path)
    header = content.index(b"mdat")
    path.write_bytes(content[: header + 8])
    with pytest.raises(UserError, match="no picture in it can be decoded"):
        one(path, FrameWant(1.0, 16))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"not a video at all\n" * 50, "not a readable video"),
        (
            b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
            "not a readable video|cannot be decoded|no picture|no video",
        ),
        (None, "there is no such file"),
    ],
)
def test_files_that_are_no_videos(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        one(path, FrameWant(1.0, 16))
    with pytest.raises(UserError, match=complaint):
        if not video.probe(path).has_video:
            raise UserError(path, "no video")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=SOUND, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, SOUND), np.float32), format="fltp", layout="mono")
        frame.sample_rate = SOUND
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = video.probe(path)
    assert (info.has_video, info.has_audio, info.width) == (False, True, 0)
    with pytest.raises(UserError, match="has no video stream"):
        one(path, FrameWant(1.0, 16))


def test_sizes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "thin.mp4", [0.0, 0.1], [shade(0, 16, 4096)] * 2)
    with pytest.raises(UserError, match="too long and thin"):
        one(path, FrameWant(1.0, 224))
    huge = encode(tmp_path / "huge.mkv", [0.0], [np.zeros((2, 16386, 3), np.uint8)], "ffv1")
    with pytest.raises(UserError, match=r"claims pictures of 16386 x 2 pixels"):
        video.probe(huge)


def test_writing_is_deterministic_and_whole_or_not_at_all(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (10, 50, 70, 3), dtype=np.uint8)
    samples = np.sin(np.arange(SOUND, dtype=np.float32))
    for name in ("a", "b"):
        video.write(tmp_path / f"{name}.mp4", noise, 10, samples, SOUND)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()

    def broken() -> Iterable[Bytes]:
        yield noise[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.write(tmp_path / "c.mp4", broken(), 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_names_that_look_like_something_else(tmp_path: Path) -> None:
    for name in ("http:--x.mp4", "-y.mp4", "50% ünïcode #1?.mp4"):
        video.write(tmp_path / name, [shade(1)] * 3, 10)
        assert numbers(one(tmp_path / name, FrameWant(1.0, 16))) == [1]
