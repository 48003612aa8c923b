"""Wants that are content with key pictures: which ones they get, when they get them, and what is decoded for it."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hit import video
from hit.types import AudioWant, FrameWant
from hit.video.reader import Reader
from hit.video.source import Source
from test_video import LEVELS, SOUND, clip, damage, encode, numbers, one, same, shade

GOP = 10  # pictures from one key picture to the next: 0.4 s
EXACT, KEYED = FrameWant(5.0, 64), FrameWant(5.0, 64, exact=False)
X264 = {"g": str(GOP), "sc_threshold": "0", "bf": "2"}
CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    "closed": ("a.mp4", "libx264", X264),
    "open": ("a.mkv", "libx264", X264 | {"x264-params": "open-gop=1"}),
    "stream": ("a.ts", "libx264", X264 | {"x264-params": "open-gop=1"}),
    "hevc": ("a.mp4", "libx265", {"x265-params": f"log-level=none:keyint={GOP}:min-keyint={GOP}:open-gop=1:scenecut=0"}),
    "vp9": ("a.webm", "libvpx-vp9", {"g": str(GOP), "keyint_min": str(GOP), "deadline": "realtime", "cpu-used": "8"}),
    "av1": ("a.mp4", "libsvtav1", {"g": str(GOP), "preset": "12", "svtav1-params": "scd=0"}),
    "mpeg4": ("a.avi", "mpeg4", {"g": str(GOP), "sc_threshold": "1000000000"}),
}


def film(folder: Path, kind: str, count: int = 100) -> Path:
    """Write `count` numbered pictures, 25 a second."""
    name, codec, options = CODECS[kind]
    return encode(folder / name, np.arange(count) / 25, map(shade, itertools.count()), codec, options=options)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s."""
    return film(tmp_path_factory.mktemp("long"), "closed", 500)


@contextmanager
def counted() -> Iterator[list[float]]:
    """Gather the times of all pictures that are decoded."""
    seen: list[float] = []
    see = Reader.see

    def count(self: Reader, picture: av.VideoFrame) -> None:
        seen.append(float(picture.time))
        see(self, picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "see", count)
        yield seen


@pytest.mark.parametrize("kind", CODECS)
def test_each_time_gets_the_last_key_picture(tmp_path: Path, kind: str) -> None:
    path = film(tmp_path, kind)
    with counted() as seen:
        frames = one(path, KEYED)
    assert numbers(frames) == [frame // GOP * GOP for frame in range(0, 100, 5)]
    assert frames.times == pytest.approx(np.arange(20) / 5)
    assert len(seen) == 10, "key pictures, and nothing else, are decoded"
    assert numbers(one(path, EXACT)) == list(range(0, 100, 5))


@settings(max_examples=25, deadline=None)
@given(start=st.floats(0, 19.5), length=st.floats(0.01, 5), rate=st.floats(0.3, 5.2))
def test_any_stretch_gets_the_last_key_pictures(long: Path, start: float, length: float, rate: float) -> None:
    frames = one(long, FrameWant(rate, 16, exact=False), start, start + length)
    exact = one(long, FrameWant(rate, 16), start, start + length)
    assert np.array_equal(frames.times, exact.times)
    for seen, time in zip(numbers(frames), start + np.arange(len(frames.times)) / rate, strict=True):
        assert seen in {math.floor(moment * 25 / GOP) * GOP % LEVELS for moment in (time - 2e-6, time + 2e-6)}


@pytest.mark.parametrize("rate", [5.2, 5.3, 12.5])
def test_where_key_pictures_are_too_rare_everything_is_exact(long: Path, rate: float) -> None:
    few = [frame // GOP * GOP for frame in numbers(one(long, FrameWant(rate, 16), 0, 4))]
    found = numbers(one(long, FrameWant(rate, 16, exact=False), 0, 4))
    assert (found == few) is (rate * GOP / 25 <= 2.1)
    assert found == few or found == numbers(one(long, FrameWant(rate, 16), 0, 4))


def test_one_long_stretch_without_key_pictures_is_enough_for_that(tmp_path: Path) -> None:
    times = [*np.arange(50) / 25, *(2 + np.arange(10) / 5), *(4 + np.arange(50) / 25)]  # 0.4 s, then 2 s, then 0.4 s
    path = encode(tmp_path / "rare.mp4", times, map(shade, itertools.count()), options=X264)
    assert numbers(one(path, KEYED, 0, 1)) == [0, 5, 10, 15, 20]
    assert numbers(one(path, FrameWant(1.0, 16, exact=False))) == [0, 20, 50, 50, 60, 80]


def test_the_stretch_up_to_the_end_counts(tmp_path: Path) -> None:
    path = encode(tmp_path / "one.mp4", np.arange(50) / 25, map(shade, itertools.count()), options=X264 | {"g": "1000"})
    assert numbers(one(path, KEYED)) == list(range(0, 50, 5))
    assert numbers(one(path, FrameWant(1.0, 64, exact=False))) == [0, 0]


def test_key_pictures_that_nobody_samples_are_not_decoded(long: Path) -> None:
    with counted() as seen:
        frames = one(long, FrameWant(0.5, 16, exact=False), 0, 20)
    assert numbers(frames) == [frame % LEVELS for frame in range(0, 500, 50)]
    assert len(seen) == 10


def test_what_a_want_gets_does_not_depend_on_other_wants_and_clips(long: Path) -> None:
    """Or features of one clip would differ by which experts, and which clips, a run was about."""
    wants = [KEYED, FrameWant(1.3, 32, exact=False), FrameWant(8.0, 32, exact=False), FrameWant(8.0, 64), EXACT]
    bounds = [(0, 3), (0.03, 2.2), (2.999, 3.0), (10.7, 12.9), (11.51, 14.3), (12.5, 12.51), (19.9, 99), (0.02, math.inf)]
    clips = [clip(long, start, end, f"{start}-{end}") for start, end in bounds]
    together = {media.clip.id: media for media in video.read(long, clips, wants)}
    assert set(together) == {clip.id for clip in clips}
    for alone, want in itertools.product(clips, wants):
        [media] = video.read(long, [alone], [want])
        assert np.array_equal(media.frames[want].images, together[alone.id].frames[want].images), (alone.id, want)
        assert np.array_equal(media.frames[want].times, together[alone.id].frames[want].times), (alone.id, want)


@pytest.mark.parametrize("kind", ["stream", "hevc", "vp9"])
def test_a_seek_gives_the_same_key_pictures(tmp_path: Path, kind: str) -> None:
    path = film(tmp_path, kind, 400)
    expected = [math.floor(math.floor((11.3 + index / 5) * 25 + 1e-3) / GOP) * GOP % LEVELS for index in range(10)]
    with counted() as seen:
        assert numbers(one(path, KEYED, 11.3, 13.3)) == expected
    assert len(seen) <= 7


def test_sound_comes_with_key_pictures(tmp_path: Path) -> None:
    samples = np.sin(np.arange(4 * SOUND, dtype=np.float32) / 7)
    video.write(tmp_path / "tone.mp4", map(shade, range(100)), 25, samples, SOUND)  # x264's own: a key picture a scene
    wide, hear = FrameWant(0.5, 16, exact=False), AudioWant(SOUND)
    [media] = video.read(tmp_path / "tone.mp4", [clip(tmp_path / "tone.mp4", 0.5, 3.5)], [wide, hear])
    [exact] = video.read(tmp_path / "tone.mp4", [clip(tmp_path / "tone.mp4", 0.5, 3.5)], [FrameWant(0.5, 16), hear])
    assert np.array_equal(media.audio[hear].samples, exact.audio[hear].samples)
    assert len(media.frames[wide].times) == 2


def test_what_is_marked_as_a_key_picture_and_is_none_makes_it_exact(tmp_path: Path) -> None:
    """A file of periodic intra refresh has recovery points: packets marked as key ones that lack what came before."""
    options = X264 | {"bf": "0", "x264-params": "intra-refresh=1"}
    path = encode(tmp_path / "refresh.mp4", np.arange(100) / 25, map(shade, itertools.count()), options=options)
    with Source(path) as source:
        assert len(source.scan().keys) > 5, "else this proves nothing"
    for beside in ([], [FrameWant(25.0, 16)]):
        [media] = video.read(path, [clip(path)], [KEYED, *beside])
        assert numbers(media.frames[KEYED]) == list(range(0, 100, 5))
    clips = [clip(path, second, second + 1, str(second)) for second in range(4)]
    assert sorted(media.clip.id for media in video.read(path, clips, [KEYED])) == ["0", "1", "2", "3"]


def test_damage_to_a_key_picture_stays_where_it_is(tmp_path: Path) -> None:
    path = film(tmp_path, "vp9")
    with av.open(str(path)) as container:
        [packet] = [packet for packet in container.demux(video=0) if packet.is_keyframe and packet.pts == 1200]
        place = packet.pos or 0
    path = damage(path, tmp_path / "bad.webm", (place + 4) / path.stat().st_size, 60)
    found = numbers(one(path, KEYED))
    assert len(found) == 20
    for frame, seen in zip(range(0, 100, 5), found, strict=True):
        assert seen in (frame, frame // GOP * GOP) or 30 <= frame < 40


def test_a_file_cut_short_gives_what_it_has(tmp_path: Path) -> None:
    path = film(tmp_path, "stream")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    exact = numbers(one(path, EXACT))
    assert 5 <= len(exact) < 20
    assert numbers(one(path, KEYED))[: len(exact) - 1] == [frame // GOP * GOP for frame in exact][:-1]


@pytest.mark.parametrize("want", [EXACT, KEYED])
def test_where_every_picture_is_a_key_one_only_what_is_sampled_is_decoded(tmp_path: Path, want: FrameWant) -> None:
    path = encode(
        tmp_path / "a.mov", np.arange(100) / 25, map(shade, itertools.count()), "mjpeg", options={"strict": "unofficial"}
    )
    with counted() as seen:
        assert numbers(one(path, want)) == list(range(0, 100, 5))
    assert len(seen) <= 21
    together = list(video.read(path, [clip(path, 0.3, 2.2, "a"), clip(path, 1.03, 3.1, "b")], [want]))
    for media in together:
        [alone] = video.read(path, [media.clip], [want])
        assert same(media, alone)
