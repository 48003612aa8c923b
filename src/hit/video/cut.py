"""A stretch of a video as a file of its own, without encoding it anew."""

from dataclasses import dataclass
from pathlib import Path

import av

from hit.files import beside
from hit.types import Where
from hit.video.collect import TICK
from hit.video.rendition import rendition
from hit.video.source import AHEAD, BACK, Source

VIDEO = frozenset(["h264", "hevc", "av1", "vp9", "mpeg4"])  # what an mp4 may hold
AUDIO = frozenset(["aac", "mp3", "opus", "flac", "ac3", "eac3", "alac"])

LAG = 1.0  # seconds that a container may have sound behind its pictures


@dataclass(frozen=True, slots=True)
class Plan:
    """What to copy: from which key picture, how many packets of pictures, and when the first and the last one are shown."""

    back: float  # seconds before the start that were sought to
    key: int  # the key picture's time stamp
    count: int
    lasting: dict[int, float]  # seconds, by the pictures' time stamps
    start: float  # seconds
    end: float


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """What a packet says of its picture."""

    begin: float  # seconds
    lasting: float
    pts: int
    key: bool
    discard: bool  # it is there to be decoded, and not shown


def cut(path: Where, start: float, end: float, target: Path) -> tuple[float, float]:
    """Write what a video shows and sounds from `start` to `end` (seconds) to an mp4; return the times really cut at.

    Packets are copied as they are: from the key picture before the start on, since what follows is drawn upon it, but players
    are told (by an edit list) to begin with the picture on screen at `start`; those that do not listen show what leads there.
    The file ends with the picture on screen just before `end`, or a few later where that is drawn upon them. What an mp4
    cannot hold is encoded anew. The file appears whole or not at all. Raises UserError where the file cannot be read or has
    no picture between the two times.
    """
    try:
        plan = _plan(path, start, end)
        if plan is not None:
            with beside(target) as part:
                _copy(path, plan, start, part)
            return plan.start, plan.end
    except av.FFmpegError:  # an mp4 will not have its time stamps: those of a decoder it will
        pass
    written = rendition(path, target, span=(start, end))
    return start, start + written


def _plan(path: Where, start: float, end: float) -> Plan | None:
    """Say what to copy, by the packets' heads; None where they do not allow it."""
    for back in BACK:
        with Source(path) as source:
            if not _fits(source):
                return None
            plan = _chosen(_heads(source, end), start, end, back) if source.seek(start, back) else None
            if plan is not None:
                return plan
    return None


def _heads(source: Source, end: float) -> list[Head]:
    """Return the heads of the pictures' packets up to `end`, and of some that come later."""
    heads: list[Head] = []
    late = 0
    for packet in source.packets([source.video]):
        begin, decoded = (source.time(stamp, packet.time_base) for stamp in (packet.pts, packet.dts))
        if packet.size and begin is not None and decoded is not None:
            heads.append(Head(begin, source.lasting(packet), packet.pts, packet.is_keyframe, packet.is_discard))
            late += decoded >= end
            if late > AHEAD:
                break
    return heads


def _chosen(heads: list[Head], start: float, end: float, back: float) -> Plan | None:
    keys = [place for place, head in enumerate(heads) if head.key and head.begin <= start + TICK]
    heads = heads[keys[-1] :] if keys else []
    shown = sorted(head for head in heads if head.pts >= heads[0].pts and not head.discard)
    begun = [place for place, head in enumerate(shown) if head.begin <= start + TICK]
    if not begun:
        return None
    last = max([begun[-1], *(place for place, head in enumerate(shown) if head.begin < end - TICK)])
    count = 0
    # What has to be there to decode these may be shown later, and then so is what lies between.
    while count < (count := max(map(heads.index, shown[: last + 1])) + 1):
        last = shown.index(max(head for head in heads[:count] if head in shown))
    finish = shown[last + 1].begin if last + 1 < len(shown) else shown[last].begin + shown[last].lasting
    if finish <= start + TICK:
        return None
    until = [*(head.begin for head in shown[1 : last + 1]), finish]
    lasting = {head.pts: end - head.begin for head, end in zip(shown, until, strict=False)}
    return Plan(back, heads[0].pts, count, lasting, max(0.0, shown[begun[-1]].begin), finish)


def _fits(source: Source) -> bool:
    """Say whether an mp4 may hold what a file holds."""
    video = source.pictures().codec_context.codec.canonical_name
    audio = source.audio.codec_context.codec.canonical_name if source.audio else "aac"
    return video in VIDEO and audio in AUDIO


def _copy(path: Where, plan: Plan, start: float, part: Path) -> None:
    with Source(path) as source, av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        source.seek(start, plan.back)
        given = [source.video] if source.audio is None else [source.video, source.audio]
        streams = {one.index: container.add_stream_from_template(one, opaque=True) for one in given}
        copied = 0
        for packet in source.packets(given):
            time, pictures = source.time(packet.pts, packet.time_base), packet.stream is source.video
            if not packet.size or time is None or (pictures and not copied and packet.pts != plan.key):
                continue
            copied += pictures
            if pictures:  # what leads an open group cannot be decoded
                kept = copied <= plan.count and packet.pts >= plan.key
            else:
                kept = plan.start < time + source.lasting(packet) and time < plan.end
            if kept:
                lasting = plan.lasting.get(packet.pts) if pictures else None
                if lasting is not None:  # the container may not say; only the last one's counts
                    packet.duration = round(lasting / packet.time_base)
                shift = round((plan.start + source.origin) / packet.time_base)
                packet.pts, packet.stream = packet.pts - shift, streams[packet.stream.index]
                packet.dts = None if packet.dts is None else packet.dts - shift
                container.mux(packet)
            if copied >= plan.count and (source.audio is None or time >= plan.end + LAG):
                return
