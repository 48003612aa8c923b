"""`hit import csv`: one's own csv or tsv with a row per caption, its columns named by options."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hit.datasets import IMAGE_SUFFIXES, span, table
from hit.errors import UserError
from hit.files import VIDEO_SUFFIXES
from hit.importers import Item
from hit.importers.release import Release, Terms, bring
from hit.importers.sources import check_id, clean

COLUMNS = ("id", "caption", "split", "video", "start", "end")


def import_csv(path: Path, out: Path, columns: Sequence[str], split: str, terms: Terms) -> dict[str, Any]:
    """Make a data set of a table with a row per caption; return its summary.

    `columns` are KEY=COLUMN with the keys id, caption, split, video, start and end; those that are not named are called like
    their key. id and caption must be there. Clips without a split are in `split`. Raises UserError, with the line, for what
    does not fit.
    """
    names = _names(columns)
    made_of = {"importer": "csv/1", "columns": names, "split": split}
    return bring(out, made_of, [path], lambda: Release(path, _read(path, names, split)), terms)


def _names(columns: Sequence[str]) -> dict[str, str]:
    names = {key: key for key in COLUMNS}
    for spec in columns:
        key, _, column = spec.partition("=")
        if key not in names or not column:
            raise UserError(f"--column '{spec}'", "not KEY=COLUMN", f"the keys are {', '.join(COLUMNS)}; for example id=video_id")
        names[key] = column.lower()
    return names


def _read(path: Path, names: Mapping[str, str], split: str) -> dict[str, Item]:
    needed = ((names["id"],), (names["caption"],))
    heads: dict[str, tuple[str, str, float, float]] = {}
    captions: dict[str, list[str]] = {}
    absent = "name a csv with a row per caption"
    columns = f"{names['id']},{names['caption']}, or say with --column which they are"
    for line, row in table.rows(path, needed, columns, absent, "\t" if path.suffix == ".tsv" else ","):
        where = f"{path}, line {line}"
        clip, text, own, video = (row.get(names[key], "") for key in ("id", "caption", "split", "video"))
        if not clip or not text:
            raise UserError(where, f"the {'caption' if clip else 'id'} is empty", "write one or remove the line")
        check_id(where, clip, nested=True)
        check_id(where, video or clip, nested=True)
        if Path(video or clip).suffix.lower() in IMAGE_SUFFIXES:
            raise UserError(where, f"'{video or clip}' is an image, not a video", "name the video, or none")
        head = (own or split, video or clip, *span(row.get(names["start"], ""), row.get(names["end"], ""), where))
        if heads.setdefault(clip, head) != head:
            raise UserError(where, f"'{clip}' has another split, video or time by an earlier line", "make them alike")
        captions.setdefault(clip, []).append(clean(text))
    return {
        clip: Item(own, tuple(captions[clip]), video, _stem(video), start, end)
        for clip, (own, video, start, end) in heads.items()
    }


def _stem(video: str) -> str:
    path = Path(video)
    return str(path.with_suffix("")) if path.suffix.lower() in VIDEO_SUFFIXES else video
