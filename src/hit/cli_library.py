"""The commands that look after a library: `hit library ...`."""

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from hit.door import Json, LibraryFolder, emit
from hit.errors import UserError

keeping = typer.Typer(help="Look after a library: check, mend, move, back up, export, tag.", no_args_is_help=True)
MANY = 100  # videos that are removed without being asked
Names = Annotated[
    list[str] | None, typer.Argument(metavar="VIDEO", help="Videos by their paths or ids; a folder means all that is below it.")
]


@keeping.command()
def info(folder: LibraryFolder, as_json: Json = False) -> None:
    """Say what a library holds: videos, vectors of each model, its store and database, room on the disk, newest jobs."""
    from hit.library import Library
    from hit.upkeep.info import info as verb

    with Library.open(folder, mend=False) as library:
        emit(verb(library), as_json, _show_info)


@keeping.command()
def verify(
    folder: LibraryFolder,
    full: Annotated[bool, typer.Option("--full", help="Compare all of the store's vectors, not a sample.")] = False,
    as_json: Json = False,
) -> None:
    """Check all of a library. Exit code 1 where something is wrong; each finding says what mends it."""
    from hit.console import Bars
    from hit.library import Library
    from hit.upkeep.verify import verify as verb

    with Library.open(folder, mend=False) as library:
        result = verb(library, full, Bars())
    emit(result, as_json, _show_verify)
    if not result["sound"]:
        raise typer.Exit(1)


@keeping.command()
def rebuild(folder: LibraryFolder, as_json: Json = False) -> None:
    """Make the vector store anew from the vectors that the library keeps; no video is decoded."""
    from hit.console import Bars
    from hit.library import Library
    from hit.upkeep.shelves import rebuild as verb

    with Library.open(folder, mend=False) as library:
        emit(verb(library, Bars()), as_json, _show_store)


@keeping.command()
def move(
    folder: LibraryFolder,
    to: Annotated[
        str, typer.Option(metavar="URI", help="A store: http://HOST:PORT[/DATABASE], milvus+lite:PATH, or local.")
    ] = "",
    objects: Annotated[
        str, typer.Option(metavar="URL", help="Arrays, thumbnails and uploads: s3://BUCKET/FOLDER, gs://, az://, or local.")
    ] = "",
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Remove what was moved once the new one is in use.")] = False,
    as_json: Json = False,
) -> None:
    """Fill another vector store, or bring files to an object store and back; verify it, and use it from then on."""
    from hit.console import Bars
    from hit.library import Library
    from hit.upkeep import pieces, shelves

    if bool(to) == bool(objects):
        raise UserError("hit library move", "it is either a store or files that are moved", "say --to URI, or --objects URL")
    with Library.open(folder) as library:
        if to:
            emit(shelves.move(library, to, drop_old, Bars()), as_json, _show_store)
        else:
            emit(pieces.move(library, objects, drop_old, Bars()), as_json, _show_files)


@keeping.command()
def export(
    folder: LibraryFolder,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    as_json: Json = False,
) -> None:
    """Write vectors (npy), and segments, videos and lines (parquet), for other programs."""
    from hit.console import Bars
    from hit.library import Library
    from hit.upkeep.export import export as verb

    with Library.open(folder) as library:
        emit(verb(library, out, Bars()), as_json, _show_export)


@keeping.command()
def remove(
    folder: LibraryFolder,
    videos: Names = None,
    missing: Annotated[bool, typer.Option("--missing", help="Forget all files that are not where they were.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be forgotten.")] = False,
    as_json: Json = False,
) -> None:
    """Forget videos. Their files are left alone, but for uploads; a later `hit index` of them brings them back."""
    from hit.library import Library
    from hit.upkeep import remove as upkeep

    if not videos and not missing:
        raise UserError("hit library remove", "no videos are given", "name some, or say --missing")
    with Library.open(folder) as library:
        going = upkeep.plan(library, videos or [], missing)
        if dry_run:
            result = {
                "library": str(folder),
                "removed": [],
                "files": [],
                "would_remove": going.videos,
                "would_forget": going.paths,
            }
        else:
            if missing or len(going.videos) > MANY:
                _ask(f"{len(going.videos)} videos ({len(going.paths)} files) are to be forgotten", yes or not going.paths)
            result = upkeep.remove(library, videos or [], missing)
    emit(result, as_json, _show_remove)


@keeping.command()
def prune(
    folder: LibraryFolder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and its bytes.")] = False,
    as_json: Json = False,
) -> None:
    """Free room: vectors of earlier models and of videos that are gone, and files that nothing in the library names."""
    from hit.console import Bars
    from hit.library import Library
    from hit.upkeep.prune import prune as verb

    with Library.open(folder) as library:
        emit(verb(library, dry_run, Bars()), as_json, _show_prune)


@keeping.command()
def backup(
    folder: LibraryFolder,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A name that ends with .tar, .tar.gz or .tgz.")],
    model: Annotated[bool, typer.Option("--model/--no-model", help="Whether the model goes with it.")] = True,
    as_json: Json = False,
) -> None:
    """Write a library to one file, as it is at one moment, while others may go on indexing into it."""
    from hit.console import Bars
    from hit.library import Library
    from hit.upkeep.backup import backup as verb

    with Library.open(folder) as library:
        emit(verb(library, out, Bars(), model), as_json, _show_backup)


@keeping.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `hit library backup` wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="LIB", help="A new folder for the library.")],
    database: Annotated[str, typer.Option(metavar="URL", help="Bring its records into this empty database.")] = "",
    store: Annotated[str, typer.Option(metavar="URI", help="Bring its vectors into this store: see `hit index`.")] = "",
    as_json: Json = False,
) -> None:
    """Make a library of a backup."""
    from hit.console import Bars
    from hit.upkeep.backup import restore as verb

    emit(verb(file, folder, database, store, Bars()), as_json, _show_restore)


@keeping.command()
def tag(
    folder: LibraryFolder,
    videos: Names = None,
    add: Annotated[list[str] | None, typer.Option("--add", metavar="NAME", help="Give them this tag. Repeatable.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="NAME", help="Take this tag from them. Repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tag videos, for filters and for search by words. Without videos, list all tags; without tags, those of the videos."""
    from hit.library import Library
    from hit.upkeep.tags import tag as verb

    with Library.open(folder) as library:
        emit(verb(library, videos or [], add or [], remove or []), as_json, _show_tags)


@keeping.command()
def searches(
    folder: LibraryFolder,
    forget: Annotated[list[str] | None, typer.Option("--forget", metavar="NAME", help="Drop this one. Repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """List saved searches, which `hit search LIB @NAME` repeats."""
    from hit.library import Library

    with Library.open(folder, mend=False) as library:
        for name in forget or []:
            if not library.db.forget_search(name):
                raise UserError(f"@{name}", "no search is saved under this name")
        found = library.db.saved_searches()
        result = {
            "library": str(folder),
            "searches": [{"name": one.name, "query": one.query, "created_at": one.created_at} for one in found.values()],
        }
    emit(result, as_json, _show_searches)


def _ask(what: str, sure: bool) -> None:
    """Ask whether to go on. Raises UserError where nobody is there to answer."""
    if sure:
        return
    if not sys.stdin.isatty():
        raise UserError("hit library remove", what, "say --yes, or --dry-run to see them")
    try:
        if typer.confirm(f"{what}. Go on?", err=True):
            return
    except typer.Abort:
        pass
    raise typer.Exit(1)


def _show_info(result: Mapping[str, Any]) -> None:
    from hit.console import say, table
    from hit.upkeep.sizes import words

    videos = result["videos"]
    states = ", ".join(f"{count} {state}" for state, count in videos.items() if count) or "none"
    say(f"{result['library']}: videos {states}; {result['seconds'] / 3600:.1f} hours")
    say(f"{result['segments']} segments, {result['lines']} lines of words, {result['tags']} tags, {result['files']} files")
    say(f"model {result['model']['id']} {result['model']['revision']} {result['model']['folder']}")
    store, database = result["store"], result["database"]
    step = "in step" if store["in_step"] else store["error"] or "not in step: hit library verify"
    say(f"store {store['kind']}, {store['where']}: {store['vectors']} vectors, {step}")
    say(f"database {database['kind']}, schema {database['schema']}")
    if result["objects"]:
        say(f"arrays, thumbnails and uploads are at {result['objects']}")
    rows = [
        [one["revision"], "yes" if one["current"] else "", one["vectors"], one["dead"], words(one["bytes"])]
        for one in result["models"]
    ]
    table("Vectors", ["model revision", "current", "living", "dead", "on disk"], rows)
    table("On disk", ["part", "size"], [[part, words(size)] for part, size in result["bytes"].items() if size])
    if result["jobs"]:
        columns = ["job", "state", "begun", "ended"]
        table(
            "Newest jobs",
            columns,
            [[job["kind"], job["state"], _time(job["begun_at"]), _time(job["ended_at"])] for job in result["jobs"]],
        )
    if result["searches"]:
        say(f"saved searches: {', '.join('@' + name for name in result['searches'])}")


def _time(value: datetime | None) -> str | None:
    return value.isoformat(sep=" ", timespec="seconds") if value else None


def _show_verify(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    if result["findings"]:
        rows = [["note" if one["note"] else "WRONG", one["part"], one["what"], one["mend"]] for one in result["findings"]]
        table("Findings", ["", "part", "what", "what mends it"], rows)
    say(f"{result['library']} is {'sound' if result['sound'] else 'not sound'}")


def _show_store(result: Mapping[str, Any]) -> None:
    from hit.console import say

    say(f"{result['library']}: {result['vectors']} vectors in the store {result['store']}")
    if result.get("old"):
        say(f"the old store, {result['old']['where']}, {'was dropped' if result['old']['dropped'] else 'is left as it is'}")


def _show_files(result: Mapping[str, Any]) -> None:
    from hit.console import say

    say(f"{result['library']}: {result['arrays']} arrays and {result['files']} files are at {result['objects']}")
    if old := result["old"]:
        say(f"the old files, {old['where']}, {'were removed' if old['dropped'] else 'are left as they are'}")


def _show_export(result: Mapping[str, Any]) -> None:
    from hit.console import say

    say(f"{result['out']}: {result['vectors']} vectors, {result['videos']} videos, {result['lines']} lines")


def _show_remove(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    if would := result.get("would_forget"):
        table("Would be forgotten", ["file"], [[path] for path in would])
        say(f"{len(result['would_remove'])} videos would go; the files themselves stay")
    else:
        forgotten = f"{len(result['removed'])} videos forgotten, {len(result['files'])} files"
        say(f"{forgotten}; the files themselves are left alone, but for uploads")


def _show_prune(result: Mapping[str, Any]) -> None:
    from hit.console import say, table
    from hit.upkeep.sizes import words

    rows = result["dropped"] or result["would_drop"]
    if not rows:
        say("nothing to drop")
        return
    title = "Dropped" if result["dropped"] else "Would be dropped"
    table(title, ["what", "count", "size"], [[row["what"], row["count"], words(row["bytes"])] for row in rows])


def _show_backup(result: Mapping[str, Any]) -> None:
    from hit.console import say
    from hit.upkeep.sizes import words

    model = result["model"]
    size = f" ({words(model['bytes'])})" if model["bytes"] else ""
    say(f"{result['file']}: {words(result['bytes'])}, {result['vectors']} vectors; the model is {model['folder']}{size}")
    if result["lost"]:
        say(f"{result['lost']} thumbnails are missing, and not in it: hit library verify")


def _show_restore(result: Mapping[str, Any]) -> None:
    from hit.console import say

    say(f"{result['library']}: {result['videos']} videos, {result['segments']} segments, as of {result['made']}")
    say(f"the model was {result['model']['folder']}")


def _show_tags(result: Mapping[str, Any]) -> None:
    from hit.console import table

    if result["videos"] is None:
        table("Tags", ["tag", "videos"], list(result["tags"].items()))
    else:
        table("Tags", ["video", "tags"], [[video, ", ".join(tags)] for video, tags in result["videos"].items()])


def _show_searches(result: Mapping[str, Any]) -> None:
    from hit.console import table

    rows = [
        [f"@{one['name']}", " | ".join(one["query"].get("texts", [])), _time(one["created_at"])] for one in result["searches"]
    ]
    table("Saved searches", ["name", "texts", "saved"], rows)
