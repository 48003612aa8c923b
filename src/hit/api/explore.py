"""/v1/clusters, /v1/duplicates: what is in a library, and what is in it more than once."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from hit.api.auth import Viewer
from hit.api.cards import SegmentCard, VideoCard, segment_card, video_card
from hit.api.common import Served, router
from hit.api.schemas import Limit, Model
from hit.service import Service
from hit.tagging import clusters as clustering
from hit.tagging import duplicates as comparing

routes = router("search", 404)
COMPARED = 100_000  # videos at most, whose means are compared within an answer
SHOWN = 24  # videos of a group


class NameJson(BaseModel):
    """A text that sets a cluster apart; `score`: how much better it fits this one than the mean cluster."""

    text: str
    score: float


class ClusterJson(BaseModel):
    """Segments that are alike, of so many videos. The samples are the most central ones, first one of each video."""

    id: int
    size: int
    videos: int
    share: float = Field(description="Of all segments.")
    names: list[NameJson]
    samples: list[SegmentCard]


class ClusterList(BaseModel):
    """Clusters, the largest first; `noise`: how many of the segments are in none."""

    method: clustering.Method
    clusters: list[ClusterJson]
    noise: int
    segments: int
    model: Model


class GroupJson(BaseModel):
    """Near-duplicates, first the one that the others are most like; `similarity`: of the last of all to it."""

    similarity: float
    size: int = Field(description="How many there are; of very many, not all are told.")
    videos: list[VideoCard]


class DuplicateList(BaseModel):
    """Groups of near-duplicates, the largest first, and how many videos were compared."""

    groups: list[GroupJson]
    compared: int
    model: Model


@routes.get("/clusters", response_model=ClusterList)
def clusters(
    served: Served,
    who: Viewer,
    method: Annotated[clustering.Method, Query(description="HDBSCAN finds by itself how many there are.")] = "kmeans",
    count: Annotated[int | None, Query(ge=1, le=clustering.MOST, description="How many at most.")] = None,
    label_set: Annotated[str | None, Query(max_length=100, description="Whose labels are to name them.")] = None,
) -> dict[str, Any]:
    """Tell what is in the library: segments in clusters, each named by the texts that set it apart."""
    library = served.library
    found = clustering.find(library, method, count, None if label_set is None else clustering.labels(library, label_set))
    titles = served.db.titles(sample.segment.video_id for one in found.clusters for sample in one.samples)
    told = found.to_json()
    for cluster, one in zip(told["clusters"], found.clusters, strict=True):
        cluster["samples"] = [
            segment_card(segment, titles[segment.video_id].title, score)
            for segment, score in one.samples
            if segment.video_id in titles
        ]
    return {**told, "model": _model(served)}


@routes.get("/duplicates", response_model=DuplicateList)
def duplicates(
    served: Served,
    who: Viewer,
    similarity: Annotated[float, Query(gt=0, le=1, description="From which on two videos are near-duplicates.")] = 0.97,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Return groups of videos that are near-duplicates by the model's vectors."""
    found = comparing.find(served.library, similarity, most=COMPARED)
    shown = found.groups[:limit]
    cards = served.db.cards(video for one in shown for video in one.videos[:SHOWN])
    return {
        "groups": [
            {
                "similarity": one.similarity,
                "size": len(one.videos),
                "videos": [video_card(cards[video]) for video in one.videos if video in cards],
            }
            for one in shown
        ],
        "compared": found.compared,
        "model": _model(served),
    }


def _model(served: Service) -> dict[str, str]:
    model = served.library.config.model
    return {"id": model.id, "revision": model.revision}
