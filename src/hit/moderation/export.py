"""Verdicts for other programs: a line of JSON each, or a table."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from hit.db import Policy, Verdict
from hit.db.access import aware
from hit.library import Library
from hit.review.export import csv_line, guarded

Format = Literal["jsonl", "csv"]
COLUMNS = (
    *("policy", "version", "video_id", "title", "content_hash", "verdict", "score", "confidence", "audit"),
    *("decision", "revision", "segment_set", "at", "evidence", "matches"),
)
_PAGE = 500


def decisions(library: Library, policy: str, videos: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what people have decided last about videos by a policy; those about which they have not are left out."""
    return {video: {"action": action, "at": at} for video, (action, at) in library.db.outcomes(policy, videos).items()}


def lines(library: Library, policy: Policy, kind: Format) -> Iterator[str]:
    """Yield the lines of a file of all that a version says, the highest score first."""
    if kind == "csv":
        yield csv_line(COLUMNS, "\n")
    page = None
    while True:
        found, _, page = library.db.verdicts(policy.name, policy.version, limit=_PAGE, page=page)
        videos = [one.video_id for one in found]
        cards, decided = library.db.titles(videos), decisions(library, policy.name, videos)
        for one in found:
            if one.video_id in cards:
                card = cards[one.video_id]
                table = _table(one, card.title, card.video.content_hash, decided.get(one.video_id, {}).get("action"))
                yield json.dumps(table) + "\n" if kind == "jsonl" else csv_line([_cell(table[name]) for name in COLUMNS], "\n")
        if page is None:
            return


def _table(one: Verdict, title: str, content_hash: str, decision: str | None) -> dict[str, Any]:
    kept = ("policy", "version", "video_id", "verdict", "score", "confidence", "audit", "revision", "segment_set")
    own = {name: getattr(one, name) for name in (*kept, "evidence", "matches")}
    return {**own, "title": title, "content_hash": content_hash, "decision": decision, "at": aware(one.at).isoformat()}


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else guarded(value)
