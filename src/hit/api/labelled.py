"""/v1/label-sets/...: what labels tag, why, and where the line is drawn; /v1/videos/{id}/tagged and .../rank."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from hit.api.auth import Reviewer, Senior, Viewer
from hit.api.cards import SegmentCard, segment_card
from hit.api.common import Served, router
from hit.api.jobs import JobJson, submitted
from hit.api.labels import LabelSetJson, SetName, Version
from hit.api.schemas import Given, Id, Model, Text
from hit.service import Service
from hit.tagging import apply as applying
from hit.tagging import fitted as fitting
from hit.tagging import sets
from hit.tagging import view as viewing
from hit.tagging.rank import rank

routes = router("labels", 404, 409)
LabelName = Annotated[str, Path(min_length=1, max_length=100, examples=["red"])]


class VersionToTake(Given):
    """Which version of a label set; the newest unless one is named."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": None}]})
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class LabelChange(BaseModel):
    """How many videos bear a label before and after."""

    name: str
    before: int
    after: int
    added: int
    removed: int
    kept: int


class SampleJson(BaseModel):
    """A video that would bear a label, or would bear it no longer, by the segment that fits best."""

    label: str
    change: Literal["added", "removed"]
    card: SegmentCard


class PreviewJson(BaseModel):
    """What applying a version would change. before: the version that the library is tagged by now."""

    version: int
    before: int | None
    labels: list[LabelChange]
    samples: list[SampleJson]
    videos: int


class AppliedJson(BaseModel):
    """The job that tags the library."""

    job: JobJson


class AnsweredCard(SegmentCard):
    """A segment beside the line, and what somebody said of it."""

    answer: bool | None


class HistogramJson(BaseModel):
    """How many segments of the library, and how many clips of the background, score between two edges."""

    edges: list[float]
    library: list[int]
    background: list[int]


class PrecisionJson(BaseModel):
    """The share of yes among the answers above the line, and its 95 % interval [Wilson 1927]."""

    estimate: float
    low: float
    high: float
    answered: int


class AnswerCounts(BaseModel):
    """How many answers there are of each kind."""

    yes: int
    no: int


class LabelViewJson(BaseModel):
    """A label's line: how many videos and segments reach it, and what lies beside it, nearest first."""

    label: str
    version: int
    rule: dict[str, float]
    kind: Literal["text", "contrast", "probe"]
    threshold: float
    percentile: float
    videos: int
    segments: int
    counts_at: list[tuple[float, int]] = Field(description="(line, videos that reach it), ascending.")
    percentiles: list[float] = Field(description="How many per cent of the background score less, for each line of counts_at.")
    histogram: HistogramJson
    above: list[AnsweredCard]
    below: list[AnsweredCard]
    precision: PrecisionJson | None
    answers: AnswerCounts
    model: Model


Line = Annotated[float | None, Query(allow_inf_nan=False, ge=-1e6, le=1e6, description="Another line than the label's own.")]


class LabelAnswer(Given):
    """Whether a segment shows what a label means; null takes the answer back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"segment_id": "3f8a3f0d4ad7-0", "yes": True}]})
    segment_id: Id
    yes: bool | None


class AnsweredJson(BaseModel):
    """How a label stands after an answer."""

    answers: AnswerCounts
    precision: PrecisionJson | None


class TaggedSegment(BaseModel):
    """A segment that shows what a label means."""

    segment_id: str
    start: float
    end: float
    seek: float
    score: float


class TaggedJson(BaseModel):
    """A label that a video bears, and why. confidence is a probability, or null where nothing was calibrated."""

    label_set: str
    version: int
    label: str
    group: str
    score: float
    confidence: float | None
    threshold: float
    revision: str
    segments: list[TaggedSegment]


class TaggedList(BaseModel):
    """The labels that a video bears."""

    tags: list[TaggedJson]


class RankRequest(Given):
    """A label set, or texts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["a dog runs", "rain on a street"], "limit": 1}]})
    label_set: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    texts: Annotated[list[Text], Field(max_length=10_000)] = []
    limit: Annotated[int, Field(ge=1, le=200)] = 20


class RankedText(BaseModel):
    """A text that fits the video, and where it fits best. `score` is raw; `confidence` is a calibrated probability, or null."""

    rank: int
    text: str
    label: str | None = None
    score: float
    confidence: float | None
    start: float
    end: float


class RankAnswer(BaseModel):
    """Texts, best first."""

    texts: list[RankedText]
    model: Model


@routes.post("/label-sets/{name}/preview", response_model=PreviewJson)
def preview_labels(name: SetName, asked: VersionToTake, served: Served, who: Viewer) -> dict[str, Any]:
    """Say what applying a version would change, before anything happens."""
    found = applying.preview(served.library, name, asked.version)
    cards = _cards(served, found["samples"])
    samples = [{**one, "card": cards[one["segment_id"]]} for one in found["samples"] if one["segment_id"] in cards]
    return {**found, "samples": samples}


@routes.post("/label-sets/{name}/apply", response_model=AppliedJson, status_code=202)
def apply_labels(name: SetName, asked: VersionToTake, served: Served, who: Senior) -> dict[str, Any]:
    """Have the library tagged by a version, which is the active one from then on; what it no longer says is taken back."""
    one = served.db.label_set(name, asked.version)
    fitting.of_version(served.library, one)  # what is wrong with it is told now, and not by the job
    return {"job": submitted(served.jobs, "tag", {"label_set": name, "version": one.version}, who.name)}


@routes.get("/label-sets/{name}/labels/{label}", response_model=LabelViewJson)
def label_view(
    name: SetName,
    label: LabelName,
    served: Served,
    who: Viewer,
    version: Version = None,
    threshold: Line = None,
) -> dict[str, Any]:
    """Show a label's line: what counts at every other one, which clips lie beside it, and how right it is so far."""
    found = viewing.view(served.library, name, label, version, threshold)
    cards = _cards(served, [*found["above"], *found["below"]])
    for side in ("above", "below"):
        found[side] = [{**cards[one["segment_id"]], "answer": one["answer"]} for one in found[side] if one["segment_id"] in cards]
    return found


@routes.post("/label-sets/{name}/labels/{label}/answers", response_model=AnsweredJson)
def answer_label(
    name: SetName,
    label: LabelName,
    given: LabelAnswer,
    served: Served,
    who: Reviewer,
    version: Version = None,
    threshold: Line = None,
) -> dict[str, Any]:
    """Say whether a segment shows what a label means. Nothing is tagged otherwise until the label is fitted anew."""
    sets.answer(served.library, name, label, given.segment_id, given.yes, who.name)
    fitted = fitting.of_label(served.library, served.db.label_set(name, version), label)
    said = served.db.label_answers(name).get(label, {})
    return viewing.judged(served.library, said, fitted, fitted.thresholds[0] if threshold is None else threshold)


@routes.post("/label-sets/{name}/labels/{label}/refit", response_model=LabelSetJson)
def refit_label(name: SetName, label: LabelName, served: Served, who: Senior) -> dict[str, Any]:
    """Make the answers examples of the label, in a new draft; it counts once it is applied."""
    return sets.to_json(served.library, sets.refit(served.library, name, label, who.name))


@routes.get("/videos/{video_id}/tagged", response_model=TaggedList)
def tagged(video_id: Id, served: Served, who: Viewer) -> dict[str, Any]:
    """Say by which labels a video is tagged, and which segments show them."""
    served.db.video(video_id)
    return {"tags": sets.tagged(served.library, video_id)}


@routes.post("/videos/{video_id}/rank", response_model=RankAnswer)
def rank_texts(video_id: Id, asked: RankRequest, served: Served, who: Viewer) -> dict[str, Any]:
    """Rank thousands of texts, or the labels of a set, for a video: which of them it shows, and where."""
    return rank(served.library, video_id, asked.label_set, asked.texts, asked.limit)


def _cards(served: Service, found: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return segments, {segment_id, score, confidence, percentile}, as cards by their ids."""
    scored = {one["segment_id"]: (one["score"], one["confidence"], one["percentile"]) for one in found}
    segments = served.db.stretches(scored)
    titles = served.db.titles(one.video_id for one in segments.values())
    return {
        key: segment_card(one, titles[one.video_id].title, *scored[key])
        for key, one in segments.items()
        if one.video_id in titles
    }
