"""/v1/label-sets: labels in plain words, what they would tag, and what people say of it."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hit.api.auth import Senior, Viewer
from hit.api.common import Served, router
from hit.api.problems import Problem
from hit.api.schemas import Given, Model, Text, When
from hit.tagging import labels as formats
from hit.tagging import sets

routes = router("labels", 404, 409, 413, 415)
SetName = Annotated[
    str, Path(min_length=1, max_length=100, description="1 to 100 printable characters, but for a slash.", examples=["colours"])
]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="A version; the newest unless one is named.")]
Rule = Annotated[
    dict[Literal["percentile", "precision", "score"], float],
    Field(min_length=1, max_length=1, description="How the threshold is found.", examples=[{"percentile": 99}]),
]
State = Literal["draft", "active", "retired"]
Names = Annotated[list[Text], Field(max_length=formats.TEXTS)]
Segments = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=formats.EXAMPLES)]
TYPES = {"csv": "text/csv", "toml": "application/toml"}
_FILES = {kind: {"schema": {"type": "string"}} for kind in TYPES.values()}


class LabelToSave(Given):
    """A label: ways to say it, what it does not mean, segments that show it and that do not."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    group: Annotated[str, Field(max_length=100)] = ""
    texts: Annotated[Names, Field(min_length=1)]
    exceptions: Names = []
    examples_for: Segments = []
    examples_against: Segments = []
    rule: Rule = {"percentile": 99.0}


class LabelSetToSave(Given):
    """The labels of a set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"labels": [{"name": "red", "group": "colour", "texts": ["something red"], "rule": {"percentile": 99}}]}]
        }
    )
    labels: Annotated[list[LabelToSave], Field(min_length=1, max_length=formats.MOST)]


class VersionJson(BaseModel):
    """A version of a label set."""

    version: int
    state: State
    created_at: When
    by: str


class LabelJson(BaseModel):
    """A label of a version. threshold and kind are null until it was fitted to the model; tagged counts videos now."""

    name: str
    group: str
    texts: list[str]
    exceptions: list[str]
    examples_for: list[str]
    examples_against: list[str]
    rule: dict[str, float]
    threshold: float | None
    kind: Literal["text", "contrast", "probe"] | None
    tagged: int


class LabelSetJson(BaseModel):
    """A version of a label set, and which others there are."""

    name: str
    version: int
    state: State
    versions: list[VersionJson]
    labels: list[LabelJson]
    model: Model


class LabelSetSummary(BaseModel):
    """A label set by its newest version; tagged counts the videos that bear one of its labels."""

    name: str
    version: int
    state: State
    labels: int
    tagged: int
    active_version: int | None
    created_at: When
    by: str


class LabelSetList(BaseModel):
    """Label sets by their names."""

    label_sets: list[LabelSetSummary]


@dataclass(frozen=True, slots=True)
class Sent:
    """A file of labels, and its media type."""

    kind: str
    text: str


async def sent(request: Request) -> Sent:
    """Read a file of labels. Raises Problem for what is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TYPES.values():
        raise Problem(415, "the labels", "are neither a csv nor TOML", f"send them as {' or '.join(TYPES.values())}")
    try:
        return Sent(kind, (await request.body()).decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Problem(422, "the labels", "are no text", "send them as UTF-8") from None


@routes.get("/label-sets", response_model=LabelSetList)
def label_sets(served: Served, who: Viewer) -> dict[str, Any]:
    """List the label sets."""
    return {"label_sets": [sets.summary(one) for one in served.db.label_sets()]}


@routes.get("/label-sets/{name}", response_model=LabelSetJson)
def label_set(name: SetName, served: Served, who: Viewer, version: Version = None) -> dict[str, Any]:
    """Return a version of a label set."""
    return sets.to_json(served.library, served.db.label_set(name, version))


@routes.put("/label-sets/{name}", response_model=LabelSetJson)
def save_label_set(name: SetName, given: LabelSetToSave, served: Served, who: Senior) -> dict[str, Any]:
    """Write a label set: a new draft, in place of the newest version if that is a draft. Nothing is tagged by it yet."""
    labels = formats.from_tables([one.model_dump() for one in given.labels])
    return sets.to_json(served.library, sets.save(served.library, name, labels, who.name))


@routes.delete("/label-sets/{name}", response_model=LabelSetJson)
def retire_label_set(name: SetName, served: Served, who: Senior) -> dict[str, Any]:
    """Retire a label set: what it tagged is tagged no longer. Its versions can still be read, and taken up again."""
    served.db.retire_labels(name)
    return sets.to_json(served.library, served.db.label_set(name))


@routes.post(
    "/label-sets/{name}/import", response_model=LabelSetJson, openapi_extra={"requestBody": {"required": True, "content": _FILES}}
)
def import_label_set(who: Senior, name: SetName, sent: Annotated[Sent, Depends(sent)], served: Served) -> dict[str, Any]:
    """Write a label set from a csv or a TOML file, as `PUT` does from JSON."""
    labels = (formats.from_csv if sent.kind == TYPES["csv"] else formats.from_toml)(sent.text)
    return sets.to_json(served.library, sets.save(served.library, name, labels, who.name))


@routes.get(
    "/label-sets/{name}/export",
    response_class=Response,
    responses={200: {"content": _FILES, "description": "A file that `import` takes."}},
)
def export_label_set(
    name: SetName,
    served: Served,
    who: Viewer,
    format: formats.Format = "toml",  # noqa: A002
    version: Version = None,
) -> Response:
    """Return a version of a label set as a file."""
    labels = sets.labels_of(served.db.label_set(name, version))
    text = (formats.to_csv if format == "csv" else formats.to_toml)(labels)
    kept = f"attachment; filename*=UTF-8''{quote(name, safe='')}.{format}"
    return Response(text, media_type=f"{TYPES[format]}; charset=utf-8", headers={"Content-Disposition": kept})
