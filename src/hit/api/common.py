"""What the routes share: the service behind them, and rows of the database as JSON."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from hit.api.auth import Principal
from hit.api.problems import MEDIA_TYPE, ProblemJson
from hit.db import Card
from hit.service import Service
from hit.types import Encoder, Hit

PROBLEM: dict[str, Any] = {"model": ProblemJson, "content": {MEDIA_TYPE: {}}}


async def service(request: Request) -> Service:  # a coroutine, since a thread would cost more than it does
    """Return the service of the application that a request goes to."""
    found: Service = request.app.state.service
    return found


Served = Annotated[Service, Depends(service)]


def router(tag: str, *statuses: int) -> APIRouter:
    """Return a router under /v1 whose routes may answer with these problems, beside those that all may."""
    told: dict[int | str, dict[str, Any]] = {"4XX": PROBLEM, "5XX": PROBLEM, **dict.fromkeys((422, *statuses), PROBLEM)}
    return APIRouter(prefix="/v1", tags=[tag], responses=told)


def parts_json(encoder: Encoder) -> dict[str, dict[str, float]]:
    """Return where each part lies in an embedding, and how it weighs, as `schemas.PartJson` has it."""
    return {
        name: {"start": part.start, "end": part.stop, "weight": encoder.weights[name]} for name, part in encoder.parts.items()
    }


def poster_url(segment: str | None) -> str | None:
    """Return where a segment's picture is, or None."""
    return f"/v1/segments/{segment}/poster" if segment else None


def video_json(card: Card, who: Principal) -> dict[str, Any]:
    """Return a video as `schemas.VideoJson` has it."""
    video = card.video
    admin, error = who.may("admin"), video.error
    for path in () if admin else card.paths:
        error = error and error.replace(path, card.title)
    facts = ("id", "status", "duration", "width", "height", "rate", "codec", "has_audio", "added_at", "revision")
    return {
        **{name: getattr(video, name) for name in facts},
        "error": error,
        "title": card.title,
        "paths": list(card.paths) if admin else None,
        "tags": list(card.tags),
        "segments": card.segments,
        "poster_url": poster_url(card.poster),
        "stream_url": f"/v1/videos/{video.id}/stream",
        "sprites_url": f"/v1/videos/{video.id}/sprites.vtt",
        "page_url": f"/videos/{video.id}",
    }


def hit_json(hit: Hit, card: Card, who: Principal) -> dict[str, Any]:
    """Return a hit as `schemas.HitJson` has it."""
    metadata = {"title": card.title, "duration": card.video.duration, "tags": list(card.tags)}
    return {
        **hit.to_json(),
        "thumbnail_url": poster_url(hit.clip.id) if hit.thumbnail else None,
        "video_url": f"/v1/videos/{hit.clip.video}/stream",
        "page_url": f"/videos/{hit.clip.video}?t={hit.seek:.3f}",
        "metadata": {**metadata, "path": str(hit.clip.path) if who.may("admin") else None},
    }
