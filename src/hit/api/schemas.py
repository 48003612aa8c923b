"""The shapes of requests and answers, as the OpenAPI document shows them. Times are float seconds from the video's start."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from hit.db.access import aware

Text = Annotated[str, Field(max_length=2000)]
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9a-zA-Z._-]+$")]
Limit = Annotated[int, Field(ge=1, le=200)]
Token = Annotated[str, Field(max_length=2000, description="`next_page_token` of the answer before, as it stands.")]
When = Annotated[datetime, AfterValidator(aware)]
Weights = Annotated[
    list[float], Field(min_length=1, max_length=8, description="One for each part of the model's vectors, instead of its own.")
]


class Given(BaseModel):
    """A request: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where numbers are asked for, which Python takes for 1 and 0."""
        if isinstance(value, bool) and "bool" not in str(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("is true or false, and not what is asked for")
        return value


class Example(Given):
    """A video of the library, one of its segments, or a stretch of it."""

    video_id: Id | None = None
    segment_id: Id | None = None
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    end: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class SearchRequest(Given):
    """What is looked for, and how."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query_text": "a dog runs along the beach", "limit": 5},
                {"query_text": "a dog", "exclude": ["a leash"], "filter": "duration>=60", "group_by": "video"},
            ]
        }
    )
    query_text: Text | Annotated[list[Text], Field(max_length=16)] = Field(default=[], description="Several are averaged.")
    query_video: Example | Annotated[list[Example], Field(max_length=16)] = Field(default=[])
    exclude: Annotated[list[Text], Field(max_length=16)] = []
    exclude_videos: Annotated[list[Example], Field(max_length=16)] = []
    filter: Annotated[str, Field(max_length=20_000)] | dict[str, Any] | None = Field(
        default=None, description="In the language of filters or as JSON: see docs/filters.md."
    )
    mode: Literal["hybrid", "meaning", "words", "normalised"] = "hybrid"
    group_by: Literal["clip", "video"] = "clip"
    limit: Limit = 20
    level_weights: Weights | None = None
    mix: Annotated[list[float], Field(max_length=64)] | None = None
    page_token: Token | None = None
    explain: bool = False

    @property
    def texts(self) -> list[str]:
        """The texts, also where it is one."""
        return [self.query_text] if isinstance(self.query_text, str) else self.query_text

    @property
    def videos(self) -> list[Example]:
        """The examples, also where it is one."""
        return self.query_video if isinstance(self.query_video, list) else [self.query_video]


class TagChange(Given):
    """Tags to give to a video, and to take from it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"add": ["beach"], "remove": ["draft"]}]})
    add: Annotated[list[Text], Field(max_length=100)] = []
    remove: Annotated[list[Text], Field(max_length=100)] = []


class Model(BaseModel):
    """The model that made the vectors."""

    id: str
    revision: str


class PartJson(BaseModel):
    """Where a part of the model's vectors lies, and how much it counts."""

    start: int
    end: int
    weight: float


class EvidenceJson(BaseModel):
    """Words that were read or heard, and that the query has too."""

    expert: str
    start: float
    end: float
    text: str


class MomentJson(BaseModel):
    """A stretch of a video that fits, and where to begin to look."""

    start: float
    end: float
    seek: float
    score: float


class Metadata(BaseModel):
    """What is known of a hit's video. The path is shown to administrators."""

    title: str
    duration: float | None
    tags: list[str]
    path: str | None = None


class HitJson(BaseModel):
    """One answer. `score` is raw; `confidence` is a calibrated probability, or null."""

    rank: int
    clip_id: str
    video_id: str
    start: float
    end: float
    seek: float
    score: float
    confidence: float | None
    thumbnail_url: str | None
    video_url: str
    page_url: str
    evidence: list[EvidenceJson]
    metadata: Metadata
    moments: list[MomentJson] | None = None
    curve: list[tuple[float, float, float]] | None = Field(default=None, description="(start, end, score) of each segment.")
    explanation: dict[str, Any] | None = None


class SearchAnswer(BaseModel):
    """Hits, best first. `no_good_match` is null where scores are not calibrated."""

    hits: list[HitJson]
    model: Model
    no_good_match: bool | None
    next_page_token: str | None
    threshold: float | None = Field(default=None, description="The confidence under which a hit is taken for no match.")


class VideoJson(BaseModel):
    """A video of the library. The paths are shown to administrators."""

    id: str
    title: str
    paths: list[str] | None = None
    status: Literal["pending", "indexing", "ready", "failed"]
    error: str | None
    duration: float | None
    width: int | None
    height: int | None
    rate: float | None
    codec: str | None
    has_audio: bool | None
    added_at: When
    revision: str | None
    tags: list[str]
    segments: int
    poster_url: str | None
    stream_url: str
    sprites_url: str
    page_url: str


class VideoList(BaseModel):
    """A page of videos."""

    videos: list[VideoJson]
    total: int
    next_page_token: str | None


class LineJson(BaseModel):
    """Words that an expert read or heard."""

    expert: str
    start: float
    end: float
    text: str


class SegmentJson(BaseModel):
    """A stretch of a video: what is found and shown."""

    id: str
    video_id: str
    start: float
    end: float
    seek: float
    poster_url: str | None
    lines: list[LineJson]


class SegmentList(BaseModel):
    """A video's segments in the order of time."""

    segments: list[SegmentJson]


class MomentsAnswer(BaseModel):
    """Where in a video a query fits: stretches, best first, and the score of each segment in the order of time."""

    moments: list[MomentJson]
    curve: list[tuple[float, float, float]]
    model: Model
