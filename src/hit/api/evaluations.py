"""/v1/evaluations: reports of training, evaluation, reproduction and ablation, and the clips that models missed."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Path, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from hit.api.auth import Principal, Viewer
from hit.api.common import Served, router
from hit.api.problems import Problem
from hit.api.schemas import Id
from hit.errors import UserError
from hit.service.evaluations import Entry, Evaluations, picture
from hit.service.media import facts
from hit.service.shapes import Miss
from hit.types import Clip, Far, Where
from hit.video import Facts

routes = router("evaluations", 404)
Number = Annotated[int, Path(ge=0, le=10_000)]


class Summary(BaseModel):
    """A report. `figures` are the fused ones by direction, of an ablation those of its best row."""

    id: str
    kind: Literal["train", "evaluate", "reproduce", "ablate"]
    name: str
    place: str = Field(description="Its folder, as seen from the folder of reports that it is in.")
    folder: str | None = Field(default=None, description="The same as a path, for administrators.")
    made_at: float = Field(description="Seconds since 1970.")
    problem: str | None = Field(description="Why it cannot be read.")
    model: str | None = None
    revision: str | None = None
    data: str | None = None
    split: str | None = None
    queries: int | None = None
    videos: int | None = None
    seeds: list[int] = []
    commit: str | None = None
    best: str | None = None
    figures: dict[str, dict[str, float]] = {}
    loss: list[tuple[float, float]] = Field(default=[], description="(step, loss) at each validation.")
    page_url: str


class SummaryList(BaseModel):
    """Reports, newest first."""

    evaluations: list[Summary]


class CellJson(BaseModel):
    """A figure, its deviation over seeds and its 95 % interval."""

    mean: float
    std: float | None
    low: float | None
    high: float | None


class RowJson(BaseModel):
    """A row; `kind` is a level, "post", "published" or "variant"."""

    name: str
    kind: str
    note: str
    cells: list[CellJson | None]


class TableJson(BaseModel):
    """A table of figures."""

    title: str
    columns: list[str]
    rows: list[RowJson]


class SeriesJson(BaseModel):
    """A line of a chart."""

    name: str
    points: list[tuple[float, float]]


class ChartJson(BaseModel):
    """A chart of lines."""

    kind: Literal["recall", "loss", "validation", "reliability"]
    title: str
    x: str
    y: str
    series: list[SeriesJson]


class ShownJson(BaseModel):
    """A clip beside a query; without URLs where it cannot be played, and `why`."""

    clip: str
    caption: str
    cosines: dict[str, float]
    start: float | None = None
    end: float | None = None
    stream_url: str | None = None
    poster_url: str | None = None
    why: str | None = None


class MissJson(BaseModel):
    """A text whose own clip has a bad rank, and the clip that was answered first."""

    query: str
    rank: float
    right: ShownJson
    first: ShownJson


class Evaluation(Summary):
    """A whole report."""

    charts: list[ChartJson] = []
    tables: list[TableJson] = []
    misses: list[MissJson] | None = Field(default=None, description="Null where they were not written down.")
    facts: dict[str, str] = {}


@routes.get("/evaluations", response_model=SummaryList)
def evaluations(served: Served, who: Viewer) -> dict[str, Any]:
    """List the reports beside the library's model and in the folders that the service is told, newest first."""
    return {"evaluations": [_summary(one, who) for one in Evaluations(served.library, served.config).entries()]}


@routes.get("/evaluations/{evaluation_id}", response_model=Evaluation)
def evaluation(evaluation_id: Id, served: Served, who: Viewer) -> dict[str, Any]:
    """Return a report's curves, tables and worst misses."""
    known = Evaluations(served.library, served.config)
    entry = known.entry(evaluation_id)
    if not (report := entry.report):
        return _summary(entry, who)
    clips = known.clips(entry)
    return {
        **_summary(entry, who),
        "charts": [asdict(one) for one in report.charts],
        "tables": [asdict(one) for one in report.tables],
        "misses": None if report.misses is None else [_miss(entry, i, one, clips) for i, one in enumerate(report.misses)],
        "facts": dict(report.facts),
    }


@routes.head("/evaluations/{evaluation_id}/clips/{number}/stream", include_in_schema=False)
@routes.get(
    "/evaluations/{evaluation_id}/clips/{number}/stream", response_class=FileResponse, responses={206: {}, 400: {}, 416: {}}
)
def clip_stream(evaluation_id: Id, number: Number, served: Served, who: Viewer) -> FileResponse:
    """Send the video of a clip that the report names, or parts of it (Range)."""
    path = Evaluations(served.library, served.config).clip(evaluation_id, number).path
    found = _facts(path)
    if isinstance(found, str) or isinstance(path, Far):
        raise Problem(404, f"clip {number}", str(found), "look at its picture")
    return FileResponse(path, media_type=found.type, headers={"Cache-Control": "private, no-cache"})


@routes.get(
    "/evaluations/{evaluation_id}/clips/{number}/poster",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
def clip_poster(evaluation_id: Id, number: Number, served: Served, who: Viewer) -> Response:
    """Return a picture of a clip that the report names, a JPEG."""
    jpeg = picture(Evaluations(served.library, served.config).clip(evaluation_id, number))
    if jpeg is None:
        raise Problem(404, f"clip {number}", "cannot be decoded")
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


def _summary(entry: Entry, who: Principal) -> dict[str, Any]:
    about = {
        "id": entry.id,
        "kind": entry.kind,
        "place": entry.place,
        "folder": str(entry.path.parent) if who.may("admin") else None,
        "made_at": entry.made_at,
        "problem": entry.problem,
        "page_url": f"/evaluations/{entry.id}",
    }
    if not (report := entry.report):
        return {**about, "name": entry.place or entry.path.name}
    same = ("name", "model", "revision", "split", "queries", "videos", "seeds", "commit", "best", "figures", "loss")
    data = report.data if who.may("admin") or not report.data else report.data.rstrip("/").rpartition("/")[2]
    return {**about, **{name: getattr(report, name) for name in same}, "data": data}


def _miss(entry: Entry, number: int, miss: Miss, clips: list[Clip | str]) -> dict[str, Any]:
    sides = {}
    for turn, (side, shown) in enumerate((("right", miss.right), ("first", miss.first))):
        n = 2 * number + turn
        clip = clips[n]
        seen: dict[str, Any] = {"why": clip}
        if isinstance(clip, Clip):
            base = f"/v1/evaluations/{entry.id}/clips/{n}"
            end, found = (clip.end if clip.end != float("inf") else None), _facts(clip.path)
            seen = {"start": clip.start, "end": end, "poster_url": f"{base}/poster", "why": None}
            seen |= {"why": found} if isinstance(found, str) else {"stream_url": f"{base}/stream"}
        sides[side] = {"clip": shown.clip, "caption": shown.caption, "cosines": dict(shown.cosines), **seen}
    return {"query": miss.query, "rank": miss.rank, **sides}


def _facts(path: Where) -> Facts | str:
    """Return what a file is made of; a text says why browsers cannot play it."""
    if isinstance(path, Far):
        return "its video is in an object store: watch it in the library"
    try:
        found = facts(path)
    except UserError as error:
        return error.why
    return found if found.playable else f"browsers cannot play it: {found.why}"
