"""A data set is a folder with `captions.csv` and the videos it names, or the clips of them that `clips.csv` lists.

    captions.csv     columns video,caption[,split] in any order; other columns are ignored; a row per caption
    videos/...       or right in the folder; `video` is the path in either, its suffix may be left out; or a name of `hit.places`
    clips.csv        if there: columns id,video,start,end (seconds); captions.csv then names clips, in the column clip or video
    features/...     written by `hit extract` or `hit import`; or features.url, see `hit.features`
    experts.toml     if there: the experts of these features, for recipes that name none

Without clips.csv every video is one clip; its id is the video's path without suffix, and the video must be there. The clips of
clips.csv may name a video that is absent, or none: features are enough for training. Without a split column the id's hash
decides: 10 % val, 10 % test, the rest train, so that a clip stays where it is when others are added.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from hit import config, places
from hit.config import ExpertConfig
from hit.datasets import table
from hit.errors import UserError
from hit.files import VIDEO_SUFFIXES
from hit.types import Clip, Far, Where

IMAGE_SUFFIXES = frozenset(".avif .bmp .heic .jpeg .jpg .png .svg .tif .tiff .webp".split())  # noqa: SIM905


@dataclass(frozen=True)
class Dataset:
    """Clips with their captions and splits, by clip id, and the experts that its features come with, by name."""

    root: Path
    clips: Mapping[str, Clip]
    captions: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, str]
    experts: Mapping[str, ExpertConfig] = field(default_factory=dict)

    def split(self, name: str) -> list[Clip]:
        """Return the clips of one split in the order of the csv; an empty list where there is no such split."""
        return [clip for clip in self.clips.values() if self.splits[clip.id] == name]


def read(root: Path) -> Dataset:
    """Read a data set. Raises UserError, with the line, for whatever in its tables does not fit the folder."""
    path = root / "captions.csv"
    source: _Videos | _Listed = _Listed(root) if (root / "clips.csv").exists() else _Videos(root)
    names: dict[str, Clip] = {}
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    missing: dict[str, int] = {}
    told = False
    absent = "a data set is a folder with captions.csv and videos/; `hit extract` takes other videos with --out"
    for line, row in table.rows(path, (source.named_by, ("caption",)), source.columns, absent):
        where, name, split = f"{path}, line {line}", _first(row, source.named_by), row.get("split", "")
        if not row["caption"]:
            raise UserError(where, "the caption is empty", "write one or remove the line")
        if name not in names and name not in missing:
            found = source.clip(name, where)
            if found is None:
                missing[name] = line
            else:
                names[name] = found
        if name in missing:
            continue
        clip = names[name].id
        captions.setdefault(clip, []).append(row["caption"])
        told = told or "split" in row
        if split and splits.setdefault(clip, split) != split:
            raise UserError(where, f"'{name}' is in split '{splits[clip]}' by an earlier line and in '{split}' here")
    if missing:
        few = ", ".join(f"'{name}' (line {line})" for name, line in list(missing.items())[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(path, f"{source.lacks} {few}{more}", source.remedy)
    if not captions:
        raise UserError(path, "holds no captions", f"write lines of the form {source.columns}")
    for clip in captions:
        splits.setdefault(clip, "train" if told else _split(clip))
    clips = {clip.id: clip for clip in names.values()}
    return Dataset(root, clips, {clip: tuple(texts) for clip, texts in captions.items()}, splits, _experts(root))


def loose(root: Path, paths: Sequence[Where]) -> Dataset:
    """Return videos, given by absolute paths or URLs, as a data set without captions: each is a clip, called by its name.

    Raises UserError where there are none.
    """
    if not paths:
        raise UserError(root, "no videos are given for it", "name files, or folders that hold some")
    roots = places.deployed()
    names = {roots.portable(path): path for path in paths}
    return Dataset(root, {name: Clip(name, path.name, path) for name, path in names.items()}, {}, {})


def _first(row: Mapping[str, str], columns: tuple[str, ...]) -> str:
    return next(row[column] for column in columns if column in row)


class _Videos:
    """The clips of a data set without clips.csv: each video is one."""

    named_by: tuple[str, ...] = ("video",)
    columns, lacks = "video,caption[,split]", "there are no videos for"

    def __init__(self, root: Path) -> None:
        self._finder, self._clips = _Finder(root), dict[str, Clip]()
        self.remedy = f"put them into {root / 'videos'} or remove the lines"

    def clip(self, name: str, where: str) -> Clip | None:
        """Return the clip of the video that a line calls `name`, None where there is no such file."""
        path = self._finder.find(name, where)
        if path is None:
            return None
        known = self._finder.name(path)
        clip = Clip(known.removesuffix(PurePosixPath(known).suffix), known, path)
        if self._clips.setdefault(clip.id, clip).path != path:
            other = self._clips[clip.id].video
            raise UserError(where, f"'{known}' and '{other}' differ only in their suffix", "rename one, ids would be equal")
        return clip


class _Listed:
    """The clips that clips.csv lists."""

    named_by: tuple[str, ...] = ("clip", "video")
    columns, lacks, remedy = "clip,caption[,split]", "clips.csv does not list", "list them there or remove the lines"

    def __init__(self, root: Path) -> None:
        self._finder, self._clips = _Finder(root), dict[str, Clip]()
        path = root / "clips.csv"
        needed = (("id",), ("video",), ("start",), ("end",))
        for line, row in table.rows(path, needed, "id,video,start,end", "write it or remove it"):
            where = f"{path}, line {line}"
            if not row["id"]:
                raise UserError(where, "the id is empty", "write one or remove the line")
            clip = Clip(row["id"], *self._video(root, row["video"], where), *span(row["start"], row["end"], where))
            if self._clips.setdefault(clip.id, clip) is not clip:
                raise UserError(where, f"the id '{clip.id}' has a line already", "rename or remove one")

    def clip(self, name: str, where: str) -> Clip | None:
        """Return the clip with the id `name`, None where there is no such one."""
        return self._clips.get(name)

    def _video(self, root: Path, name: str, where: str) -> tuple[str, Where]:
        """Return the video's path below `videos/` and where it is, or would be."""
        if not name:
            return "", root / "videos"
        path = self._finder.find(name, where)
        return (name, root / "videos" / name) if path is None else (self._finder.name(path), path)


def span(start: str, end: str, where: str) -> tuple[float, float]:
    """Return a clip's times as a table has them; it begins and ends with its video where they are left empty."""
    try:
        begins, ends = float(start or 0), float(end or math.inf)
    except ValueError:
        raise UserError(where, f"'{start}' and '{end}' are not both times", "write seconds, or nothing") from None
    if not 0 <= begins < ends or math.isinf(begins):
        raise UserError(where, f"a clip cannot begin at {start or 0} and end at {end or 'its end'}", "write seconds, or nothing")
    return begins, ends


@dataclass(frozen=True)
class _ExpertsFile:
    experts: Mapping[str, ExpertConfig] = field(default_factory=dict)


def _experts(root: Path) -> Mapping[str, ExpertConfig]:
    path = root / "experts.toml"
    return config.build(_ExpertsFile, config.read(path) or {}, str(path)).experts


def _split(clip: str) -> str:
    share = int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8], "big") / 2**64
    return "val" if share < 0.1 else "test" if share < 0.2 else "train"


class _Finder:
    """Finds the file that a name in the csv stands for."""

    def __init__(self, root: Path):
        self.homes = (root / "videos", root)
        self.roots = places.deployed()

    def find(self, name: str, where: str) -> Where | None:
        """Return where the video is, None where that is nowhere: one in an object store is taken to be there.

        Raises UserError for names that must not be followed.
        """
        if isinstance(named := self.roots.given(name) if ":" in name else "", Far):
            return named
        if isinstance(named, Path) and named.is_absolute() and name[0] != "/":  # NAME:PATH of a root
            return named if named.is_file() else None
        pure = PurePosixPath(name)
        if not name or pure.is_absolute() or ".." in pure.parts:
            raise UserError(where, f"'{name}' is not a path inside the data set's folder", "name videos relative to it")
        if pure.suffix.lower() in IMAGE_SUFFIXES:
            raise UserError(where, f"'{name}' is an image, not a video")
        for home in self.homes:
            if (home / pure).is_file():
                return home / pure
        candidates = self._by_stem.get(str(pure), [])
        if len(candidates) > 1:
            found = ", ".join(path.name for path in candidates)
            raise UserError(where, f"'{name}' may be any of {found}", "write the suffix too")
        return candidates[0] if candidates else None

    def name(self, path: Where) -> str:
        """Return what a video is called: its path in the data set's folder, or else the name that all machines have for it."""
        if isinstance(path, Path) and path.is_relative_to(self.homes[1]):
            return str(self.relative(path))
        return self.roots.portable(path)

    def relative(self, path: Path) -> PurePosixPath:
        """Return the path below `videos/`, or below the folder for videos elsewhere in it."""
        home = next(home for home in self.homes if path.is_relative_to(home))
        return PurePosixPath(path.relative_to(home).as_posix())

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        root = self.homes[1]
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                for name in {str(self.relative(path).with_suffix("")), path.relative_to(root).with_suffix("").as_posix()}:
                    found.setdefault(name, []).append(path)
        return found
