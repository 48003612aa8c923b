"""`hit import activitynet`: ActivityNet Captions' own json files, {video: {"duration", "timestamps", "sentences"}}.

The paragraph protocol joins all sentences of a video; the clip protocol makes a clip of each sentence and its segment. The
validation videos have two annotations, val_1 and val_2; the field's tables are made with val_1. It is the split `test` here.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hit.errors import UserError
from hit.importers import Item
from hit.importers.release import Problem, Published, Release, Terms, bring
from hit.importers.sources import AGAIN, check_id, check_lists, clean, read_json

Protocol = Literal["paragraph", "clip"]
VIDEOS = {"train": 10_009, "val_1": 4_917, "val_2": 4_885}
SENTENCES = {"train": 37_421, "val_1": 17_505, "val_2": 17_031}
LEAST = 1.0  # seconds to which a segment of no length is widened

Entry = tuple[list[str], list[tuple[float, float]]]  # sentences and their segments


def import_activitynet(folder: Path, out: Path, protocol: Protocol, val: int, terms: Terms) -> dict[str, Any]:
    """Make a data set of the captions in `folder`, with annotation `val` (1 or 2) as the test split; return its summary.

    Raises UserError for files that are missing or damaged, and for what differs from the published data set.
    """
    paths = {"train": folder / "train.json", "test": folder / f"val_{val}.json"}
    made_of = {"importer": "activitynet/1", "protocol": protocol, "val": val}
    counts = VIDEOS if protocol == "paragraph" else SENTENCES
    published = {split: (counts[path.stem], counts[path.stem]) for split, path in paths.items()}
    return bring(out, made_of, paths.values(), lambda: _read(folder, paths, protocol, published), terms)


def _read(folder: Path, paths: Mapping[str, Path], protocol: Protocol, published: Published) -> Release:
    found = {split: read(path) for split, path in paths.items()}
    check_lists(folder, ((split, list(videos)) for split, videos in found.items()))
    items: dict[str, Item] = {}
    mended, empty = list[str](), list[str]()
    for split, videos in found.items():
        for video, (sentences, segments) in videos.items():
            parts = {video: (clean(" ".join(sentences)), (0.0, math.inf))}
            if protocol == "clip":
                parts = {f"{video}:{i}": part for i, part in enumerate(zip(sentences, segments, strict=True))}
            for clip, (text, segment) in parts.items():
                start, end = _mended(*segment)
                mended += [clip] * ((start, end) != segment)
                empty += [clip] * (not text)
                items[clip] = Item(split, (text,), video, video, start, end)
    problems = []
    if mended:
        what = f"{len(mended)} segments end before or where they begin: turned round, or widened to {LEAST:g} s"
        problems.append(Problem(what, "nothing has to be done", tuple(mended), blocks=False))
    if empty:
        problems.append(Problem(f"{len(empty)} captions are empty and are left out", "get the files again", tuple(empty)))
    return Release(folder, {clip: item for clip, item in items.items() if item.captions[0]}, published, problems)


def read(path: Path) -> dict[str, Entry]:
    """Return the sentences and segments of each video of a file. Raises UserError, with the video, for what does not fit."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(path, "is not a json object of videos", AGAIN)
    found = {}
    for video, entry in content.items():
        where = f"{path}, video '{video}'"
        check_id(where, video)
        try:
            sentences = [clean(sentence) for sentence in entry["sentences"]]
            segments = [(float(start), float(end)) for start, end in entry["timestamps"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(where, f"has not sentences and timestamps: {error!r}", AGAIN) from None
        if len(sentences) != len(segments):
            raise UserError(where, f"has {len(sentences)} sentences and {len(segments)} timestamps", AGAIN)
        if not all(math.isfinite(time) and time >= 0 for segment in segments for time in segment):
            raise UserError(where, "has a timestamp that is no time", AGAIN)
        found[video] = (sentences, segments)
    return found


def _mended(start: float, end: float) -> tuple[float, float]:
    """Return a segment that has a length: the release has four that have none or run backwards."""
    start, end = min(start, end), max(start, end)
    return (start, end) if start < end else (max(0.0, start - LEAST / 2), max(0.0, start - LEAST / 2) + LEAST)
