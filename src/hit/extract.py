"""From videos to features on disk: each file is decoded once for all experts, in worker processes, resumable."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hit import experts as plugins
from hit import features, pool, video
from hit.config import ExpertConfig
from hit.datasets import Dataset
from hit.errors import UserError
from hit.types import Clip, Expert, Features, Media, Progress, Silent

SHARD = 64  # clips; a crash loses at most so many

Outcome = dict[str, dict[str, Features | None] | str]  # {clip id: {expert: features} or why there are none}

_experts: dict[str, Expert] = {}  # of this worker process


@dataclass(frozen=True)
class Report:
    """What became of a data set's clips."""

    done: int  # extracted now
    skipped: int  # were there already
    failed: list[tuple[str, str]]  # (clip id, reason)
    seconds: float


@dataclass(frozen=True)
class Job:
    """One file, its clips, and the experts that each of them lacks."""

    path: Path
    clips: tuple[tuple[Clip, tuple[str, ...]], ...]

    def __str__(self) -> str:
        return str(self.path)


def extract(
    dataset: Dataset,
    experts: Mapping[str, ExpertConfig],
    root: Path | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Compute what is lacking of the features of a data set's clips into `root` (its own `features` folder).

    Clips that cannot be read are listed in the report and in the journal there, and are tried again by the next run.
    May be killed at any moment; the next run goes on. Raises UserError for experts that do not load, a full disk and a
    data set without any video.
    """
    begun = time.monotonic()
    root = dataset.root / "features" if root is None else root
    folders = {name: features.Folder(root, expert) for name, expert in plugins.load_all(experts).items()}
    jobs = _jobs(dataset, {name: folder.done() for name, folder in folders.items()})
    total = sum(len(job.clips) for job in jobs)
    if jobs and not any(clip.path.is_file() for clip in dataset.clips.values()):
        why = f"none of its clips has a video file, and {total} lack features, such as '{jobs[0].clips[0][0].id}'"
        raise UserError(dataset.root, why, f"put the videos into {dataset.root / 'videos'} and name them in clips.csv")
    # Clips of other data sets that share the folder keep their entries.
    failed = {clip: why for clip, why in features.failures(root).items() if clip not in dataset.clips}
    mine: dict[str, str] = {}
    buffer: Outcome = {}
    with (progress or Silent()).task("Extracting features", total) as task:
        for job, result in pool.run(_work, jobs, workers, _prepare, (dict(experts),)):
            outcome = {clip.id: _reason(result) for clip, _ in job.clips} if isinstance(result, Exception) else result
            mine.update({clip: why for clip, why in outcome.items() if isinstance(why, str)})
            buffer.update(outcome)
            task.advance(len(job.clips), job.path.name)
            if len(buffer) >= SHARD:
                _flush(folders, buffer, root, failed | mine)
    _flush(folders, buffer, root, failed | mine)
    return Report(total - len(mine), len(dataset.clips) - total, sorted(mine.items()), time.monotonic() - begun)


def _jobs(dataset: Dataset, done: Mapping[str, set[str]]) -> list[Job]:
    """Return the work that is left, file by file."""
    files: defaultdict[Path, list[tuple[Clip, tuple[str, ...]]]] = defaultdict(list)
    for clip in dataset.clips.values():
        if lacking := tuple(name for name, ids in done.items() if clip.id not in ids):
            files[clip.path].append((clip, lacking))
    return [Job(path, tuple(clips)) for path, clips in files.items()]


def _flush(folders: Mapping[str, features.Folder], buffer: Outcome, root: Path, failed: Mapping[str, str]) -> None:
    """Write what has been gathered, a shard an expert, then forget it."""
    for name, folder in folders.items():
        found = {clip: by_name for clip, by_name in buffer.items() if not isinstance(by_name, str)}
        folder.write({clip: by_name[name] for clip, by_name in found.items() if name in by_name})
    features.remember(root, failed)
    buffer.clear()


def _prepare(configs: Mapping[str, ExpertConfig]) -> None:
    _experts.update(plugins.load_all(configs))


def _work(job: Job) -> Outcome:
    """Decode one file for all that lacks of its clips."""
    lacking = {clip.id: names for clip, names in job.clips}
    outcome: Outcome = {}
    why = "nothing of it could be decoded"
    try:
        for media in _media(job):
            chosen = {name: _experts[name] for name in lacking[media.clip.id]}
            outcome[media.clip.id] = _look(chosen, media)
    except UserError as error:
        why = _reason(error)
    return {clip: outcome.get(clip, why) for clip in lacking}


def _media(job: Job) -> Iterator[Media]:
    if not job.clips[0][0].video:
        raise UserError(job.path, "clips.csv names no video for it")
    needed = {name: _experts[name] for _, names in job.clips for name in names}
    return video.read(job.path, [clip for clip, _ in job.clips], plugins.wants(needed))


def _look(chosen: Mapping[str, Expert], media: Media) -> dict[str, Features | None] | str:
    try:
        found = plugins.run(chosen, media)
    except Exception as error:  # plugins are other people's code: what they raise is this clip's failure, and is listed
        return _reason(error)
    return {name: found.get(name) for name in chosen}


def _reason(error: Exception) -> str:
    return f"{error.why}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
