"""Describe: which of many texts a video shows, and where: retrieval from video to text."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hit import embeddings, metrics
from hit.errors import UserError
from hit.types import Encoder, Floats, Judge

_TEXTS = 4096  # embedded at once


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A video to be described: its segments' times (n, 2) and vectors (n, dim), in the order of time."""

    path: Path
    times: Sequence[tuple[float, float]]
    vectors: Floats


def describe(
    videos: Sequence[Seen],
    texts: Sequence[str],
    encoder: Encoder,
    *,
    weights: Mapping[str, float] | None = None,
    judge: Judge | None = None,
    limit: int = 10,
) -> list[dict[str, Any]]:
    """Return for each video its `limit` best texts, best first: {text, rank, score, confidence, start, end}.

    A text's score is its inner product with the mean of the video's segments, each part of unit length, as in evaluation from
    video to text; start and end are those of the segment that fits it best. Equal scores come in the order of the texts.
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
                "path": str(video.path),
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
    texts = list(dict.fromkeys(text.strip() for text in found if isinstance(text, str) and text.strip()))
    if not texts:
        raise UserError(path, "holds no texts", "write one a line")
    return texts
