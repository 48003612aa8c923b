"""What training and evaluation read: the clips of a split with their features and captions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hit import features
from hit.config import DataConfig
from hit.datasets import Dataset
from hit.errors import UserError
from hit.features import Mapped
from hit.types import Expert, Features


@dataclass(frozen=True)
class Split:
    """Clips side by side: ids, features and captions. Features of a data set are read anew whenever they are asked for."""

    ids: Sequence[str]
    features: Sequence[Mapping[str, Features]]
    captions: Sequence[Sequence[str]]


def load(dataset: Dataset, split: str, experts: Mapping[str, Expert], captions: int | None = None) -> Split:
    """Return a split's clips, without those that failed to be extracted and those in which no expert saw anything.

    With `captions`, only as many clips, drawn by chance, as have at least that many captions. Raises UserError for a split
    that has none.
    """
    ids = [clip.id for clip in dataset.split(split)]
    if captions is not None:
        ids = np.random.default_rng(0).permutation(ids).tolist()
        upto = np.cumsum([len(dataset.captions[clip]) for clip in ids])
        ids = ids[: 1 + int(np.searchsorted(upto, captions))]
    found = features.mapped(features.home(dataset.root), experts, ids)
    found = found.take(np.flatnonzero(found.seen()).tolist())
    if not found.ids:
        names = ", ".join(sorted(set(dataset.splits.values())))
        why = f"its split '{split}' has no clips" + (" with features" if ids else "")
        raise UserError(dataset.root, why, f"it has the splits {names}")
    return Split(found.ids, found, [dataset.captions[clip] for clip in found.ids])


def learning(dataset: Dataset, data: DataConfig, experts: Mapping[str, Expert]) -> tuple[Split, Split]:
    """Return the clips to learn from, and those to validate on: a split, or a share held out. As `load` in all else."""
    learn = load(dataset, data.train_split, experts)
    if dataset.split(data.val_split):
        return learn, load(dataset, data.val_split, experts)
    return hold_out(learn, data.val_share)


def hold_out(split: Split, share: float) -> tuple[Split, Split]:
    """Part a split in two by the ids' hashes: the larger rest, and about `share` of it. A clip's side depends on its id alone."""
    mark = [int.from_bytes(hashlib.sha256(f"held out {i}".encode()).digest()[:8], "big") / 2**64 < share for i in split.ids]
    return _choose(split, [not m for m in mark]), _choose(split, mark)


def _choose(split: Split, keep: Sequence[bool]) -> Split:
    rows = [i for i, kept in enumerate(keep) if kept]
    found = split.features.take(rows) if isinstance(split.features, Mapped) else [split.features[i] for i in rows]
    return Split([split.ids[i] for i in rows], found, [split.captions[i] for i in rows])
