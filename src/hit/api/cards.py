"""Videos and segments as all pages of labels, policies and review show them."""

from typing import Any

from pydantic import BaseModel

from hit.api.common import poster_url
from hit.db import Card
from hit.db.vectors import Stretch


class VideoCard(BaseModel):
    """A video, and where its parts are."""

    video_id: str
    title: str
    duration: float | None
    poster_url: str | None
    stream_url: str
    sprites_url: str
    page_url: str


class SegmentCard(BaseModel):
    """A segment, and how it scores; `percentile`: how many per cent of the background score less."""

    segment_id: str
    video_id: str
    title: str
    start: float
    end: float
    seek: float
    poster_url: str | None
    stream_url: str
    page_url: str
    score: float
    confidence: float | None
    percentile: float | None


def video_card(card: Card) -> dict[str, Any]:
    """Return a video as `VideoCard` has it. One without a poster came from `titles`, which knows none."""
    return {
        "video_id": card.video.id,
        "title": card.title,
        "duration": card.video.duration,
        "poster_url": poster_url(card.poster),
        "stream_url": f"/v1/videos/{card.video.id}/stream",
        "sprites_url": f"/v1/videos/{card.video.id}/sprites.vtt",
        "page_url": f"/videos/{card.video.id}",
    }


def segment_card(
    one: Stretch, title: str, score: float, confidence: float | None = None, percentile: float | None = None
) -> dict[str, Any]:
    """Return a segment as `SegmentCard` has it."""
    return {
        "segment_id": one.id,
        **{name: getattr(one, name) for name in ("video_id", "start", "end", "seek")},
        "title": title,
        "poster_url": poster_url(one.id if one.thumbnail else None),
        "stream_url": f"/v1/videos/{one.video_id}/stream",
        "page_url": f"/videos/{one.video_id}?t={one.seek:.3f}",
        "score": score,
        "confidence": confidence,
        "percentile": percentile,
    }
