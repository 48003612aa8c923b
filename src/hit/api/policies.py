"""/v1/policies: what is to be reviewed or blocked, in plain words; what it would do, and what it does."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from fastapi.responses import StreamingResponse

from hit.api.auth import Principal, Senior, Viewer
from hit.api.cards import video_card
from hit.api.common import Served, poster_url, router
from hit.api.jobs import submitted
from hit.api.policy_shapes import (
    Changed,
    Differences,
    OwnVerdicts,
    PolicyDocument,
    PolicyJson,
    PolicyList,
    ToTest,
    TrialJson,
    VerdictList,
    Which,
    Word,
)
from hit.api.schemas import Id, Limit
from hit.db import Policy
from hit.moderation import document as documents
from hit.moderation import export, lifecycle, trial
from hit.service import Service

routes = router("policies", 404)
Name = Annotated[
    str, Path(min_length=1, max_length=100, description="1 to 100 printable characters, but for a slash.", examples=["fights"])
]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Which version; the newest, or the one in force.")]


@routes.get("/policies", response_model=PolicyList)
def policies(served: Served, who: Viewer) -> dict[str, Any]:
    """List policies."""
    return {"policies": lifecycle.listed(served.library)}


@routes.get("/policies/{name}", response_model=PolicyJson)
def policy(name: Name, served: Served, who: Viewer, version: Version = None) -> dict[str, Any]:
    """Return a policy: the version that is named, or the newest."""
    return lifecycle.shown(served.library, name, version)


@routes.put("/policies/{name}", response_model=PolicyJson)
def draft_policy(name: Name, document: PolicyDocument, served: Served, who: Senior) -> dict[str, Any]:
    """Write a draft, which changes nothing; the newest version is replaced where it is a draft itself."""
    lifecycle.draft(served.library, name, document.model_dump(), who.name)
    return lifecycle.shown(served.library, name)


@routes.post("/policies/{name}/test", response_model=TrialJson)
def test_policy(name: Name, asked: ToTest, served: Served, who: Viewer) -> dict[str, Any]:
    """Say what a policy would do with the library, and what would change. Nothing is written."""
    document = None if asked.document is None else documents.read(asked.document.model_dump(), f"policy {name}")
    found = trial.trial(served.library, name, asked.version, document)
    lists = ("changes", "review", "block", "passed")
    cards = _cards(served, [one for name in lists for one in found[name]])
    return {**found, **{name: [cards[one["video_id"]] | one for one in found[name]] for name in lists}}


@routes.post("/policies/{name}/shadow", response_model=Changed)
def shadow_policy(name: Name, which: Which, served: Served, who: Senior) -> dict[str, Any]:
    """Have a version judge all videos, and write down what it says; nobody is asked or told."""
    return _entered(name, "shadow", which, served, who)


@routes.post("/policies/{name}/enforce", response_model=Changed)
def enforce_policy(name: Name, which: Which, served: Served, who: Senior) -> dict[str, Any]:
    """Have a version judge all videos, open cases, and tell others; the version before is retired."""
    return _entered(name, "enforced", which, served, who)


@routes.post("/policies/{name}/retire", response_model=Changed)
def retire_policy(name: Name, which: Which, served: Served, who: Senior) -> dict[str, Any]:
    """Have a version judge no more; without one named, all that are in force."""
    return _entered(name, "retired", which, served, who)


@routes.get("/policies/{name}/diff", response_model=Differences)
def policy_diff(
    name: Name,
    served: Served,
    who: Viewer,
    before: Annotated[int, Query(ge=1, le=2**31 - 1, description="A version.")],
    after: Annotated[int, Query(ge=1, le=2**31 - 1, description="Another version.")],
) -> dict[str, Any]:
    """Return what differs between two versions."""
    return {"changes": lifecycle.differences(served.library, name, before, after)}


@routes.get("/policies/{name}/verdicts", response_model=VerdictList)
def verdicts(
    name: Name,
    served: Served,
    who: Viewer,
    version: Version = None,
    verdict: Annotated[Word | None, Query(description="Only these.")] = None,
    limit: Limit = 50,
    page_token: Annotated[str | None, Query(max_length=2000)] = None,
) -> dict[str, Any]:
    """List what a policy says of videos: the version that is named, or the one in force."""
    chosen = lifecycle.version_of(served.library, name, version)
    found, total, token = served.db.verdicts(name, chosen.version, verdict=verdict, limit=limit, page=page_token)
    decided = export.decisions(served.library, name, [one.video_id for one in found])
    kept = ("video_id", "verdict", "score", "confidence", "audit", "evidence", "matches", "at")
    rows = [{key: getattr(one, key) for key in kept} | {"decision": decided.get(one.video_id)} for one in found]
    cards = _cards(served, rows)
    shown = [cards[row["video_id"]] | row for row in rows if row["video_id"] in cards]
    return {"verdicts": shown, "total": total, "next_page_token": token}


@routes.get("/policies/{name}/export", response_class=StreamingResponse)
def export_verdicts(
    name: Name,
    served: Served,
    who: Senior,
    version: Version = None,
    format: Annotated[Literal["jsonl", "csv"], Query(description="A line of JSON each, or a table.")] = "jsonl",  # noqa: A002
) -> StreamingResponse:
    """Return all that a policy says of videos, the version that is named, or the one in force, as a file."""
    chosen = lifecycle.version_of(served.library, name, version)
    kinds = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
    file = {"Content-Disposition": f'attachment; filename="policy-v{chosen.version}.{format}"'}
    return StreamingResponse(_lines(served, chosen, format), media_type=kinds[format], headers=file)


@routes.get("/videos/{video_id}/verdicts", response_model=OwnVerdicts)
def video_verdicts(video_id: Id, served: Served, who: Viewer) -> dict[str, Any]:
    """Return what the enforced policies say of a video."""
    served.db.video(video_id)
    kept = ("verdict", "score", "confidence", "evidence", "matches", "at")
    return {
        "verdicts": [
            {"policy": one.name, "version": one.version, "severity": documents.read(one.document).severity}
            | {key: getattr(found, key) for key in kept}
            for one, found in served.db.verdicts_on(video_id)
        ]
    }


def _entered(name: str, state: lifecycle.State, which: Which, served: Service, who: Principal) -> dict[str, Any]:
    entered = lifecycle.enter(served.library, name, state, who.name, which.version)
    job = None if state == "retired" else submitted(served.jobs, "judge", {"policies": [name]}, who.name)
    return {"policy": lifecycle.shown(served.library, name, entered[-1].version), "job": job}


def _cards(served: Service, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the videos of rows as cards, each with the picture of its best evidence."""
    cards = {key: video_card(card) for key, card in served.db.cards({row["video_id"] for row in rows}).items()}
    for row in rows:
        if (evidence := row.get("evidence")) and row["video_id"] in cards:
            best = max(evidence, key=lambda one: one["score"])
            cards[row["video_id"]]["poster_url"] = poster_url(best["segment_id"])
    return cards


def _lines(served: Service, policy: Policy, format: str) -> Iterator[str]:  # noqa: A002
    return export.lines(served.library, policy, "csv" if format == "csv" else "jsonl")
