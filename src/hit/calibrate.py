"""`hit calibrate`: the confidence of a model's answers, from clips that it has not learnt from."""

from pathlib import Path
from typing import Any

from hit import confidence, datasets, splits
from hit import config as configs
from hit.analysis import load_experts
from hit.calibration import CLIPS, TEXTS
from hit.config import DataConfig
from hit.datasets import Dataset
from hit.encoder import read_card
from hit.errors import UserError
from hit.measure import measure
from hit.splits import Split
from hit.types import Expert, Progress
from hit.zeroshot import ZeroShotEncoder, open_encoder

HALF = 0.5  # of clips none of which a model was trained on


def calibrate(model: Path, dataset: Path, split: str, progress: Progress) -> dict[str, Any]:
    """Fit a model's calibration to a split, write it into the model's folder, and return what was fitted and how well.

    An empty `split` names the clips that training validates on: a split of their own, or a share held out. The background are
    clips and captions of the training split. Raises UserError for too few clips, for missing features, and for a split that
    the model learnt from.
    """
    card, encoder = read_card(model), open_encoder(model, "auto")
    data = datasets.read(dataset)
    settings = configs.build(DataConfig, card["recipe"]["data"], str(model / "card.json"))
    trained = not isinstance(encoder, ZeroShotEncoder)
    if trained and split == settings.train_split:
        raise UserError(f"split '{split}'", "the model has learnt from it, and is surer there than elsewhere", "name another")
    with progress.task("Calibrating", None) as task:
        split = split or (settings.val_split if data.split(settings.val_split) else "")
        learnt, held = _parts(data, settings, split, trained, load_experts(encoder.experts, encoder.identities))
        task.advance(0, f"{len(held.ids)} clips")
        made = confidence.calibrate(encoder, encoder.revision, learnt, measure(encoder, held))
    made.save(model)
    return {
        **{way: made.about[way] for way in ("t2v", "v2t")},
        "threshold": made.threshold,
        "clips": len(held.ids),
        "background": {"clips": len(made.clips), "texts": len(made.texts)},
        "split": split or f"a share of {settings.train_split}",
        "model": {"id": encoder.id, "revision": encoder.revision},
    }


def _parts(data: Dataset, settings: DataConfig, split: str, trained: bool, experts: dict[str, Expert]) -> tuple[Split, Split]:
    """Return clips for the background, and others to fit to."""
    if split and split != settings.train_split and data.split(settings.train_split):
        clips = data.split(settings.train_split)
        each = sum(len(data.captions[clip.id]) for clip in clips) / len(clips)
        enough = max(TEXTS, round(CLIPS * each))  # of captions
        return splits.load(data, settings.train_split, experts, enough), splits.load(data, split, experts)
    if trained and not split:
        return splits.learning(data, settings, experts)
    return splits.hold_out(splits.load(data, split or settings.train_split, experts), HALF)
