"""`hit import msrvtt`: MSR-VTT's captions and the three ways to cut it.

Captions: Microsoft's json {"videos": [...], "sentences": [{"video_id", "caption", ...}]}, in one file (MSRVTT_data.json) or in
parts (train_val_videodatainfo.json, test_videodatainfo.json), and lists of {"video": "video7010.mp4", "caption": [...]}.
Cuts: the split lists of Collaborative Experts and MMT, CLIP4Clip's csv files, and for the full cut Microsoft's own marks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hit.datasets import table
from hit.errors import UserError
from hit.importers.release import Problem, Published, Release, Terms, assemble, bring
from hit.importers.sources import AGAIN, check_id, check_lists, clean, read_ids, read_json, read_pickle

Cut = Literal["1ka", "1kb", "full"]
PUBLISHED: Mapping[Cut, Published] = {
    "1ka": {"train": (9000, 180_000), "test": (1000, 1000)},
    "1kb": {"train": (6656, 133_120), "test": (1000, 1000)},
    "full": {"train": (6513, 130_260), "val": (497, 9_940), "test": (2990, 59_800)},
}
CAPTIONS = ("MSRVTT_data.json", "*videodatainfo*.json", "msrvtt_caption*.json")  # a video's captions are those of the first
LISTS: Mapping[Cut, Mapping[str, Sequence[str]]] = {  # the first that is there
    "1ka": {
        "train": ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt"),
        "test": ("MSRVTT_JSFUSION_test.csv", "val_list_jsfusion.txt"),
    },
    "1kb": {"train": ("train_list_miech.txt",), "test": ("test_list_miech.txt",)},
    "full": {split: (f"{split}_list_full.txt", f"{split}_list.txt") for split in ("train", "val", "test")},
}
INDEX = "jsfusion_val_caption_idx.pkl"
MARKS = {"train": "train", "validate": "val", "test": "test"}  # Microsoft's names of the splits


def import_msrvtt(folder: Path, out: Path, cut: Cut, terms: Terms) -> dict[str, Any]:
    """Make a data set of one cut of MSR-VTT from the annotation files in `folder`; return its summary.

    Raises UserError for files that are missing or damaged, and for what differs from the published cut.
    """
    paths = [path for pattern in CAPTIONS for path in sorted(folder.glob(pattern))]
    lists = {split: find(folder, names, required=cut != "full") for split, names in LISTS[cut].items()}
    used = [*paths, *(path for path in lists.values() if path), *folder.glob(INDEX)]
    return bring(out, {"importer": "msrvtt/1", "cut": cut}, used, lambda: _read(folder, cut, paths, lists), terms)


def find(folder: Path, names: Sequence[str], *, required: bool = True) -> Path | None:
    """Return the first of the files that is in the folder. Raises UserError where none is, if one is `required`."""
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None and required:
        raise UserError(folder, f"has no {' and no '.join(names)}", "put the split lists of the release there")
    return found


def caption_index(path: Path, ids: Sequence[str], captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the one caption of each test video that has captions, by the pickle {video: index} of the 1k-A cut."""
    index = read_pickle(path)
    if not isinstance(index, dict) or any(type(number) is not int for number in index.values()):
        raise UserError(path, "is not a dict of video ids and whole numbers", AGAIN)
    chosen = {}
    for clip in ids:
        if clip not in index:
            raise UserError(path, f"has no index for the test video '{clip}'", AGAIN)
        if texts := captions.get(clip, ()):
            if not 0 <= index[clip] < len(texts):
                raise UserError(path, f"the index {index[clip]} of '{clip}' is none of its {len(texts)} captions", AGAIN)
            chosen[clip] = [texts[index[clip]]]
    return chosen


def _read(folder: Path, cut: Cut, paths: Sequence[Path], found: Mapping[str, Path | None]) -> Release:
    captions, marks = _captions(paths)
    lists, fixed = _lists(folder, cut, found, marks)
    check_lists(folder, lists.items())
    problems = []
    if cut == "1ka":
        if fixed:
            problems = _compare(fixed, captions)
        elif captions:
            fixed = caption_index(folder / INDEX, lists["test"], captions)
        captions |= fixed
    elif cut == "1kb":
        captions |= {clip: captions[clip][:1] for clip in lists["test"] if clip in captions}
    items, more = assemble(lists, captions)
    return Release(folder, items, PUBLISHED[cut], [*problems, *more])


def _captions(paths: Sequence[Path]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the captions of each video in their files' order, and the splits that Microsoft's files mark."""
    captions: dict[str, list[str]] = {}
    marks: dict[str, str] = {}
    for path in paths:
        content, own = read_json(path), dict[str, list[str]]()
        try:
            if isinstance(content, dict):
                for sentence in content["sentences"]:
                    own.setdefault(sentence["video_id"], []).append(clean(sentence["caption"]))
                marks |= {video["video_id"]: MARKS[video["split"]] for video in content.get("videos", ()) if "split" in video}
            else:
                for entry in content:
                    clip = entry["video"].removesuffix(".mp4")
                    if clip in own:
                        raise UserError(path, f"the video '{clip}' is there twice", "remove one of them")
                    own[clip] = [clean(text) for text in entry["caption"]]
        except (KeyError, TypeError, AttributeError) as error:
            form = 'it must hold "videos" and "sentences", or a list of "video" and "caption"'
            raise UserError(path, f"has not the form of MSR-VTT's captions: {error!r}", form) from None
        for clip in own:
            check_id(path, clip)
        captions = own | captions
    return captions, marks


def _lists(
    folder: Path, cut: Cut, found: Mapping[str, Path | None], marks: Mapping[str, str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the ids of each split, and the test captions that a csv fixes."""
    if None in found.values():  # of the full cut
        if not marks:
            names = ", ".join(names[0] for names in LISTS[cut].values())
            raise UserError(folder, "has no split lists", f"put {names} there, or a json whose videos have a split")
        return {split: [clip for clip, own in marks.items() if own == split] for split in LISTS[cut]}, {}
    fixed: dict[str, list[str]] = {}
    lists = {}
    for split, path in found.items():
        assert path is not None
        if path.suffix == ".csv":
            rows = _csv(path, split)
            lists[split] = list(rows)
            fixed |= {clip: [text] for clip, text in rows.items() if text}
        else:
            lists[split] = read_ids(path)
    return lists, fixed


def _csv(path: Path, split: str) -> dict[str, str]:
    """Return the videos of one of CLIP4Clip's csv files, with their sentence if it is the test one."""
    needed = (("video_id",), ("sentence",)) if split == "test" else (("video_id",),)
    rows: dict[str, str] = {}
    for line, row in table.rows(path, needed, ",".join(name for (name,) in needed), AGAIN):
        where, clip = f"{path}, line {line}", row["video_id"]
        check_id(where, clip)
        if clip in rows:
            raise UserError(where, f"the id '{clip}' has a line already", "remove one of them")
        rows[clip] = clean(row["sentence"]) if split == "test" else ""
    return rows


def _compare(fixed: Mapping[str, Sequence[str]], captions: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Note the fixed test captions that are none of their video's, spelling apart."""

    def letters(text: str) -> str:
        return "".join(filter(str.isalnum, text)).lower()

    odd = [clip for clip, (text,) in fixed.items() if clip in captions and letters(text) not in map(letters, captions[clip])]
    if not odd:
        return []
    what = f"the test captions of {len(odd)} videos are none of the captions that the json has of them"
    return [Problem(what, "make sure that both files are of the same release", tuple(odd), blocks=False)]
