"""What the importers of published data sets share: what they found, what is wrong with it, and how it becomes a data set."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from hit import experts as plugins
from hit.config import ExpertConfig
from hit.datasets import Dataset, writer
from hit.errors import UserError
from hit.importers import Item, fingerprint, summarise
from hit.importers.folders import Folders
from hit.types import Clip, Expert, Features, Progress

HELD = 2**26  # bytes of features after which they are written: long videos with seven experts have megabytes each
Published = Mapping[str, tuple[int | None, int | None]]  # split -> clips, captions; None: not published


@dataclass(frozen=True)
class Problem:
    """What differs from the published data set or does not fit together, and what to do about it.

    One that `blocks` stops the import, unless the user allows a partial one; others are notes.
    """

    what: str
    fix: str
    ids: tuple[str, ...] = ()
    blocks: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a summary."""
        return {"what": self.what, "fix": self.fix, "count": len(self.ids), "ids": list(self.ids), "blocks": self.blocks}


class FeatureSource(Protocol):
    """Where a release's features come from. All clips are counted before any is read."""

    def count(self, item: Item) -> Mapping[str, int]:
        """Return the rows of each expert that has any for a clip. Raises UserError for what is damaged."""
        ...

    def experts(self) -> Mapping[str, ExpertConfig]:
        """Return the experts that were met while counting."""
        ...

    def read(self, item: Item) -> Mapping[str, Features]:
        """Return what was counted."""
        ...


@dataclass(frozen=True)
class Release:
    """A release as it was found: its clips by id, where their features are, and what is wrong with it."""

    source: Path
    items: Mapping[str, Item]
    published: Published = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    features: FeatureSource | None = None


@dataclass(frozen=True)
class Terms:
    """How to import: with which folders of features, whether what differs from the published data set may pass, who watches."""

    folders: Folders
    allow_partial: bool
    progress: Progress


def bring(
    out: Path, made_of: Mapping[str, Any], files: Iterable[Path], find: Callable[[], Release], terms: Terms
) -> dict[str, Any]:
    """Make a data set in `out` of the release that `find` returns; return its summary.

    An import that was made of the same `files` is left as it is, and its summary returned. Raises UserError for what blocks,
    for damage, and for an `out` in use; then nothing is written.
    """
    made_of = {**made_of, "files": [fingerprint(path) for path in files], **terms.folders.made_of()}
    if (summary := writer.written(out, made_of)) is not None:
        if not terms.allow_partial and (blocking := [one for one in summary["problems"] if one["blocks"]]):
            why = f"was imported with --allow-partial: {'; '.join(one['what'] for one in blocking)}"
            raise UserError(out, why, "get the whole release, or import a part of it with --allow-partial")
        return {"out": str(out), **summary}
    release = find()
    if release.features is None and len(terms.folders):
        release = replace(release, features=terms.folders)
    counts = _count(release, terms.progress)
    problems = [*_differences(release), *release.problems, *_without_features(release, counts)]
    blocking = [problem for problem in problems if problem.blocks]
    if blocking and not terms.allow_partial:
        raise UserError(
            release.source, "; ".join(map(_briefly, blocking)), f"{blocking[0].fix}, or import a part of it with --allow-partial"
        )
    kept = {clip: item for clip, item in release.items.items() if release.features is None or counts[clip]}
    if not kept:
        raise UserError(release.source, "nothing of it can be imported: no clip has all it needs", "get the release again")
    dataset = _dataset(out, kept, release.features.experts() if release.features else {})
    given = plugins.load_all(dataset.experts)
    rows = {name: [counts[clip].get(name) for clip in kept] for name in given}
    summary = summarise(dataset, rows, {name: expert.dim for name, expert in given.items()})
    summary["splits"] = _beside(summary["splits"], release.published)
    summary["problems"] = [problem.to_json() for problem in problems]
    writer.write(dataset, _shards(kept, given, release.features, terms.progress), made_of, summary)
    return {"out": str(out), **summary}


def assemble(
    lists: Mapping[str, Sequence[str]], captions: Mapping[str, Sequence[str]], *, blocks: bool = True
) -> tuple[dict[str, Item], list[Problem]]:
    """Return the clips of split lists with their captions, and notes on the ids that only one of the two has."""
    items: dict[str, Item] = {}
    problems = []
    for split, ids in lists.items():
        for clip in ids:
            if texts := [text for text in captions.get(clip, ()) if text]:
                items[clip] = Item(split, tuple(texts), clip, clip)
        if lacking := tuple(clip for clip in ids if clip not in items):
            fix = "put the file with their captions beside the split lists"
            problems.append(Problem(f"{split}: {len(lacking)} of {len(ids)} clips have no caption", fix, lacking, blocks))
    listed = {clip for ids in lists.values() for clip in ids}
    if others := tuple(clip for clip in captions if clip not in listed):
        fix = "nothing has to be done where this cut leaves them out"
        problems.append(Problem(f"captions of {len(others)} clips that are in no split", fix, others, blocks=False))
    return items, problems


def _beside(splits: Mapping[str, dict[str, Any]], published: Published) -> dict[str, dict[str, Any]]:
    """Return the counts of each split with the published ones, in their order."""
    nothing = {"clips": 0, "captions": 0, "words_per_caption": 0.0}
    right = {split: {"clips": clips, "captions": captions} for split, (clips, captions) in published.items()}
    known = {split: {**splits.get(split, nothing), "published": own} for split, own in right.items()}
    return known | {split: own for split, own in splits.items() if split not in known}


def _differences(release: Release) -> Iterator[Problem]:
    clips = Counter(item.split for item in release.items.values())
    captions: Counter[str] = Counter()
    for item in release.items.values():
        captions[item.split] += len(item.captions)
    for split, published in release.published.items():
        found = (clips[split], captions[split])
        if any(right not in (None, own) for own, right in zip(found, published, strict=True)):
            right = " and ".join(
                f"{n:,} {name}" for n, name in zip(published, ("clips", "captions"), strict=True) if n is not None
            )
            what = f"{split} has {found[0]:,} clips and {found[1]:,} captions, published are {right}"
            yield Problem(what, "get all files of the release")


def _without_features(release: Release, counts: Mapping[str, Mapping[str, int]]) -> Iterator[Problem]:
    if release.features is not None and (lacking := tuple(clip for clip in release.items if not counts[clip])):
        yield Problem(f"{len(lacking)} clips have no features and are left out", "get or extract them", lacking)


def _briefly(problem: Problem) -> str:
    return problem.what + (f", such as '{problem.ids[0]}'" if problem.ids else "")


def _count(release: Release, progress: Progress) -> dict[str, Mapping[str, int]]:
    if release.features is None:
        return {clip: {} for clip in release.items}
    counts = {}
    with progress.task("Checking features", len(release.items)) as task:
        for clip, item in release.items.items():
            counts[clip] = release.features.count(item)
            task.advance()
    return counts


def _dataset(out: Path, items: Mapping[str, Item], experts: Mapping[str, ExpertConfig]) -> Dataset:
    videos = out / "videos"
    return Dataset(
        out,
        {clip: Clip(clip, item.video, videos / item.video, item.start, item.end) for clip, item in items.items()},
        {clip: item.captions for clip, item in items.items()},
        {clip: item.split for clip, item in items.items()},
        experts,
    )


def _shards(
    items: Mapping[str, Item], experts: Mapping[str, Expert], features: FeatureSource | None, progress: Progress
) -> Iterator[tuple[Expert, dict[str, Features | None]]]:
    if features is None:
        return
    part: dict[str, Mapping[str, Features]] = {}
    held = 0
    with progress.task("Writing features", len(items)) as task:
        for i, (clip, item) in enumerate(items.items(), 1):
            part[clip] = features.read(item)
            held += sum(one.values.nbytes for one in part[clip].values())
            if held >= HELD or len(part) == writer.SHARD or i == len(items):
                for name, expert in experts.items():
                    yield expert, {clip: found.get(name) for clip, found in part.items()}
                task.advance(len(part))
                part, held = {}, 0
