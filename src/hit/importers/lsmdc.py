"""`hit import lsmdc`: LSMDC 2016's tab-separated files without a header, as their own readme describes them.

A line is clip id, start and end as aligned, start and end as extracted, sentence. An id may have several lines: their
sentences are joined, as the reference features have them. The 1,000 clips of the retrieval challenge are the split `test`.
"""

from pathlib import Path
from typing import Any

from hit.errors import UserError
from hit.importers import Item
from hit.importers.release import Problem, Release, Terms, bring
from hit.importers.sources import AGAIN, check_id, check_lists, clean, read_text

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",  # may be absent: the retrieval tables do not use it
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
LINES = {"train": 101_079, "val": 7_408}  # published: lines, for ids come more than once
TEST = {"test": (1000, 1000)}


def import_lsmdc(folder: Path, out: Path, terms: Terms) -> dict[str, Any]:
    """Make a data set of the annotation files in `folder`; return its summary.

    Raises UserError for files that are missing or damaged, and for what differs from the published data set.
    """
    paths = {split: folder / name for split, name in FILES.items()}
    if not paths["val"].exists():
        del paths["val"]
    return bring(out, {"importer": "lsmdc/1"}, paths.values(), lambda: _read(folder, paths), terms)


def _read(folder: Path, paths: dict[str, Path]) -> Release:
    items: dict[str, Item] = {}
    problems = []
    lists = {}
    for split, path in paths.items():
        lines = read(path)
        sentences: dict[str, list[str]] = {}
        for clip, sentence in lines:
            sentences.setdefault(clip, []).append(sentence)
        lists[split] = list(sentences)
        right = LINES.get(split, len(lines))
        if len(lines) != right:
            problems.append(Problem(f"{split} has {len(lines):,} lines, published are {right:,}", "get the file again"))
        empty = []
        for clip, texts in sentences.items():
            if text := " ".join(filter(None, texts)):
                items[clip] = Item(split, (text,), f"{clip.rpartition('_')[0]}/{clip}", clip)
            else:
                empty.append(clip)
        if empty:
            what = f"{split}: {len(empty)} clips have no sentence and are left out"
            problems.append(Problem(what, "nothing has to be done for the few that the release has", tuple(empty), blocks=False))
    check_lists(folder, lists.items())
    return Release(folder, items, TEST, problems)


def read(path: Path) -> list[tuple[str, str]]:
    """Return the clip id and the sentence of each line. Raises UserError, with the line, for what does not fit."""
    lines = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells):
            continue
        where = f"{path}, line {number}"
        if len(cells) not in (5, 6):  # five: the sentence is missing
            raise UserError(where, f"has {len(cells)} columns, not 6", f"they are separated by tabs; {AGAIN}")
        check_id(where, cells[0])
        lines.append((cells[0], clean(cells[5]) if len(cells) == 6 else ""))
    return lines
