"""What `serve.py` asks and is asked of: a library of made-up speech behind a real text tower, and queries in the same words.

The text tower is MiniLM with its own weights, the heads are random (nothing is trained: quality is not measured here), the
vectors of segments lie around those of sentences. Words are those of MiniLM's vocabulary, by Zipf's law, English's commonest
first, so that a word of a query is in as many segments as one of a real query would be.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import sqlalchemy as sa
import torch
from library import Rows, fill, halves

from hit import config, encoder, experts, video
from hit.db.schema import File
from hit.db.words import COMMON
from hit.library import Library
from hit.model import HiT, text_shape
from hit.stores.local import Local
from hit.text import locate

CENTRES = 4096  # sentences that segments lie around
QUERY = 5, 13  # words of a query: as many as captions of MSR-VTT have, 9 on average


def model(folder: Path) -> Path:
    """Write the demo's model, untrained but for its text tower."""
    recipe, text = config.load("tiny"), locate("minilm")
    loaded = experts.load_all(experts.DEFAULT)
    records = {name: encoder.ExpertRecord(experts.DEFAULT[name], one.dim, one.identity) for name, one in loaded.items()}
    torch.manual_seed(0)
    made = HiT(recipe.model, {name: one.dim for name, one in loaded.items()}, text_shape(text))
    made.text.load(text)
    encoder.save(folder, made, encoder.FolderConfig("crowd", recipe.model, records), text, {"data": "none"})
    return folder


def vocabulary() -> list[str]:
    """Return words, the most frequent ones first."""
    known = json.loads((locate("minilm") / "tokenizer.json").read_text())["model"]["vocab"]
    words = (word for word in sorted(known, key=known.__getitem__) if word.isascii() and word.isalpha() and len(word) > 2)
    return [*sorted(COMMON), *(word for word in words if word not in COMMON)]


def queries(count: int, seed: int) -> list[str]:
    """Return queries, no two alike but by chance."""
    rng, words = np.random.default_rng(seed), np.array(vocabulary())
    chances = 1 / np.arange(1, len(words) + 1)
    drawn = rng.choice(words, (count, QUERY[1]), p=chances / chances.sum())
    return [" ".join(row[:length]) for row, length in zip(drawn, rng.integers(*QUERY, count, endpoint=True), strict=True)]


class Sentences(Rows):
    """Rows of a library that lie around sentences, as a model embeds them."""

    def __init__(self, made: encoder.HiTEncoder) -> None:
        super().__init__(made.dim)
        self.id, self.revision = made.id, made.revision
        self.centres = halves(made.embed_texts(queries(CENTRES, 1)))


def library(folder: Path, count: int) -> Path:
    """Make a library of `count` segments in `folder`, and its model beside it, unless they are there."""
    if (folder / "library").exists():
        return folder / "library"
    made = encoder.load_encoder(model(folder / "model"))
    with Library.create(folder / "library", folder / "model") as opened:
        fill(opened, Sentences(made), count, vocabulary())
        opened.store.put(np.arange(count), np.asarray(opened.db.matrix(opened.stored).view(count)))
        if isinstance(opened.store, Local):
            opened.store.build()
    return folder / "library"


def films(folder: Path, count: int) -> list[str]:
    """Have the first `count` videos of a library in `folder` lie in files that can be played; return their ids."""
    with Library.open(folder / "library") as opened:
        paths = {f"{n:016x}": folder / f"film-{n}.mp4" for n in range(count)}
        rng, first = np.random.default_rng(0), folder / "film-0.mp4"
        if not first.exists():
            video.write(first, (rng.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(100)), 25.0)  # noise: 7 MB
        with opened.db.write() as session:
            for key, path in paths.items():
                if not path.exists():
                    shutil.copyfile(first, path)
                facts = {"path": str(path.absolute()), "size": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}
                session.execute(sa.update(File).where(File.video_id == key).values(facts))
    return list(paths)
