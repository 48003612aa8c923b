"""/v1/describe: which of many texts a video shows, and where."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hit.api.auth import Viewer
from hit.api.common import Served, router
from hit.api.schemas import Given, Id, Model, Text, Weights
from hit.examples import Like

routes = router("search", 404)


class DescribeRequest(Given):
    """Videos, and texts that may describe them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"video_ids": ["3f8a3f0d4ad7"], "texts": ["a dog runs", "rain on a street"], "limit": 1}]}
    )
    video_ids: Annotated[list[Id], Field(min_length=1, max_length=32)]
    texts: Annotated[list[Text], Field(min_length=1, max_length=10_000)] = Field(
        description="Blanks around them are left out, and those that come again."
    )
    limit: Annotated[int, Field(ge=1, le=200)] = Field(default=10, description="How many texts for each video.")
    level_weights: Weights | None = None


class Description(BaseModel):
    """A text that fits a video, and where it fits best. `score` is raw; `confidence` is a calibrated probability, or null."""

    rank: int
    text: str
    score: float
    confidence: float | None
    start: float
    end: float


class Described(BaseModel):
    """A video and its best texts, best first."""

    video_id: str
    texts: list[Description]


class DescribeAnswer(BaseModel):
    """Videos in the order in which they were named."""

    videos: list[Described]
    model: Model


@routes.post("/describe", response_model=DescribeAnswer)
def describe(asked: DescribeRequest, served: Served, who: Viewer) -> dict[str, Any]:
    """Rank texts for videos: which of them each one shows, and where."""
    videos = [Like(one) for one in asked.video_ids]
    return served.library.describe(videos, asked.texts, asked.limit, asked.level_weights)
