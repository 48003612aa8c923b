"""The reports that a service shows: found beside the library's model and in the folders that it is told, and clips of them."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hit import datasets, files, places
from hit.datasets import Dataset
from hit.errors import NotFoundError, UserError
from hit.library import Library
from hit.service import reports
from hit.service.config import ServeConfig
from hit.service.shapes import Kind, OddError, Report
from hit.settings import model_folder
from hit.types import Clip, Far

DEPTH = 4  # folders below a folder of reports that are looked through
MOST_REPORTS, MOST_ENTRIES = 500, 50_000


@dataclass(frozen=True)
class Entry:
    """A report that was found. `place` is its folder, as seen from the folder that was looked through."""

    id: str
    kind: Kind
    path: Path
    place: str
    made_at: float
    report: Report | None
    problem: str | None = None  # why there is no report


class Evaluations:
    """The reports of a library and of the folders that a service is told."""

    def __init__(self, library: Library, config: ServeConfig) -> None:
        self._library, self._config = library, config

    def entries(self) -> list[Entry]:
        """Return all that are found, newest first; a damaged one says what is wrong with it."""
        return sorted(self._find(), key=lambda one: (-one.made_at, one.id))

    def entry(self, key: str) -> Entry:
        """Return the one of an id. Raises NotFoundError where there is none."""
        for one in self._find(key):
            return one
        raise NotFoundError(f"evaluation {key}", "there is no report with this id", "see /v1/evaluations")

    def clips(self, entry: Entry) -> list[Clip | str]:
        """Return the clips of a report's misses, right one and first answer by turns; a text says why one is not shown."""
        named = _named(entry.report)
        data = _data(entry.report) if named else None
        return [self._playable(data, name) for name in named]

    def clip(self, key: str, number: int) -> Clip:
        """Return a clip that a report names, by its place in `clips`. Raises NotFoundError where it may not be shown."""
        report = self.entry(key).report
        named = _named(report)
        what = f"clip {number} of evaluation {key}"
        if not 0 <= number < len(named):
            raise NotFoundError(what, "the report names no such clip")
        clip = self._playable(_data(report), named[number])  # this one only: a player asks for each part of a film
        if isinstance(clip, str):
            raise NotFoundError(what, clip)
        return clip

    def _playable(self, data: Dataset | None, name: str) -> Clip | str:
        if data is None:
            return "the data set that the report names is not there, or has changed"
        clip = data.clips.get(name)
        if clip is None:
            return "the data set has no clip of this name"
        if isinstance(clip.path, Far):
            known = self._library.db.named(str(clip.path)) and places.exists(clip.path)
            return clip if known else "its video is not there, or not in the library"
        real = clip.path.resolve()
        if not files.is_video(clip.path.name) or not real.is_file():
            return "its video is not there"
        told = (*self._config.roots, *self._config.reports)
        names = {str(clip.path.absolute()), str(real)}
        if any(real.is_relative_to(Path(folder).resolve()) for folder in told) or any(map(self._library.db.named, names)):
            return clip
        return "its video is neither in the library nor in a folder that is served"

    def _find(self, key: str | None = None) -> Iterator[Entry]:
        found = 0
        for label, root, depth in self._roots():
            for path in _walk(root, depth):
                place = path.relative_to(root).parent.as_posix()
                own = hashlib.sha256(
                    f"{label}\0{path.relative_to(root).as_posix()}".encode("utf-8", "surrogateescape")
                ).hexdigest()[:16]
                if key in (None, own):
                    yield _entry(own, path, "" if place == "." else place)
                if (found := found + 1) == MOST_REPORTS:
                    return

    def _roots(self) -> list[tuple[str, Path, int]]:
        folder = model_folder(self._library.path, self._library.config.model)
        roots = {Path(one).resolve(): (one, DEPTH) for one in self._config.reports}
        if folder and folder.is_dir() and not any(folder.resolve().is_relative_to(one) for one in roots):
            roots = {folder.resolve(): ("model", 0), **roots}
        return [(label, root, depth) for root, (label, depth) in roots.items()]


def _named(report: Report | None) -> list[str]:
    """Return the names of the clips of a report's misses, right one and first answer by turns."""
    misses = (report.misses if report else None) or ()
    return [one.clip for miss in misses for one in (miss.right, miss.first)]


def _data(report: Report | None) -> Dataset | None:
    """Return the data set that a report names, None where it cannot be read."""
    root = Path((report.data if report else None) or "")
    if not root.is_absolute():
        return None
    try:
        return _dataset(root, _stamps(*(root / name for name in ("captions.csv", "clips.csv"))))
    except (UserError, OSError, ValueError):
        return None


def _walk(root: Path, depth: int) -> Iterator[Path]:
    """Yield what reports are read by, shallow ones first; links and hidden folders are passed by."""
    level, seen = [root], 0
    for _ in range(depth + 1):
        below: list[Path] = []
        for folder in level:
            try:
                entries = sorted(os.scandir(folder), key=lambda one: one.name)
            except OSError:
                continue
            if (seen := seen + len(entries)) > MOST_ENTRIES:
                return
            names = {one.name for one in entries}
            for one in entries:
                if one.is_dir(follow_symlinks=False) and not one.name.startswith("."):
                    below.append(Path(one.path))
                elif one.is_file(follow_symlinks=False) and _is_report(one.name, names):
                    yield Path(one.path)
        level = below


def _is_report(name: str, beside: set[str]) -> bool:
    """Tell whether a report is read by this file: the numbers of a model's own page go with its card."""
    return reports.kind_of(name) is not None and not (name == f"report{reports.NUMBERS}" and "card.json" in beside)


def _entry(key: str, path: Path, place: str) -> Entry:
    kind = reports.kind_of(path.name)
    assert kind
    place = place.encode("utf-8", "replace").decode()
    try:
        made_at = path.stat().st_mtime
        return Entry(key, kind, path, place, made_at, _read(path, _stamps(path, *_beside(path))))
    except FileNotFoundError:  # removed meanwhile
        return Entry(key, kind, path, place, 0.0, None, "is gone")
    except OddError as error:
        return Entry(key, kind, path, place, made_at, None, str(error))


def _beside(path: Path) -> Sequence[Path]:
    own: Mapping[str, Sequence[str]] = {"card.json": [f"report{reports.NUMBERS}"], "results.jsonl": ["table.csv"]}
    return [path.with_name(name) for name in own.get(path.name, ())]


def _stamps(*paths: Path) -> tuple[tuple[int, int] | None, ...]:
    def stamp(path: Path) -> tuple[int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    return tuple(map(stamp, paths))


@lru_cache(maxsize=MOST_REPORTS)
def _read(path: Path, stamps: tuple[tuple[int, int] | None, ...]) -> Report:
    return reports.read(path)


@lru_cache(maxsize=4)
def _dataset(root: Path, stamps: tuple[tuple[int, int] | None, ...]) -> Dataset:
    return datasets.read(root)


@lru_cache(maxsize=64)
def picture(clip: Clip) -> bytes | None:
    """Return the JPEG of a clip's middle, None where it cannot be read."""
    from hit import report  # draws with matplotlib, which takes a while to load

    return report.picture(clip)
