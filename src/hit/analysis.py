"""Looking at files with a model's experts: videos, segment by segment and in worker processes, and images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hit import experts as registry
from hit import pool, video
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.segments import CUT_WANT, POSTER_WANT, SegmentConfig, divide, find_cuts, poster
from hit.types import Audio, AudioWant, Clip, Expert, Features, Frames, Media, Want

STILL_SECONDS = 2.0  # for how long an image is held to be looked at as a video
_TICK = 0.01  # seconds: times are float32
_STRETCH = 60.0  # seconds looked through for cuts at once


@dataclass(frozen=True, slots=True)
class Job:
    """A video to analyse, and the file to read it from."""

    video: str
    path: Path
    size: int
    mtime_ns: int

    def __str__(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """An analysed segment: what the experts saw, and the JPEG that shows it."""

    clip: Clip
    features: Mapping[str, Features]
    poster: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """An analysed video."""

    info: video.VideoInfo
    pieces: Sequence[Piece]


Analyse = Callable[[Sequence[Job]], Iterator[tuple[Job, Analysis | Exception]]]


class Analyst:
    """Cuts videos into segments and has the experts look at them, in `workers` processes (0: as pool.run decides)."""

    def __init__(
        self, experts: Mapping[str, ExpertConfig], identities: Mapping[str, str], segments: SegmentConfig, workers: int = 0
    ) -> None:
        self._args, self._workers = (dict(experts), dict(identities), segments), workers

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Analysis | Exception]]:
        """Yield each job with its analysis or with what went wrong, as they are completed."""
        return pool.run(_analyse_in_worker, jobs, self._workers, _start_worker, self._args)


_worker: tuple[dict[str, Expert], SegmentConfig]


def _start_worker(experts: Mapping[str, ExpertConfig], identities: Mapping[str, str], segments: SegmentConfig) -> None:
    global _worker  # noqa: PLW0603  # a process's own: experts are loaded once in each
    _worker = load_experts(experts, identities), segments


def _analyse_in_worker(job: Job) -> Analysis:
    return analyse(job.video, job.path, *_worker)


def load_experts(experts: Mapping[str, ExpertConfig], identities: Mapping[str, str]) -> dict[str, Expert]:
    """Load a model's experts. Raises UserError for one that sees otherwise than the one that the model was trained with."""
    loaded = registry.load_all(experts)
    for name, expert in loaded.items():
        if identities.get(name, expert.identity) != expert.identity:
            why = f"is now '{expert.identity}', but the model was trained with '{identities[name]}'"
            raise UserError(f"expert {name}", why, "install the version that it was trained with, or train again")
    return loaded


def analyse(key: str, path: Path, experts: Mapping[str, Expert], config: SegmentConfig) -> Analysis:
    """Cut the video at `path` into segments and look at each. Raises UserError where it cannot be read."""
    info = video.probe(path)
    if not info.has_video:
        raise UserError(path, "has no pictures, only sound" if info.has_audio else "has no pictures")
    cuts = find_cuts(_stretches(path, info.duration)) if config.needs_cuts(info.duration) else []
    clips = [_segment(key, path, *span) for span in divide(info.duration, cuts, config)]
    wants = (*registry.wants(experts), POSTER_WANT)
    pieces = [
        Piece(_as_seen(media), registry.run(experts, media), poster(media.frames[POSTER_WANT].images))
        for media in video.read(path, clips, wants)
    ]
    return Analysis(info, sorted(pieces, key=lambda piece: piece.clip.start))


def _segment(key: str, path: Path, start: float, end: float) -> Clip:
    return Clip(f"{key}-{round(start * 1000)}-{round(end * 1000)}", key, path, start, end)


def _as_seen(media: Media) -> Clip:
    """Return the clip as far as there were pictures: the header of a truncated file promises more."""
    clip = media.clip
    end = min(float(frames.times[-1]) + 1 / want.rate for want, frames in media.frames.items())
    return clip if end > clip.end - _TICK else _segment(clip.video, clip.path, clip.start, end)


def _stretches(path: Path, duration: float) -> Iterator[Frames]:
    starts = np.arange(0, duration, _STRETCH).tolist()
    clips = [Clip("", "", path, start, min(start + _STRETCH, duration)) for start in starts]
    return (media.frames[CUT_WANT] for media in video.read(path, clips, [CUT_WANT]))


def look_at_image(path: Path, experts: Mapping[str, Expert]) -> dict[str, Features]:
    """Return what experts see in an image. Raises UserError for a file that is none, or that none of them can use."""
    looked = registry.run(experts, still(path, registry.wants(experts)))
    if not any(len(features.values) for features in looked.values()):
        raise UserError(path, "no expert of this model sees anything in a still picture")
    return looked


def still(path: Path, wants: Iterable[Want]) -> Media:
    """Return an image as a clip without sound in which nothing moves. Raises UserError for a file that is no image."""
    try:
        with Image.open(path) as file:
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
