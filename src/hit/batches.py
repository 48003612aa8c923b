"""What a step of training looks at. It depends on the seed and the step's number alone, however often a run is interrupted."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hit import dist
from hit.config import TrainConfig
from hit.errors import UserError
from hit.model import HiT, Lower, TextTower
from hit.splits import Split
from hit.tokens import Ints, TextTokens, VideoTokens, pack_texts
from hit.types import Features, Progress

CHUNK = 128  # captions whose frozen part is computed at once
CACHE = 4 * 2**30  # bytes of frozen hidden states that are kept at most

Texts = tuple[TextTokens, Lower | None]

_last: dict[str, Mapping[int, Lower]] = {}  # of the last run in this process, by what it was made of: the next may read the same


def size(clips: int, settings: TrainConfig, world: int = 1) -> int:
    """Return how many clips a step takes, in all processes: a multiple of their number; of a set that is smaller, all."""
    return min(settings.batch, clips) // world * world


def draw(clips: int, settings: TrainConfig, step: int, world: int = 1) -> tuple[Ints, Ints]:
    """Return the rows (B,) of a step's clips and a random number (B,) for each to choose its captions by.

    The clips are a stream of permutations, one an epoch; a step takes the next `size` of it, which the processes share evenly.
    """
    batch = size(clips, settings, world)
    first, last = step * batch, (step + 1) * batch - 1
    stream = np.concatenate([_dice(settings, 1, e).permutation(clips) for e in range(first // clips, last // clips + 1)])
    start = first % clips
    return stream[start : start + batch], _dice(settings, 2, step).integers(0, 2**31, batch)


def drop_experts(clip: Mapping[str, Features], chance: float, rng: np.random.Generator) -> Mapping[str, Features]:
    """Leave out each expert of a clip with a chance, but never the last one that saw anything."""
    seen = [name for name, features in clip.items() if len(features.values)]
    draws = rng.random(len(seen))
    stays = draws >= min(chance, draws.max())
    return {name: clip[name] for name, kept in zip(seen, stays, strict=True) if kept}


class Captions:
    """Training captions with what the frozen lower part of the text tower makes of them, computed once if it fits CACHE.

    The next run in the same process, which may be one of many on the same captions, finds them computed.
    """

    def __init__(self, model: HiT, ids: Sequence[Sequence[Ints]], progress: Progress) -> None:
        self.ids, tower = ids, model.text
        self._first = np.cumsum([0, *map(len, ids)])  # of each clip's captions among all
        self._lower: Mapping[int, Lower] = {}
        flat = [caption for own in ids for caption in own]
        if not tower.frozen or sum(map(len, flat)) * tower.width * 4 > CACHE:
            return
        if (key := _digest(tower, flat)) not in _last:
            _last.clear()
            _last[key] = _lower(tower, flat, progress)
        self._lower = _last[key]

    def pick(self, rows: Ints, choice: Ints, count: int = 1) -> Texts:
        """Return `count` captions of each row, packed row by row, and the lower states if they are kept.

        The captions of a clip stand in a circle; `choice` is where to begin, so they differ as long as there are enough.
        """
        which = [(int(i), (int(c) + k) % len(self.ids[i])) for i, c in zip(rows, choice, strict=True) for k in range(count)]
        batch = pack_texts([self.ids[i][j] for i, j in which])
        if not self._lower:
            return batch, None
        lower = [self._lower[int(self._first[i]) + j] for i, j in which]
        feature = None if lower[0][1] is None else torch.stack([f for _, f in lower if f is not None])
        return batch, (torch.cat([h for h, _ in lower]), feature)


class Batch(NamedTuple):
    """Packed clips (B), packed captions (B * C) with their lower states if those are kept, and the clips' rows (B,) as ids."""

    clips: VideoTokens
    texts: TextTokens
    lower: Lower | None
    ids: Tensor


class Batches:
    """What this process has of each step's batch."""

    def __init__(self, model: HiT, learn: Split, captions: Captions, settings: TrainConfig) -> None:
        self.captions, self.settings = captions, settings
        self._clips, self._tower = learn.features, model.video
        self.size = size(len(learn.ids), settings, dist.world())
        if not self.size:
            why = f"{len(learn.ids)} clips in batches of {settings.batch} are not one for each of {dist.world()} processes"
            raise UserError("hit train", why, "start fewer processes")

    def draw(self, step: int) -> tuple[Ints, Ints]:
        """Return the rows of this process's clips, and a number for each to choose its captions by."""
        rows, choice = draw(len(self._clips), self.settings, step, dist.world())
        share = len(rows) // dist.world()
        mine = slice(dist.rank() * share, (dist.rank() + 1) * share)
        return rows[mine], choice[mine]

    def pack(self, rows: Ints, choice: Ints, step: int | None = None) -> Batch:
        """Pack clips and their captions; with `step` as queries, that is with experts dropped."""
        clips = [self._clips[i] for i in rows]
        if step is not None and self.settings.expert_dropout:
            dice = (_dice(self.settings, 3, step, int(i)) for i in rows)
            clips = [drop_experts(c, self.settings.expert_dropout, rng) for c, rng in zip(clips, dice, strict=True)]
        texts = self.captions.pick(rows, choice, self.settings.captions)
        return Batch(self._tower.pack(clips), *texts, torch.from_numpy(rows).to(self._tower.cls.device))


def _lower(tower: TextTower, captions: Sequence[Ints], progress: Progress) -> Mapping[int, Lower]:
    found: dict[int, Lower] = {}
    by_length = sorted(range(len(captions)), key=lambda i: len(captions[i]))  # neighbours of one length: no padding
    with torch.no_grad(), progress.task("Reading captions", len(captions)) as task:
        for start in range(0, len(captions), CHUNK):
            chosen = by_length[start : start + CHUNK]
            batch = pack_texts([captions[i] for i in chosen])
            hidden, feature = tower.lower(batch)
            parts = torch.split(hidden, batch.lengths.tolist())
            found.update((i, (parts[j], None if feature is None else feature[j])) for j, i in enumerate(chosen))
            task.advance(len(chosen))
    return found


def _digest(tower: TextTower, captions: Sequence[Ints]) -> str:
    """Name all that the lower states depend on: frozen weights, how they are used, and the captions' ids."""
    text = tower.config.text
    kind = (tower.lowest, text.feature_block, text.feature_pool, text.phases, tower.longest, tower.word.weight.device)
    digest = hashlib.sha256(repr((kind, [len(ids) for ids in captions])).encode())
    for name, weight in tower.named_parameters():
        if not weight.requires_grad:
            digest.update(name.encode() + weight.detach().cpu().numpy().tobytes())
    digest.update(np.concatenate(captions).tobytes())
    return digest.hexdigest()


def _dice(settings: TrainConfig, *key: int) -> np.random.Generator:
    return np.random.default_rng((settings.seed, *key))
