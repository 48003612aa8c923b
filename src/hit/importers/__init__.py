"""`hit import`: other people's captions and features as ordinary data sets, one module a source.

Each reads and checks its source, and hands what it found to `hit.datasets.writer`. What they report is the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hit import files
from hit.datasets import Dataset
from hit.errors import UserError


@dataclass(frozen=True)
class Item:
    """One clip of a release; `video` is its path below `videos/` without suffix, `stem` the name of its feature files."""

    split: str
    captions: tuple[str, ...]
    video: str
    stem: str
    start: float = 0.0
    end: float = math.inf


def summarise(dataset: Dataset, rows: Mapping[str, Sequence[int | None]], dims: Mapping[str, int]) -> dict[str, Any]:
    """Return what a data set holds, by split and in all; `dims` are the experts' widths.

    `rows` are each expert's rows in every clip, None where it is absent.
    """
    splits = dict.fromkeys(dataset.splits.values())
    return {
        **_count(dataset, list(dataset.clips)),
        "splits": {split: _count(dataset, [clip.id for clip in dataset.split(split)]) for split in splits},
        "experts": {name: {"width": dims[name], **_coverage(own)} for name, own in rows.items()},
    }


def _coverage(rows: Sequence[int | None]) -> dict[str, Any]:
    there = [count for count in rows if count is not None]
    mean = round(sum(there) / len(there), 2) if there else 0.0
    return {
        "clips": sum(count > 0 for count in there),
        "rows": {"least": min(there, default=0), "mean": mean, "most": max(there, default=0)},
    }


def _count(dataset: Dataset, ids: Sequence[str]) -> dict[str, Any]:
    texts = [text for clip in ids for text in dataset.captions[clip]]
    words = sum(len(text.split()) for text in texts)
    return {"clips": len(ids), "captions": len(texts), "words_per_caption": round(words / len(texts), 2)}


def fingerprint(path: Path) -> str:
    """Return the hash of a file's content. Raises UserError where it cannot be read."""
    try:
        return files.sha256(path)
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise UserError(path, why) from None
