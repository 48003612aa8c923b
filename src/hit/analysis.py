"""Looking at files with a model's experts: videos, segment by segment and in worker processes, and images."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hit import experts as registry
from hit import places, video, watch
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.segments import CUT_WANT, POSTER_WANT, SegmentConfig, divide, find_cuts, poster
from hit.types import Audio, AudioWant, Clip, Encoder, Expert, Far, Features, Frames, Media, Want, Where

STILL_SECONDS = 2.0  # for how long an image is held to be looked at as a video
_TICK = 0.01  # seconds: times are float32
_STRETCH = 60.0  # seconds looked through for cuts at once


class ServingEncoder(Encoder, Protocol):
    """An encoder that knows the experts that it was trained with."""

    @property
    def experts(self) -> Mapping[str, ExpertConfig]:
        """The experts by name."""
        ...

    @property
    def identities(self) -> Mapping[str, str]:
        """The identity that each expert had then."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A video to analyse, and the file to read it from; `name` is as `hit.places` has it."""

    video: str
    path: Where
    size: int
    mtime_ns: int
    name: str = "/"

    def __str__(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """An analysed segment: what the experts saw, and the JPEG that shows it."""

    clip: Clip
    features: Mapping[str, Features]
    poster: bytes


def crew(experts: Mapping[str, ExpertConfig], identities: Mapping[str, str], segments: SegmentConfig) -> watch.Crew[Job]:
    """Return who cuts videos into segments and looks at them: for each segment a Piece is told."""
    load = partial(load_experts, dict(experts), dict(identities))
    return watch.Crew(load, partial(_plan, segments), _piece, gpus=registry.want_gpus(experts))


def load_experts(experts: Mapping[str, ExpertConfig], identities: Mapping[str, str]) -> dict[str, Expert]:
    """Load a model's experts. Raises UserError for one that sees otherwise than the one that the model was trained with."""
    loaded = registry.load_all(experts)
    for name, expert in loaded.items():
        if identities.get(name, expert.identity) != expert.identity:
            why = f"is now '{expert.identity}', but the model was trained with '{identities[name]}'"
            raise UserError(f"expert {name}", why, "install the version that it was trained with, or train again")
    return loaded


def analyse(
    key: str, path: Where, experts: Mapping[str, Expert], config: SegmentConfig, within: tuple[float, float] = (0.0, np.inf)
) -> list[Piece]:
    """Cut the video at `path` into segments and look at each, or at what of it lies `within` two times.

    Raises UserError where it cannot be read, and where it has nothing at these times.
    """
    plan = _plan(config, Job(key, path, 0, 0), experts, lambda _: None)
    start, end = within
    spans = [(max(clip.start, start), min(clip.end, end)) for clip in plan.clips]
    plan = replace(plan, clips=[_segment(key, path, *span) for span in spans if span[1] - span[0] > _TICK])
    if not plan.clips:
        raise UserError(
            path, f"is {plan.info.duration:.1f} s long, and has nothing from {start:g} s to {end:g} s", "name other times"
        )
    seen = (watch.Seen(media, registry.run(experts, media)) for media in video.read(path, plan.clips, plan.wants))
    return sorted(map(_piece, seen), key=lambda piece: piece.clip.start)


def _plan(config: SegmentConfig, job: Job, experts: Mapping[str, Expert], beat: Callable[[float], None]) -> watch.Plan:
    info = video.probe(job.path, beat)
    if not info.has_video:
        raise UserError(job.path, "has no pictures, only sound" if info.has_audio else "has no pictures")
    cuts = find_cuts(_stretches(job.path, info.duration, beat)) if config.needs_cuts(info.duration) else []
    clips = [_segment(job.video, job.path, *span) for span in divide(info.duration, cuts, config)]
    return watch.Plan(info, clips, (*registry.wants(experts), POSTER_WANT), lambda _: experts)


def _piece(seen: watch.Seen) -> Piece:
    if isinstance(seen.features, Exception):
        raise seen.features
    return Piece(_as_seen(seen.media), seen.features, poster(seen.media.frames[POSTER_WANT].images))


def _segment(key: str, path: Where, start: float, end: float) -> Clip:
    return Clip(f"{key}-{round(start * 1000)}-{round(end * 1000)}", key, path, start, end)


def _as_seen(media: Media) -> Clip:
    """Return the clip as far as there were pictures: the header of a truncated file promises more."""
    clip = media.clip
    end = min(float(frames.times[-1]) + 1 / want.rate for want, frames in media.frames.items())
    return clip if end > clip.end - _TICK else _segment(clip.video, clip.path, clip.start, end)


def _stretches(path: Where, duration: float, beat: Callable[[float], None]) -> Iterator[Frames]:
    starts = np.arange(0, duration, _STRETCH).tolist()
    clips = [Clip("", "", path, start, min(start + _STRETCH, duration)) for start in starts]
    return (media.frames[CUT_WANT] for media in video.read(path, clips, [CUT_WANT], beat))


def look_at_image(path: Where, experts: Mapping[str, Expert]) -> dict[str, Features]:
    """Return what experts see in an image. Raises UserError for a file that is none, or that none of them can use."""
    looked = registry.run(experts, still(path, registry.wants(experts)))
    if not any(len(features.values) for features in looked.values()):
        raise UserError(path, "no expert of this model sees anything in a still picture")
    return looked


def still(path: Where, wants: Iterable[Want]) -> Media:
    """Return an image as a clip without sound in which nothing moves. Raises UserError for a file that is no image."""
    try:
        with Image.open(places.open_far(path) if isinstance(path, Far) else path) as file:
            image = ImageOps.exif_transpose(file).convert("RGB")
    except FileNotFoundError:
        raise UserError(path, "there is no such file") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        why = "not an image" if isinstance(error, UnidentifiedImageError) else f"cannot be read as an image: {error}"
        raise UserError(path, why) from None
    frames, audio = {}, {}
    for want in wants:
        if isinstance(want, AudioWant):
            audio[want] = Audio(np.zeros(0, np.float32), want.rate, 0.0)
        else:
            times = np.arange(0, STILL_SECONDS, 1 / want.rate, dtype=np.float32)
            scale = want.side / min(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
            frames[want] = Frames(np.repeat(pixels[None], len(times), axis=0), times)
    return Media(Clip("query", "query", path, 0.0, STILL_SECONDS), frames, audio)


def stretch(name: str | Path) -> tuple[str, tuple[float, float]]:
    """Return a video's name and the times of what is meant of it, where the name ends in #t=START,END [Media Fragments]."""
    found = re.fullmatch(r"(.+)#t=([0-9.]*)(?:,([0-9.]+))?", str(name), re.DOTALL)
    if not found or Path(name).exists():
        return str(name), (0.0, float("inf"))
    try:
        within = float(found[2] or 0), float(found[3] or "inf")
    except ValueError:
        within = 0.0, 0.0
    if within[0] >= within[1]:
        raise UserError(name, "its times are no stretch of time", "write VIDEO#t=10,20 for second 10 to 20")
    return found[1], within
