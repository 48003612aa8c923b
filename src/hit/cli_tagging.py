"""The commands that tag: tag, labels ..."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hit.door import Json, LibraryFolder, emit
from hit.errors import UserError

tagging = typer.Typer()
labelling = typer.Typer(help="Look after label sets: what they would tag, why, and what people say of it.", no_args_is_help=True)
SetName = Annotated[str, typer.Argument(metavar="SET", help="A label set's name.")]
LabelName = Annotated[str, typer.Argument(metavar="LABEL", help="A label of it.")]
Version = Annotated[int | None, typer.Option(min=1, help="A version; the newest unless one is named.")]
_BY = "command line"


@tagging.command()
def tag(
    folder: LibraryFolder,
    labels: Annotated[Path, typer.Option(metavar="FILE", help="A .csv or .toml of labels; docs/tagging.md says how.")],
    name: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="The label set's name; the file's, unless said.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Tag a library by labels in plain words. What it tags once is kept up to date while the library grows."""
    from hit.console import Bars
    from hit.library import Library
    from hit.tagging import apply, sets
    from hit.tagging import labels as formats

    given = formats.read(labels)
    name = formats.set_name(labels.stem if name is None else name)
    with Library.open(folder) as library:
        if dry_run:
            emit({"label_set": name, **apply.preview_labels(library, name, given, Bars())}, as_json, _show_preview)
            return
        one = sets.saved(library, name, given, _BY)
        emit(apply.apply(library, name, one.version, Bars()), as_json, _show_applied)


@labelling.command("list")
def list_(folder: LibraryFolder, as_json: Json = False) -> None:
    """List the label sets of a library."""
    from hit.library import Library
    from hit.tagging import sets

    with Library.open(folder, mend=False) as library:
        found = [sets.summary(one) for one in library.db.label_sets()]
    emit({"library": str(folder), "label_sets": found}, as_json, _show_list)


@labelling.command()
def show(folder: LibraryFolder, name: SetName, version: Version = None, as_json: Json = False) -> None:
    """Show a label set: its labels, where their lines are drawn, how many videos bear them."""
    from hit.library import Library
    from hit.tagging import sets

    with Library.open(folder, mend=False) as library:
        emit(sets.to_json(library, library.db.label_set(name, version)), as_json, _show_set)


@labelling.command()
def export(
    folder: LibraryFolder,
    name: SetName,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .toml.")],
    version: Version = None,
    as_json: Json = False,
) -> None:
    """Write a label set to a file, which `hit tag` takes."""
    from hit.files import save
    from hit.library import Library
    from hit.tagging import labels as formats
    from hit.tagging import sets

    with Library.open(folder, mend=False) as library:
        one = library.db.label_set(name, version)
    kinds = {".csv": formats.to_csv, ".toml": formats.to_toml}
    if out.suffix.lower() not in kinds:
        raise UserError(out, "is no .csv and no .toml", "name a file that ends so")
    found = sets.labels_of(one)
    save(out, kinds[out.suffix.lower()](found).encode())
    emit({"file": str(out), "label_set": name, "version": one.version, "labels": len(found)}, as_json, _show_export)


@labelling.command()
def preview(folder: LibraryFolder, name: SetName, version: Version = None, as_json: Json = False) -> None:
    """Say what applying a version would change, before anything happens."""
    from hit.console import Bars
    from hit.library import Library
    from hit.tagging import apply

    with Library.open(folder) as library:
        emit({"label_set": name, **apply.preview(library, name, version, Bars())}, as_json, _show_preview)


@labelling.command("apply")
def apply_(folder: LibraryFolder, name: SetName, version: Version = None, as_json: Json = False) -> None:
    """Have a version be the one that tags the library; what it no longer says is taken back."""
    from hit.console import Bars
    from hit.library import Library
    from hit.tagging import apply

    with Library.open(folder) as library:
        emit(apply.apply(library, name, version, Bars()), as_json, _show_applied)


@labelling.command()
def answer(
    folder: LibraryFolder,
    name: SetName,
    label: LabelName,
    said: Annotated[Literal["yes", "no", "none"], typer.Argument(help="Whether the segments show it; none takes answers back.")],
    segments: Annotated[
        list[str], typer.Argument(metavar="SEGMENT", help="Segments by their ids, as `hit search --json` has them.")
    ],
    as_json: Json = False,
) -> None:
    """Say whether segments show what a label means. Nothing is tagged otherwise until it is fitted anew."""
    from hit.library import Library
    from hit.tagging import sets

    with Library.open(folder, mend=False) as library:
        for segment in segments:
            sets.answer(library, name, label, segment, {"yes": True, "no": False, "none": None}[said], _BY)
        result = {"label_set": name, "label": label, "answers": sets.tally(library, name, label)}
    emit(result, as_json, _show_answers)


@labelling.command()
def refit(folder: LibraryFolder, name: SetName, label: LabelName, as_json: Json = False) -> None:
    """Make people's answers examples of a label, in a new draft, which counts once it is applied."""
    from hit.library import Library
    from hit.tagging import sets

    with Library.open(folder, mend=False) as library:
        emit(sets.to_json(library, sets.refit(library, name, label, _BY)), as_json, _show_set)


@labelling.command()
def retire(folder: LibraryFolder, name: SetName, as_json: Json = False) -> None:
    """Retire a label set, and take back what it tagged."""
    from hit.library import Library
    from hit.tagging import apply

    with Library.open(folder, mend=False) as library:
        emit(apply.retire(library, name), as_json, _show_retired)


def _show_preview(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    columns = ("before", "after", "added", "removed", "kept")
    table("Videos", ["label", *columns], [[one["name"], *(one[key] for key in columns)] for one in result["labels"]])
    before = "none before" if result["before"] is None else f"against version {result['before']}"
    say(f"{result['label_set']}: {result['videos']} videos, {before}; nothing is changed yet")


def _show_applied(result: Mapping[str, Any]) -> None:
    from hit.console import say

    changed = f"{result['added']} tags given, {result['removed']} taken back"
    say(f"{result['label_set']}, version {result['version']}: {result['tagged']} tags on {result['videos']} videos; {changed}")


def _show_list(result: Mapping[str, Any]) -> None:
    from hit.console import table

    names = ("name", "version", "state", "active_version", "labels", "tagged", "by")
    rows = [[one[name] for name in names] for one in result["label_sets"]]
    table("Label sets", ["name", "newest", "state", "active", "labels", "videos tagged", "by"], rows)


def _show_set(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    rows = [
        [
            one["name"],
            one["group"],
            " | ".join(one["texts"]),
            f"{len(one['examples_for'])} + {len(one['examples_against'])}",
            one["kind"],
            " ".join(f"{kind} {value:g}" for kind, value in one["rule"].items()),
            None if one["threshold"] is None else f"{one['threshold']:.3f}",
            one["tagged"],
        ]
        for one in result["labels"]
    ]
    table(result["name"], ["label", "group", "texts", "for + against", "kind", "rule", "threshold", "videos"], rows)
    say(f"version {result['version']}, {result['state']}, for model {result['model']['id']} {result['model']['revision']}")


def _show_export(result: Mapping[str, Any]) -> None:
    from hit.console import say

    say(f"{result['file']}: {result['labels']} labels of {result['label_set']}, version {result['version']}")


def _show_answers(result: Mapping[str, Any]) -> None:
    from hit.console import say

    say(f"{result['label']}: {result['answers']['yes']} yes, {result['answers']['no']} no; hit labels refit makes it of them")


def _show_retired(result: Mapping[str, Any]) -> None:
    from hit.console import say

    say(f"{result['label_set']} is retired; {result['removed']} tags taken back")
