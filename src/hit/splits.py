"""What training and evaluation read: the clips of a split with their features and captions."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hit import features
from hit.datasets import Dataset
from hit.errors import UserError
from hit.types import Expert, Features


@dataclass(frozen=True)
class Split:
    """Clips side by side: ids, features and captions."""

    ids: Sequence[str]
    features: Sequence[Mapping[str, Features]]
    captions: Sequence[Sequence[str]]


def load(dataset: Dataset, split: str, experts: Mapping[str, Expert]) -> Split:
    """Return a split's clips, without those that failed to be extracted and those in which no expert saw anything.

    Raises UserError for a split that has none.
    """
    ids = [clip.id for clip in dataset.split(split)]
    found = features.load(dataset.root / "features", experts, ids)
    kept = [clip for clip, seen in found.items() if any(len(f.values) for f in seen.values())]
    if not kept:
        names = ", ".join(sorted(set(dataset.splits.values())))
        why = f"its split '{split}' has no clips" + (" with features" if ids else "")
        raise UserError(dataset.root, why, f"it has the splits {names}")
    return Split(kept, [found[clip] for clip in kept], [dataset.captions[clip] for clip in kept])


def hold_out(split: Split, share: float) -> tuple[Split, Split]:
    """Part a split in two by the ids' hashes: the larger rest, and about `share` of it. A clip's side depends on its id alone."""
    mark = [int.from_bytes(hashlib.sha256(f"held out {i}".encode()).digest()[:8], "big") / 2**64 < share for i in split.ids]
    return choose(split, [row for row, held in enumerate(mark) if not held]), choose(
        split, [row for row, held in enumerate(mark) if held]
    )


def choose(split: Split, rows: Iterable[int]) -> Split:
    """Return these rows of a split."""
    kept = list(rows)
    return Split([split.ids[i] for i in kept], [split.features[i] for i in kept], [split.captions[i] for i in kept])
