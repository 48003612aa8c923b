"""Momentum contrast across modalities: key encoders, four memory banks, four matchings [HiT; MoCo].

Each matching takes queries of one modality and keys of the other, at one level: video->text and text->video at the feature
and at the semantic level. B pairs in a batch, K rows in a bank, D = dim of a level.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from hit import dist
from hit.config import LossConfig
from hit.model import LEVELS, HiT, Levels


class MomentumContrast(nn.Module):
    """The key encoders and banks of one HiT in training; only `query` learns by gradient.

    One step: embed with `query`; `update_keys`; embed with `key` without gradient and
    `gather_keys`; `loss`; backward and optimiser step;
    `enqueue`. The banks are as they were while the loss is computed, and written only after backward.
    """

    bank: Tensor
    ids: Tensor
    state: Tensor

    def __init__(self, query: HiT, config: LossConfig) -> None:
        super().__init__()
        self.query, self.config = query, config
        learning = {name for name, parameter in query.named_parameters() if parameter.requires_grad}
        # frozen weights are equal for good: both encoders hold the same ones
        self.key = deepcopy(query, {id(p): p for p in query.parameters() if not p.requires_grad}).requires_grad_(False)
        self.key.eval()  # keys without dropout: the same clip always has the same key
        self._keys: list[Tensor] = [p for name, p in self.key.named_parameters() if name in learning]
        self._queries: list[Tensor] = [p for name, p in query.named_parameters() if name in learning]
        self._frozen = {name for name, _ in query.named_parameters()} - learning
        # [modality: video, text][level]: unit rows; a row of video ids beside them, shared; state = (next row, rows filled)
        self.register_buffer("bank", torch.zeros(2, len(LEVELS), config.bank, query.config.dim))
        self.register_buffer("ids", torch.full((config.bank,), -1))
        self.register_buffer("state", torch.zeros(2, dtype=torch.long))

    def train(self, mode: bool = True) -> "MomentumContrast":
        """Set the query encoders' mode; the key encoders never drop anything."""
        self.query.train(mode)
        return self

    def learned_state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold: all but the frozen weights, which are as pre-trained."""
        return {name: t for name, t in self.state_dict().items() if name.partition(".")[2] not in self._frozen}

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Take up a `learned_state`. Raises RuntimeError where it does not fit."""
        self.load_state_dict({**self.state_dict(), **state})

    @torch.no_grad()
    def update_keys(self) -> None:
        """Move the key encoders towards the query encoders: k = m k + (1 - m) q."""
        torch._foreach_lerp_(self._keys, self._queries, 1 - self.config.momentum)

    def loss(self, query: tuple[Levels, Levels], keys: "Keys") -> tuple[Tensor, dict[str, Tensor]]:
        """Return L = L_semantic + lambda * L_feature and the four InfoNCE terms by "level/direction".

        query is the (video, text) levels of this process's B pairs; keys are those of all processes' pairs.
        """
        size = len(query[0].feature)
        own = dist.rank() * size + torch.arange(size, device=self.ids.device)
        filled = int(self.state[1])
        terms = {}
        for i, level in enumerate(LEVELS):
            for direction, q, modality in (("v2t", query[0][i], 1), ("t2v", query[1][i], 0)):
                negatives = Negatives(keys.levels[modality][i], keys.ids, self.bank[modality, i, :filled], self.ids[:filled])
                terms[f"{level}/{direction}"] = info_nce(q, own, negatives, self.config)
        feature = terms["feature/v2t"] + terms["feature/t2v"]
        semantic = terms["semantic/v2t"] + terms["semantic/t2v"]
        return semantic + self.config.feature_weight * feature, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def enqueue(self, keys: "Keys") -> None:
        """Write the keys over the oldest rows of all four banks; of more keys than rows, the last ones."""
        size, start = len(self.ids), int(self.state[0])
        count = min(len(keys.ids), size)
        rows = (start + torch.arange(count, device=self.ids.device)) % size
        for modality, levels in enumerate(keys.levels):
            for i, vectors in enumerate(levels):
                self.bank[modality, i, rows] = vectors[-count:]
        self.ids[rows] = keys.ids[-count:]
        self.state[0] = (start + count) % size
        self.state[1] = min(int(self.state[1]) + count, size)


class Keys(NamedTuple):
    """The (video, text) key vectors of all processes' pairs, N in all, and their videos' ids (N,)."""

    levels: tuple[Levels, Levels]
    ids: Tensor


def gather_keys(video: Levels, text: Levels, ids: Tensor) -> Keys:
    """Bring together every process's keys, so that all see the same negatives and write the same banks."""
    levels = [Levels(*map(dist.gather, part)) for part in (video, text)]
    return Keys((levels[0], levels[1]), dist.gather(ids))


class Negatives(NamedTuple):
    """What queries are compared with: this step's keys (N, D) and the bank's rows (K, D), with their videos' ids."""

    keys: Tensor
    key_ids: Tensor
    bank: Tensor
    bank_ids: Tensor


def info_nce(query: Tensor, own: Tensor, against: Negatives, config: LossConfig) -> Tensor:
    """Return the mean over B of -log(exp(q.k+ / t) / sum over the positive and the negatives) [InfoNCE].

    query (B, D); the positive of query i is key own[i]. Negatives are the bank's rows and, with `in_batch_keys`, the other
    keys of the step; with `mask_same_video` those of the query's own video are left out.
    """
    query = query.float()
    positive = torch.zeros(len(query), len(against.keys), dtype=torch.bool, device=query.device)
    positive[torch.arange(len(query)), own] = True
    inside, outside = query @ against.keys.float().T, query @ against.bank.T  # (B, N), (B, K)
    if config.mask_same_video:
        ids = against.key_ids[own][:, None]
        inside = inside.masked_fill((ids == against.key_ids) & ~positive, -torch.inf)
        outside = outside.masked_fill(ids == against.bank_ids, -torch.inf)
    if not config.in_batch_keys:
        inside = inside.masked_fill(~positive, -torch.inf)
    return F.cross_entropy(torch.cat([inside, outside], dim=1) / config.temperature, own)
