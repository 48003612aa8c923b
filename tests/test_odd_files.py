"""Files as they come in: each one is read as far as there is something in it, or refused for one clear reason."""

import math
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

import odd_files
from hit import video
from hit.errors import UserError
from hit.library import Library
from hit.types import AudioWant, Clip, FrameWant, Media
from odd_files import ODD, Odd, film, number
from toy import PLUGIN, ToyEncoder

SOUND = AudioWant(8000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


def made(folder: Path, odd: Odd) -> Path:
    path = folder / odd.name
    if not path.exists():
        odd.make(path)
    return path


def read(path: Path, rate: float = odd_files.RATE) -> Media:
    [media] = video.read(path, [Clip("c", "v", path, 0.0, math.inf)], [FrameWant(rate, 32), SOUND])
    return media


def numbers(media: Media) -> list[int]:
    return [number(image) for frames in media.frames.values() for image in frames.images]


def test_the_battery_is_as_large_as_promised() -> None:
    assert len({odd.name for odd in ODD}) == len(ODD) >= 60


@pytest.mark.parametrize("odd", [odd for odd in ODD if not odd.reason], ids=lambda odd: odd.name)
def test_it_plays(folder: Path, odd: Odd) -> None:
    path = made(folder, odd)
    info = video.probe(path)
    assert (info.width, info.height, info.rotation, info.codec) == (*odd.size, odd.rotation, odd.codec)
    assert info.duration == pytest.approx(odd.seconds, abs=1e-3)
    assert info.has_video and info.has_audio == (odd.sound is not None)
    media = read(path, odd.rate)
    assert numbers(media) == list(odd.seen)
    width, height = min(odd.size, odd.size[::-1], key=lambda size: size != odd.size)
    shape = media.frames[FrameWant(odd.rate, 32)].images.shape[1:3]
    assert min(shape) == 32 and (shape[0] > shape[1]) == (height > width)
    heard = media.audio[SOUND].samples
    assert len(heard) / SOUND.rate == pytest.approx(odd.sound or 0.0, abs=0.1)  # codecs fill their last block
    assert not odd.sound or 0.1 < np.sqrt(np.mean(np.square(heard))) < 0.5, "it hums"


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd.reason], ids=lambda odd: odd.name)
def test_it_is_refused(folder: Path, odd: Odd) -> None:
    path = made(folder, odd)
    with pytest.raises(UserError) as refused:
        read(path)
    assert str(refused.value) == f"{path}: {odd.reason}"
    if odd.opens:
        video.probe(path)
    else:
        with pytest.raises(UserError) as refused:
            video.probe(path)
        assert str(refused.value) == f"{path}: {odd.reason}"


def test_all_of_them_in_one_library(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    paths = {made(folder, odd): odd for odd in ODD}
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        report = library.index(list(paths), workers=2)
        known = library.db.files()
    with sqlite3.connect(tmp_path / "lib" / "library.db") as connection:
        segments = dict(connection.execute("SELECT video_id, count(*) FROM segments GROUP BY video_id"))
    expected = {str(path): odd.reason or odd.segments for path, odd in paths.items()}
    expected |= {path: "has no pictures, only sound" for path, reason in expected.items() if reason == odd_files.SOUND}
    assert {path: file.error or segments[file.video] for path, file in known.items()} == expected
    assert {failure.path: failure.reason for failure in report.failed} == {
        path: reason for path, reason in expected.items() if isinstance(reason, str)
    }


@pytest.mark.parametrize("name", ["concat.mp4", "hls.m3u8"])
def test_a_playlist_would_have_been_followed(folder: Path, name: str) -> None:
    """What the two tests above show is refused is a danger: FFmpeg itself plays the other file."""
    path = made(folder, next(odd for odd in ODD if odd.name == name))
    with av.open(f"file:{path}", options={"protocol_whitelist": "file", "allowed_extensions": "ALL"}) as container:
        assert len(list(container.decode(video=0))) == 10


FILMS: dict[str, Callable[[Path], object]] = {
    "front.mp4": odd_files.FRONT,
    "fragments.mp4": odd_files.FRAGMENTS,
    "film.mkv": film,
    "film.ts": film,
    "film.avi": odd_files.JPEG,
    "film.webm": odd_files.VP9,
    "film.gif": odd_files.GIF,
}


@pytest.mark.parametrize("name", FILMS)
def test_a_file_cut_anywhere_shows_how_it_begins(tmp_path: Path, name: str) -> None:
    FILMS[name](tmp_path / name)
    content, counts = (tmp_path / name).read_bytes(), []
    for length in np.linspace(1, len(content), 24).astype(int):
        (tmp_path / name).write_bytes(content[:length])
        try:
            seen = numbers(read(tmp_path / name))
        except UserError as error:
            assert str(tmp_path / name) in str(error)
            seen = []
        assert seen[:-1] == list(odd_files.ALL)[: len(seen)][:-1], length  # the last one may be there in part
        counts.append(len(seen))
    assert counts[0] == 0 and counts[-1] == 10 and len(set(counts)) > 5


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi", "mpg"])
def test_a_film_of_one_key_frame_is_sought_in(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"long.{ending}"
    codec, rate = {"avi": ("mpeg4", 2), "mpg": ("mpeg2video", 25)}.get(ending, ("libx264", 2))
    sound = {"avi": "mp2", "mpg": "mp2"}.get(ending, "aac")
    times = [count / rate for count in range(14 * rate)]
    film(path, codec, times=times, rate=rate, sound=sound, heard=(0, 14), options={"g": "600"})
    want = FrameWant(2.0, 32)
    [media] = video.read(path, [Clip("c", "v", path, 11.0, 13.0)], [want, SOUND])
    assert [number(image) for image in media.frames[want].images] == [
        round(11 * rate + n * rate / 2 - 1e-6) % 256 for n in range(4)
    ]
    assert len(media.audio[SOUND].samples) == pytest.approx(16000, abs=200)


# -- what is no file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)  # a whole path may be too long for a socket


NO_FILES: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("pipe.mp4", pipe, "is not a file but a pipe, a socket or a device", ""),
    ("socket.mp4", listening, "is not a file but a pipe, a socket or a device", ""),
    ("endless.mp4", lambda path: path.symlink_to("/dev/zero"), "is not a file but a pipe, a socket or a device", ""),
    ("dangling.mp4", lambda path: path.symlink_to("nowhere"), "there is no such file", "No such file or directory"),
    (
        "circle.mp4",
        lambda path: path.symlink_to(path.name),
        "cannot be opened (Too many levels of symbolic links)",
        "Too many levels of symbolic links",
    ),
]


def test_what_is_no_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    (tmp_path / "v" / "folder.mp4").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "v")
    film(Path("good.mp4"))
    for name, make, reason, _ in [*NO_FILES, ("folder.mp4", lambda _: None, "is a folder", "")]:
        make(Path(name))
        for look in (video.probe, read):
            with pytest.raises(UserError) as refused:
                look(Path(name))
            assert str(refused.value) == f"{name}: {reason}"
    with Library.create(tmp_path / "lib", encoder=ToyEncoder()) as library:
        report = library.index([tmp_path / "v"], workers=1)
    assert report.added == 1
    assert {Path(failure.path).name: failure.reason for failure in report.failed} == {
        name: indexed or reason for name, _, reason, indexed in NO_FILES
    }


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # its parents may be closed to others
    tmp_path.chmod(0o755)
    film(Path("locked.mp4"))
    Path("locked.mp4").chmod(0)
    root = os.geteuid() == 0  # who may read everything
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(UserError, match=r"^locked.mp4: not a readable video \(Permission denied\)$"):
            video.probe(Path("locked.mp4"))
    finally:
        if root:
            os.seteuid(0)


NAMES = [
    "two words.mp4",
    "new\nline.mp4",
    "动画 ünï.mp4",
    "100%.mp4",
    "%03d.mp4",
    "-y.mp4",
    "--help",
    "concat:a.mp4|b.mp4",
    "http:x.mp4",
    "file:x.mp4",
    "pipe:0",
    "data:video;base64,AAAA",
    "subfile,,start,0,end,1,,:x.mp4",
    "'single' \"double\".mp4",
    "$(touch never).mp4",
    "back\\slash.mp4",
    "no ending",
    os.fsdecode(b"\xff\xfe.mp4"),
    "a" * 251 + ".mp4",
]


@pytest.mark.parametrize("name", [*NAMES, "http:/host/x.mp4"], ids=ascii)
def test_a_name_is_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "made.mp4")
    for path in (Path(name), tmp_path / name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((tmp_path / "made.mp4").read_bytes())
        assert video.probe(path).duration == pytest.approx(1.0)
        assert numbers(read(path)) == list(odd_files.ALL)
