"""What videos are shown by: facts, renditions, cuts, sprites, single pictures. The oracle is the reader, over known files."""

import functools
import http.server
import itertools
import math
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import odd_files
import toy
from hit import video
from hit.errors import UserError
from hit.types import AudioWant, Bytes, Clip, Floats, FrameWant
from hit.video.rendition import KEYS
from odd_files import ODD, Odd, number
from test_keyframes import CODECS, counted
from test_keyframes import film as numbered
from test_video import SOUND, encode, numbers, one, shade

READ = [odd for odd in ODD if not odd.reason]
PLAYED = {  # and what they are served as; the slow test asks a browser
    "h264.mp4": "video/mp4",
    "aac.mp4": "video/mp4",
    "flac.mkv": "video/x-matroska",
    "vp8.webm": "video/webm",
    "vp9.webm": "video/webm",
    "av1.mp4": "video/mp4",
    "av1.webm": "video/webm",
    "fragments.mp4": "video/mp4",
    "early.mp4": "video/mp4",
    "turned 90.mp4": "video/mp4",
    "really mp4.avi": "video/mp4",
}
REFUSED = {
    "stream.ts": "the container mpegts",
    "divx.avi": "the container avi",
    "moving.gif": "the container gif",
    "theirs.ogv": "the container ogg",
    "hevc.mp4": "the codec hevc",
    "prores.mov": "the codec prores",
    "phone.3gp": "the codec h263",
    "h264 10 bit.mp4": "h264 of yuv420p10le",
    "h264 422.mkv": "h264 of yuv422p",
    "pcm.mov": "the sound's codec pcm_s16le",
    "late.mp4": "at 5.0 s of its clock",
    "really a stream.mkv": "the container mpegts",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


def made(folder: Path, odd: Odd | str) -> Path:
    """Return an odd file, by its row or name."""
    odd = odd if isinstance(odd, Odd) else next(row for row in ODD if row.name == odd)
    path = folder / odd.name
    if not path.exists():
        odd.make(path)
    return path


def shown(path: Path, rate: float = odd_files.RATE, start: float = 0.0, end: float = math.inf) -> list[int]:
    """Return which pictures a film shows, `rate` a second."""
    return [number(image) for image in one(path, FrameWant(rate, 32), start, end).images]


def heard(path: Path, rate: int = SOUND) -> Floats:
    """Return the sound of a file, from time zero."""
    [media] = video.read(path, [Clip("c", "v", path)], [FrameWant(1.0, 16), AudioWant(rate)])
    audio = media.audio[AudioWant(rate)]
    return np.concatenate([np.zeros(round(audio.start * rate), np.float32), audio.samples])


def times(path: Path) -> list[float]:
    """Return when pictures come, in seconds."""
    with av.open(str(path)) as container:
        return [float(picture.time) for picture in container.decode(video=0)]


def keyed(path: Path) -> list[float]:
    """Return when key pictures come, in seconds."""
    with av.open(str(path)) as container:
        return [float((packet.pts or 0) * packet.time_base) for packet in container.demux(video=0) if packet.is_keyframe]


def names(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def length(path: Path) -> float:
    """Return how long a player takes a file for."""
    with av.open(str(path)) as container:
        return float(container.duration or 0) / av.time_base


# -- facts


@pytest.mark.parametrize("name", PLAYED)
def test_what_browsers_play(folder: Path, name: str) -> None:
    facts = video.facts(made(folder, name))
    assert facts.playable and not facts.why
    assert facts.type == PLAYED[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_browsers_do_not_play(folder: Path, name: str) -> None:
    facts = video.facts(made(folder, name))
    assert not facts.playable
    assert facts.why.endswith(REFUSED[name])


def test_facts_are_the_file_s(folder: Path) -> None:
    path = made(folder, "turned 90.mp4")
    facts, info = video.facts(path), video.probe(path)
    assert (facts.duration, facts.rate, facts.rotation) == (info.duration, info.rate, info.rotation) == (1.0, 10.0, 90)
    assert (facts.width, facts.height) == (64, 96)
    assert (facts.container, facts.video, facts.profile, facts.pixels) == ("mov", "h264", "Constrained Baseline", "yuv420p")
    assert (facts.audio, facts.size) == (None, path.stat().st_size)
    assert video.facts(made(folder, "av1.mp4")).video == "av1"
    assert video.facts(made(folder, "vp8.webm")).audio == "opus"


@pytest.mark.parametrize("name", ["song.mp3", "all spoilt.mp4", "noise.mp4", "encrypted.mp4"])
def test_facts_of_no_video(folder: Path, name: str) -> None:
    with pytest.raises(UserError):
        video.facts(made(folder, name))


# -- renditions


@pytest.mark.parametrize("odd", READ, ids=lambda odd: odd.name)
def test_a_rendition_shows_the_same_at_the_same_times(folder: Path, tmp_path: Path, odd: Odd) -> None:
    path, target = made(folder, odd), tmp_path / "copy.mp4"
    written = video.rendition(path, target)
    facts = video.facts(target)
    assert (facts.why, facts.video, facts.pixels, facts.rotation) == ("", "h264", "yuv420p", 0)
    assert facts.audio == ("aac" if odd.sound else None)
    assert (facts.width, facts.height) == tuple(max(2, round(side / 2) * 2) for side in odd.size)
    assert shown(target, odd.rate) == list(odd.seen)
    assert odd.sound or odd.name == "back.mkv" or length(target) == pytest.approx(written, abs=2e-3)
    assert names(tmp_path) == ["copy.mp4"]


def test_a_rendition_keeps_the_frame_rate_and_has_key_pictures(tmp_path: Path) -> None:
    moments = [0.0, 0.04, 0.5, 0.52, 2.6, 2.61, 5.0, 9.1, 9.14]
    path = encode(tmp_path / "a.mkv", moments, map(shade, itertools.count()), options={"bf": "2"})
    video.rendition(path, tmp_path / "b.mp4")
    assert times(tmp_path / "b.mp4") == pytest.approx(moments, abs=1e-3)
    keys = keyed(tmp_path / "b.mp4")
    assert keys == pytest.approx([0.0, 2.6, 5.0, 9.1], abs=1e-3), "a picture that comes 2 s after a key picture is one"
    content = (tmp_path / "b.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "a player can begin with the first bytes"


def test_a_rendition_of_a_long_group_can_be_sought_in(tmp_path: Path) -> None:
    path = numbered(tmp_path, "closed", 200)
    video.rendition(path, tmp_path / "b.mp4")
    keys = keyed(tmp_path / "b.mp4")
    assert max(np.diff([*keys, 8.0])) <= KEYS + 0.041
    assert numbers(one(tmp_path / "b.mp4", FrameWant(25.0, 64))) == list(range(200))


@pytest.mark.parametrize(
    ("size", "side", "expected"), [((640, 360), 180, (320, 180)), ((90, 160), 46, (46, 82)), ((64, 48), 99, (64, 48))]
)
def test_a_rendition_is_no_larger_than_told(tmp_path: Path, size: tuple[int, int], side: int, expected: tuple[int, int]) -> None:
    path = encode(tmp_path / "a.mp4", [0, 0.04], [np.full((size[1], size[0], 3), 90, np.uint8)] * 2)
    video.rendition(path, tmp_path / "b.mp4", side=side)
    facts = video.facts(tmp_path / "b.mp4")
    assert (facts.width, facts.height) == expected


@pytest.mark.parametrize(
    ("codec", "pix", "name"),
    [("mjpeg", "yuvj420p", "a.avi"), ("ffv1", "bgr0", "a.mkv"), ("qtrle", "rgb24", "a.mov"), ("libx265", "yuv420p10le", "a.mkv")],
)
def test_a_rendition_has_the_colours_of_the_original(tmp_path: Path, codec: str, pix: str, name: str) -> None:
    path, plain = tmp_path / name, np.full((64, 96, 3), (200, 60, 30), np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            codec, rate=10, options={"x265-params": "log-level=none"} if codec == "libx265" else {}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix
        for image in (plain, plain):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    video.rendition(path, tmp_path / "b.mp4")
    before, after = (video.frame(file, 0.0, 64).mean((0, 1)) for file in (path, tmp_path / "b.mp4"))
    assert after == pytest.approx(before, abs=6)


def test_a_rendition_sounds_the_same_at_the_same_times(tmp_path: Path) -> None:
    samples = np.zeros(4 * SOUND, np.float32)
    for begin in (0.5, 1.7, 3.2):
        samples[round(begin * SOUND) : round((begin + 0.1) * SOUND)] = 0.5 * np.sin(np.arange(1600) * 0.3)
    video.write(tmp_path / "a.mp4", (shade(count) for count in range(100)), 25, samples, SOUND)
    video.rendition(tmp_path / "a.mp4", tmp_path / "b.mp4")
    before, after = heard(tmp_path / "a.mp4"), heard(tmp_path / "b.mp4")
    loud = [np.abs(sound[: 4 * SOUND]).reshape(-1, 800).max(1) for sound in (before, after)]
    assert loud[1] == pytest.approx(loud[0], abs=0.08)


@pytest.mark.parametrize("name", ["late sound.mkv", "six channels.mkv", "telephone.mov", "early.mp4", "bats.mkv"])
def test_sound_of_any_kind_keeps_its_place(folder: Path, tmp_path: Path, name: str) -> None:
    path = made(folder, name)
    video.rendition(path, tmp_path / "b.mp4")
    before, after = (np.pad(heard(file, 8000), (0, 8000))[:8000] for file in (path, tmp_path / "b.mp4"))
    loud = [[np.sqrt((part**2).mean()) for part in np.split(sound, 10)] for sound in (before, after)]
    quiet = np.array(loud[0]) < 0.01
    assert np.all(np.array(loud[1])[quiet] < 0.05)
    assert np.all(np.array(loud[1])[~quiet] > 0.05)


def test_a_rendition_can_be_interrupted(tmp_path: Path) -> None:
    path = numbered(tmp_path, "closed", 60)
    (tmp_path / "b.mp4").write_bytes(b"old")

    def tick(time: float) -> None:
        if time > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.rendition(path, tmp_path / "b.mp4", tick)
    assert names(tmp_path) == ["a.mp4", "b.mp4"]
    assert (tmp_path / "b.mp4").read_bytes() == b"old"
    seen: list[float] = []
    video.rendition(path, tmp_path / "b.mp4", seen.append)
    assert seen == pytest.approx(np.arange(60) / 25)


@pytest.mark.parametrize("name", ["song.mp3", "all spoilt.mp4", "noise.mp4"])
def test_what_has_no_picture_has_no_rendition(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        video.rendition(made(folder, name), tmp_path / "b.mp4")
    assert not names(tmp_path)


# -- cuts


def payloads(path: Path) -> list[bytes]:
    """Return what the packets of the pictures hold."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.fixture(scope="module", params=["closed", "open", "stream", "hevc", "vp9", "av1", "mpeg4"])
def group(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s at 25/s, a key picture every 0.4 s."""
    assert set(CODECS) == {"closed", "open", "stream", "hevc", "vp9", "av1", "mpeg4"}
    return numbered(tmp_path_factory.mktemp("group"), request.param, 150)


@example(start=0.1875, length=1.0)
@settings(max_examples=12, deadline=None)
@given(start=st.floats(0, 5.9), length=st.floats(0.01, 3))
def test_a_cut_shows_what_the_video_shows(group: Path, start: float, length: float) -> None:
    target = group.with_name("cut.mp4")
    begin, end = video.cut(group, start, start + length, target)
    assert start - 0.0401 <= begin <= start + 1e-5
    assert min(5.95, start + length) - 1e-5 <= end <= start + length + 17 * 0.04
    shown, asked = numbers(one(target, FrameWant(25.0, 64))), numbers(one(group, FrameWant(25.0, 64), begin + 1e-4, end))
    beyond = numbers(
        one(group, FrameWant(25.0, 64), begin + 1e-4, end + 0.04)
    )  # the picture that stands at the end, to its own end
    assert shown in (asked, beyond[: len(asked) + 1]), (begin, end, start, length)


@pytest.mark.parametrize("kind", ["closed", "hevc", "av1"])
def test_a_cut_is_not_encoded_anew(tmp_path: Path, kind: str) -> None:
    path = numbered(tmp_path, kind)
    video.cut(path, 1.5, 2.5, tmp_path / "b.mp4")
    whole, part = payloads(path), payloads(tmp_path / "b.mp4")
    rest = iter(whole[25:80])
    assert all(payload in rest for payload in part), "in their order, and none but those"
    assert 25 <= len(part) <= 25 + 8 + 17


@pytest.mark.parametrize("odd", READ, ids=lambda odd: odd.name)
def test_anything_can_be_cut(folder: Path, tmp_path: Path, odd: Odd) -> None:
    path, half = made(folder, odd), min(0.2, odd.seconds / 2)
    try:
        begin, end = video.cut(path, half, 99.0, tmp_path / "b.mp4")
    except UserError as error:
        assert "has no picture between" in str(error) and odd.name.startswith("days")
        return
    assert begin <= half + 1e-6
    facts = video.facts(tmp_path / "b.mp4")
    assert (facts.width, facts.height) == tuple(
        round(side / 2) * 2 if facts.video == "h264" else side for side in odd.size
    ) or odd.size == (1, 1)
    before, after = shown(path, odd.rate, begin, end), shown(tmp_path / "b.mp4", odd.rate)
    assert set(after) <= set(odd.seen) | {0}
    assert after[: len(before)][:1] == before[:1] or "av1" in odd.name


def test_a_cut_has_its_sound(tmp_path: Path) -> None:
    samples = np.zeros(10 * SOUND, np.float32)
    samples[6 * SOUND : 6 * SOUND + 1600] = 0.5 * np.sin(np.arange(1600) * 0.3)
    video.write(tmp_path / "a.mp4", (shade(count) for count in range(250)), 25, samples, SOUND, gop=50)
    begin, end = video.cut(tmp_path / "a.mp4", 5.5, 7.5, tmp_path / "b.mp4")
    assert begin == pytest.approx(5.48) or begin == pytest.approx(5.52, abs=0.04)
    assert length(tmp_path / "b.mp4") == pytest.approx(end - begin, abs=0.07)
    loud = np.flatnonzero(np.abs(heard(tmp_path / "b.mp4")) > 0.2)
    assert loud[0] / SOUND == pytest.approx(6 - begin, abs=0.02)
    assert loud[-1] / SOUND == pytest.approx(6.1 - begin, abs=0.02)


@pytest.mark.parametrize("span", [(6.5, 7.0), (3.0, 3.0), (3.0, 2.0)])
def test_nothing_to_cut(tmp_path: Path, span: tuple[float, float]) -> None:
    path = numbered(tmp_path, "closed", 50)
    with pytest.raises(UserError, match="has no picture between"):
        video.cut(path, *span, tmp_path / "b.mp4")
    assert names(tmp_path) == ["a.mp4"]


# -- sprites


@settings(max_examples=60, deadline=None)
@given(duration=st.floats(0.01, 1e5), size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)))
def test_a_sheet_covers_the_video(duration: float, size: tuple[int, int]) -> None:
    sheet = video.sheet_of(duration, size)
    assert sheet.interval == max(1.0, duration / 100)
    assert sheet.rows <= 10 and sheet.columns <= 10
    cues = re.findall(r"(\S+) --> (\S+)\n/s\.jpg#xywh=(\d+),(\d+),(\d+),(\d+)\n", video.vtt(sheet, duration, "/s.jpg"))
    bounds = [
        [sum(float(part) * unit for part, unit in zip(one.split(":"), (3600, 60, 1), strict=True)) for one in cue[:2]]
        for cue in cues
    ]
    assert bounds[0][0] == 0 and bounds[-1][1] == pytest.approx(duration, abs=1e-3)
    assert all(end == following for (_, end), (following, _) in itertools.pairwise(bounds))
    places = [tuple(map(int, cue[2:])) for cue in cues]
    assert len(set(places)) == len(places) > (sheet.rows - 1) * sheet.columns
    assert all(x + width <= 160 * sheet.columns and y + high <= sheet.height * sheet.rows for x, y, width, high in places)
    assert places[min(11, len(places) - 1)] == (
        160 * (min(11, len(places) - 1) % 10),
        sheet.height * (min(11, len(places) - 1) // 10),
        160,
        sheet.height,
    )


def tiles(sheet: video.Sheet, path: Path) -> list[Bytes]:
    """Return the pictures of a sheet."""
    image = np.asarray(Image.open(path))
    assert image.shape == (sheet.rows * sheet.height, sheet.columns * sheet.width, 3)
    rows = image.reshape(sheet.rows, sheet.height, sheet.columns, sheet.width, 3).swapaxes(1, 2)
    return list(rows.reshape(-1, sheet.height, sheet.width, 3))


def test_sprites_show_the_video_at_their_times(tmp_path: Path) -> None:
    path = numbered(tmp_path, "closed", 330)
    sheet = video.sprites(path, 13.2, tmp_path / "s.jpg")
    assert (sheet.interval, sheet.columns, sheet.rows, sheet.width, sheet.height) == (1.0, 10, 2, 160, 107)
    shades = [second * 25 // 10 * 10 % 256 for second in range(14)]  # key pictures, 0.4 s apart, will do
    assert [number(tile) for tile in tiles(sheet, tmp_path / "s.jpg")] == [*shades, *shades[-1:] * 6]


def test_sprites_decode_key_pictures_only(tmp_path: Path) -> None:
    path = numbered(tmp_path, "closed", 330)
    with counted() as seen:
        video.sprites(path, 13.2, tmp_path / "s.jpg")
    assert len(seen) <= 14


@pytest.mark.parametrize("odd", [odd for odd in READ if odd.seconds <= 1.1], ids=lambda odd: odd.name)
def test_anything_has_sprites(folder: Path, tmp_path: Path, odd: Odd) -> None:
    sheet = video.sprites(made(folder, odd), odd.seconds, tmp_path / "s.jpg")
    first = tiles(sheet, tmp_path / "s.jpg")[0]
    if odd.size != (1, 1):
        assert number(first) == odd.seen[0]
    assert first.shape[0] == min(480, round(160 * odd.size[1] / odd.size[0]))


# -- single pictures


@pytest.mark.parametrize("kind", ["closed", "stream"])
def test_a_picture_late_in_a_long_video_is_sought(tmp_path: Path, kind: str) -> None:
    path = numbered(tmp_path, kind, 1500)
    with counted() as seen:
        for second in (0.5, 20.0, 59.0, 59.99):
            assert number(video.frame(path, second, 64)) == round(second * 25 - 0.3) % 256
    assert len(seen) < 1 + 4 * 300, "at most 10 s before each, and not all the 4000 that come before them"


@pytest.mark.parametrize("time", [2.0, 2.5, 60.0, 1e9])
@pytest.mark.parametrize("kind", ["closed", "stream", "vp9"])
def test_after_the_end_comes_the_last_picture(tmp_path: Path, kind: str, time: float) -> None:
    assert number(video.frame(numbered(tmp_path, kind, 50), time, 64)) == 49


@pytest.mark.parametrize("odd", READ, ids=lambda odd: odd.name)
def test_anything_has_a_last_picture(folder: Path, odd: Odd) -> None:
    if not odd.name.startswith("one pixel"):
        assert number(video.frame(made(folder, odd), 1e6, 32)) == odd.seen[-1]


def test_a_picture_as_jpeg(tmp_path: Path) -> None:
    path = toy.render(tmp_path / "a.mp4", ["red", "blue"])
    (tmp_path / "a.jpg").write_bytes(video.jpeg(video.frame(path, 3.0, 48)))
    image = np.asarray(Image.open(tmp_path / "a.jpg"))
    assert image.shape == (48, 64, 3)
    assert image[30:].mean((0, 1)) == pytest.approx(toy.COLOURS["blue"], abs=25)


# -- a browser

PLAY = """async source => {
    const video = document.querySelector("video");
    const done = new Promise(resolve => {
        video.onerror = () => resolve(false);
        video.onended = () => resolve(true);
    });
    video.src = source;
    video.play().catch(() => {});
    const ended = await done;
    const counts = [video.getVideoPlaybackQuality().totalVideoFrames, video.webkitAudioDecodedByteCount];
    return [ended, ...counts, video.duration, video.videoWidth, video.videoHeight];
}"""


@pytest.mark.slow  # a browser is started, and plays in real time
def test_a_browser_plays_what_it_is_said_to_play(folder: Path, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    if browser is None:
        pytest.skip("there is no chromium")
    whole = [*odd_files.CODECS, *odd_files.PICTURES, *odd_files.TIMES, *odd_files.STREAMS]  # browsers end where one is damaged
    astray = ["stray.mkv", "stray first.mkv", "stray last.mkv", "leaps.mkv", "days between pictures.mp4"]
    rows = [odd for odd in whole if not odd.reason and odd.name not in [*astray, "slow.mp4"]]
    for odd in rows:
        shutil.copy(made(folder, odd), tmp_path / odd.name.replace(" ", "_"))
    video.rendition(made(folder, "hevc.mp4"), tmp_path / "rendition.mp4")
    video.cut(numbered(folder, "closed", 100), 1.5, 2.5, tmp_path / "cut.mp4")
    (tmp_path / "page.html").write_text("<!doctype html><video muted></video>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, api.sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
        for odd in rows:
            facts = video.facts(folder / odd.name)
            ended, pictures, sound, _, width, height = page.evaluate(PLAY, odd.name.replace(" ", "_"))
            if facts.playable:
                assert ended and pictures >= len(set(odd.seen)) and (width, height) == odd.size, (odd.name, facts)
                assert (sound > 0) == bool(odd.sound), (odd.name, facts)
            elif facts.why.startswith("browsers do not open") or facts.why.startswith("browsers do not show"):
                assert not pictures or facts.container == "ogg", (odd.name, facts)
        assert page.evaluate(PLAY, "rendition.mp4")[:2] == [True, 10]
        ended, pictures, _, duration, *_ = page.evaluate(PLAY, "cut.mp4")
        begin, end = video.cut(numbered(folder, "closed", 100), 1.5, 2.5, tmp_path / "cut.mp4")
        assert ended and pictures == round((end - begin) * 25) and duration == pytest.approx(end - begin, abs=0.01)
        chromium.close()
        server.shutdown()
