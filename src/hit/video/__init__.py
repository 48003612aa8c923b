"""Video files: probe, read, write. The only package that knows PyAV.

Time zero is the first picture of the video stream, whatever the container's clock says there. A picture is on screen
from its presentation time until the next one's; what is sampled at a time is what is on screen then.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hit.errors import UserError
from hit.files import write_whole
from hit.types import Bytes, Clip, FrameWant, Media, Want, Where
from hit.video.collect import TICK
from hit.video.cut import cut
from hit.video.facts import Facts, facts
from hit.video.reader import OvershotError, Reader
from hit.video.rendition import rendition
from hit.video.source import BACK, Index, Source, UnkeyedError, rotation
from hit.video.sprites import Sheet, jpeg, sheet_of, vtt
from hit.video.writer import write

__all__ = [
    "Facts",
    "Sheet",
    "VideoInfo",
    "cut",
    "facts",
    "frame",
    "jpeg",
    "probe",
    "read",
    "rendition",
    "sheet_of",
    "sprites",
    "vtt",
    "write",
]

SEEK_FROM = 10.0  # seconds: where the first clip starts later than this, what comes before is not decoded


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file's header and first picture say. Sizes are those on screen: upright, square pixels; 0 without video."""

    duration: float  # seconds of video, at least one frame's worth, or a second where frames last longer
    width: int
    height: int
    rate: float  # average pictures a second
    codec: str
    rotation: int  # degrees by which the coded pictures are turned counter-clockwise for display: 0, 90, 180, 270
    has_video: bool
    has_audio: bool
    audio_rate: int  # samples a second, 0 without audio


def probe(path: Where, tick: Callable[[float], None] | None = None) -> VideoInfo:
    """Look at a file, without reading it through unless its header does not say how long it is.

    Then `tick` is called with the seconds that have gone by. Raises UserError where it is no media file or no picture decodes.
    """
    with Source(path) as source:
        audio_rate = source.audio.rate if source.audio else 0
        if source.video is None:
            length = source.duration() or source.scan(tick).end
            return VideoInfo(length, 0, 0, 0.0, "", 0, False, source.audio is not None, audio_rate)
        first = source.first()
        width, height = source.display(first)
        duration = source.duration()
    if duration is None:
        with Source(path) as source:
            duration = source.scan(tick).end
    duration = max(duration, 1 / max(source.rate, 1.0))
    return VideoInfo(duration, width, height, source.rate, source.codec, rotation(first), True, audio_rate > 0, audio_rate)


def read(
    path: Where, spans: Sequence[Clip], wants: Iterable[Want], tick: Callable[[float], None] | None = None
) -> Iterator[Media]:
    """Decode all `wants` of all clips of one file in one sequential pass; yield each clip's media once it is complete.

    For a FrameWant the target times are clip.start + k / rate before the clip's (or the video's) end, and each gets the
    last picture presented at or before it (the first picture if there is none); where the want is not exact, the last key
    picture, provided that everywhere in the file the next one comes within REACH / rate seconds. Where every FrameWant can
    be given those, nothing else is decoded. The order is that of completion. A clip that begins after the last picture is
    not yielded. Damaged packets are skipped and logged. `tick` is called with the time of each picture as it goes by. Raises
    UserError where the file cannot be read, holds no video, or where nothing of it decodes.
    """
    clips, distinct = sorted(spans, key=lambda clip: (clip.start, clip.end)), tuple(dict.fromkeys(wants))
    if not clips:
        return
    backs, index = iter(BACK if clips[0].start > SEEK_FROM else BACK[-1:]), _index(path, distinct, tick)
    back = next(backs)
    while clips:
        try:
            with Source(path) as source:
                for media in Reader(source, list(clips), distinct, back, index, tick).run():
                    clips.remove(media.clip)
                    yield media
            return
        except OvershotError:
            back = next(backs)
        except UnkeyedError:
            index = None


def _index(path: Where, wants: Iterable[Want], tick: Callable[[float], None] | None) -> Index | None:
    """Return where key pictures lie, if any want is content with them and they are fewer than all."""
    if all(want.exact for want in wants if isinstance(want, FrameWant)):
        return None
    with Source(path) as source:
        return None if source.video is None or source.intra else source.scan(tick)


def frame(path: Where, time: float, side: int) -> Bytes:
    """Return the picture (height, width, 3) on screen at `time`, upright, its shorter side `side` long; after the end, the last.

    Raises UserError where there is none.
    """
    want = FrameWant(1.0, side)
    with Source(path) as source:
        end = source.duration() or (source.scan().end if source.video else 0.0)
    if time < end:
        for media in read(path, [Clip("", "", path, time, time + TICK)], [want]):
            image: Bytes = media.frames[want].images[0]
            return image
    for back in (10.0**power for power in range(9)):  # the header may claim more than there is
        with Source(path) as source:
            reader = Reader(source, [Clip("", "", path, end)], (want,), back if end > back else math.inf)
            if source.seek(end, back):
                for picture in source.decoded([source.video], lambda begin, until: True):
                    reader.see(picture)
            if reader.held:
                return reader.image(reader.held, side)
            if end <= back:
                raise source.nothing()
    raise UserError(path, f"has no picture at {time:.2f} s")


def sprites(path: Where, duration: float, target: Path, tick: Callable[[float], None] | None = None) -> Sheet:
    """Write a JPEG of small pictures of a video, one for each `interval` of its `duration`, row by row; say how they lie.

    Key pictures will do where there are enough of them. Where the file ends before, the last picture fills up its row.
    `tick` is called with the time of each picture as it goes by. Raises UserError where the file cannot be read.
    """
    with Source(path) as source:
        sheet = sheet_of(duration, source.display(source.first()))
    want = FrameWant(1 / sheet.interval, min(sheet.width, sheet.height), exact=False)
    images: list[Bytes] = []
    for media in read(path, [Clip("", "", path, 0.0, duration)], [want], tick):
        images.extend(media.frames[want].images)
    write_whole(target, jpeg(sheet.tiled(images), 75))
    return sheet
