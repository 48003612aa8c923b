"""/v1/models, /v1/library: what is searched with, and how much there is."""

from typing import Any

from pydantic import BaseModel, Field

from hit.api.auth import Viewer
from hit.api.common import Served, parts_json, router
from hit.api.schemas import PartJson

routes = router("library")


class CardJson(BaseModel):
    """What is known of how a model was made. `folder` and what lies elsewhere is shown to administrators."""

    name: str | None
    folder: str | None = None
    scores: dict[str, Any] = Field(description="By the part of the data that they were measured on.")
    data: dict[str, Any] = Field(description="What it was trained on; empty for a zero-shot model.")
    clips: dict[str, int]
    seed: int | None
    steps: int | None
    commit: str | None = Field(description="Of the program that made it.")
    versions: dict[str, str | int | None]
    experts: dict[str, str] = Field(description="What each looks at, and how: an identity says when that changes.")
    licence: str | None
    calibration: dict[str, Any] | None = Field(description="How scores become confidences; null where they do not.")


class ModelJson(BaseModel):
    """A revision of a model that there are vectors of. Only the current one is searched; of others, no card is known."""

    id: str | None
    revision: str
    current: bool
    dim: int
    vectors: int
    dead: int = Field(description="Rows of the array that no segment has any more; `hit library prune` drops them.")
    bytes: int
    parts: dict[str, PartJson] | None
    card: CardJson | None


class ModelList(BaseModel):
    """Models, the current one among them."""

    models: list[ModelJson]


class Store(BaseModel):
    """Where vectors are searched."""

    kind: str
    where: str | None = None
    vectors: int | None
    in_step: bool
    error: str | None


class DatabaseJson(BaseModel):
    """Where everything else is. `url` bears no password, and is shown to administrators."""

    kind: str
    schema_version: str
    url: str | None = None


class LibraryJson(BaseModel):
    """Totals. `bytes` are measured once a minute at most."""

    path: str | None = None
    videos: dict[str, int] = Field(description="By state.")
    segments: int
    tags: int
    seconds: float
    model: dict[str, str]
    store: Store
    database: DatabaseJson
    bytes: dict[str, int]


@routes.get("/models", response_model=ModelList)
def models(served: Served, who: Viewer) -> dict[str, Any]:
    """List the models that there are vectors of."""
    encoder = served.library.encoder
    found = served.facts.models()
    for one in found:
        one["parts"] = parts_json(encoder) if one["current"] and encoder.revision == one["revision"] else None
        if one["card"] and not who.may("admin"):
            one["card"] |= {
                "folder": None,
                "data": {key: one["card"]["data"][key] for key in one["card"]["data"] if key != "path"},
            }
    return {"models": found}


@routes.get("/library", response_model=LibraryJson)
def library(served: Served, who: Viewer) -> dict[str, Any]:
    """Return how much the library holds, and where."""
    admin, found = who.may("admin"), served.facts.info()
    about = found["database"]
    return {
        **{name: found[name] for name in ("videos", "segments", "tags", "seconds", "bytes")},
        "path": found["library"] if admin else None,
        "model": {name: found["model"][name] for name in ("id", "revision")},
        "store": {**found["store"], **({} if admin else {"where": None, "error": found["store"]["error"] and "see the log"})},
        "database": {
            "kind": about["kind"],
            "schema_version": about["schema"],
            "url": (served.library.config.database or "sqlite") if admin else None,
        },
    }
