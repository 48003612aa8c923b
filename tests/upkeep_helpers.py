"""A library that is made without a video: what looks after libraries does not care."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hit import index
from hit.db import Found, Line, Segment, video_id
from hit.library import Library
from hit.types import Floats
from toy import ToyEncoder

FACTS = {"duration": 6.0, "width": 64, "height": 48, "rate": 8.0, "codec": "h264", "has_audio": False}


def vectors(count: int, seed: int = 0) -> Floats:
    """Return random embeddings (count, 8) of ToyEncoder's kind."""
    parts = np.random.default_rng(seed).normal(size=(count, 2, 4))
    found: Floats = (parts / np.linalg.norm(parts, axis=2, keepdims=True)).reshape(count, 8).astype(np.float32)
    return found


def library(path: Path, videos: int = 6, segments: int = 3, encoder: ToyEncoder | None = None) -> Library:
    """Make a library of so many videos, whose files lie beside it."""
    made = Library.create(path, encoder=encoder or ToyEncoder())
    add(made, range(videos), segments)
    return made


def add(made: Library, numbers: Sequence[int], segments: int = 3, revision: str = "") -> list[str]:
    """Record videos by their numbers, with posters, words and vectors; return their ids."""
    ids = []
    for number in numbers:
        file = (made.path.parent / f"{made.path.name} videos" / f"{number:03}.mp4").absolute()
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"video {number}")
        look = file.stat()
        content = f"{number:04x}" * 16
        video = video_id(content)
        made.db.record_files([Found(str(file), look.st_size, look.st_mtime_ns, content)])
        own = []
        for i in range(segments):
            key = f"{number:03}-{i}"
            made.db.home.write(f"{index.POSTERS}/{key[:2]}/{key}.jpg", f"poster of {key}".encode())
            own.append(
                Segment(id=key, video_id=video, start=2.0 * i, end=2.0 * i + 2, seek=2.0 * i, thumbnail=f"{key[:2]}/{key}.jpg")
            )
        lines = [Line(segment_id=s.id, number=0, expert="ocr", start=s.start, end=s.end, text=f"word{number}") for s in own]
        made.db.finish(video, FACTS, own, revision or made.config.model.revision, vectors(segments, number), lines)
        ids.append(video)
    index.sync(made.db, made.store, made.stored)
    return ids
