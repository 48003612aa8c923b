"""One optimiser step: query and key embeddings, the four matchings, backward, banks. In parts and processes, if need be."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hit import dist
from hit.batches import Batch, Batches
from hit.config import TrainConfig
from hit.model import Levels
from hit.momentum import Keys, MomentumContrast, gather_keys


@dataclass(frozen=True)
class Setup:
    """What a step works with."""

    settings: TrainConfig
    contrast: MomentumContrast
    forward: nn.Module  # the query encoders, as DDP where there are several processes
    batches: Batches
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # of float16; does nothing otherwise


class Outcome(NamedTuple):
    """What one step came to; `query`, `keys` and `first` are for `MomentumContrast.matchings`."""

    loss: float
    terms: dict[str, float]
    query: tuple[Levels, Levels]
    keys: Keys
    first: int


def take(setup: Setup, step: int) -> Outcome:
    """Take one optimiser step."""
    settings, contrast, batches = setup.settings, setup.contrast, setup.batches
    rows, choice = batches.draw(step)
    parts = [part for part in np.array_split(np.arange(len(rows)), settings.accumulate) if len(part)]
    queries = [batches.pack(rows[part], choice[part], step) for part in parts]
    setup.optimizer.zero_grad()
    if contrast.config.kind == "momentum":
        contrast.update_keys(step / settings.steps)
        same = len(queries) == 1 and not settings.expert_dropout
        _seed(setup, step, len(queries))
        with _autocast(setup):
            whole = queries[0] if same else batches.pack(rows, choice)
            keys = contrast.embed_keys(whole.clips, whole.texts, whole.ids, whole.lower)
        loss, terms, query, first = _match_parts(setup, step, queries, keys)
    else:
        (loss, terms, query, keys), first = _match_batch(setup, step, queries), 0
    if contrast.log_temperature.grad is not None:
        dist.average([contrast.log_temperature.grad])
    setup.scaler.unscale_(setup.optimizer)
    nn.utils.clip_grad_norm_([p for group in setup.optimizer.param_groups for p in group["params"]], settings.clip_norm)
    setup.scaler.step(setup.optimizer)
    setup.scaler.update()
    if contrast.config.kind == "momentum":
        contrast.enqueue(keys)
    seen = torch.stack([loss, *terms.values()]).float()
    dist.average([seen])
    return Outcome(float(seen[0]), dict(zip(terms, seen[1:].tolist(), strict=True)), query, keys, first)


def _match_parts(
    setup: Setup, step: int, queries: Sequence[Batch], keys: Keys
) -> tuple[Tensor, dict[str, Tensor], tuple[Levels, Levels], int]:
    """Backpropagate the loss part by part: keys have no gradient, so a part needs no other part's queries."""
    count, first = sum(len(batch.ids) for batch in queries), 0
    losses, terms = [], []
    for i, batch in enumerate(queries):
        share = len(batch.ids) / count
        with _sync(setup, i == len(queries) - 1):
            query = _embed(setup, step, i, batch, setup.forward)
            loss, own = setup.contrast.loss(query, keys, first)
            setup.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach() * share)
        terms.append({name: term * share for name, term in own.items()})
        first += len(batch.ids)
    return torch.stack(losses).sum(), _sum(terms), query, first - len(queries[-1].ids)


def _match_batch(
    setup: Setup, step: int, queries: Sequence[Batch]
) -> tuple[Tensor, dict[str, Tensor], tuple[Levels, Levels], Keys]:
    """Backpropagate a loss within the batch, whose every embedding has a gradient.

    Every process scores its own queries with the embeddings of all, and the gradients of these come back to it. In parts:
    embed all without gradient, take the loss's gradient by the embeddings, embed each part again and send that back [GradCache,
    Gao et al. 2021]. The second time sees the same dropout, so the result is that of the whole batch.
    """
    ids = torch.cat([batch.ids for batch in queries])
    whole = len(queries) == 1
    with torch.set_grad_enabled(whole):
        towers = setup.forward if whole else setup.contrast.query
        parts = [_flat(_embed(setup, step, i, batch, towers)) for i, batch in enumerate(queries)]
    vectors = parts[0] if whole else [torch.cat(level).requires_grad_() for level in zip(*parts, strict=True)]
    query = Levels(*vectors[:2]), Levels(*vectors[2:])
    keys = gather_keys(*query, ids)
    loss, terms = setup.contrast.loss(query, keys)
    setup.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if not whole:
        _send_back(setup, step, queries, vectors)
    return loss.detach(), terms, query, keys


def _send_back(setup: Setup, step: int, queries: Sequence[Batch], vectors: Sequence[Tensor]) -> None:
    """Embed each part again, and send the gradients of the whole batch's vectors back through it."""
    captions, first = len(vectors[2]) // len(vectors[0]), 0
    for i, batch in enumerate(queries):
        last = first + len(batch.ids)
        with _sync(setup, i == len(queries) - 1):
            again = _flat(_embed(setup, step, i, batch, setup.forward))
            rows = [slice(first * n, last * n) for n in (1, 1, captions, captions)]
            back = [
                (y, x.grad[own])
                for y, x, own in zip(again, vectors, rows, strict=True)
                if y.requires_grad and x.grad is not None  # a side that is held; a level that weighs nothing
            ]
            torch.autograd.backward([y for y, _ in back], [gradient for _, gradient in back])
        first = last


def _flat(query: tuple[Levels, Levels]) -> list[Tensor]:
    return [*query[0], *query[1]]


def _embed(setup: Setup, step: int, part: int, batch: Batch, towers: nn.Module) -> tuple[Levels, Levels]:
    _seed(setup, step, part)
    with _autocast(setup):
        found: tuple[Levels, Levels] = towers(batch.clips, batch.texts, batch.lower)
    return found


def _seed(setup: Setup, step: int, part: int) -> None:
    """Dropout, too, depends on the step (and the process and the part) alone."""
    torch.manual_seed(((setup.settings.seed * 1_000_003 + step) * 1009 + dist.rank()) * 1013 + part)


def _autocast(setup: Setup) -> torch.autocast:
    kind, device = setup.settings.autocast, setup.contrast.bank.device.type
    return torch.autocast(device, getattr(torch, "bfloat16" if kind == "none" else kind), enabled=kind != "none")


def _sync(setup: Setup, last: bool) -> Any:
    """Exchange gradients between processes only with the last part."""
    return setup.forward.no_sync() if isinstance(setup.forward, DistributedDataParallel) and not last else nullcontext()


def _sum(terms: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in terms]).sum() for name in terms[0]}
