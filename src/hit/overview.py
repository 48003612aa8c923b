"""What a data set holds: counts by split, the lengths of captions, and how much of it each expert covers."""

import html
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hit import datasets, features, plots, shards
from hit.datasets import Dataset
from hit.errors import UserError
from hit.files import write_whole

TAIL = 99.5  # per cent of the captions that the plot shows: a few very long ones would flatten it


@dataclass
class _Found:
    """Features on disk, by their own description."""

    name: str
    dim: int
    identity: str


def overview(root: Path) -> dict[str, Any]:
    """Return counts by split and in all, caption lengths in words, and each expert's coverage of the clips.

    Raises UserError for a data set or features that are damaged.
    """
    data = datasets.read(root)
    lengths = caption_lengths(data)
    splits = {}
    for split, words in lengths.items():
        clips = len(data.split(split))
        splits[split] = {"clips": clips, "captions": sum(words.values()), "words": _spread(words)}
    every = sum(lengths.values(), Counter[int]())
    total = {"clips": len(data.clips), "captions": sum(every.values()), "words": _spread(every)}
    return {"dataset": str(root), **total, "splits": splits, "experts": [_coverage(root, one, data) for one in _revisions(root)]}


def caption_lengths(data: Dataset) -> dict[str, Counter[int]]:
    """Return for each split how many captions have how many words."""
    found: dict[str, Counter[int]] = {}
    for clip, texts in data.captions.items():
        found.setdefault(data.splits[clip], Counter()).update(len(text.split()) for text in texts)
    return found


def write_plots(root: Path, about: Mapping[str, Any], path: Path) -> None:
    """Write a page with the caption lengths of each split and the experts' coverage."""
    lengths = caption_lengths(datasets.read(root))
    longest = max(int(np.percentile(list(words.elements()), TAIL)) for words in lengths.values()) + 1
    shares = {
        split: (list(range(longest + 1)), [100 * words[n] / words.total() for n in range(longest + 1)])
        for split, words in lengths.items()
    }
    figures = [plots.lines(shares, "Length of captions", "words", "% of captions")]
    if about["experts"]:
        rows = {f"{one['name']} ({one['rows']['mean']:.1f} rows)": (one["share"], 0.0) for one in about["experts"]}
        figures.append(plots.bars(rows, "Clips that an expert covers", "% of clips"))
    title = html.escape(f"Data set {root.name}")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    page = head + '<meta name="color-scheme" content="light dark"><body>' + "".join(figures) + "</body></html>\n"
    try:
        write_whole(path, page.encode())
    except OSError as error:
        raise UserError(path, f"cannot be written: {error.strerror}", "name a file in a folder that is there") from None


def _spread(words: Counter[int]) -> dict[str, float]:
    each = np.fromiter(words.elements(), np.int64)
    return {
        "least": int(each.min()),
        "median": float(np.median(each)),
        "mean": round(float(each.mean()), 2),
        "most": int(each.max()),
    }


def _revisions(root: Path) -> list[_Found]:
    found = []
    for path, content in shards.revisions(features.home(root)):
        try:
            about = json.loads(content)
            found.append(_Found(about["name"], about["dim"], about["identity"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(path / "expert.json", f"is damaged: {error}", "import or extract these features again") from None
    return found


def _coverage(root: Path, expert: _Found, data: Dataset) -> dict[str, Any]:
    rows = features.Folder(features.home(root), expert).counts()
    own = [rows[clip] for clip in data.clips if clip in rows]
    some = [count for count in own if count]
    return {
        "name": expert.name,
        "identity": expert.identity,
        "width": expert.dim,
        "clips": len(some),
        "share": round(100 * len(some) / len(data.clips), 2),
        "absent": own.count(None),
        "saw_nothing": own.count(0),
        "not_extracted": len(data.clips) - len(own),
        "rows": {
            "least": min(some, default=0),
            "mean": round(sum(some) / max(len(some), 1), 2),
            "most": max(some, default=0),
        },
    }
