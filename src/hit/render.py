"""Rendering the embedded corpus: the first step of `hit demo`."""

import csv
import io
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hit import files, pool, video
from hit.datasets import corpus
from hit.datasets.corpus import PlannedClip, render
from hit.errors import UserError
from hit.types import Progress


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """What a corpus holds: clips by split, pairs of the test split by kind; how many clips this run had to render."""

    root: Path
    clips: int
    captions: int
    splits: Mapping[str, int]
    pairs: Mapping[str, int]
    rendered: int
    seconds: float


def render_corpus(root: Path, clips: int, seed: int, *, workers: int = 0, progress: Progress) -> CorpusReport:
    """Render the demo corpus as an ordinary data set into `root`, with `workers` processes (0: one per core).

    Writes videos/SPLIT/NNNNN.mp4, captions.csv, truth.jsonl (what there is to see and hear in each clip) and pairs.csv
    (the pairs of val and test).
    Clips that are there already are kept, so that a run that was stopped can be repeated: the outcome depends on
    `clips` and `seed` alone. Raises UserError where `root` holds a corpus of other arguments or something else.
    """
    began = time.monotonic()
    if root.exists() and not root.is_dir():
        raise UserError(root, "is not a folder", "name one, or a place for a new one")
    if clips < corpus.LEAST_CLIPS:
        raise UserError(f"{clips} clips", "too few to hold out a test set", f"at least {corpus.LEAST_CLIPS}")
    _claim(root, {"version": corpus.VERSION, "clips": clips, "seed": seed})
    planned = corpus.plan(clips, seed)
    with files.locked(root / ".lock", 0):
        missing = _prepare(root, planned.clips)
        with progress.task("Rendering clips", len(planned.clips)) as task:
            task.advance(len(planned.clips) - len(missing))
            for _, outcome in pool.run(_render, [(root / clip.video, clip) for clip in missing], workers):
                if isinstance(outcome, Exception):
                    raise outcome
                task.advance()
        _write_tables(root, planned)
    return CorpusReport(
        root=root,
        clips=len(planned.clips),
        captions=sum(len(clip.captions) for clip in planned.clips),
        splits=Counter(clip.split for clip in planned.clips),
        pairs=Counter(pair.kind for pair in planned.pairs if pair.split == "test"),
        rendered=len(missing),
        seconds=time.monotonic() - began,
    )


def _claim(root: Path, made_of: Mapping[str, int]) -> None:
    """Mark `root` as the folder of this corpus, or refuse."""
    marker = root / "corpus.json"
    if marker.exists():
        found = json.loads(marker.read_text())
        if found != made_of:
            was, now = (", ".join(f"{key} {value}" for key, value in each.items()) for each in (found, made_of))
            raise UserError(root, f"holds a corpus of {was}, not of {now}", "choose another folder or remove this one")
    elif (root / "videos").exists() or (root / "captions.csv").exists():
        raise UserError(root, "holds other videos already", "choose an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    files.write_whole(marker, (json.dumps(made_of) + "\n").encode())


def _prepare(root: Path, clips: Iterable[PlannedClip]) -> list[PlannedClip]:
    """Make the folders, sweep out what a killed run left half written, and return the clips that are yet to be rendered."""
    for folder in {(root / clip.video).parent for clip in clips} | {root}:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(".*.part"):
            part.unlink()
    return [clip for clip in clips if not (root / clip.video).exists()]


def _render(job: tuple[Path, PlannedClip]) -> None:
    path, clip = job
    video.write(path, render.frames(clip.scene), render.RATE, render.samples(clip.scene), render.SAMPLE_RATE)


def _write_tables(root: Path, planned: corpus.Corpus) -> None:
    clips, pairs = planned.clips, planned.pairs
    rows = ((clip.video, caption, clip.split) for clip in clips for caption in clip.captions)
    truth = ({"video": clip.video, "split": clip.split, **clip.scene.to_json()} for clip in clips)
    files.write_whole(root / "truth.jsonl", "".join(json.dumps(line) + "\n" for line in truth).encode())
    listed = ((pair.kind, pair.a, pair.b, pair.split) for pair in pairs)
    files.write_whole(root / "pairs.csv", _csv(("kind", "video_a", "video_b", "split"), listed))
    files.write_whole(root / "captions.csv", _csv(("video", "caption", "split"), rows))


def _csv(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(itertools.chain([header], rows))
    return text.getvalue().encode()
