"""The shapes of policies, verdicts and dry runs. Times are float seconds from the video's start."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hit.api.cards import VideoCard
from hit.api.jobs import JobJson
from hit.api.schemas import Given, Model, Text, When

Word = Literal["pass", "review", "block"]
State = Literal["draft", "shadow", "enforced", "retired"]
Texts = Annotated[list[Text], Field(max_length=200)]
RuleTable = Annotated[
    dict[str, float], Field(description="A table of one key: percentile (of the background), precision, or score.")
]


class PolicyDocument(Given):
    """What a policy says. Times are seconds; see docs/policies.md."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["people hit each other"], "review": {"percentile": 99}}]}
    )
    texts: Texts
    exceptions: Texts = Field(default=[], description="What must not be shown for it to count.")
    examples_for: Texts = Field(default=[], description="Segments that show it.")
    examples_against: Texts = Field(default=[], description="Segments that do not.")
    review: RuleTable | None = Field(default=None, description="Where people look: percentile 99.5 unless said.")
    block: RuleTable | None = Field(default=None, description="Where a video is blocked; null: never by itself.")
    severity: Annotated[int, Field(ge=1, le=5)] = 3
    audit_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    window: Annotated[float, Field(ge=0, le=3600)] | None = None
    min_duration: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    scope: Annotated[str, Field(max_length=20_000)] = ""
    reviewers: Annotated[int, Field(ge=1, le=2)] = 1
    bank: Annotated[bool, Field(strict=True)] = False
    note: Text = ""


class CountsJson(BaseModel):
    """How many videos there are of each verdict."""

    model_config = ConfigDict(populate_by_name=True)
    passed: int = Field(alias="pass")
    review: int
    block: int


class ListedPolicy(BaseModel):
    """A policy by its newest version; what it says and counts are of the version in force, if one is."""

    name: str
    version: int
    state: State
    enforced_version: int | None
    shadow_version: int | None
    severity: int
    texts: list[str]
    counts: CountsJson | None
    changed_at: When


class PolicyList(BaseModel):
    """Policies by their names."""

    policies: list[ListedPolicy]


class VersionJson(BaseModel):
    """A version of a policy."""

    version: int
    state: State
    created_at: When
    changed_at: When
    by: str


class ChangeJson(BaseModel):
    """What became of a version: the state that it entered, "edited", or "fitted" to another revision of the model."""

    version: int
    change: str
    by: str
    at: When


class FittedJson(BaseModel):
    """The scores at a policy's lines, for the library's model."""

    review: float
    block: float | None
    kind: str = Field(description='"text", or "probe" where examples had their say.')
    revision: str


class PolicyJson(BaseModel):
    """A version of a policy, and what became of all versions, the newest first."""

    name: str
    version: int
    state: State
    versions: list[VersionJson]
    changes: list[ChangeJson]
    document: PolicyDocument
    fitted: FittedJson | None
    counts: CountsJson | None
    model: Model


class Evidence(BaseModel):
    """A segment that shows what the policy means."""

    segment_id: str
    start: float
    end: float
    seek: float
    score: float


class Frame(BaseModel):
    """A frame that is like one of a known clip, and by how many of 256 bits they differ."""

    time: float
    bank_time: float
    distance: float


class MatchJson(BaseModel):
    """A known clip that a video is like: which share of the frames of the shorter one, how far they are apart, and which."""

    bank_id: int
    title: str
    note: str
    share: float
    distance: float
    frames: list[Frame]


class JudgedVideo(VideoCard):
    """A video and what a policy would say of it."""

    score: float
    confidence: float | None
    evidence: list[Evidence]
    matches: list[MatchJson]


class ChangedVideo(VideoCard):
    """A video of which a policy would say something else than the version before."""

    before: Word | None
    after: Word
    score: float


class PreviousJson(BaseModel):
    """The version in force, with which a dry run compares."""

    version: int
    state: State
    counts: CountsJson


class Histogram(BaseModel):
    """How many videos of the library, and clips of the background, score between two edges."""

    edges: list[float]
    library: list[int]
    background: list[int]


class Thresholds(BaseModel):
    """The scores at the lines."""

    review: float
    block: float | None


class TrialJson(BaseModel):
    """A dry run: nothing has been written. The videos named are those nearest to the lines."""

    version: int | None
    counts: CountsJson
    audit: int
    previous: PreviousJson | None
    changed: int
    changes: list[ChangedVideo]
    review: list[JudgedVideo]
    block: list[JudgedVideo]
    passed: list[JudgedVideo]
    histogram: Histogram
    thresholds: Thresholds
    kind: str
    model: Model


class ToTest(Given):
    """What is to be tried: a version, the newest unless named, or a document that is written nowhere yet."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"document": {"texts": ["people hit each other"]}}]})
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    document: PolicyDocument | None = None


class Which(Given):
    """Which version: see docs/policies.md for what is taken where none is named."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 2}, {}]})
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class Changed(BaseModel):
    """A policy in its new state, and the job that judges the library by it."""

    policy: PolicyJson
    job: JobJson | None


class Difference(BaseModel):
    """A field that differs."""

    field: str
    before: Any
    after: Any


class Differences(BaseModel):
    """What differs between two versions."""

    changes: list[Difference]


class DecisionShort(BaseModel):
    """What people have decided."""

    action: Literal["pass", "block"]
    at: When


class VerdictJson(VideoCard):
    """What a policy says of a video. `audit`: it passes, and is looked at all the same."""

    verdict: Word
    score: float
    confidence: float | None
    audit: bool
    evidence: list[Evidence]
    matches: list[MatchJson]
    decision: DecisionShort | None
    at: When


class VerdictList(BaseModel):
    """A page of verdicts, the highest score first."""

    verdicts: list[VerdictJson]
    total: int
    next_page_token: str | None


class OwnVerdict(BaseModel):
    """What an enforced policy says of a video."""

    policy: str
    version: int
    severity: int
    verdict: Word
    score: float
    confidence: float | None
    evidence: list[Evidence]
    matches: list[MatchJson]
    at: When


class OwnVerdicts(BaseModel):
    """What the enforced policies say of a video."""

    verdicts: list[OwnVerdict]
