"""Experts look at videos in worker processes: each file is decoded ahead in a thread while the experts work on batches of clips.

No file can take a run down: one that breaks, hangs, eats memory or kills its worker ends in an error of its own.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from hit import experts as registry
from hit import pool, video
from hit.errors import UserError
from hit.places import deployed
from hit.types import Batched, Clip, Expert, Features, Media, Task, Want, Where

GROUP, GROUP_BYTES = 8, 1 << 26  # clips, and bytes of their pictures and sound, that wait for the experts at most
LIMITS = pool.Limits(silence=600.0, memory=4 << 30, output=1 << 30)
FLUSH = 30.0  # seconds; a crash loses at most what was done in so many


class Job(Protocol):
    """A file to look at; its string is what errors call it."""

    @property
    def path(self) -> Where:
        """Where it is."""
        ...

    @property
    def name(self) -> str:
        """What it is called on all machines, see `hit.places`; where that begins with "/", `path` alone tells."""
        ...


JobT = TypeVar("JobT", bound=Job)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to look at in one file: stretches of it, each with the experts who look at it."""

    info: video.VideoInfo
    clips: Sequence[Clip]
    wants: Sequence[Want]
    experts: Callable[[Clip], Mapping[str, Expert]]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A stretch that was looked at: what the experts saw, or what went wrong."""

    media: Media
    features: Mapping[str, Features] | Exception


@dataclass(frozen=True, slots=True)
class End:
    """The last of a file."""

    info: video.VideoInfo | None
    seconds: float = 0.0  # from its opening on; other files were at work meanwhile
    error: Exception | None = None


@dataclass(frozen=True)
class Crew(Generic[JobT]):
    """How a verb has files looked at. All of it pickles, and lives in each worker.

    `load` gives the experts. `plan` says what to look at in a file, given them and a function to be called, as often as it
    likes, with how many seconds of the video it has been through. `tell` makes of what was seen in a stretch what is to be kept
    of it, or raises what the whole file ends in. With `keep`, given the experts and how many bytes a file may yield, a worker
    keeps what it tells itself. gpus: whether the experts want one.
    """

    load: Callable[[], Mapping[str, Expert]]
    plan: Callable[[JobT, Mapping[str, Expert], Callable[[float], None]], Plan]
    tell: Callable[[Seen], Any]
    keep: "Callable[[Mapping[str, Expert], float], Keeper] | None" = None
    gpus: bool = False

    def __call__(
        self, jobs: Iterable[JobT], workers: int, limits: pool.Limits | None = None, where: str = ""
    ) -> Iterator[tuple[JobT, Any]]:
        """Yield (job, part) as they come: what was told of its stretches, in their order, and last an End.

        Between them come pool.Beat with the seconds of video that have gone by. What was told of a file is told again where
        its worker had several files when it was lost, see `pool.stream`, which also says what `where` is. With `keep`, what a
        Keeper says of it comes instead, once it is kept; what a Keeper raises is raised here.
        """
        limits = limits or LIMITS
        for job, part in pool.stream(_work, jobs, workers, _start, (self, limits.output), limits, where, gpus=self.gpus):
            if isinstance(part, _Broken):
                raise part.error
            if part is not None:
                yield job, End(None, 0.0, part) if isinstance(part, Exception) else part


class Keeper(Protocol):
    """What a worker does with what it tells, where that is not to go through the parent. It may hold files for a while."""

    def add(self, job: Any, told: Any) -> None:
        """Take what is told of a stretch. Raises what the whole file ends in."""
        ...

    def end(self, job: Any, end: End) -> None:
        """Take note that a file is done."""
        ...

    def due(self) -> bool:
        """Say whether it has enough to be written."""
        ...

    def flush(self) -> Sequence[Any]:
        """Write down what is whole; return for each file that has ended since the last time, in order, what is told of it."""
        ...


@dataclass(frozen=True, slots=True)
class _Broken:
    """What nobody can go on after, such as a full disk."""

    error: Exception


class Work(Protocol):
    """What a verb does with what it is told."""

    def add(self, job: Any, told: Any) -> None:
        """Take what was told of a stretch; told twice, it is one."""
        ...

    def end(self, job: Any, end: End) -> None:
        """Take note that a file is done."""
        ...

    def flush(self) -> None:
        """Write down what is whole."""
        ...


def follow(parts: Iterable[tuple[JobT, Any]], work: Work, task: Task) -> None:
    """Hand a crew's parts on as they come, and have what is whole written down now and then and at the end, after Ctrl-C too."""
    pace, flushed = Pace(task), time.monotonic()
    try:
        for job, part in parts:
            if isinstance(part, pool.Beat):
                pace.beat(job, part.note)
            elif isinstance(part, End):
                work.end(job, part)
                pace.end(job, part)
            else:
                work.add(job, part)
            if time.monotonic() >= flushed + FLUSH:  # the next file may take hours
                work.flush()
                flushed = time.monotonic()
    finally:
        work.flush()


class Pace:
    """Progress by videos: tells the hours of video that are done, how many times faster than real time, and the failures."""

    def __init__(self, task: Task) -> None:
        self._task, self._begun = task, time.monotonic()
        self._passed: dict[Where, float] = {}  # seconds of files that are under way
        self._done = 0.0  # seconds
        self._failed = 0

    def beat(self, job: Job, passed: float) -> None:
        """Note how many seconds of a file have gone by."""
        self._passed[job.path] = passed
        self._task.advance(0, self._note(job))

    def end(self, job: Job, end: End) -> None:
        """Note that a file is done."""
        self._passed.pop(job.path, None)
        self._done += end.info.duration if end.info else 0.0
        self._failed += end.error is not None
        self._task.advance(1, self._note(job))

    def _note(self, job: Job) -> str:
        seconds = self._done + sum(self._passed.values())
        speed = seconds / max(time.monotonic() - self._begun, 1e-3)
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{seconds / 3600:.2f} h of video, {speed:.1f} x real time{failed}  {job.path.name}"


# -- in the worker process


_Drawn = tuple[int, Any, Plan | None, Media | End]  # a job's number, the job, its plan, a stretch of it or its end

_crew: Crew[Any]
_experts: Mapping[str, Expert]
_output: float


def _start(crew: Crew[Any], output: float) -> None:
    global _crew, _experts, _output  # a process's own: experts are loaded once in each
    _crew, _experts, _output = crew, crew.load(), output


def _work(jobs: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    """Yield (number of a job, what was told of a stretch), then its End, then None."""
    kept = _Kept(_crew.keep(_experts, _output)) if _crew.keep else None
    for number, job, thing in _told(jobs):
        if kept:
            yield from kept.take(number, job, thing)
        else:
            yield number, thing
            if isinstance(thing, End):
                yield number, None
    if kept:
        yield from kept.release()


def _told(jobs: Iterator[Any]) -> Iterator[tuple[int, Any, Any]]:
    """Yield (number of a job, the job, what is told of a stretch or its End)."""
    failed: dict[int, Exception] = {}
    with closing(_Ahead(_decoded(jobs, failed))) as groups:
        for group in groups:
            for (number, job, _, thing), features in zip(group, _look(group), strict=True):
                if isinstance(thing, Media) and number not in failed:
                    try:
                        told = _crew.tell(Seen(thing, features))
                    except Exception as problem:  # the verb's word: the whole file ends in it
                        failed[number] = problem
                    else:
                        yield number, job, told
                elif isinstance(thing, End):
                    error = failed.pop(number, thing.error)
                    yield number, job, End(thing.info, time.monotonic() - thing.seconds, error and _plain(job, error))


class _Kept:
    """Files whose keeper has not yet written them: they stay this worker's, so that they are done again where it is lost."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._failed: dict[int, Exception] = {}
        self._held: list[tuple[int, End]] = []

    def take(self, number: int, job: Any, thing: Any) -> Iterator[tuple[int, Any]]:
        """Keep what is told of a file; yield what there is to be said."""
        if not isinstance(thing, End):
            if number not in self._failed:
                try:
                    self._keeper.add(job, thing)
                except UserError as problem:
                    self._failed[number] = problem
            return
        if number in self._failed:
            thing = replace(thing, error=self._failed.pop(number))
        self._keeper.end(job, thing)
        self._held.append((number, thing))
        if self._keeper.due():
            yield from self.release()

    def release(self) -> Iterator[tuple[int, Any]]:
        """Have what is held written, and say so."""
        if not self._held:
            return
        try:
            notes = self._keeper.flush()
        except Exception as error:
            yield self._held[0][0], _Broken(pool.portable(error))
            return
        for (number, end), note in zip(self._held, notes, strict=True):
            yield number, note
            yield number, end
            yield number, None
        self._held.clear()


def _decoded(jobs: Iterator[Any], failed: Mapping[int, Exception]) -> Generator[_Drawn]:
    """Yield the stretches of each job and, last, its End, as yet with when it was opened; those that failed are cut short."""
    for number, job in enumerate(map(_here, jobs)):
        plan = error = None
        begun = time.monotonic()

        def tick(time: float, number: int = number) -> None:
            pool.beat(number, time)

        try:
            plan = _crew.plan(job, _experts, tick)
            for media in video.read(job.path, plan.clips, plan.wants, tick):
                yield number, job, plan, media
                if number in failed:
                    break
        except Exception as problem:  # what a file ends in; what is no UserError is logged with its traceback
            error = problem
        yield number, job, plan, End(plan.info if plan else None, begun, error)


def _here(job: Any) -> Any:
    """Return a job with its file where this machine has it: who sent it may have the root of its `name` elsewhere."""
    with suppress(UserError):
        if isinstance(job.path, Path) and not job.name.startswith("/"):
            return replace(job, path=deployed().locate(job.name))
    return job


def _look(group: Sequence[_Drawn]) -> list[Any]:
    """Return what the experts saw in each stretch of a group, or what went wrong; the experts see all stretches at once."""
    found: list[Any] = [{} for _ in group]
    takers: defaultdict[str, list[int]] = defaultdict(list)
    for place, (_, _, plan, media) in enumerate(group):
        if plan and isinstance(media, Media):
            for name in plan.experts(media.clip):
                takers[name].append(place)
    for name, places in takers.items():
        alive = [place for place in places if not isinstance(found[place], Exception)]
        step = len(alive) if isinstance(_experts[name], Batched) else 1
        for some in (alive[at : at + step] for at in range(0, len(alive), step)):
            seen = registry.run_many({name: _experts[name]}, [group[place][3] for place in some])  # type: ignore[misc]
            for place, features in zip(some, seen, strict=True):
                found[place] = features if isinstance(features, Exception) else found[place] | features
            pool.beat()
    return found


def _plain(job: Any, error: Exception) -> Exception:
    """Return an error as the parent may have it."""
    if isinstance(error, MemoryError):
        return UserError(str(job), "needs more memory than a worker may use", "cut it into shorter videos, or allow more")
    return pool.portable(error)


class _Ahead:
    """A thread that draws from `items` while others work: iterate over what it has drawn meanwhile, as lists.

    It waits where GROUP clips, or GROUP_BYTES of them, are there. Closing ends it.
    """

    def __init__(self, items: Generator[_Drawn]) -> None:
        self._items = items
        self._ready: list[_Drawn] = []
        self._held = 0
        self._closed = False
        self._problem: BaseException | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[list[_Drawn]]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._ready)
                group, self._ready, self._held = self._ready, [], 0
                self._change.notify_all()
            if not group:
                break
            yield group
        if self._problem:
            raise self._problem

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(1.0)  # it may wait for another job, and ends with the process then

    def _draw(self) -> None:
        try:
            with closing(self._items):
                for item in self._items:
                    if not self._put(item, _bytes(item[3])):
                        break
        except BaseException as error:  # raised where the items are taken
            self._problem = error
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _put(self, item: _Drawn, size: int) -> bool:
        with self._change:
            self._change.wait_for(lambda: self._closed or self._has_room(size))
            if not self._closed:
                self._ready.append(item)
                self._held += size
                self._change.notify_all()
            return not self._closed

    def _has_room(self, size: int) -> bool:
        return not self._ready or (len(self._ready) < GROUP and self._held + size <= GROUP_BYTES)


def _bytes(thing: Media | End) -> int:
    if isinstance(thing, End):
        return 0
    return sum(f.images.nbytes for f in thing.frames.values()) + sum(a.samples.nbytes for a in thing.audio.values())
