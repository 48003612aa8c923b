"""report.html: one file, without scripts or requests, that shows how a model was trained, what it scores and where it fails.

Beside it stands report.html.json with the numbers: {"card": the model's, "found": what was measured, or null}.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import tomli_w
from numpy.typing import NDArray

from hit import metrics, places, plots, video
from hit.datasets import Dataset
from hit.errors import UserError
from hit.files import save
from hit.measure import Measured
from hit.metrics import WAYS
from hit.reliability import Bin, ece
from hit.segments import poster
from hit.types import Clip, FrameWant

MISSES = 12
NUMBERS = ".json"  # ends the name of the file with a page's numbers, after the page's own name
KS = range(1, 51)
K_TICKS = (1, 2, 5, 10, 20, 50)
FRAME_WANT = FrameWant(rate=2.0, side=180)
FRAME_SECONDS = 2.0  # of the middle of a clip, from which its picture is chosen

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """A clip beside a query: one of its own captions, a JPEG of it if there is one, and the cosines by level and fused."""

    clip: str
    caption: str
    cosines: Mapping[str, float]
    picture: bytes | None

    def to_json(self) -> dict[str, Any]:
        """Return all but the picture."""
        return {"clip": self.clip, "caption": self.caption, "cosines": self.cosines}


@dataclass(frozen=True)
class Miss:
    """A text query whose right clip has a bad rank, 1 is best, and the wrong clip that was answered first."""

    caption: str
    rank: float
    right: Shown
    first: Shown


@dataclass(frozen=True)
class Findings:
    """What a model makes of some clips. Scores are those of `Measured.scores`, curves R@k (per cent) for each of KS."""

    dataset: Path
    split: str
    scores: Mapping[str, Any]
    curves: Mapping[str, Mapping[str, Values]]
    misses: Sequence[Miss]
    reliability: Mapping[str, Sequence[Bin]]  # by direction, of the first answers' confidence
    intervals: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)  # by direction, of fused figures

    def to_json(self) -> dict[str, Any]:
        """Return all but the pictures."""
        return {
            "data": str(self.dataset.absolute()),
            "split": self.split,
            "scores": self.scores,
            "curves": {way: {level: curve.tolist() for level, curve in own.items()} for way, own in self.curves.items()},
            "misses": [
                {"caption": one.caption, "rank": one.rank, "right": one.right.to_json(), "first": one.first.to_json()}
                for one in self.misses
            ],
            "reliability": {way: [asdict(one) for one in bins] for way, bins in self.reliability.items()},
            "intervals": self.intervals,
        }


def collect(
    measured: Measured,
    dataset: Dataset,
    split: str,
    reliability: Mapping[str, Sequence[Bin]] | None = None,
    intervals: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> Findings:
    """Return scores, curves and the worst misses; `split` is what to call the clips."""
    encoder, texts, owner, text, clip = (measured.encoder, measured.texts, measured.owner, measured.text, measured.clip)
    ranks = metrics.expected_rank(*measured.ranks["t2v"]["fused"])
    rows = worst(ranks)
    scores = (text[rows] * measured.scale) @ clip.T
    scores[np.arange(len(rows)), owner[rows]] = -np.inf
    shot = cache(lambda i: picture(dataset.clips[measured.ids[i]]))

    def shown(row: int, other: int) -> Shown:
        captions = (texts[i] for i in np.flatnonzero(owner == other).tolist())
        own = next((words for words in captions if words != texts[row]), texts[row])
        cosines = {name: float(text[row, part] @ clip[other, part]) for name, part in encoder.parts.items()}
        fused = float((text[row] * measured.scale) @ clip[other])
        return Shown(measured.ids[other], own, {**cosines, "fused": fused}, shot(other))

    misses = [
        Miss(texts[row], float(ranks[row]), shown(row, owner[row]), shown(row, first))
        for row, first in zip(rows.tolist(), scores.argmax(axis=1).tolist(), strict=True)
    ]
    return Findings(dataset.root, split, measured.scores(), curves(measured), misses, reliability or {}, intervals or {})


def curves(measured: Measured) -> dict[str, dict[str, Values]]:
    """Return R@k (per cent) for each of KS by direction and level."""
    return {
        way: {level: metrics.recall_at(*pair, KS) for level, pair in levels.items()} for way, levels in measured.ranks.items()
    }


def worst(ranks: Values) -> NDArray[np.int64]:
    """Return the rows of the MISSES worst ranks, worst first, the earlier of equal ones first, and none of rank 1."""
    order = np.argsort(-ranks, kind="stable")[:MISSES]
    return order[ranks[order] > 1]


def picture(clip: Clip) -> bytes | None:
    """Return the JPEG of a good frame near a clip's middle, None where its file is absent or cannot be read."""
    if not places.exists(clip.path):
        return None  # a data set of features alone
    try:
        end = min(clip.end, video.probe(clip.path).duration)
        middle = (clip.start + end) / 2
        span = (max(clip.start, middle - FRAME_SECONDS / 2), min(end, middle + FRAME_SECONDS / 2))
        for media in video.read(clip.path, [Clip(clip.id, clip.video, clip.path, *span)], [FRAME_WANT]):
            return poster(media.frames[FRAME_WANT].images)
    except UserError:
        pass
    return None


def write(path: Path, card: Mapping[str, Any], found: Findings | None) -> None:
    """Write the page of a model with this card, and its numbers beside; `found` is None where no clips were held out.

    Raises UserError where it cannot.
    """
    render(
        path,
        "report.html.j2",
        card=card,
        found=found,
        ways=WAYS,
        training=_training(card["history"]),
        recalls=recall_plots(found.curves) if found else [],
        reliable=reliability_plots(found.reliability) if found else [],
        recipe=tomli_w.dumps(card["recipe"]),
    )
    numbers = {"card": card, "found": found.to_json() if found else None}
    save(path.with_name(path.name + NUMBERS), (json.dumps(numbers, indent=1) + "\n").encode())


def render(path: Path, template: str, **values: Any) -> None:
    """Write a page of one of our templates. Raises UserError where it cannot be written."""
    page = _templates().get_template(template).render(**values)
    save(path, page.encode("utf-8", "replace"))


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = _base64
    return environment


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _training(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the plots of a run: the losses, and R@1 in both directions, at the steps at which it was validated."""
    if not history:
        return []
    steps = [entry["step"] for entry in history]
    terms: dict[str, tuple[list[int], list[float]]] = {}
    for entry in history:
        for name, value in entry.get("terms", {}).items():
            x, y = terms.setdefault(name.replace("/", " "), ([], []))
            x.append(entry["step"])
            y.append(value)
    unit = "InfoNCE, nats"
    return [
        plots.lines({"total": (steps, [entry["loss"] for entry in history])}, "Training loss", "step", unit),
        *([plots.lines(terms, "Training loss by matching", "step", unit)] if terms else []),
        *(
            plots.lines(
                {level: (steps, [entry[way][level]["R1"] for entry in history]) for level in history[-1][way]},
                f"Validation, {words}",
                "step",
                "R@1, per cent",
            )
            for way, words in WAYS.items()
        ),
    ]


def recall_plots(curves: Mapping[str, Mapping[str, Values]]) -> list[str]:
    """Return a plot for each direction of what `curves` returned."""
    return [
        plots.lines(
            {level: (KS, curve.tolist()) for level, curve in curves[way].items()},
            f"Recall, {words}",
            "k, answers looked at",
            "R@k, per cent",
            K_TICKS,
        )
        for way, words in WAYS.items()
    ]


def reliability_plots(bins: Mapping[str, Sequence[Bin]]) -> list[str]:
    """Return a reliability diagram for each direction, in per cent; the nearer to the diagonal, the better kept is the word."""
    return [
        plots.lines(
            {
                "as promised": ([0, 100], [0, 100]),
                f"first answers (ECE {ece(own):.3f})": ([100 * b.confidence for b in own], [100 * b.right for b in own]),
            },
            f"Confidence, {WAYS[way]}",
            "confidence, per cent",
            "right, per cent",
        )
        for way, own in bins.items()
    ]
