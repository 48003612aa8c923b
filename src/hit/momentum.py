"""Momentum contrast across modalities: key encoders, four memory banks, four matchings [HiT; MoCo].

Each matching takes queries of one modality and keys of the other, at one level: video->text and text->video at the feature
and at the semantic level. B pairs in a batch, K rows in a bank, D = dim of a level.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from hit.config import LossConfig
from hit.model import LEVELS, HiT, Levels

MATCHINGS = tuple((level, direction) for level in LEVELS for direction in ("v2t", "t2v"))


class MomentumContrast(nn.Module):
    """The key encoders and banks of one HiT in training; only `query` learns by gradient.

    One step: embed with `query`; `update_keys`; embed with `key` without gradient; `loss`; backward and optimiser step;
    `enqueue`. The banks are as they were while the loss is computed, and written only after backward.
    """

    bank: Tensor
    ids: Tensor
    state: Tensor

    def __init__(self, query: HiT, config: LossConfig) -> None:
        super().__init__()
        self.query, self.config = query, config
        self.key = deepcopy(query).requires_grad_(False)
        self.key.eval()  # keys without dropout: the same clip always has the same key
        pairs = zip(self.key.parameters(), query.parameters(), strict=True)
        learning = [(k, q) for k, q in pairs if q.requires_grad]  # frozen weights are equal for good
        self._keys: list[Tensor] = [k for k, _ in learning]
        self._queries: list[Tensor] = [q for _, q in learning]
        # [modality: video, text][level]: unit rows; a row of video ids beside them, shared; state = (next row, rows filled)
        self.register_buffer("bank", torch.zeros(2, len(LEVELS), config.bank, query.config.dim))
        self.register_buffer("ids", torch.full((config.bank,), -1))
        self.register_buffer("state", torch.zeros(2, dtype=torch.long))

    def train(self, mode: bool = True) -> "MomentumContrast":
        """Set the query encoders' mode; the key encoders never drop anything."""
        self.query.train(mode)
        return self

    @torch.no_grad()
    def update_keys(self) -> None:
        """Move the key encoders towards the query encoders: k = m k + (1 - m) q."""
        torch._foreach_lerp_(self._keys, self._queries, 1 - self.config.momentum)

    def loss(
        self, query: tuple[Levels, Levels], key: tuple[Levels, Levels], video_ids: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return L = L_semantic + lambda * L_feature and the four InfoNCE terms by "level/direction".

        query and key are the (video, text) levels of the same B pairs; video_ids (B,) name their videos.
        """
        filled = int(self.state[1])
        terms = {}
        for i, level in enumerate(LEVELS):
            for direction, (q, k) in {"v2t": (query[0][i], key[1][i]), "t2v": (query[1][i], key[0][i])}.items():
                bank = self.bank[1 if direction == "v2t" else 0, i, :filled]
                terms[f"{level}/{direction}"] = info_nce(q, k, bank, video_ids, self.ids[:filled], self.config)
        feature = terms["feature/v2t"] + terms["feature/t2v"]
        semantic = terms["semantic/v2t"] + terms["semantic/t2v"]
        return semantic + self.config.feature_weight * feature, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def enqueue(self, key: tuple[Levels, Levels], video_ids: Tensor) -> None:
        """Write the keys of B pairs over the oldest rows of all four banks; of more pairs than rows, the last ones."""
        size, start = len(self.ids), int(self.state[0])
        count = min(len(video_ids), size)
        rows = (start + torch.arange(count, device=self.ids.device)) % size
        for modality, levels in enumerate(key):
            for i, vectors in enumerate(levels):
                self.bank[modality, i, rows] = vectors[-count:]
        self.ids[rows] = video_ids[-count:]
        self.state[0] = (start + count) % size
        self.state[1] = min(int(self.state[1]) + count, size)


def info_nce(query: Tensor, key: Tensor, bank: Tensor, video_ids: Tensor, bank_ids: Tensor, config: LossConfig) -> Tensor:
    """Return the mean over B of -log(exp(q.k+ / t) / sum over the positive and the negatives) [InfoNCE].

    query (B, D) meets its positive, the key (B, D) of the same row. Negatives are the bank's rows (K, D) and, with
    `in_batch_keys`, the other keys of the batch; with `mask_same_video` those of the query's own video are left out.
    """
    query, key = query.float(), key.float()
    own = torch.eye(len(query), dtype=torch.bool, device=query.device)
    inside, outside = query @ key.T, query @ bank.T  # (B, B), (B, K)
    if config.mask_same_video:
        inside = inside.masked_fill((video_ids[:, None] == video_ids) & ~own, -torch.inf)
        outside = outside.masked_fill(video_ids[:, None] == bank_ids, -torch.inf)
    if not config.in_batch_keys:
        inside = inside.masked_fill(~own, -torch.inf)
    logits = torch.cat([inside, outside], dim=1) / config.temperature
    return F.cross_entropy(logits, torch.arange(len(query), device=query.device))
