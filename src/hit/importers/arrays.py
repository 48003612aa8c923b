"""`hit import arrays`: captions in a csv and features in an npz, as numpy writes them."""

import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hit import experts as plugins
from hit.config import ExpertConfig
from hit.datasets import Dataset, table, writer
from hit.errors import UserError
from hit.importers import fingerprint, summarise
from hit.types import Clip, Expert, Features, Progress

ARRAYS = {"ids": "(N) strings", "n_frames": "(N) whole numbers", "values": "(sum of n_frames, d) float16 or float32"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, eq=False)
class Arrays:
    """What the npz holds: clips' ids, the end of each one's rows, and the rows (n, d)."""

    ids: list[str]
    ends: NDArray[np.int64]
    values: NDArray[np.floating[Any]]

    def rows(self, i: int) -> int:
        """Return how many rows clip i has."""
        return int(self.ends[i] - (self.ends[i - 1] if i else 0))

    def features(self, i: int, rate: float) -> Features:
        """Return clip i's rows, `rate` of them a second."""
        count, end = self.rows(i), int(self.ends[i])
        edges = np.arange(count + 1) / rate
        times = np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float32)
        return Features(self.values[end - count : end].astype(np.float32), times)


def import_arrays(
    captions: Path, features: Path, out: Path, *, expert: str, source: str | None, rate: float, progress: Progress
) -> dict[str, Any]:
    """Make a data set in `out` of a csv (id,split,caption) and an npz (ids, n_frames, values); return its summary.

    Row i of a clip spans the seconds i / rate to (i + 1) / rate. `source` names what made the features: data sets of one
    source fit one model; None stands for this very file. Ids that only one of the two files has are left out and listed. A
    second import of the same leaves `out` as it is. Raises UserError for files that are damaged and an `out` in use.
    """
    if not NAME.fullmatch(expert):
        raise UserError(f"--expert '{expert}'", "not a name", "use letters, digits, - and _")
    if not 0 < rate < math.inf:
        raise UserError(f"--rate {rate:g}", "not a number of rows a second", "for example 4")
    sha = fingerprint(features)
    made_of = {"importer": "arrays/1", "captions": fingerprint(captions), "features": sha, "expert": expert, "rate": rate}
    made_of["source"] = source
    if (summary := writer.written(out, made_of)) is not None:
        return {"out": str(out), **summary}
    texts, splits = read_captions(captions)
    arrays = read_arrays(features)
    row = {clip: i for i, clip in enumerate(arrays.ids)}
    kept = {clip: row[clip] for clip in texts if clip in row}
    if not kept:
        why = f"has none of the ids of {captions}: '{arrays.ids[0]}' here, '{next(iter(texts))}' there"
        raise UserError(features, why, "spell the ids of both files alike")
    origin = f"{source or f'{sha[:12]} {features.name}'} {rate:g}/s"  # times are part of what a model learns from
    config = ExpertConfig("given", {"dim": arrays.values.shape[1], "source": origin})
    dataset = Dataset(
        out,
        {clip: Clip(clip, "", out / "videos") for clip in kept},
        {clip: tuple(texts[clip]) for clip in kept},
        {clip: splits[clip] for clip in kept},
        {expert: config},
    )
    given = plugins.load(expert, config)
    summary = summarise(dataset, {expert: [arrays.rows(i) for i in kept.values()]}, {expert: given.dim})
    summary["left_out"] = {
        "without_caption": [clip for clip in arrays.ids if clip not in texts],
        "without_features": [clip for clip in texts if clip not in row],
    }
    writer.write(dataset, _shards(arrays, given, kept, rate, progress), made_of, summary)
    return {"out": str(out), **summary}


def read_captions(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the captions and the split of each id. Raises UserError, with the line, for what does not fit."""
    texts: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    needed = (("id",), ("split",), ("caption",))
    for line, row in table.rows(path, needed, "id,split,caption", "name a csv with the columns id,split,caption"):
        where, clip = f"{path}, line {line}", row["id"]
        for column in ("id", "split", "caption"):
            if not row[column]:
                raise UserError(where, f"the {column} is empty", "write one or remove the line")
        if splits.setdefault(clip, row["split"]) != row["split"]:
            raise UserError(where, f"'{clip}' is in split '{splits[clip]}' by an earlier line and in '{row['split']}' here")
        texts.setdefault(clip, []).append(row["caption"])
    if not texts:
        raise UserError(path, "holds no captions", "write lines of the form id,split,caption")
    return texts, splits


def read_arrays(path: Path) -> Arrays:
    """Read and check the npz. Raises UserError for arrays that are missing, do not fit each other, or are not finite."""
    found = _load(path)
    for name, what in ARRAYS.items():
        if name not in found:
            raise UserError(path, f"has no array '{name}'", f"it needs {name} {what}")
    names, counts, values = found["ids"], found["n_frames"], found["values"]
    fits = {
        "ids": names.dtype.kind == "U" and names.ndim == 1,
        "n_frames": counts.dtype.kind in "iu" and counts.ndim == 1,
        "values": values.dtype in (np.float16, np.float32) and values.ndim == 2,
    }
    for name, fit in fits.items():
        if not fit:
            array = found[name]
            raise UserError(path, f"its '{name}' is {array.dtype} of shape {array.shape}", f"it must be {ARRAYS[name]}")
    ids = [str(name).strip() for name in names]
    if len(ids) != len(counts) or not ids:
        raise UserError(path, f"has {len(ids)} ids and {len(counts)} n_frames", "each clip needs one of both")
    _check_ids(path, ids)
    if counts.min() < 0:
        raise UserError(path, f"n_frames of '{ids[int(counts.argmin())]}' is {counts.min()}", "0 is the least")
    ends = counts.astype(np.int64).cumsum()
    if ends[-1] != len(values):
        raise UserError(path, f"n_frames add up to {ends[-1]}, but values has {len(values)} rows", "write all of them anew")
    if len(bad := np.flatnonzero(~np.isfinite(values).all(axis=1))):
        clips = np.unique(np.searchsorted(ends, bad, side="right"))
        why = f"values of {len(clips)} of its clips are not finite, such as those of '{ids[clips[0]]}'"
        raise UserError(path, why, "compute them again or leave these clips out")
    return Arrays(ids, ends, values)


def _load(path: Path) -> Mapping[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise UserError(path, "is not an npz, or is cut off", "write it with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ARRAYS if name in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(path, f"is damaged or holds objects: {error}", "write it with numpy.savez, of plain arrays") from None


def _check_ids(path: Path, ids: list[str]) -> None:
    seen: set[str] = set()
    for clip in ids:
        if not clip:
            raise UserError(path, "one of its ids is empty", "name every clip")
        if clip in seen:
            raise UserError(path, f"the id '{clip}' is there twice", "rename or remove one")
        seen.add(clip)


def _shards(
    arrays: Arrays, expert: Expert, rows: Mapping[str, int], rate: float, progress: Progress
) -> Iterator[tuple[Expert, dict[str, Features | None]]]:
    ids = list(rows)
    with progress.task("Writing features", len(ids)) as task:
        for start in range(0, len(ids), writer.SHARD):
            part = ids[start : start + writer.SHARD]
            yield expert, {clip: arrays.features(rows[clip], rate) for clip in part}
            task.advance(len(part))
