"""Subtitles: timed text in a video's own tracks, and in .srt and .vtt files beside it."""

import codecs
import html
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import av
from av.stream import Disposition

from hit import places
from hit.files import SUBTITLES
from hit.types import Far, Where
from hit.video.source import Source

LAST = 5.0  # seconds for which the last line of a track stands, where it does not say how long it does

_CLOCK = r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]?\d)(?:[.,](\d{1,3}))?"  # hours, which WebVTT may omit, minutes, seconds, decimals
_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?", re.ASCII)
_OVERRIDE = re.compile(r"\{\\[^{}]*\}")  # {\an8}, {\i1}: of SubStation Alpha, common in .srt as well
_TAG = re.compile(r"</?[A-Za-z0-9][^<>]*>")  # <i>, <font color="red">, <v Roger>, <00:01.500>
_BREAK = re.compile(r"\\[Nnh]")  # line breaks and hard spaces of SubStation Alpha


@dataclass(frozen=True, slots=True)
class Cue:
    """A line of words, on screen from `start` until `end`: seconds from the video's start."""

    start: float
    end: float
    text: str


def side_file(path: Where) -> Where | None:
    """Return the .srt or .vtt file that lies beside a video, None where there is none."""
    if isinstance(path, Far):
        return (path if path.size >= 0 else places.look(path)).side
    return next((file for ending in SUBTITLES if (file := path.with_name(path.stem + ending)).is_file()), None)


def beside(path: Where) -> list[Cue] | None:
    """Return the cues of the .srt or .vtt file that lies beside a video, in the order of time; None where there is none."""
    file = side_file(path)
    if file is None:
        return None
    return parse(decode(b"".join(places.blocks(file)) if isinstance(file, Far) else file.read_bytes()))


def embedded(path: Where) -> list[Cue] | None:
    """Return the cues of a video's text track, in the order of time; None where it has none.

    Of several tracks it is the one marked as default, else the first; tracks of pictures (DVD, Blu-ray) are not read.
    Packets that cannot be decoded are skipped. Raises UserError where the file cannot be opened.
    """
    with Source(path) as source:
        tracks = [
            track for track in source.container.streams.subtitles if track.codec_context and track.codec_context.codec.text_sub
        ]
        if not tracks:
            return None
        chosen = next((track for track in tracks if track.disposition & Disposition.default), tracks[0])
        return _ordered(_cues(source, chosen))


def decode(data: bytes) -> str:
    """Return the text of a file that does not say how it is encoded: UTF-8 where it can be that, else Latin-1.

    Latin-1 is read as Windows reads it, whose quotation marks lie where Latin-1 has control characters.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def parse(text: str) -> list[Cue]:
    """Return the cues of SubRip (.srt) or WebVTT (.vtt) text, in the order of time. What is malformed is skipped.

    Both are blocks of lines of which one holds two times and those below it the words, up to an empty line; notes, styles
    and numbers stand in blocks, or in lines, without times.
    """
    cues: list[Cue] = []
    times: tuple[float, float] | None = None
    words: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip() and "-->" not in line:
            words.append(line)
            continue
        if times is not None:
            if line.strip() and words and words[-1].strip().isdigit():
                words.pop()  # the number of the next cue, before which an empty line is missing
            cues.append(Cue(*times, plain(" ".join(words))))
        words, times = [], span(line)
    return _ordered(cues)


def span(line: str) -> tuple[float, float] | None:
    """Return the two times of a line `00:00:01,500 --> 00:00:04,000` in seconds, or None where it is no such line."""
    match = _TIMES.fullmatch(line)
    if match is None:
        return None
    fields = match.groups()
    start, end = _seconds(fields[:4]), _seconds(fields[4:])
    return (start, end) if start < end else None


def plain(text: str) -> str:
    """Return a cue's words without markup, entities resolved, with single spaces."""
    text = _TAG.sub("", _OVERRIDE.sub("", _BREAK.sub(" ", text)))
    return " ".join(html.unescape(text).split())


def _seconds(fields: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, decimals = fields
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + int((decimals or "0").ljust(3, "0")) / 1000


def _ordered(cues: list[Cue]) -> list[Cue]:
    return sorted((cue for cue in cues if cue.text), key=lambda cue: (cue.start, cue.end))


def _dialogue(event: str) -> str:
    """Return the words of an event of SubStation Alpha, the form to which FFmpeg brings all text: its ninth field.

    PyAV's own property for it fails on letters beyond ASCII up to version 16.
    """
    return event.split(",", 8)[-1]


def _cues(source: Source, track: Any) -> list[Cue]:
    found = []
    for packet in source.packets([track]):
        start = source.time(packet.pts, packet.time_base)
        if start is None:
            continue
        try:
            lines = [plain(_dialogue(piece.ass.decode(errors="replace"))) for piece in track.decode(packet)]
        except av.FFmpegError as error:
            source.damaged, source.reason = source.damaged + 1, str(error.strerror)
            continue
        length = float(packet.duration * packet.time_base) if packet.duration else 0.0
        found.append(Cue(start, start + length, " ".join(lines).strip()))
    found.sort(key=lambda cue: cue.start)
    # A packet that does not say how long it lasts holds until the next one, which may be an empty one.
    until = [following.start for _, following in pairwise(found)] + [found[-1].start + LAST if found else 0.0]
    return [cue if cue.end > cue.start else replace(cue, end=end) for cue, end in zip(found, until, strict=False)]
