"""What a library asks of an object store, in requests and bytes: to index, to read on another machine, to move there.

The server is moto's, behind a small one that counts (tests/s3.py); vectors are random, thumbnails as large as those of real
videos. How long anything takes is no figure of this: moto is slow, and near.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from library import Rows, halves

from hit import index
from hit.db import Found, Segment, video_id
from hit.library import Library
from hit.upkeep import pieces
from s3 import PROXIES, Gate, server

POSTER = 6_300  # bytes of a thumbnail: see docs/scale.md


def add(library: Library, numbers: range, segments: int, dim: int) -> None:
    """Record videos as indexing does, with thumbnails and vectors."""
    for number in numbers:
        content = f"{number:08x}" * 8
        video, rng = video_id(content), np.random.default_rng(number)
        library.db.record_files([Found(f"/films/{number}.mp4", 1, 1, content)])
        keys = [f"{number:08x}-{i}" for i in range(segments)]
        library.db.home.write_all({f"{index.POSTERS}/{key[:2]}/{key}.jpg": rng.bytes(POSTER) for key in keys})
        own = [
            Segment(id=key, video_id=video, start=8.0 * i, end=8.0 * i + 8, seek=8.0 * i, thumbnail=f"{key[:2]}/{key}.jpg")
            for i, key in enumerate(keys)
        ]
        vectors = halves(rng.normal(size=(segments, dim)).astype(np.float32))
        library.db.finish(video, {"duration": 8.0 * segments}, own, library.config.model.revision, vectors)
        library.db.merge(library.db.stored(library.config.model.revision, dim))


@contextmanager
def counted(gate: Gate, into: dict[str, Any], what: str, each: int) -> Iterator[None]:
    """Count what is asked meanwhile, and per segment."""
    gate.asked.clear()
    gate.sent = gate.got = 0
    yield
    into[what] = {
        "requests": dict(gate.asked),
        "requests_per_segment": round(gate.asked.total() / each, 4),
        "bytes_sent_per_segment": round(gate.sent / each),
        "bytes_got_per_segment": round(gate.got / each),
    }


def measure(folder: Path, gate: Gate, url: str, videos: int, segments: int, dim: int) -> dict[str, Any]:
    """Make a library, have its files in the object store from the beginning, and look at it from another machine."""
    found: dict[str, Any] = {"videos": videos, "segments_per_video": segments, "dim": dim}
    encoder, count = Rows(dim), videos * segments
    with Library.create(folder / "lib", encoder=encoder) as library:
        pieces.move(library, url)
        with counted(gate, found, "index", count):
            add(library, range(videos), segments, dim)
        stored = library.db.stored(encoder.revision, dim)
        found["pieces"] = len(library.db.pieces(stored))
        with counted(gate, found, "move_here", count):
            pieces.move(library, "local")
        with counted(gate, found, "move_there", count):
            pieces.move(library, f"{url}-2")
        found["pieces_moved"] = len(library.db.pieces(stored))
    rows = np.sort(np.random.default_rng(0).permutation(count)[:20])
    shutil.rmtree(folder / "lib" / "embeddings")
    with Library.open(folder / "lib", encoder=encoder, mend=False) as library:
        with counted(gate, found, "twenty_rows", 1):
            library.db.vectors(stored, rows)
        with counted(gate, found, "all_rows", count):
            library.db.matrix(stored).view(count)
        with counted(gate, found, "again", 1):
            library.db.vectors(stored, rows)
    return found


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--segments", type=int, default=20, help="of a video")
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--tiny", action="store_true", help="so small that it is soon over")
    asked = parser.parse_args()
    if asked.tiny:
        asked.videos, asked.segments, asked.dim = 8, 4, 16
    for name in PROXIES:
        os.environ.pop(name, None)
    with server() as s3, Gate(s3.url) as gate, tempfile.TemporaryDirectory() as folder:
        thread = threading.Thread(target=gate.serve_forever, args=(0.05,))
        thread.start()
        os.environ.update(gate.env)
        try:
            found = measure(Path(folder), gate, f"{s3.bucket()}/lib", asked.videos, asked.segments, asked.dim)
        finally:
            gate.shutdown()
            thread.join()
    print(json.dumps({"benchmark": "objects", **found}))


if __name__ == "__main__":
    main()
