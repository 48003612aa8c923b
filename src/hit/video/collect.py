"""What is gathered for one clip while its file goes by: pictures sampled and held, sound brought to one rate."""

import math
from collections.abc import Iterator, Sequence

import av
import numpy as np

from hit.types import Audio, AudioWant, Bytes, Clip, Floats, Frames, FrameWant, Media, Want

GAP = 0.05  # seconds by which sound may stray from its time stamps before it is placed anew
TICK = 1e-6  # seconds; times closer than this are the same time


class Ear:
    """Brings decoded sound to mono float at one rate, in stretches whose samples follow each other without a gap."""

    def __init__(self, rate: int):
        self.rate, self.expected = rate, -math.inf
        self.kind: tuple[str, str, int] | None = None  # of the sound: resamplers take only one
        self._renew(0.0)

    def _renew(self, start: float) -> None:
        self.resampler = av.AudioResampler(format="flt", rate=self.rate)
        self.start, self.count = start, 0

    def hear(self, sound: av.AudioFrame, time: float) -> Iterator[tuple[float, Floats]]:
        """Yield (time of the first sample, samples)."""
        kind = (sound.format.name, sound.layout.name, sound.sample_rate)
        if abs(time - self.expected) > GAP or kind != self.kind:
            yield from self.finish()
            self._renew(time)
            self.expected, self.kind = time, kind
        self.expected += sound.samples / sound.sample_rate
        yield from self._collect(self.resampler.resample(sound))

    def finish(self) -> Iterator[tuple[float, Floats]]:
        """Yield what the resampler still holds."""
        if self.expected > -math.inf:
            yield from self._collect(self.resampler.resample(None))

    def _collect(self, sounds: list[av.AudioFrame]) -> Iterator[tuple[float, Floats]]:
        for sound in sounds:
            samples = self.samples(sound)
            yield self.start + self.count / self.rate, samples
            self.count += len(samples)

    def samples(self, sound: av.AudioFrame) -> Floats:
        """Return the samples of resampled sound."""
        # The mean of the channels: FFmpeg's own mixture of floats to mono goes beyond [-1, 1].
        mean: Floats = np.asarray(sound.to_ndarray(), np.float32).reshape(sound.samples, -1).mean(axis=1)
        return mean


class Track:
    """The samples of one clip at one rate."""

    def __init__(self, clip: Clip, rate: int):
        self.clip, self.rate, self.start, self.count = clip, rate, clip.start, 0
        self.chunks: list[Floats] = []

    def add(self, time: float, samples: Floats) -> None:
        """Put samples where they belong: gaps become silence, what comes twice is kept once."""
        low = max(0, math.ceil((self.clip.start - time) * self.rate - TICK))
        high = len(samples)
        if self.clip.end < math.inf:
            high = min(high, math.ceil((self.clip.end - time) * self.rate - TICK))
        if high <= low:
            return
        if not self.chunks:
            self.start = time + low / self.rate
        ahead = round((time - self.start) * self.rate) + low - self.count
        if ahead > 0:
            self.chunks.append(np.zeros(ahead, np.float32))
        self.chunks.append(samples[low + max(0, -ahead) : high])
        self.count += len(self.chunks[-1]) + max(0, ahead)

    def audio(self) -> Audio:
        """Return all samples."""
        return Audio(np.concatenate([np.zeros(0, np.float32), *self.chunks]), self.rate, self.start)


class Reel:
    """All that is collected for one clip."""

    def __init__(self, clip: Clip, wants: Sequence[Want], end: float):
        self.clip, self.end = clip, min(clip.end, end)
        self.films: dict[FrameWant, list[Bytes]] = {want: [] for want in wants if isinstance(want, FrameWant)}
        self.tracks = {want: Track(clip, want.rate) for want in wants if isinstance(want, AudioWant)}

    def due(self, want: FrameWant) -> float:
        """Return the next time to sample, infinite once all are."""
        count = len(self.films[want])
        time = self.clip.start + count / want.rate
        return time if time < self.end - TICK or not count else math.inf

    def seen(self) -> bool:
        """Say whether every picture is in."""
        return all(self.due(want) == math.inf for want in self.films)

    def media(self) -> Media:
        """Return what was collected."""
        frames = {}
        for want, images in self.films.items():
            times = self.clip.start + np.arange(len(images)) / want.rate
            frames[want] = Frames(np.stack(images), times.astype(np.float32))
        return Media(self.clip, frames, {want: track.audio() for want, track in self.tracks.items()})
