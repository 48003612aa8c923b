"""Describe: which of many texts a video shows, and where: retrieval from video to text."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hit import embeddings, examples, metrics
from hit.analysis import Piece
from hit.db import Database, Stored
from hit.errors import UserError
from hit.examples import Like
from hit.types import Encoder, Floats, Judge, Where

_TEXTS = 4096  # embedded at once


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A video to be described: its segments' times (n, 2) and vectors (n, dim), in the order of time.

    path: the file that was named, if one was; video: its id, where the library knows it.
    """

    path: Where | None
    times: Sequence[tuple[float, float]]
    vectors: Floats
    video: str | None = None


def look_at(
    one: examples.Named, db: Database, stored: Stored, encoder: Encoder, analyse: Callable[[Where], Sequence[Piece]]
) -> Seen:
    """Return a video, or a stretch of one. What the library has vectors of is not decoded; another file is given to `analyse`.

    Raises NotFoundError for an id of which the library has none, UserError for a file that cannot be read.
    """
    path: Where | None = None
    like = one if isinstance(one, Like) else None
    if not isinstance(one, Like):
        path = db.roots.given(one)
        like = _known(path, db, stored)
    if like:
        segments, vectors = examples.chosen(db, stored, like)
        return Seen(path, [(segment.start, segment.end) for segment in segments], vectors, like.video)
    assert path, "a Like is known"
    pieces = analyse(path)
    times = [(piece.clip.start, piece.clip.end) for piece in pieces]
    return Seen(path, times, encoder.embed_clips([piece.features for piece in pieces]))


def _known(path: Where, db: Database, stored: Stored) -> Like | None:
    video = db.named(str(path.absolute() if isinstance(path, Path) else path))
    return Like(video) if video and db.segments(stored, [video]) else None


def describe(
    videos: Sequence[Seen],
    texts: Sequence[str],
    encoder: Encoder,
    *,
    weights: Mapping[str, float] | None = None,
    judge: Judge | None = None,
    limit: int = 10,
) -> list[dict[str, Any]]:
    """Return {path, video_id, texts} for each video, of texts the `limit` best, best first.

    A text is {text, rank, score, confidence, start, end}. Its score is its inner product with the mean of the video's segments,
    each part of unit length, as in evaluation from video to text; start and end are those of the segment that fits it best.
    Equal scores come in the order of the texts.
    """
    rows = np.concatenate([encoder.embed_texts(texts[i : i + _TEXTS]) for i in range(0, len(texts), _TEXTS)])
    scale = metrics.weighting(encoder.parts, encoder.weights if weights is None else weights, encoder.dim)
    own = weights is None or dict(weights) == dict(encoder.weights)
    found = []
    for video in videos:
        mean = embeddings.mean(video.vectors, encoder.parts) * scale
        scores = rows @ mean  # (texts,)
        best = np.lexsort((np.arange(len(texts)), -scores))[:limit]
        where = (rows[best] * scale) @ video.vectors.T  # (limit, segments)
        sure = judge.judge(mean, scores[best], len(texts), "v2t").tolist() if judge and own else [None] * len(best)
        found.append(
            {
                "path": str(video.path) if video.path else None,
                "video_id": video.video,
                "texts": [
                    {
                        "rank": rank,
                        "text": texts[i],
                        "score": float(scores[i]),
                        "confidence": confidence,
                        "start": round(video.times[at][0], 3),
                        "end": round(video.times[at][1], 3),
                    }
                    for rank, (i, at, confidence) in enumerate(zip(best, where.argmax(axis=1), sure, strict=True), 1)
                ],
            }
        )
    return found


def read_texts(path: Path) -> list[str]:
    """Return the texts of a file: one a line, or the column `text` of a .csv or .jsonl; each once, empty ones left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix == ".csv":
                found = [row["text"] for row in csv.DictReader(file)]
            elif path.suffix == ".jsonl":
                found = [json.loads(line)["text"] for line in file if line.strip()]
            else:
                found = file.read().splitlines()
    except OSError as error:
        raise UserError(path, f"cannot be read: {error.strerror}", "name a file of texts") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(path, f"is no list of texts: {type(error).__name__} {error}", "give it a column `text`") from None
    return distinct(path, [text for text in found if isinstance(text, str)])


def distinct(what: object, texts: Iterable[str]) -> list[str]:
    """Return texts without the blanks around them, each once, empty ones left out. Raises UserError where none is left."""
    found = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if not found:
        raise UserError(what, "holds no texts" if isinstance(what, Path) else "are none, or empty", "write one a line")
    return found
