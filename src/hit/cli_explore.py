"""The command that shows what is in a library: explore."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from hit.door import Json, LibraryFolder, emit

exploring = typer.Typer()


@exploring.command()
def explore(
    folder: LibraryFolder,
    view: Annotated[Literal["clusters", "duplicates"], typer.Argument(metavar="clusters|duplicates", help="What to show.")],
    method: Annotated[
        Literal["kmeans", "hdbscan"], typer.Option(help="How clusters are found; HDBSCAN finds by itself how many there are.")
    ] = "kmeans",
    count: Annotated[int | None, typer.Option(min=1, max=100, help="How many clusters at most.")] = None,
    label_set: Annotated[str | None, typer.Option("--set", metavar="NAME", help="Whose labels are to name the clusters.")] = None,
    similarity: Annotated[float, typer.Option(help="From which on two videos are near-duplicates; 1: the same.")] = 0.97,
    limit: Annotated[int, typer.Option(min=1, help="How many groups of near-duplicates.")] = 50,
    as_json: Json = False,
) -> None:
    """Show what is in a library: segments in clusters with names, or groups of videos that are near-duplicates."""
    from hit.console import Bars
    from hit.library import Library
    from hit.tagging import clusters, duplicates

    with Library.open(folder) as library:
        model = {"id": library.config.model.id, "revision": library.config.model.revision}
        if view == "clusters":
            found = clusters.find(library, method, count, None if label_set is None else clusters.labels(library, label_set))
            emit({**found.to_json(), "model": model}, as_json, _show_clusters)
            return
        same = duplicates.find(library, similarity, progress=Bars())
        paths = {
            one.video.id: one.paths for one in library.db.cards(v for group in same.groups[:limit] for v in group.videos).values()
        }
    groups = [
        {
            "similarity": one.similarity,
            "videos": [{"video_id": video, "paths": list(paths.get(video, ()))} for video in one.videos],
        }
        for one in same.groups[:limit]
    ]
    emit({"groups": groups, "found": len(same.groups), "compared": same.compared, "model": model}, as_json, _show_duplicates)


def _show_clusters(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    rows = [
        [
            one["id"],
            ", ".join(name["text"] for name in one["names"]),
            one["size"],
            one["videos"],
            f"{one['share']:.1%}",
            one["samples"][0]["segment_id"] if one["samples"] else None,
        ]
        for one in result["clusters"]
    ]
    table("Clusters", ["", "names", "segments", "videos", "share", "most central"], rows)
    say(f"{result['noise']} of {result['segments']} segments are in none")


def _show_duplicates(result: Mapping[str, Any]) -> None:
    from hit.console import say, table

    rows = [
        [number, f"{group['similarity']:.4f}", video["video_id"], " | ".join(video["paths"])]
        for number, group in enumerate(result["groups"], 1)
        for video in group["videos"]
    ]
    table("Near-duplicates", ["group", "similarity", "video", "files"], rows)
    say(f"{result['found']} groups among {result['compared']} videos")
