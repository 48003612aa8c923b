"""The command line: parse, call, print. Verbs are imported inside their commands, so that `hit --help` is quick."""

import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import hit
from hit import (
    cli_bank,
    cli_data,
    cli_explore,
    cli_library,
    cli_model,
    cli_moderation,
    cli_review,
    cli_search,
    cli_serve,
    cli_tagging,
    deployment,
    traces,
)
from hit.door import Http, Json, LibraryFolder, Lists, Memory, Patience, Pool, Workers, emit, remark
from hit.errors import UserError

if TYPE_CHECKING:
    from hit.datasets import Dataset
    from hit.pool import Limits
    from hit.types import Where

app = typer.Typer(
    name="hit",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Segments = Literal["auto", "shots", "windows"]
OwnModel = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|URL",
        help="The model to begin a library with, or to embed all of it anew with: its folder, or one in an object store. A new "
        "library without one gets a zero-shot model, as `hit zeroshot` makes it.",
    ),
]
app.add_typer(cli_model.modelling)
app.add_typer(cli_search.searching)
app.add_typer(cli_explore.exploring)
app.add_typer(cli_tagging.tagging)
app.add_typer(cli_tagging.labelling, name="labels")
app.add_typer(cli_serve.serving)
app.add_typer(cli_serve.tokens, name="token")
app.add_typer(cli_library.keeping, name="library")
app.add_typer(cli_moderation.policies, name="policy")
app.add_typer(cli_bank.banks, name="bank")
app.add_typer(cli_bank.hooks, name="webhook")
app.add_typer(cli_data.importing, name="import")
app.add_typer(cli_data.looking, name="data")
app.add_typer(cli_review.reviewing, name="review")


def main() -> None:
    """Run the command line. What a user can mend is one line on stderr and exit code 2; our own defects keep their traceback."""
    try:
        code = app(prog_name="hit", standalone_mode=False)
        sys.stdout.flush()
    except (UserError, typer.TyperException) as error:
        code = _complain(error)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader, a pager say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    if code == 130:
        print("hit: interrupted; the same command again goes on from here", file=sys.stderr)
    traces.stop()
    sys.exit(code)


@app.callback(invoke_without_command=True)
def hit_(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False
) -> None:
    """Find video by text and text by video: train a model, index a library, search it."""
    if deployment.path() and context.invoked_subcommand not in (None, "doctor"):  # which finds out by itself what it says
        _describe()
    if version:
        print(f"hit {hit.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def _describe() -> None:
    """Log, and trace, as hit.toml says."""
    from hit import logs

    if (described := deployment.read()).log != deployment.Log():
        logs.set_up(described.log)
    traces.start(described.trace)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the corpus, the model and the library go.")],
    clips: Annotated[int, typer.Option(help="How many clips to render.")] = 1600,
    seed: Annotated[int, typer.Option(help="Seed of the corpus and of the training.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="How many steps to train, instead of the recipe's.")] = None,
    as_json: Json = False,
) -> None:
    """Render a corpus of real video files, train on it, evaluate on held-out clips, and index and search them."""
    from hit import demo as verb
    from hit.console import Bars

    emit(verb.demo(folder, clips=clips, seed=seed, steps=steps, progress=Bars()), as_json, _show_demo)


@app.command()
def extract(
    names: Annotated[
        list[str],
        typer.Argument(metavar="DATASET|SOURCE", help="A data set folder; or videos, folders and patterns, with --out."),
    ],
    out: Annotated[
        str, typer.Option(metavar="DIR|URL", help="Where features go; a data set's own go into its folder `features`.")
    ] = "",
    recipe: Annotated[str | None, typer.Option(help="Take the experts from this recipe instead of the default ones.")] = None,
    http: Http = False,
    workers: Workers = 0,
    pool: Pool = "",
    patience: Patience = 600.0,
    memory: Memory = 4.0,
    as_json: Json = False,
) -> None:
    """Run the experts over a data set's clips, or over any videos, once; a second run does only what is missing."""
    from hit import config, deployment, experts, places
    from hit import extract as verb
    from hit.console import Bars

    root = places.deployed().named(out) if out else None
    (data, missed), chosen = _data(names, root, http), config.load(recipe).experts if recipe else {}
    chosen = chosen or data.experts or experts.DEFAULT
    limits, where = _limits(patience, memory), pool or deployment.read().pool
    report = verb.extract(data, chosen, root, workers=workers, limits=limits, where=where, progress=Bars())
    emit(
        {
            "done": report.done,
            "skipped": report.skipped,
            "failed": [{"clip": clip, "reason": reason} for clip, reason in (*missed, *report.failed)],
            "seconds": round(report.seconds, 3),
            "features": str(report.journal.parent),
            "journal": str(report.journal),
        },
        as_json,
        _show_extract,
    )


@app.command()
def index(
    folder: LibraryFolder,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Videos, folders that are searched for videos, patterns ('a/**/*.mp4'), URLs."),
    ] = None,
    model: OwnModel = None,
    segments: Annotated[
        Segments, typer.Option(help="How a new library cuts long videos: at their shots where they have any, or into windows.")
    ] = "auto",
    window: Annotated[float, typer.Option(help="Length of windows in seconds, in a new library.")] = 8.0,
    overlap: Annotated[float, typer.Option(help="How many seconds two windows have in common, in a new library.")] = 0.0,
    workers: Workers = 0,
    pool: Pool = "",
    patience: Patience = 600.0,
    memory: Memory = 4.0,
    retry: Annotated[bool, typer.Option("--retry", help="Try files again that failed before.")] = False,
    lists: Lists = None,
    http: Http = False,
    max_download: Annotated[float, typer.Option(metavar="GIB", min=0, help="Fetch no file that is larger.")] = 20.0,
    database: Annotated[
        str, typer.Option(metavar="URL", help="Keep a new library's records in PostgreSQL, not in its folder.")
    ] = "",
    store: Annotated[
        str, typer.Option(metavar="URI", help="Search a new library's vectors by Milvus: http://HOST:PORT or milvus+lite:FILE.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Make videos searchable. A second run does only what is new; files that fail are listed and stop nothing."""
    from hit import deployment, intake, models, places, sources
    from hit.console import Bars
    from hit.library import Library
    from hit.remote import Remote
    from hit.segments import SegmentConfig

    if not names and not lists and not model:
        raise UserError("hit index", "no videos are given", "name files or folders")
    sources.check(names or [], Remote(folder / "remote", http), places.deployed(folder))  # before a library is begun for nothing
    cut = SegmentConfig(segments, window, overlap=overlap)
    with Library.prepare(folder, models.here(model, folder), segments=cut, database=database, store=store, say=remark) as library:
        library.pool = pool or deployment.read().pool
        report = library.index(
            names or [],
            lists=lists or [],
            http=http,
            max_download=max_download,
            workers=workers,
            limits=_limits(patience, memory),
            retry=retry,
            progress=Bars(),
        )
        followed = intake.follow(library, report.changed, Bars())
    emit({**report.to_json(), "library": str(folder), **followed}, as_json, _show_index)


@app.command()
def experts(as_json: Json = False) -> None:
    """List the experts that are installed, those of other packages too: what they are, and what they lack to run here."""
    from hit import experts as registry

    emit({"experts": [dataclasses.asdict(one) for one in registry.describe()]}, as_json, _show_experts)


def _data(names: Sequence[str], out: "Where | None", http: bool) -> "tuple[Dataset, list[tuple[str, str]]]":
    """Return the data set that is named, or one of videos without captions, and what could not be had of them."""
    from hit import datasets, features, places, sources
    from hit.console import Bars
    from hit.remote import Remote

    if len(names) == 1 and (out is None or (Path(names[0]) / "captions.csv").exists()):
        data = datasets.read(Path(names[0]))
        if out is not None:
            features.settle(data.root, out)
        return data, []
    if out is None:
        raise UserError("hit extract", "these are videos, and no data set", "say with --out where their features are to go")
    if http and not isinstance(out, Path):
        raise UserError(str(out), "has no room for copies of what --http fetches", "name a folder of this machine with --out")
    copies = out / "remote" if isinstance(out, Path) else Path()
    found = sources.find(names, remote=Remote(copies, http, progress=Bars()), roots=places.deployed())
    return datasets.loose(Path(str(out)), found.paths), [(one.path, one.reason) for one in found.failed]


def _limits(patience: float, memory: float) -> "Limits":
    from hit.watch import LIMITS

    return dataclasses.replace(LIMITS, silence=patience, memory=memory * 2**30)


def _complain(error: UserError | typer.TyperException) -> int:
    if isinstance(error, UserError):
        line, code = str(error), error.code
    else:
        context = getattr(error, "ctx", None)
        line, code = error.format_message().rstrip("."), error.exit_code
        line += f" (see `{context.command_path} --help`)" if context else ""
    remark(line)
    return code


def _show_demo(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    for search in result["searches"]:
        cli_search.show_hits(search, search["query"])
    cli_model.score_table(result, f"Retrieval among {result['test_clips']} clips that were never seen")
    pairs = result["pairs_accuracy_by_level"]
    kinds = {"order": "which event comes first", "colour": "which thing has which colour"}
    rows = [[words, *(pairs[level][kind] for level in pairs)] for kind, words in kinds.items()]
    table("Pairs of clips told apart, per cent; chance is 50", ["they differ only in", *pairs], rows)
    cli_model.confidence_lines(result)
    _show_judged(result["tags"], result["policy"])
    say("seconds: " + ", ".join(f"{step} {took:.0f}" for step, took in result["seconds"].items()))
    say(f'now yours: {_own_name()} search {result["library"]} "{result["searches"][0]["query"]}"')
    say(f"open the pages, and review the cases: {_own_name()} serve {result['library']}")


def _show_judged(tags: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    from hit.console import say, table

    rows = [[group, len(tags["f1"][group]), 100 * value] for group, value in tags["macro_f1"].items()]
    table(f"{tags['tags']} tags by words alone, on {tags['videos']} videos", ["labels", "of them", "macro-F1, per cent"], rows)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in policy["counts"].items())
    say(f"the policy '{policy['texts'][0]}', which {policy['bad']} videos break: {counts}; {policy['cases']} cases for review")
    rows = [[kind, *(None if x is None else 100 * x for x in policy[kind].values())] for kind in ("block", "review or block")]
    table("What it says, against what the videos show", ["verdict", "precision, per cent", "recall, per cent"], rows)


def _own_name() -> str:
    """Return by what word this program is called from where the user is; `make` calls it by its path."""
    return sys.argv[0] if Path(sys.argv[0]).name == "hit" and not shutil.which("hit") else "hit"


def _show_extract(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    say(f"{result['done']} clips done, {result['skipped']} were there, {len(result['failed'])} failed, {result['seconds']:.1f} s")
    say(f"features: {result['features']}; what became of each file: {result['journal']}")
    if result["failed"]:
        table("Failed", ["clip", "reason"], [[row["clip"], row["reason"]] for row in result["failed"]])


def _show_index(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    kinds = {"added": "added", "unchanged": "unchanged", "moved": "moved", "duplicates": "with a content that is there already"}
    done = ", ".join(f"{result[key]} {words}" for key, words in kinds.items() if result[key]) or "nothing new"
    say(f"{done}, {len(result['failed'])} failed, {result['seconds']:.1f} s")
    say(f"{result['library']} holds {result['videos']} videos in {result['segments']} segments")
    for one in result["judged"]["policies"]:
        anew = ", fitted to the model anew" if one["fitted"] else ""
        say(f"policy {one['name']}, version {one['version']} ({one['state']}){anew}: {one['changed']} new verdicts")
    for one in result["judged"]["failed"]:
        say(f"policy {one['policy']}, version {one['version']}, judges nothing: {one['why']}")
    if result["failed"]:
        table("Failed", ["file", "reason"], [[row["path"], row["reason"]] for row in result["failed"]])


def _show_experts(result: Mapping[str, Any]) -> None:
    from hit.console import table

    rows = [
        [
            row["name"],
            "yes" if row["default"] else "",
            row["dim"],
            row["licence"],
            None if row["megabytes"] is None else round(row["megabytes"]),
            "yes" if row["ready"] else row["lacks"],
            row["module"],
            row["package"],
        ]
        for row in result["experts"]
    ]
    table("Experts", ["name", "default", "dim", "licence", "MB", "ready", "module", "package"], rows)
