"""Momentum contrast across modalities: key encoders, four memory banks, four matchings [HiT; MoCo].

Each matching takes queries of one modality and keys of the other, at one level: video->text and text->video at the feature
and at the semantic level. B clips in a batch with C captions each, N clips in all processes, K rows in a bank, D = dim of a
level. The baselines stand here too: the same four matchings within the batch, by InfoNCE or by a hinge.
"""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from hit import dist
from hit.config import LossConfig
from hit.errors import UserError
from hit.heads import LEVELS
from hit.model import HiT, Levels, Lower
from hit.tokens import TextTokens, VideoTokens

WAYS = {"v2t": 0, "t2v": 1}  # direction -> the queries' modality
NEVER = -1e30  # a score that adds nothing to a sum, even where a process has no other: minus infinity would, as not a number


class Keys(NamedTuple):
    """What all processes' queries of a step are matched with: levels of N clips and of their N * C captions, and the clips' ids.

    Captions lie clip by clip. Under momentum these are vectors of the key encoders; in the baselines the queries themselves.
    Where negatives are sharded, these are the N / W clips of this process alone.
    """

    levels: tuple[Levels, Levels]
    ids: Tensor


class Negatives(NamedTuple):
    """What queries are compared with: this step's keys (N, D) and the bank's rows (K, D), with their videos' ids."""

    keys: Tensor
    key_ids: Tensor
    bank: Tensor
    bank_ids: Tensor


class Matching(NamedTuple):
    """One of the four: queries (Q, D), the key that is right for each (Q,), and what they are compared with."""

    query: Tensor
    own: Tensor
    against: Negatives


class MomentumContrast(nn.Module):
    """The key encoders and banks of one HiT in training; only `query` (and the temperature) learns by gradient.

    One step: `update_keys`; `embed_keys` without gradient; query embeddings, in parts if need be; `loss`; backward and
    optimiser step; `enqueue`. The banks are as they were while the loss is computed, and written only after backward.

    With `shard` each of W processes holds K / W rows of every bank, the keys that it computed itself: of all processes' N keys
    of each step its N / W. `batch` is that N; it goes evenly into K, so that together they hold what each would hold else.
    """

    bank: Tensor
    ids: Tensor
    state: Tensor

    def __init__(self, query: HiT, config: LossConfig, batch: int = 0) -> None:
        super().__init__()
        _check(config, batch)
        self.query, self.config = query, config
        self.parts = dist.world() if config.shard else 1  # of each bank
        self._block = (
            config.bank // max(batch, 1),
            batch // self.parts,
        )  # steps whose keys a bank holds, a process's keys of each
        learning = {name for name, parameter in query.named_parameters() if parameter.requires_grad}
        self._frozen = {name for name, _ in query.named_parameters()} - learning
        self._queries: list[Tensor] = [p for name, p in query.named_parameters() if name in learning]
        self.key: HiT | None = None
        self._keys: list[Tensor] = []
        if config.kind == "momentum":
            # frozen weights are equal for good: both encoders hold the same ones
            self.key = deepcopy(query, {id(p): p for p in query.parameters() if not p.requires_grad}).requires_grad_(False)
            self._keys = [p for name, p in self.key.named_parameters() if name in learning]
        rows = config.bank // self.parts if config.kind == "momentum" else 0
        # [modality: video, text][level]: unit rows; a row of video ids beside them, shared; state = (next row, rows filled)
        self.register_buffer("bank", torch.zeros(2, len(LEVELS), rows, query.dim))
        self.register_buffer("ids", torch.full((rows,), -1))
        self.register_buffer("state", torch.zeros(2, dtype=torch.long))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)), config.learn_temperature)
        self.train()

    def train(self, mode: bool = True) -> "MomentumContrast":
        """Set the query encoders' mode; the key encoders drop nothing, unless told to."""
        self.query.train(mode)
        if self.key is not None:
            self.key.train(mode and self.config.key_dropout)
        return self

    def temperature(self) -> Tensor:
        """Return the temperature, within its bounds where it is learnt."""
        return self.log_temperature.exp().clamp(*self.config.temperature_bounds if self.config.learn_temperature else (0, None))

    def learned_state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold: all but the frozen weights, which are as pre-trained.

        Where banks are sharded all processes must ask for it at once; the first one is given whole banks.
        """
        state = {name: t for name, t in self.state_dict().items() if name.partition(".")[2] not in self._frozen}
        if self.parts > 1:  # the rows of a step are those of the first process, then those of the second, ...
            bank = self.bank.view(*self.bank.shape[:2], *self._block, self.query.dim)
            state["bank"] = dist.collect(bank).movedim(0, 3).flatten(2, 4)
            state["ids"] = dist.collect(self.ids.view(self._block)).movedim(0, 1).flatten()
            state["state"] = self.state * self.parts
        return state

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Take up a `learned_state`. Raises RuntimeError where it does not fit."""
        if self.parts > 1:
            steps, each = self._block
            shape = (*self.bank.shape[:2], steps, self.parts, each, self.query.dim)
            bank = state["bank"].view(shape)[:, :, :, dist.rank()].flatten(2, 3)
            ids = state["ids"].view(steps, self.parts, each)[:, dist.rank()].flatten()
            state = {**state, "bank": bank, "ids": ids, "state": state["state"] // self.parts}
        self.load_state_dict({**self.state_dict(), **state})

    @torch.no_grad()
    def update_keys(self, progress: float = 0.0) -> None:
        """Move the key encoders towards the query encoders, k = m k + (1 - m) q; m by the share of the run that is over."""
        config = self.config
        momentum, last = config.momentum, config.momentum if config.final_momentum is None else config.final_momentum
        momentum = last - (last - momentum) * (1 + math.cos(math.pi * progress)) / 2
        torch._foreach_lerp_(self._keys, self._queries, 1 - momentum)

    @torch.no_grad()
    def embed_keys(self, clips: VideoTokens, texts: TextTokens, ids: Tensor, lower: Lower | None = None) -> Keys:
        """Embed this process's clips and captions with the key encoders, and bring together those of all, unless sharded."""
        assert self.key is not None, "only momentum has key encoders"
        video, text = self.key(clips, texts, lower)
        return gather_keys(video, text, ids) if self.parts == 1 else Keys((video, text), ids)

    def loss(self, query: tuple[Levels, Levels], keys: Keys, first: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return L = L_semantic + lambda * L_feature and the four terms by "level/direction".

        query is the (video, text) levels of B clips of this process and their B * C captions, `first` the first one's place
        among the process's clips; keys are as `embed_keys` or `gather_keys` return them. The loss of all processes, and its
        gradient, is the mean of theirs.
        """
        found = {f"{level}/{way}": matching for level, way, matching in self.matchings(query, keys, first)}
        if self.config.kind == "max-margin":
            terms = {name: max_margin(matching, self.config) for name, matching in found.items()}
        elif self.parts > 1:
            losses = sharded_info_nce(list(found.values()), self.config, self.temperature())
            terms = dict(zip(found, losses, strict=True))
        else:
            terms = {name: info_nce(matching, self.config, self.temperature()) for name, matching in found.items()}
        feature = terms["feature/v2t"] + terms["feature/t2v"]
        semantic = terms["semantic/v2t"] + terms["semantic/t2v"]
        total = semantic + self.config.feature_weight * feature if self.config.feature_weight else semantic
        return total, {name: term.detach() for name, term in terms.items()}

    def matchings(self, query: tuple[Levels, Levels], keys: Keys, first: int = 0) -> Iterator[tuple[str, str, Matching]]:
        """Yield (level, direction, matching) of all four."""
        device, filled = self.ids.device, int(self.state[1])
        captions = len(query[1].feature) // len(query[0].feature)  # C
        first += dist.rank() * (len(keys.ids) // dist.world()) if self.parts == 1 else 0
        pairs = first * captions + torch.arange(len(query[1].feature), device=device)  # (B * C,) of all N * C
        for i, level in enumerate(LEVELS):
            for way, modality in WAYS.items():
                other = 1 - modality
                # A clip with several captions is a query with each of them as its one positive; `same video` keeps the rest out.
                q = query[0][i].repeat_interleave(captions, 0) if modality == 0 else query[1][i]
                own, ids = (pairs, keys.ids.repeat_interleave(captions)) if modality == 0 else (pairs // captions, keys.ids)
                yield (
                    level,
                    way,
                    Matching(q, own, Negatives(keys.levels[other][i], ids, self.bank[other, i, :filled], self.ids[:filled])),
                )

    @torch.no_grad()
    def enqueue(self, keys: Keys) -> None:
        """Write the keys over the oldest rows of all four banks; of more keys than rows, the last ones.

        A clip with several captions brings its first one: all banks share one pointer and one row of ids.
        """
        size, start = len(self.ids), int(self.state[0])
        count = min(len(keys.ids), size)
        if not count:
            return
        rows = (start + torch.arange(count, device=self.ids.device)) % size
        for modality, levels in enumerate(keys.levels):
            for i, vectors in enumerate(levels):
                self.bank[modality, i, rows] = vectors[:: len(vectors) // len(keys.ids)][-count:]
        self.ids[rows] = keys.ids[-count:]
        self.state[0] = (start + count) % size
        self.state[1] = min(int(self.state[1]) + count, size)


def gather_keys(video: Levels, text: Levels, ids: Tensor) -> Keys:
    """Bring together every process's levels, so that all see the same negatives and write the same banks."""
    levels = [Levels(*map(dist.gather, part)) for part in (video, text)]
    return Keys((levels[0], levels[1]), dist.gather(ids))


def info_nce(matching: Matching, config: LossConfig, temperature: Tensor) -> Tensor:
    """Return the mean over the queries of -log(exp(q.k+ / t) / sum over the positive and the negatives) [InfoNCE].

    Negatives are the bank's rows and, with `in_batch_keys`, the other keys of the step; with `mask_same_video` those of the
    query's own video are left out. In float32, whatever autocast does.
    """
    with torch.autocast(matching.query.device.type, enabled=False):
        # first divided, then masked: by the temperature, the gradient of minus infinity is not a number
        query, own, against = matching = matching._replace(query=matching.query.float() / temperature)
        inside, positive = _inside(matching, config)  # (Q, N)
        outside = query @ against.bank.T  # (Q, K)
        if config.mask_same_video:
            outside = outside.masked_fill(against.key_ids[own][:, None] == against.bank_ids, -torch.inf)
        if not config.in_batch_keys:
            inside = inside.masked_fill(~positive, -torch.inf)
        return F.cross_entropy(torch.cat([inside, outside], dim=1), own)


def sharded_info_nce(matchings: Sequence[Matching], config: LossConfig, temperature: Tensor) -> list[Tensor]:
    """Return the `info_nce` of each of the matchings, of which this process has only its part of what to compare with.

    Queries go to all processes; each scores all of them with its own part of the keys and rows, and of every query's sum only
    the logarithm goes round. No process sees another's part.
    """
    with torch.autocast(temperature.device.type, enabled=False):
        own, ids = matchings[0].own, dist.gather(matchings[0].against.key_ids[matchings[0].own])
        queries = dist.gather(torch.cat([m.query.float() / temperature for m in matchings], dim=1)).chunk(len(matchings), dim=1)
        rows = dist.rank() * len(own) + torch.arange(len(own), device=own.device)  # of this process's queries
        sums, right = [], []
        for query, (_, own, against) in zip(queries, matchings, strict=True):
            scores = query @ torch.cat([against.keys.float(), against.bank]).T  # (W * Q, N / W + K / W)
            out = torch.zeros_like(scores, dtype=torch.bool)
            if config.mask_same_video:
                out = ids[:, None] == torch.cat([against.key_ids, against.bank_ids])
            if not config.in_batch_keys:
                out[:, : len(against.keys)] = True
            out[rows, own] = False
            sums.append(scores.masked_fill(out, NEVER).logsumexp(dim=1))
            right.append(scores[rows, own])
        totals = dist.logsumexp(torch.stack(sums))[:, rows]
        return list((totals - torch.stack(right)).mean(dim=1))


def max_margin(matching: Matching, config: LossConfig) -> Tensor:
    """Return the mean over all wrong pairs of max(0, margin + q.k- - q.k+) [MMT's bidirectional hinge, a direction of it].

    Of the pairs of all processes: where a clip comes twice, one has fewer of them than another.
    """
    with torch.autocast(matching.query.device.type, enabled=False):
        scores, positive = _inside(matching, config)
        right = scores.gather(1, matching.own[:, None])
        wrong = ~positive & scores.isfinite()
        count = wrong.sum().float()
        dist.average([count])
        return (config.margin + scores - right).clamp(min=0)[wrong].sum() / count.clamp(min=1 / dist.world())


def _inside(matching: Matching, config: LossConfig) -> tuple[Tensor, Tensor]:
    """Return the scores (Q, N) against this step's keys, -inf for other keys of the own video, and where the positives are."""
    query, own, against = matching
    positive = torch.zeros(len(query), len(against.keys), dtype=torch.bool, device=query.device)
    positive[torch.arange(len(query), device=query.device), own] = True
    scores = query.float() @ against.keys.float().T
    if config.mask_same_video:
        scores = scores.masked_fill((against.key_ids[own][:, None] == against.key_ids) & ~positive, -torch.inf)
    return scores, positive


def _check(config: LossConfig, batch: int) -> None:
    if config.shard and config.kind != "momentum":
        raise UserError("loss.shard", f"'{config.kind}' has no banks", "leave it out: each process scores only its own queries")
    if config.shard and (not batch or config.bank % batch):
        near = f"{config.bank // batch * batch or batch} or {(config.bank // batch + 1) * batch}" if batch else "0"
        raise UserError("loss.bank", f"with shard, {config.bank} rows are not whole batches of {batch}", f"give it {near}")
    if config.kind != "momentum" and not config.in_batch_keys:
        raise UserError("loss.in_batch_keys", f"false leaves '{config.kind}' without negatives", "use kind=momentum, or true")
    if config.kind == "momentum" and not config.bank and not config.in_batch_keys:
        raise UserError("loss.bank", "0 leaves no negatives without in_batch_keys", "give it rows, or set in_batch_keys=true")
    if config.kind == "max-margin" and config.learn_temperature:
        raise UserError("loss.learn_temperature", "a hinge has no temperature", "set it to false, or choose another kind")
    low, high = config.temperature_bounds
    if not 0 < low <= config.temperature <= high and config.learn_temperature:
        raise UserError("loss.temperature", f"{config.temperature} is outside its bounds {low}, {high}")
    if config.temperature <= 0 or config.bank < 0 or not all(0 <= m <= 1 for m in (config.momentum, config.final_momentum or 0)):
        raise UserError("loss", "temperature must be above 0, bank at least 0, momentum in [0, 1]", "mend the recipe")
