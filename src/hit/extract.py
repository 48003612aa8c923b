"""From videos to features on disk: each file is decoded once for all experts, in worker processes, resumable.

What is done is known by content: a video that is renamed, or lies there twice, is not looked at again; one that is replaced is.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hit import content, features, places, pool, video, watch
from hit import experts as plugins
from hit.config import ExpertConfig
from hit.datasets import Dataset
from hit.errors import UserError
from hit.journal import Entry, Journal, Status
from hit.types import Clip, Expert, Far, Features, Progress, Silent, Where

SHARD = 64  # clips written at once; a crash loses at most so many
HOLD = 10.0  # seconds after which a worker of a cluster writes fewer
STRETCH = 120.0  # seconds of a long clip that the experts see at once: a whole number of most experts' windows
REST = 30.0  # seconds: a shorter rest of a clip is seen with the stretch before it
_NOT_HERE = "its features are not here: is their folder shared by all machines?"


@dataclass(frozen=True)
class Report:
    """What became of a data set's clips."""

    done: int  # extracted now
    skipped: int  # were there already, maybe under another name
    failed: list[tuple[str, str]]  # (clip id, reason)
    seconds: float
    journal: Where


@dataclass(frozen=True)
class Job:
    """One file, its clips, and the experts that each of them lacks."""

    path: Where
    clips: tuple[tuple[Clip, tuple[str, ...]], ...]
    look: content.Look
    digest: str
    name: str  # what the journal calls it

    def __str__(self) -> str:
        return str(self.path)


def extract(
    dataset: Dataset,
    experts: Mapping[str, ExpertConfig],
    root: Where | None = None,
    *,
    workers: int = 0,
    limits: pool.Limits | None = None,
    where: str = "",
    progress: Progress | None = None,
) -> Report:
    """Compute what is lacking of the features of a data set's clips into `root` (where its own are, see `features.home`).

    `where` names who does it, see `pool.stream`; the workers of a cluster write features themselves. Clips that cannot be read
    are listed in the report and in the journal there, and are tried again by the next run. May be killed at any moment; the next
    run goes on. Raises UserError for experts that do not load, a full disk and a data set without any video.
    """
    begun, progress = time.monotonic(), progress or Silent()
    root = features.home(dataset.root) if root is None else root
    folders = {name: features.Folder(root, expert) for name, expert in plugins.load_all(experts).items()}
    journal = Journal(root / features.JOURNAL)
    journal.tidy()
    todo = _todo(dataset, folders, journal, progress)
    spread = where not in pool.LOCAL
    work = _Ledger(folders, journal) if spread else _Work(folders, journal)
    keep = partial(_Keeper, root.absolute() if isinstance(root, Path) else root) if spread else None
    load, gpus = partial(plugins.load_all, dict(experts)), plugins.want_gpus(experts)
    crew: watch.Crew[Job] = watch.Crew(load, _plan, _tell, keep, gpus)
    with progress.task("Extracting features", len(todo.jobs)) as task:
        watch.follow(crew(todo.jobs, workers, limits, where), work, task)
    if isinstance(work, _Ledger):
        work.miss(todo.jobs)
    for folder in folders.values():
        _share(folder, {twin: todo.keys[twin] for twin in todo.twins})
    failed = work.failed | work.fail(todo.twins, dataset)
    done, skipped = todo.lacking - len(failed), len(dataset.clips) - todo.lacking
    return Report(done, skipped, sorted(failed.items()), time.monotonic() - begun, journal.path)


# -- what is lacking


@dataclass(frozen=True)
class _Todo:
    jobs: list[Job]
    lacking: int  # clips, the twins too
    keys: Mapping[str, str]  # what each clip's features are made from, "" where it is not known
    twins: Mapping[str, str]  # {clip: the one of the same content that is looked at in its stead}


def _todo(dataset: Dataset, folders: Mapping[str, features.Folder], journal: Journal, progress: Progress) -> _Todo:
    """Return the work that is left, once what is known of the same content under another name has been copied."""
    files = _contents(dataset, folders, journal, progress)
    keys = {clip.id: _key(files[clip.path][1], clip) if clip.path in files else "" for clip in dataset.clips.values()}
    for folder in folders.values():
        _share(folder, keys)
    have = {name: folder.contents() for name, folder in folders.items()}
    lacking = {
        clip: names for clip in dataset.clips if (names := tuple(name for name in have if _lacks(have[name], clip, keys[clip])))
    }
    if lacking and not any(places.exists(dataset.clips[clip].path) for clip in lacking if dataset.clips[clip].video):
        why = f"none of its clips has a video file, and {len(lacking)} lack features, such as '{next(iter(lacking))}'"
        raise UserError(dataset.root, why, f"put the videos into {dataset.root / 'videos'} and name them in clips.csv")
    first: dict[tuple[str, tuple[str, ...]], str] = {}  # of those that lack the same experts of the same content
    by_file: defaultdict[Where, list[tuple[Clip, tuple[str, ...]]]] = defaultdict(list)
    for clip, names in lacking.items():
        if not keys[clip] or first.setdefault((keys[clip], names), clip) == clip:
            by_file[dataset.clips[clip].path].append((dataset.clips[clip], names))
    called, unread = _names(), (content.Look(0, 0), "")
    jobs = [Job(path, tuple(clips), *files.get(path, unread), called(path)) for path, clips in by_file.items()]
    twins = {clip: other for clip, names in lacking.items() if (other := first.get((keys[clip], names), clip)) != clip}
    return _Todo(jobs, len(lacking), keys, twins)


def _key(digest: str, clip: Clip) -> str:
    """Say what a clip's features are made from, where the digest of its file is known."""
    return f"{digest} {clip.start} {clip.end}" if digest else ""


def _lacks(have: Mapping[str, str], clip: str, key: str) -> bool:
    """Say whether a clip's features are not there or, as far as one knows, made from something else."""
    return clip not in have or bool(key and have[clip] and have[clip] != key)


def _contents(
    dataset: Dataset, folders: Mapping[str, features.Folder], journal: Journal, progress: Progress
) -> dict[Where, tuple[content.Look, str]]:
    """Return how each file looks and its digest, read anew only where it has changed; without files that cannot be read.

    Features that were imported were made from who knows what: their files are left alone.
    """
    have = [folder.contents() for folder in folders.values()]
    clips = [clip for clip in dataset.clips.values() if clip.video and any(one.get(clip.id) != "" for one in have)]
    looks: dict[Where, content.Look] = {}
    for path in dict.fromkeys(clip.path for clip in clips):
        with suppress(OSError, UserError):  # who opens it will say why
            looks[path] = content.look(path)
    noted, called = journal.read(), _names()
    digests = {
        path: entry.content
        for path, look in looks.items()
        if (entry := noted.get(called(path))) and entry.content and content.Look(entry.size, entry.mtime_ns) == look
    }
    fresh = [path for path in looks if path not in digests]
    entries: list[Entry] = []
    with closing(content.digests(fresh, progress)) as read:
        for path, digest in read:
            if isinstance(digest, str):
                digests[path] = digest
                entries.append(_entry(called(path), looks[path], digest, noted))  # so that it need not be read again
            if len(entries) >= journal.pace:
                journal.write(*entries)
                entries.clear()
    journal.write(*entries)
    return {path: (looks[path], digest) for path, digest in digests.items()}


def _entry(name: str, look: content.Look, digest: str, noted: Mapping[str, Entry]) -> Entry:
    before = noted.get(name, Entry(name, "pending"))
    if before.content != digest:
        before = Entry(name, "pending")
    return replace(before, content=digest, size=look.size, mtime_ns=look.mtime_ns)


def _names() -> Callable[[Where], str]:
    """Return what tells how the journal calls a file: alike on all machines that name the same roots."""
    roots = places.deployed()
    return lambda path: roots.portable(path.absolute() if isinstance(path, Path) else path)


def _share(folder: features.Folder, keys: Mapping[str, str]) -> None:
    """Give clips the features that are there of the same content under another name."""
    have = folder.contents()
    by_key = {made_from: clip for clip, made_from in have.items() if made_from}
    source = {clip: by_key[key] for clip, key in keys.items() if key in by_key and _lacks(have, clip, key)}
    ordered = sorted(source, key=lambda clip: source[clip])
    for at in range(0, len(ordered), SHARD):
        some = ordered[at : at + SHARD]
        found = folder.read(source[clip] for clip in some)
        folder.write({clip: found.get(source[clip]) for clip in some}, keys)


# -- in the worker processes


def stretches(clip: Clip, duration: float) -> list[Clip]:
    """Cut a clip of a video of so many seconds into stretches of STRETCH; only the last may be longer, by less than REST."""
    end = min(clip.end, duration)
    inner = [clip.start + STRETCH * step for step in range(1, max(1, math.ceil((end - clip.start) / STRETCH)))]
    if inner and end - inner[-1] < REST:
        inner.pop()
    return [replace(clip, start=start, end=end) for start, end in pairwise([clip.start, *inner, clip.end])]


def _plan(job: Job, experts: Mapping[str, Expert], beat: Callable[[float], None]) -> watch.Plan:
    if not job.clips[0][0].video:
        raise UserError(job.path, "clips.csv names no video for it")
    info = video.probe(job.path, beat)
    lacking = {clip.id: names for clip, names in job.clips}
    needed = {name: experts[name] for names in lacking.values() for name in names}
    clips = [stretch for clip, _ in job.clips for stretch in stretches(replace(clip, path=job.path), info.duration)]
    return watch.Plan(info, clips, plugins.wants(needed), lambda clip: {name: experts[name] for name in lacking[clip.id]})


def _tell(seen: watch.Seen) -> tuple[str, float, Mapping[str, Features] | str]:
    clip, found = seen.media.clip, seen.features
    return clip.id, clip.start, _reason(found) if isinstance(found, Exception) else found


# -- what comes of it


class _Work:
    """Gathers what was seen in clips, and writes it: whole clips, and of each file what became of it."""

    def __init__(self, folders: Mapping[str, features.Folder], journal: Journal) -> None:
        self._folders, self._journal = folders, journal
        self._keys: dict[str, str] = {}  # what the clips to be written are made from
        self._parts: defaultdict[str, dict[float, Mapping[str, Features] | str]] = defaultdict(dict)  # by start
        self._whole: dict[str, dict[str, Features | None]] = {}  # clips to be written
        self._entries: list[Entry] = []
        self.failed: dict[str, str] = {}

    def add(self, job: Job, told: tuple[str, float, Mapping[str, Features] | str]) -> None:
        """Take what was seen in a stretch."""
        clip, start, found = told
        self._parts[clip][start] = found

    def end(self, job: Job, end: watch.End) -> None:
        """Take note that a file is done: all of its clips, or those that were complete before it broke."""
        self._note(job, end)
        if len(self._whole) >= SHARD:
            self.flush()

    def _note(self, job: Job, end: watch.End) -> None:
        failed = {}
        if end.error is None and job.digest and self._changed(job):
            end = watch.End(None, end.seconds, UserError(job.path, "changed while it was read", "run it again"))
        why = _reason(end.error) if end.error else "nothing of it could be decoded"
        for clip, names in job.clips:
            parts = [found for _, found in sorted(self._parts.pop(clip.id, {}).items())]
            seen = [found for found in parts if not isinstance(found, str)]
            whole = end.info is not None and len(parts) >= (1 if end.error is None else len(stretches(clip, end.info.duration)))
            if whole and len(seen) == len(parts):
                self._keys[clip.id] = _key(job.digest, clip)
                self._whole[clip.id] = {name: _join([found[name] for found in seen if name in found]) for name in names}
            else:
                failed[clip.id] = next((found for found in parts if isinstance(found, str)), why)
        self.failed |= failed
        reason = _reason(end.error) if end.error else next(iter(failed.values()), "")
        status: Status = "failed" if failed else "done"
        duration = end.info.duration if end.info else 0.0
        about = (job.digest, job.look.size, job.look.mtime_ns)
        self._entries.append(Entry(job.name, status, reason, round(end.seconds, 3), duration, *about, failed))

    def _changed(self, job: Job) -> bool:
        return content.changed(job.path, job.look)

    def fail(self, twins: Mapping[str, str], dataset: Dataset) -> dict[str, str]:
        """Note that clips have failed as those did whose content they share; return why."""
        failed = {twin: self.failed[other] for twin, other in twins.items() if other in self.failed}
        noted, called = (self._journal.read() if failed else {}), _names()
        entries = []
        for twin, reason in failed.items():
            before = noted.get(name := called(dataset.clips[twin].path), Entry(name, "failed"))
            entries.append(replace(before, status="failed", reason=reason, clips={twin: reason}))
        self._journal.write(*entries)
        return failed

    def flush(self) -> Any:
        """Write what is whole, a shard an expert, then what became of the files."""
        for name, folder in self._folders.items():
            folder.write({clip: found[name] for clip, found in self._whole.items() if name in found}, self._keys)
        self._whole.clear()
        self._keys.clear()
        self._journal.write(*self._entries)
        self._entries.clear()


class _Keeper(_Work):
    """Writes in a worker itself; what became of the files is for the parent to write."""

    def __init__(self, root: Where, experts: Mapping[str, Expert], output: float) -> None:
        super().__init__(
            {name: features.Folder(root, expert) for name, expert in experts.items()}, Journal(root / features.JOURNAL)
        )
        self._output, self._said, self._flushed = output, defaultdict[Where, int](int), time.monotonic()

    def add(self, job: Job, told: tuple[str, float, Mapping[str, Features] | str]) -> None:
        """Take what was seen in a stretch. Raises UserError where a file yields too much."""
        if not isinstance(told[2], str):
            self._said[job.path] += sum(found.values.nbytes + found.times.nbytes for found in told[2].values())
        if self._said[job.path] > self._output:
            raise UserError(job.path, f"yields more than {self._output / 2**20:.1f} MiB", "cut it into shorter videos")
        super().add(job, told)

    def end(self, job: Job, end: watch.End) -> None:
        """Take note that a file is done."""
        self._said.pop(job.path, None)
        self._note(job, end)

    def _changed(self, job: Job) -> bool:
        """Say whether a file is not what the parent has read: a copy here may be of another time, its content tells."""
        changed = super()._changed(job)
        if not changed or isinstance(job.path, Far):
            return changed
        with closing(content.digests([job.path], Silent())) as read:
            return next(read)[1] != job.digest

    def due(self) -> bool:
        """Say whether there is a shard to be written, or some of it for long enough."""
        return len(self._whole) >= SHARD or time.monotonic() > self._flushed + HOLD

    def flush(self) -> list[Entry]:
        """Write what is whole and not there yet; return what became of the files."""
        entries, self._entries = self._entries, []
        for name, folder in self._folders.items():  # another worker, taken for lost, may have written it
            there = folder.contents()
            for clip in [clip for clip in self._whole if self._keys[clip] and there.get(clip) == self._keys[clip]]:
                self._whole[clip].pop(name, None)
        super().flush()
        self._flushed = time.monotonic()
        return entries


class _Ledger(_Work):
    """Takes note of what workers have written."""

    def __init__(self, folders: Mapping[str, features.Folder], journal: Journal) -> None:
        super().__init__(folders, journal)
        self._told: dict[Where, Entry] = {}

    def add(self, job: Job, told: Any) -> None:
        """Take what a Keeper says became of a file."""
        self._told[job.path] = told

    def end(self, job: Job, end: watch.End) -> None:
        """Take note that a file is done; of one that was lost with its worker nothing was said."""
        if entry := self._told.pop(job.path, None):
            self._entries.append(entry)
            self.failed |= entry.clips
        else:
            super().end(job, end)

    def miss(self, jobs: Sequence[Job]) -> None:
        """Note as failed what workers say they have written, and what is not here."""
        there = {name: folder.contents() for name, folder in self._folders.items()}
        for job in jobs:
            clips = [(clip, names) for clip, names in job.clips if clip.id not in self.failed]
            lost = [c.id for c, names in clips if any(_lacks(there[name], c.id, _key(job.digest, c)) for name in names)]
            if lost:
                self.failed |= dict.fromkeys(lost, _NOT_HERE)
                failed = {clip.id: self.failed[clip.id] for clip, _ in job.clips if clip.id in self.failed}
                about = (job.digest, job.look.size, job.look.mtime_ns)
                self._entries.append(Entry(job.name, "failed", _NOT_HERE, 0.0, 0.0, *about, failed))
        self.flush()


def _join(found: Sequence[Features]) -> Features | None:
    """Return the features of consecutive stretches as those of one clip."""
    if len(found) < 2:
        return found[0] if found else None
    texts = None
    if any(one.texts is not None for one in found):
        texts = tuple(text for one in found for text in one.texts or ("",) * len(one.values))
    return Features(np.concatenate([one.values for one in found]), np.concatenate([one.times for one in found]), texts)


def _reason(error: Exception) -> str:
    return f"{error.why}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
