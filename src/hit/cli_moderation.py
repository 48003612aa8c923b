"""The commands of policies: `hit policy ...`."""

import getpass
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hit.door import Json, LibraryFolder, emit, remark

if TYPE_CHECKING:
    from hit.library import Library

policies = typer.Typer(
    help="Say in plain words what is to be reviewed or blocked; try it, and put it into force.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.")]
Version = Annotated[int | None, typer.Option(min=1, help="Which version; without it, the one that `hit policy show` names.")]
File = Annotated[Path | None, typer.Option(metavar="FILE", help="A TOML file with what it says; docs/policies.md.")]
Says = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="What it says, over the file's: 'severity=4' 'review={percentile=99}'."),
]
Saying = Annotated[list[str] | None, typer.Option("--text", help="What is meant, in words. Repeatable: several ways to say it.")]
But = Annotated[list[str] | None, typer.Option("--but-not", metavar="TEXT", help="What is not meant. Repeatable.")]


@policies.command()
def new(
    folder: LibraryFolder,
    name: Name,
    says: Says = None,
    text: Saying = None,
    but_not: But = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Write a policy's first draft; nothing happens by it yet."""
    _draft(folder, name, _told(says, text, but_not, file, {}), as_json, fresh=True)


@policies.command()
def edit(
    folder: LibraryFolder,
    name: Name,
    says: Says = None,
    text: Saying = None,
    but_not: But = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Write another draft: what the newest version says, changed. What is in force stays as it is."""
    with opened(folder) as library:
        before = library.db.policy(name).document
    _draft(folder, name, _told(says, text, but_not, file, {} if file else before), as_json, fresh=False)


@policies.command()
def test(folder: LibraryFolder, name: Name, version: Version = None, as_json: Json = False) -> None:
    """Say what a policy would do with the library, and what would change. Nothing is written."""
    from hit.moderation.trial import trial

    with opened(folder) as library:
        found = trial(library, name, version)
        found["titles"] = _titles(library, [one for kind in ("changes", "review", "block", "passed") for one in found[kind]])
    emit(found, as_json, _show_trial)


@policies.command()
def shadow(folder: LibraryFolder, name: Name, version: Version = None, as_json: Json = False) -> None:
    """Judge all videos by the newest draft and write down what it says; nobody is asked or told."""
    _enter(folder, name, "shadow", version, as_json)


@policies.command()
def enforce(folder: LibraryFolder, name: Name, version: Version = None, as_json: Json = False) -> None:
    """Judge all videos by what is in shadow, or else by the newest draft; open cases, and tell others."""
    _enter(folder, name, "enforced", version, as_json)


@policies.command()
def retire(folder: LibraryFolder, name: Name, version: Version = None, as_json: Json = False) -> None:
    """Judge no more by a version, or by all that are in force. What was said and decided stays."""
    _enter(folder, name, "retired", version, as_json)


@policies.command()
def show(
    folder: LibraryFolder,
    name: Name,
    version: Version = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print what it says as the file that `--file` reads.")] = False,
    as_json: Json = False,
) -> None:
    """Show a version, the newest unless named, and what became of all."""
    from hit.moderation import document, lifecycle

    with opened(folder) as library:
        found = lifecycle.shown(library, name, version)
    emit(found, as_json, (lambda one: print(document.to_toml(document.read(one["document"])), end="")) if toml else _show_policy)


@policies.command("list")
def list_(folder: LibraryFolder, as_json: Json = False) -> None:
    """List all policies, and how many videos there are of each verdict."""
    from hit.moderation import lifecycle

    with opened(folder) as library:
        emit({"policies": lifecycle.listed(library)}, as_json, _show_policies)


@policies.command()
def diff(
    folder: LibraryFolder,
    name: Name,
    before: Annotated[int, typer.Argument(min=1, metavar="VERSION", help="A version.")],
    after: Annotated[int, typer.Argument(min=1, metavar="VERSION", help="Another version.")],
    as_json: Json = False,
) -> None:
    """Show what differs between two versions."""
    from hit.moderation import lifecycle

    with opened(folder) as library:
        emit({"changes": lifecycle.differences(library, name, before, after)}, as_json, _show_diff)


@policies.command()
def verdicts(
    folder: LibraryFolder,
    name: Name,
    version: Version = None,
    verdict: Annotated[Literal["pass", "review", "block"] | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    as_json: Json = False,
) -> None:
    """List what a policy says of videos, the highest score first."""
    from hit.moderation import lifecycle

    with opened(folder) as library:
        chosen = lifecycle.version_of(library, name, version)
        found, total, _ = library.db.verdicts(name, chosen.version, verdict=verdict, limit=limit)
        kept = ("video_id", "verdict", "score", "confidence", "audit", "evidence", "matches", "at")
        rows = [{key: getattr(one, key) for key in kept} for one in found]
        result = {"policy": name, "version": chosen.version, "total": total, "verdicts": rows, "titles": _titles(library, rows)}
    emit(result, as_json, _show_verdicts)


@policies.command()
def export(
    folder: LibraryFolder,
    name: Name,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A .jsonl or .csv that is written.")],
    version: Version = None,
    as_json: Json = False,
) -> None:
    """Write all that a policy says of videos, with evidence and people's decisions, into a file."""
    from hit import files
    from hit.moderation import export as verb
    from hit.moderation import lifecycle

    with opened(folder) as library:
        chosen = lifecycle.version_of(library, name, version)
        lines = list(verb.lines(library, chosen, "csv" if out.suffix.lower() == ".csv" else "jsonl"))
    files.save(out, "".join(lines).encode())
    count = len(lines) - (out.suffix.lower() == ".csv")
    emit({"file": str(out), "verdicts": count}, as_json, lambda one: remark(f"{one['verdicts']} verdicts in {one['file']}"))


# -- what they share


@contextmanager
def opened(folder: Path) -> "Iterator[Library]":
    """Open a library whose store is not needed."""
    from hit.library import Library

    with Library.open(folder, mend=False) as library:
        yield library


def who() -> str:
    """Return who gives the command, as the system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return "the command line"


def _told(
    says: Sequence[str] | None,
    text: Sequence[str] | None,
    but_not: Sequence[str] | None,
    file: Path | None,
    before: Mapping[str, Any],
) -> dict[str, Any]:
    from hit import config
    from hit.moderation import document

    table = {**before, **(document.load(file) if file else {})}
    if text:
        table["texts"] = list(text)
    if but_not:
        table["exceptions"] = list(but_not)
    return config.overridden(table, says or [])


def _draft(folder: Path, name: str, table: Mapping[str, Any], as_json: bool, fresh: bool) -> None:
    from hit.files import BusyError
    from hit.moderation import lifecycle

    with opened(folder) as library:
        if fresh and library.db.policies([name]):
            raise BusyError(f"policy {name}", "is there already", "change it with `hit policy edit`")
        lifecycle.draft(library, name, table, who())
        emit(lifecycle.shown(library, name), as_json, _show_policy)


def _enter(folder: Path, name: str, state: Literal["shadow", "enforced", "retired"], version: int | None, as_json: bool) -> None:
    from hit import moderation
    from hit.console import Bars
    from hit.moderation import lifecycle

    with opened(folder) as library:
        entered = lifecycle.enter(library, name, state, who(), version)
        judged = None if state == "retired" else moderation.judge(library, progress=Bars(), names=[name])
        found = lifecycle.shown(library, name, entered[-1].version)
    emit({"policy": found, "judged": judged}, as_json, lambda result: _show_policy(result["policy"]))


def _titles(library: "Library", rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {key: card.title for key, card in library.db.titles({row["video_id"] for row in rows}).items()}


def _counts(counts: Mapping[str, int] | None) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items()) if counts else ""


def _show_policy(one: Mapping[str, Any]) -> None:
    from hit.console import say, table

    say(f"{one['name']}, version {one['version']}: {one['state']}" + (f"; {_counts(one['counts'])}" if one["counts"] else ""))
    if one["fitted"]:
        block = one["fitted"]["block"]
        say(f"review from a score of {one['fitted']['review']:.3f}" + ("" if block is None else f", block from {block:.3f}"))
    table(
        "Says", ["field", "value"], [[key, str(value)] for key, value in one["document"].items() if value not in ([], "", None)]
    )
    rows = [[row["version"], row["change"], row["by"], f"{row['at']:%Y-%m-%d %H:%M}"] for row in one["changes"]]
    table("What became of it (times are UTC)", ["version", "change", "by", "at"], rows)


def _show_policies(result: Mapping[str, Any]) -> None:
    from hit.console import table

    rows = [
        [
            row["name"],
            row["version"],
            row["state"],
            row["enforced_version"],
            row["shadow_version"],
            row["severity"],
            _counts(row["counts"]),
        ]
        for row in result["policies"]
    ]
    table("Policies", ["name", "newest", "state", "enforced", "shadow", "severity", "verdicts"], rows)


def _show_diff(result: Mapping[str, Any]) -> None:
    from hit.console import table

    rows = [[one["field"], str(one["before"]), str(one["after"])] for one in result["changes"]]
    table("Differences", ["field", "before", "after"], rows)


def _show_trial(found: Mapping[str, Any]) -> None:
    from hit.console import say, table

    say(f"would be: {_counts(found['counts'])}; {found['audit']} of those that pass are looked at all the same")
    block = found["thresholds"]["block"]
    say(f"review from {found['thresholds']['review']:.3f}" + ("" if block is None else f", block from {block:.3f}"))
    if found["previous"]:
        before = found["previous"]
        say(f"version {before['version']} ({before['state']}): {_counts(before['counts'])}; {found['changed']} videos change")
        rows = [
            [found["titles"].get(one["video_id"]), one["before"], one["after"], f"{one['score']:.3f}"] for one in found["changes"]
        ]
        table("Would change", ["video", "before", "after", "score"], rows)
    for word in ("block", "review", "passed"):
        rows = [[found["titles"].get(one["video_id"]), f"{one['score']:.3f}", _stretches(one["evidence"])] for one in found[word]]
        table(f"Nearest to the line: {word}", ["video", "score", "at"], rows)


def _show_verdicts(result: Mapping[str, Any]) -> None:
    from hit.console import table

    rows = [
        [result["titles"].get(one["video_id"]), one["verdict"], f"{one['score']:.3f}", _stretches(one["evidence"])]
        for one in result["verdicts"]
    ]
    table(f"{result['policy']}, version {result['version']}", ["video", "verdict", "score", "at"], rows)


def _stretches(evidence: Sequence[Mapping[str, Any]]) -> str:
    from hit.console import seconds

    return ", ".join(f"{seconds(one['start'])} - {seconds(one['end'])}" for one in evidence[:5])
