"""A data set is a folder with `captions.csv` and the videos it names.

    captions.csv     columns video,caption[,split] in any order; other columns are ignored; a row per caption
    videos/...       or right in the folder; `video` is the path in either, its suffix may be left out
    features/...     written by `hit extract`

A clip's id is its video's path without suffix. Without a split column the id's hash decides: 10 % val, 10 % test, the rest
train, so that a clip stays where it is when others are added.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from hit.errors import UserError
from hit.types import Clip

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv".split(),  # noqa: SIM905
)
IMAGE_SUFFIXES = frozenset(".avif .bmp .heic .jpeg .jpg .png .svg .tif .tiff .webp".split())  # noqa: SIM905


@dataclass(frozen=True)
class Dataset:
    """Clips with their captions and splits, by clip id."""

    root: Path
    clips: Mapping[str, Clip]
    captions: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, str]

    def split(self, name: str) -> list[Clip]:
        """Return the clips of one split in the order of the csv; an empty list where there is no such split."""
        return [clip for clip in self.clips.values() if self.splits[clip.id] == name]


def read(root: Path) -> Dataset:
    """Read a data set. Raises UserError, with the line, for whatever in the csv does not fit the folder."""
    table = root / "captions.csv"
    finder = _Finder(root)
    names: dict[str, str] = {}  # clip id of each name in the csv
    clips: dict[str, Clip] = {}
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    missing: dict[str, int] = {}
    told = False
    for line, row in _rows(table):
        where, name, split = f"{table}, line {line}", row["video"], row.get("split", "")
        if not row["caption"]:
            raise UserError(where, "the caption is empty", "write one or remove the line")
        if name not in names and name not in missing:
            path = finder.find(name, where)
            if path is None:
                missing[name] = line
            else:
                names[name] = _add(clips, finder.relative(path), path, where)
        if name in missing:
            continue
        clip = names[name]
        captions.setdefault(clip, []).append(row["caption"])
        told = told or "split" in row
        if split and splits.setdefault(clip, split) != split:
            raise UserError(where, f"'{name}' is in split '{splits[clip]}' by an earlier line and in '{split}' here")
    if missing:
        few = ", ".join(f"'{name}' (line {line})" for name, line in list(missing.items())[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(table, f"there are no videos for {few}{more}", f"put them into {root / 'videos'} or remove the lines")
    if not clips:
        raise UserError(table, "holds no captions", "write lines of the form video,caption")
    for clip in clips:
        splits.setdefault(clip, "train" if told else _split(clip))
    return Dataset(root, clips, {clip: tuple(texts) for clip, texts in captions.items()}, splits)


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row) with trimmed values, names of columns in lower case."""
    try:
        # utf-8-sig: spreadsheets begin their csv files with a byte order mark
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            if not {"video", "caption"} <= set(header):
                raise UserError(table, f"its columns are '{','.join(header)}'", "the first line must name video,caption[,split]")
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    padded = [*cells, *[""] * (len(header) - len(cells))]
                    yield reader.line_num, dict(zip(header, (cell.strip() for cell in padded), strict=False))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(table, "there is no such file", "a data set is a folder with captions.csv and videos/") from None
    except UnicodeDecodeError as error:
        raise UserError(table, f"is not UTF-8 text: {error}", "save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(
            f"{table}, line {reader.line_num}", f"not a csv line: {error}", "is a quotation mark left open?"
        ) from None


def _add(clips: dict[str, Clip], relative: PurePosixPath, path: Path, where: str) -> str:
    """Add the clip of a video if it is new; return its id."""
    clip = Clip(str(relative.with_suffix("")), str(relative), path)
    if clips.setdefault(clip.id, clip).path != path:
        other = clips[clip.id].video
        raise UserError(where, f"'{relative}' and '{other}' differ only in their suffix", "rename one, ids would be equal")
    return clip.id


def _split(clip: str) -> str:
    share = int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8], "big") / 2**64
    return "val" if share < 0.1 else "test" if share < 0.2 else "train"


class _Finder:
    """Finds the file that a name in the csv stands for."""

    def __init__(self, root: Path):
        self.homes = (root / "videos", root)

    def find(self, name: str, where: str) -> Path | None:
        """Return the video's path, None where there is none. Raises UserError for names that must not be followed."""
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
