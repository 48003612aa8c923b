"""One pass over one file for any number of clips and wants."""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter

from hit.errors import UserError
from hit.types import AudioWant, Bytes, Clip, Floats, FrameWant, Media, Want, Where
from hit.video.collect import TICK, Ear, Reel
from hit.video.source import MAX_SIDE, STILL, Index, Source, UnkeyedError, rotation

log = logging.getLogger(__name__)

UNSPECIFIED = 2  # of colour spaces, in ITU-T H.273
SLACK = 10.0  # seconds that a container may interleave sound behind its pictures
SCALING: dict[str, Any] = {"interpolation": Interpolation.BILINEAR, "threads": 1}
REACH = 2.1  # samples for which one key picture may stand: two of a second, where it is 60 frames of NTSC to the next


class OvershotError(Exception):
    """A seek landed after the first clip's start, or where nothing can be decoded any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A decoded picture, and what was made of it, by side."""

    picture: av.VideoFrame
    images: dict[int, Bytes] = field(default_factory=dict)


class Reader:
    """One pass over one file, from `back` seconds before the first clip on.

    Wants that are not exact are given key pictures where `index` says that they are often enough.
    """

    def __init__(
        self,
        source: Source,
        clips: list[Clip],
        wants: tuple[Want, ...],
        back: float = math.inf,
        index: Index | None = None,
        tick: Callable[[float], None] | None = None,
    ):
        source.pictures()  # raises where there are none
        self.source, self.wants, self.back, self.tick = source, wants, back, tick
        self.seek = back < math.inf
        limit = source.duration() or math.inf  # a time stamp gone astray must not make an endless last frame
        self.waiting = deque(Reel(clip, wants, limit + SLACK) for clip in clips)
        self.open: list[Reel] = []
        self.held: Shown | None = None
        self.key: Shown | None = None  # the last key picture
        self.now = self.heard = -math.inf
        self.first = clips[0].start
        self.latest = self.first if self.seek else 0.0
        self.size = (0, 0)
        self.scalers: dict[int, VideoReformatter] = {}
        rates = {want.rate for want in wants if isinstance(want, AudioWant)} if source.audio else set()
        self.ears = {rate: Ear(rate) for rate in rates}
        films = {want for want in wants if isinstance(want, FrameWant)}
        # What a want is given does not depend on the wants beside it, as features must not depend on other experts.
        self.keyed = {want for want in films if not want.exact and index and index.gap() * want.rate <= REACH}
        self.leading = films - self.keyed or films  # whose samples decide over what is decoded
        self.index = index if index and self.keyed else Index((), 0.0)
        self.keys = frozenset(self.index.keys)
        self.only_keys = bool(self.keyed) and self.leading == self.keyed

    def run(self) -> Iterator[Media]:
        """Yield each clip's media once it is complete."""
        source = self.source
        streams = [source.video] if any(isinstance(want, FrameWant) for want in self.wants) else []
        streams += [source.audio] if self.ears else []
        if self.seek and not source.seek(self.first, self.back):
            raise OvershotError
        keys = self.index.keys if self.only_keys else None
        for item in source.decoded(streams, self.wanted, keys) if streams else ():
            if isinstance(item, av.VideoFrame):
                self.see(item)
            else:
                self.hear(item)
            yield from self.finished()
            if not self.open and not self.waiting:
                return
        yield from self.rest()

    def wanted(self, begin: float, until: float) -> bool:
        """Say whether any clip samples, for a leading want, a picture that stands from `begin` until `until`."""
        for reels in (self.open, self.waiting):
            for reel in reels:
                if reel.clip.start > until + TICK:
                    break  # both are in the order of their starts
                for want in self.leading:
                    step = max(0, math.ceil((begin - TICK - reel.clip.start) * want.rate - TICK))
                    if reel.clip.start + step / want.rate < min(until - TICK / 2, reel.end):
                        return True
        return False

    def admit(self, time: float) -> None:
        """Open the clips that have begun by `time`."""
        while self.waiting and self.waiting[0].clip.start <= time:
            self.open.append(self.waiting.popleft())

    def see(self, picture: av.VideoFrame) -> None:
        """Give the picture held so far to all who sample before this one, then hold this one."""
        time = self.source.time(picture.pts, picture.time_base)
        if time is None:
            time = self.now + 1 / self.source.rate if self.held else 0.0
        if self.held is None and not self.seek and abs(time) > STILL:  # the header is wrong about when it begins
            if self.keys:
                raise UnkeyedError
            self.source.origin, time = self.source.origin + time, 0.0
        if self.astray(time):
            return
        shown = Shown(picture)
        if self.held is None:
            self.held = shown
            self.size = self.source.display(picture)
            if self.seek and time > self.first + TICK:
                raise OvershotError
        elif time <= self.now:
            return
        if key := time in self.keys:
            if picture.pict_type != PictureType.I:
                raise UnkeyedError
            self.key = self.key or shown
        self.admit(time)
        self.sample(time)
        self.held, self.now = shown, time
        if key:
            self.key = shown
        if self.tick:
            self.tick(time)

    def astray(self, time: float) -> bool:
        """Say whether a time stamp is damaged, lying far beyond all before it: what is on screen would stay there endlessly."""
        if time > self.latest + STILL:
            self.source.damaged, self.source.reason = self.source.damaged + 1, f"a time stamp of {time:.0f} s"
            return True
        self.latest = max(self.latest, time)
        return False

    def sample(self, until: float) -> None:
        """Take the picture held, or the last key picture, for every time before `until`."""
        for reel in self.open:
            for want, images in reel.films.items():
                shown = self.key if want in self.keyed else self.held
                while shown and reel.due(want) + TICK < until:
                    images.append(self.image(shown, want.side))

    def image(self, shown: Shown, side: int) -> Bytes:
        """Return a picture as RGB at the size wanted."""
        if side not in shown.images:
            width, height = _fit(self.source.path, self.size, side)
            turned = rotation(shown.picture)
            scaled = self.scaled(shown.picture, side, *((height, width) if turned % 180 else (width, height)))
            shown.images[side] = np.ascontiguousarray(np.rot90(scaled.to_ndarray(), turned // 90))
        return shown.images[side]

    def scaled(self, picture: av.VideoFrame, side: int, width: int, height: int) -> av.VideoFrame:
        """Return a picture as RGB of `width` x `height`, as it is coded: not yet turned."""
        scaler = self.scalers.setdefault(side, VideoReformatter())
        return converted(picture, partial(scaler.reformat, width=width, height=height, format="rgb24", **SCALING))

    def hear(self, sound: av.AudioFrame) -> None:
        """Give a stretch of sound to all clips that it falls into."""
        time = self.source.time(sound.pts, sound.time_base)
        if time is None:
            time = max(self.heard, 0.0)
        if self.astray(time):
            return
        self.heard = time + sound.samples / sound.sample_rate
        self.admit(self.heard)
        for ear in self.ears.values():
            self.add(ear.rate, ear.hear(sound, time))

    def add(self, rate: int, stretches: Iterator[tuple[float, Floats]]) -> None:
        """Hand resampled stretches to the open clips."""
        for start, samples in stretches:
            for reel in self.open:
                for want, track in reel.tracks.items():
                    if want.rate == rate:
                        track.add(start, samples)

    def finished(self) -> Iterator[Media]:
        """Yield and forget the clips that lack nothing any more."""
        for reel in [reel for reel in self.open if reel.seen()]:
            delay = 1.0  # the resampler's
            if not self.ears or self.heard >= reel.end + delay or self.now >= reel.end + SLACK:
                self.open.remove(reel)
                yield reel.media()

    def rest(self) -> Iterator[Media]:
        """At the end of the file, complete the clips that are still open."""
        for ear in self.ears.values():
            self.add(ear.rate, ear.finish())
        if self.keyed and self.key is None:
            raise UnkeyedError
        end = math.inf
        if any(isinstance(want, FrameWant) for want in self.wants):
            if self.held is None:
                raise OvershotError if self.seek else self.source.nothing()
            end = self.index.end if self.only_keys else self.now + self.source.lasting(self.held.picture)
        self.admit(end - TICK)
        for reel in self.open:
            reel.end = min(reel.end, end)
        self.sample(math.inf)
        for reel in self.open:
            yield reel.media()
        if self.waiting:
            count, start = len(self.waiting), self.waiting[0].clip.start
            log.warning("%s: %d clips begin at or after the end, the first at %.2f s", self.source.path, count, start)


def converted(picture: av.VideoFrame, convert: Callable[[av.VideoFrame], av.VideoFrame]) -> av.VideoFrame:
    """Convert a picture, taking its colours for the usual where they are marked as of a kind that there is not."""
    try:
        return convert(picture)
    except av.FFmpegError:
        picture.colorspace = picture.color_trc = picture.color_primaries = UNSPECIFIED
        return convert(picture)


def _fit(path: Where, size: tuple[int, int], side: int) -> tuple[int, int]:
    longer = max(side, round(side * max(size) / min(size)))
    if longer > MAX_SIDE:
        raise UserError(path, f"its pictures of {size[0]} x {size[1]} are too long and thin to be read")
    return (longer, side) if size[0] >= size[1] else (side, longer)
