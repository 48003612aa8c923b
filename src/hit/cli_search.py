"""The commands that ask: search, describe."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hit.door import Json, LibraryFolder, emit, remark
from hit.errors import UserError

if TYPE_CHECKING:
    from hit.places import Places

searching = typer.Typer()
Modes = Literal["hybrid", "meaning", "words", "normalised"]


@searching.command()
def search(
    folder: LibraryFolder,
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="What to find; several are averaged. @NAME: a saved search, but for options given."),
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option(help="Find what is like this video, or a stretch of it: film.mp4#t=10,20. Repeatable.")
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Find what is like this image. Repeatable.")] = None,
    mix: Annotated[
        str | None, typer.Option(metavar="W,W,..", help="How each query weighs: texts first, then videos, then images.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Leave out what shows this. Repeatable.")] = None,
    exclude_video: Annotated[
        list[str] | None, typer.Option(metavar="VIDEO", help="Leave out what is like this video. Repeatable.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--filter", metavar="FILTER", help="For example 'duration>=60 and tag in [a,b]'; docs/filters.md."),
    ] = None,
    mode: Annotated[
        Modes | None,
        typer.Option(help="Rank by meaning, by words that are said, shown or in names, or (hybrid, the default) by both."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="How many hits; 10 unless said.")] = None,
    group_by: Annotated[Literal["clip", "video"] | None, typer.Option(help="Whether each clip or each video is a hit.")] = None,
    level_weights: Annotated[
        str | None, typer.Option(metavar="F,S", help="Weights of the feature and the semantic level, instead of the model's.")
    ] = None,
    page: Annotated[str | None, typer.Option(metavar="TOKEN", help="Go on after an earlier answer: its next_page_token.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each score and rank is made of.")] = False,
    save: Annotated[str | None, typer.Option(metavar="NAME", help="Save this search under a name.")] = None,
    as_json: Json = False,
) -> None:
    """Find the moments that fit texts, videos and images best."""
    from hit import examples
    from hit.library import Library

    given: dict[str, Any] = {
        "texts": text,
        "videos": video,
        "images": image,
        "mix": None if mix is None else _numbers(mix, "--mix"),
        "exclude": exclude,
        "exclude_videos": exclude_video,
        "where": where,
        "mode": mode,
        "limit": limit,
        "group_by": group_by,
        "level_weights": None if level_weights is None else _numbers(level_weights, "--level-weights"),
    }
    with Library.open(folder) as library:
        given = _portable(given, library.db.roots)
        saved = library.db.saved_search(given.pop("texts")[0][1:]) if text and text[0].startswith("@") and not text[1:] else {}
        answer = library.search(**examples.asked(saved | given), page=page, explain=explain)
        if save is not None:
            library.db.save_search(save, saved | given)
            remark(f"saved: hit search {folder} @{save}")
    emit(answer.to_json(), as_json, show_hits)


def _portable(given: Mapping[str, Any], roots: "Places") -> dict[str, Any]:
    """Return what was given of a search, files by names that hold anywhere: it may be saved."""
    files = {kind: [roots.names_of(name)[0] for name in given[kind] or ()] for kind in ("videos", "images", "exclude_videos")}
    return {name: value for name, value in (dict(given) | files).items() if value not in (None, [])}


@searching.command()
def describe(
    folder: LibraryFolder,
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO", help="Videos, of the library or not.")],
    texts: Annotated[Path, typer.Option(metavar="FILE", help="A text a line; or a .csv or .jsonl with a column `text`.")],
    limit: Annotated[int, typer.Option(min=1, help="How many texts for each video.")] = 10,
    level_weights: Annotated[
        str | None, typer.Option(metavar="F,S", help="Weights of the feature and the semantic level, instead of the model's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rank texts for videos: which of them each one shows, and where."""
    from hit.library import Library

    weights = None if level_weights is None else _numbers(level_weights, "--level-weights")
    with Library.open(folder) as library:
        found = library.describe(videos, texts, limit=limit, weights=weights)
    emit(found, as_json, _show_descriptions)


def show_hits(result: Mapping[str, Any], title: str = "Hits") -> None:
    """Lay hits out as a table."""
    from hit.console import say, seconds, table

    calibrated = any(hit["confidence"] is not None for hit in result["hits"])
    words = any(hit["evidence"] for hit in result["hits"])
    rows = []
    for hit in result["hits"]:
        row = [hit["rank"], hit["metadata"]["path"], f"{seconds(hit['start'])} - {seconds(hit['end'])}", f"{hit['score']:.3f}"]
        row += [f"{hit['confidence']:.0%}"] if calibrated else []
        row += [" | ".join(f"{seconds(line['start'])} {line['text']}" for line in hit["evidence"])] if words else []
        rows.append(row)
    if not rows:
        say("nothing fits the search, its filter and what is to be left out")
        return
    if result["no_good_match"]:
        say("No good match: of what is here, this comes nearest.")
    columns = ["rank", "video", "time", "score", *(["confidence"] if calibrated else []), *(["words"] if words else [])]
    table(title, columns, rows)
    if any("explanation" in hit for hit in result["hits"]):
        table(
            "Why",
            ["rank", "parts of the score", "rank by meaning", "rank by words", "words"],
            [_why(hit) for hit in result["hits"]],
        )
    if result["next_page_token"]:
        say(f"more: --page {result['next_page_token']}")


def _why(hit: Mapping[str, Any]) -> list[object]:
    found = hit["explanation"]
    parts = ", ".join(f"{name} {value:.3f}" for name, value in found["parts"].items())
    return [hit["rank"], parts, found["meaning_rank"], found["words_rank"], " ".join(found["words"])]


def _show_descriptions(result: Mapping[str, Any]) -> None:
    from hit.console import seconds, table

    for video in result["videos"]:
        rows = [
            [
                one["rank"],
                one["text"],
                f"{seconds(one['start'])} - {seconds(one['end'])}",
                f"{one['score']:.3f}",
                None if one["confidence"] is None else f"{one['confidence']:.0%}",
            ]
            for one in video["texts"]
        ]
        table(str(video["path"]), ["rank", "text", "best at", "score", "confidence"], rows)


def _numbers(text: str, what: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(what, f"'{text}' is not a list of numbers", "for example 1,0.5") from None
