"""`hit import msvd`: the captions of MSVD's 1,970 videos and the split lists 1,200/100/670.

Captions are a json {video: [captions]} or the pickle {video: [lists of words]} of Collaborative Experts and CLIP4Clip.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hit.errors import UserError
from hit.importers.msrvtt import find
from hit.importers.release import Release, Terms, assemble, bring
from hit.importers.sources import AGAIN, check_id, check_lists, clean, read_ids, read_json, read_pickle

PUBLISHED = {"train": (1200, 48_774), "val": (100, 4_290), "test": (670, 27_763)}
CAPTIONS = ("captions_msvd.json", "raw-captions.pkl")  # the first that is there


def import_msvd(folder: Path, out: Path, terms: Terms) -> dict[str, Any]:
    """Make a data set of the captions and split lists in `folder`; return its summary.

    Raises UserError for files that are missing or damaged, and for what differs from the published data set.
    """
    captions = find(folder, CAPTIONS)
    assert captions is not None
    lists = {split: folder / f"{split}_list.txt" for split in PUBLISHED}
    return bring(out, {"importer": "msvd/1"}, (captions, *lists.values()), lambda: _read(folder, captions, lists), terms)


def _read(folder: Path, path: Path, paths: Mapping[str, Path]) -> Release:
    content = read_json(path) if path.suffix == ".json" else read_pickle(path)
    captions: dict[str, list[str]] = {}
    try:
        for clip, texts in content.items():
            captions[clip] = [clean(text if isinstance(text, str) else " ".join(text)) for text in texts]
    except (AttributeError, TypeError) as error:
        raise UserError(path, f"has not the form of MSVD's captions: {error!r}", AGAIN) from None
    for clip in captions:
        check_id(path, clip)
    lists = {split: read_ids(own) for split, own in paths.items()}
    check_lists(folder, lists.items())
    items, problems = assemble(lists, captions)
    return Release(folder, items, PUBLISHED, problems)
