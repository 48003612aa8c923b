"""Subtitles: what players show is what is read, from tracks and from side files, and broken lines cost only themselves."""

import math
from pathlib import Path

import av
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import subtitled
from hit import video
from hit.errors import UserError
from hit.video import subtitles
from hit.video.subtitles import Cue

SRT = """1
00:00:01,000 --> 00:00:02,500
Hello <i>there</i>,
General

2
00:00:03,250 --> 00:00:04,000 X1:10 X2:20 Y1:1 Y2:9
{\\an8}Tom &amp; Jerry
"""


def test_subrip() -> None:
    assert subtitles.parse(SRT) == [Cue(1.0, 2.5, "Hello there, General"), Cue(3.25, 4.0, "Tom & Jerry")]
    assert subtitles.parse(SRT.replace("\n", "\r\n")) == subtitles.parse(SRT)


def test_webvtt() -> None:
    text = """WEBVTT - a title

STYLE
::cue { color: red }

NOTE one that
takes two lines

intro
00:01.500 --> 00:02.000 align:start position:0%
<v Roger Bingham>We are <00:01.700><c.loud>in</c> New&nbsp;York

01:00:00.000 --> 01:00:01.000
an hour later: 3 < 4 &lt; 5
"""
    assert subtitles.parse(text) == [Cue(1.5, 2.0, "We are in New York"), Cue(3600, 3601, "an hour later: 3 < 4 < 5")]


@pytest.mark.parametrize(
    "broken",
    [
        "00:00:01,000 -> 00:00:02,000",
        "00:00:02,000 --> 00:00:01,000",  # ends before it begins
        "00:00:01,000 --> 00:00:01,000",
        "00:99:01,000 --> 00:99:02,000",
        "00:00:01,000 -->",
        "--> 00:00:01,000",
        "-00:00:01,000 --> 00:00:02,000",
        "00:00:01,000 --> 00:00:02,0000",
        "٠٠:٠٠:٠١,٠٠٠ --> ٠٠:٠٠:٠٢,٠٠٠",
        "9" * 5000 + ":00:01,000 --> 00:00:02,000",
        "one --> two",
    ],
)
def test_a_malformed_cue_costs_only_itself(broken: str) -> None:
    assert subtitles.parse(f"1\n{broken}\nnever shown\n\n{SRT}") == subtitles.parse(SRT)
    assert subtitles.parse(f"{SRT}\n3\n{broken}\nnever shown") == subtitles.parse(SRT)


def test_blocks_that_run_together_are_kept_apart() -> None:
    assert subtitles.parse(SRT.replace("\n\n", "\n")) == subtitles.parse(SRT)


def test_cues_without_words_are_left_out_and_the_rest_are_in_order() -> None:
    text = "00:00:05,0 --> 00:00:06,0\nlater\n\n00:00:03,0 --> 00:00:04,0\n<b> </b>\n\n00:00:01,5 --> 00:00:02,0\nsooner"
    assert subtitles.parse(text) == [Cue(1.5, 2.0, "sooner"), Cue(5.0, 6.0, "later")]
    assert subtitles.parse("") == []


def _stamp(milliseconds: int, mark: str = ",") -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"


@given(
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**5)), max_size=8),
    st.sampled_from(",."),
    st.sampled_from(["", "WEBVTT\n\n"]),
)
def test_times_are_read_as_they_were_written(spans: list[tuple[int, int]], mark: str, head: str) -> None:
    blocks = [f"{_stamp(start, mark)} --> {_stamp(start + length, mark)}\nline {n}\n" for n, (start, length) in enumerate(spans)]
    found = subtitles.parse(head + "\n".join(blocks))
    expected = sorted((start / 1000, (start + length) / 1000) for start, length in spans)
    assert [(cue.start, cue.end) for cue in found] == [pytest.approx(times, abs=1e-6) for times in expected]


@given(st.text(st.sampled_from("0123456789:,.-> \n<{i\\}/&;aé\ufeff\u2028")) | st.text())
@example("00:00:01,000 --> 00:00:02,000\n<" * 50)
def test_any_text_gives_cues_or_nothing(text: str) -> None:
    for cue in subtitles.parse(text):
        assert 0 <= cue.start < cue.end < math.inf
        assert cue.text == " ".join(cue.text.split()) != ""


@given(st.binary())
def test_any_bytes_are_some_text(data: bytes) -> None:
    subtitles.decode(data).encode()  # no lone surrogates, which tokenizers refuse


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    line = "naïve café à Zürich"
    (tmp_path / "film.srt").write_bytes(f"1\n00:00:01,000 --> 00:00:02,000\n{line}\n".encode(encoding))
    assert subtitles.beside(tmp_path / "film.mp4") == [Cue(1.0, 2.0, line)]


def test_side_files_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a film.v2.mp4"
    assert subtitles.beside(path) is None
    for name in ("a film.v2.en.vtt", "a film.v2.vtt", "a film.v2.srt"):  # each one is preferred to those before it
        (tmp_path / name).write_text(f"00:00:01.000 --> 00:00:02.000\n{name}\n")
        assert subtitles.beside(path) == [Cue(1.0, 2.0, name)]
    (tmp_path / "empty.srt").touch()
    assert subtitles.beside(tmp_path / "empty.mkv") == []


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "subrip"), ("a.mp4", "mov_text"), ("a.mov", "mov_text"), ("a.mkv", "ass"), ("a.mkv", "webvtt")]
)
def test_text_tracks(tmp_path: Path, name: str, codec: str) -> None:
    lines = [(0.5, 1.25, "{\\i1}Hello{\\i0}\\Nworld"), (1.25, 1.5, "at once"), (2.0, 3.0, "naïve 日本")]
    path = subtitled.write(tmp_path / name, [(codec, lines)])
    found = subtitles.embedded(path)
    assert found is not None
    assert [(cue.start, cue.end) for cue in found] == [pytest.approx(line[:2], abs=1e-3) for line in lines]
    assert [cue.text for cue in found] == ["Hello world", "at once", "naïve 日本"]


def test_times_count_from_the_first_picture(tmp_path: Path) -> None:
    path = subtitled.write(tmp_path / "late.mkv", [("subrip", [(0.5, 1.0, "here")])], start=7.0)
    with av.open(str(path)) as container:
        assert container.start_time == 7_000_000, "else this proves nothing"
    [cue] = subtitles.embedded(path) or []
    assert (cue.start, cue.end) == pytest.approx((0.5, 1.0), abs=1e-3)


def test_the_default_track_is_taken(tmp_path: Path) -> None:
    tracks = [("mov_text", [(0.0, 1.0, "first")]), ("mov_text", [(0.0, 1.0, "second")])]
    path = subtitled.write(tmp_path / "two.mp4", tracks)
    with av.open(str(path)) as container:
        defaults = [bool(stream.disposition & av.stream.Disposition.default) for stream in container.streams.subtitles]
    [cue] = subtitles.embedded(path) or []
    assert cue.text == ("second" if defaults == [False, True] else "first")


def test_a_line_without_a_length_stands_until_the_next(tmp_path: Path) -> None:
    path = subtitled.write(tmp_path / "open.mkv", [("subrip", [(0.5, 0.5, "one"), (2.0, 2.0, "two")])])
    found = subtitles.embedded(path)
    assert found is not None
    assert [(cue.start, cue.end) for cue in found] == [(0.5, 2.0), (2.0, 2.0 + subtitles.LAST)]


def test_no_track_and_no_video(tmp_path: Path) -> None:
    assert subtitles.embedded(subtitled.write(tmp_path / "none.mkv", [])) is None
    assert subtitles.embedded(subtitled.write(tmp_path / "blank.mkv", [("subrip", [])])) == []
    (tmp_path / "no.mkv").write_bytes(b"no video")
    with pytest.raises(UserError, match="not a readable video"):
        subtitles.embedded(tmp_path / "no.mkv")


def test_a_track_leaves_the_pictures_as_they_were(tmp_path: Path) -> None:
    path = subtitled.write(tmp_path / "a.mkv", [("subrip", [(0.5, 1.0, "here")])])
    assert video.probe(path).duration == pytest.approx(4.0, abs=0.05)
