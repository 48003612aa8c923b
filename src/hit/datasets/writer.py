"""Writing a data set folder whole or not at all: the one format on disk that every importer writes.

    clips.csv, captions.csv, experts.toml, features/...    as `hit.datasets` reads them
    import.json                                            what it was made of, and the summary that was printed

All of it is written into a folder beside, which then gets its name; what a killed import left there is removed by the next.
"""

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from hit import config, features, files
from hit.datasets import Dataset, table
from hit.errors import UserError
from hit.features import Described
from hit.types import Clip, Features

SHARD = 512  # clips whose features an importer hands over at once: some megabytes a file

Shards = Iterable[tuple[Described, Mapping[str, Features | None]]]


def written(root: Path, made_of: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the summary of the import that made `root` of the same things, None where nothing is there.

    Raises UserError where something else is there.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        found = json.loads((root / "import.json").read_text())
        if found["made_of"] == made_of:
            return dict(found["summary"])
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(root, "exists already", "choose another folder or remove this one") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(root / "import.json", f"is damaged: {error}", "choose another folder or remove this one") from None
    differ = ", ".join(key for key in made_of if found["made_of"].get(key) != made_of[key])
    raise UserError(root, f"holds another import: not the same {differ}", "choose another folder or remove this one")


def write(dataset: Dataset, shards: Shards, made_of: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Write a data set to its root: durable on return, and nothing is there until all is.

    `made_of` (plain values) tells one import from another, `summary` is kept for those who repeat it. Raises UserError where
    `root` is in use, holds something else or cannot be written.
    """
    root = dataset.root.absolute()
    part = root.with_name(f".{root.name}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        with files.locked(part / ".lock", 0):
            if written(root, made_of) is not None:  # by a process that was faster
                return
            _clear(part)
            try:
                _fill(part, dataset, shards, {"made_of": dict(made_of), "summary": dict(summary)})
                part.rename(root)
            except BaseException:
                shutil.rmtree(part)
                raise
            (root / ".lock").unlink()
            files.sync_folder(root.parent)
    except OSError as error:
        raise UserError(root, f"cannot be written: {error.strerror}", "free some space or name another folder") from None


def _clear(part: Path) -> None:
    for path in part.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _fill(part: Path, dataset: Dataset, shards: Shards, about: Mapping[str, Any]) -> None:
    for expert, clips in shards:
        features.Folder(part / "features", expert).write(clips)
    clip_rows = (_clip_row(clip) for clip in dataset.clips.values())
    caption_rows = ((clip, dataset.splits[clip], text) for clip in dataset.clips for text in dataset.captions[clip])
    experts = {"experts": {name: config.to_table(one) for name, one in dataset.experts.items()}}
    files.write_whole(part / "clips.csv", table.to_bytes(("id", "video", "start", "end"), clip_rows))
    files.write_whole(part / "captions.csv", table.to_bytes(("clip", "split", "caption"), caption_rows))
    files.write_whole(part / "experts.toml", tomli_w.dumps(experts).encode())
    files.write_whole(part / "import.json", (json.dumps(about, indent=1) + "\n").encode())
    if (part / "features").exists():
        files.sync_folder(part / "features")


def _clip_row(clip: Clip) -> tuple[str, str, object, object]:
    return clip.id, clip.video, clip.start or "", "" if math.isinf(clip.end) else clip.end
