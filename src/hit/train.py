"""`hit train`: one loop that reads downwards.

What a batch holds depends on the seed and the step alone, so a run that was interrupted goes on from its last checkpoint to
the very same result.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from hit import checkpoint, metrics, provenance
from hit import config as configs
from hit.config import Recipe, TrainConfig
from hit.encoder import ExpertRecord, FolderConfig, HiTEncoder, save
from hit.errors import UserError
from hit.model import HiT, Layout, text_shape
from hit.momentum import MomentumContrast
from hit.text import Tokenizer, locate
from hit.tokens import Ints, pack_clips, pack_texts
from hit.types import Features, Progress


@dataclass(frozen=True)
class Split:
    """Clips of one split: ids, features and captions, side by side."""

    ids: Sequence[str]
    features: Sequence[Mapping[str, Features]]
    captions: Sequence[Sequence[str]]


def train(
    recipe: Recipe, learn: Split, held_out: Split, experts: Mapping[str, ExpertRecord], out: Path, progress: Progress
) -> dict[str, Any]:
    """Train on `learn`, watch `held_out`, write a model folder to `out`; return its card.

    A run that stopped goes on from `out/run`. Raises UserError if `out` belongs to another run or the loss is not finite.
    """
    settings, began = recipe.train, time.monotonic()
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    folder, run = FolderConfig(recipe.name, recipe.model, experts), out / "run"
    _claim(run, recipe, learn, experts)
    if (out / "card.json").is_file():
        return dict(json.loads((out / "card.json").read_text()))

    torch.manual_seed(settings.seed)
    text_folder = locate(recipe.model.text.source)
    model = HiT(recipe.model, {name: record.dim for name, record in experts.items()}, text_shape(text_folder))
    model.text.load(text_folder)
    for name in experts:
        seen = [clip[name].values for clip in learn.features if name in clip]
        if seen:
            model.video.fit_scale(name, torch.from_numpy(np.concatenate(seen)))
    tokenizer = Tokenizer(text_folder, recipe.model.text.max_tokens)
    captions = Captions(model, [tokenizer(own) for own in learn.captions], progress)
    contrast = MomentumContrast(model, recipe.loss)
    optimizer = torch.optim.AdamW(_groups(model, settings), fused=True)
    encoder = HiTEncoder(model, tokenizer, folder, "training")

    step, history = 0, []
    if (found := checkpoint.restore(run / "checkpoints", contrast, optimizer)) is not None:
        step, history = found[0], found[1]["history"]
    with SummaryWriter(str(run / "tensorboard"), purge_step=step) as board, progress.task("Training", settings.steps) as task:
        task.advance(step)
        contrast.train()
        while step < settings.steps:
            torch.manual_seed(settings.seed * 1_000_003 + step)  # dropout, too, depends on the step alone
            rate = schedule(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
            rows, choice = draw(len(learn.ids), settings, step)
            loss, terms = _step(contrast, learn, captions.pick(rows, choice), rows, optimizer, settings)
            if not math.isfinite(loss):
                raise UserError(f"step {step}", f"the loss became {loss}", "lower train.lr, or look for outliers in the features")
            step += 1
            board.add_scalars("loss", {**terms, "total": loss}, step)
            board.add_scalar("lr/share of peak", rate, step)
            task.advance(1, f"loss {loss:.2f}")
            last = step == settings.steps
            if held_out.ids and (last or step % settings.validate_every == 0):
                scores = metrics.score(encoder, held_out.features, held_out.captions)
                history.append({"step": step, "loss": loss, "t2v": scores["t2v"], "v2t": scores["v2t"]})
                for level, values in scores["t2v"].items():
                    board.add_scalar(f"val t2v R1/{level}", values["R1"], step)
                task.advance(0, f"loss {loss:.2f}, val R@1 {scores['t2v']['fused']['R1']:.1f} %")
            if last or step % settings.checkpoint_every == 0:
                checkpoint.save(run / "checkpoints", step, contrast, optimizer, {"history": history}, settings.keep_checkpoints)
    card = {
        "name": recipe.name,
        "recipe": configs.to_table(recipe),
        "clips": {"train": len(learn.ids), "validation": len(held_out.ids)},
        "captions": {"train": sum(map(len, learn.captions)), "validation": sum(map(len, held_out.captions))},
        "experts": {name: record.identity for name, record in experts.items()},
        "seed": settings.seed,
        "steps": step,
        "seconds": round(time.monotonic() - began, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "history": history,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }
    save(out, model, folder, text_folder, card)
    return dict(json.loads((out / "card.json").read_text()))


def _step(
    contrast: MomentumContrast, learn: Split, texts: "Texts", rows: Ints, optimizer: torch.optim.Optimizer, settings: TrainConfig
) -> tuple[float, dict[str, float]]:
    model, key_model = contrast.query, contrast.key
    clips = pack_clips([learn.features[i] for i in rows], model.video.experts, model.config.video.max_tokens)
    ids = torch.from_numpy(rows)
    query = model.embed_video(clips), model.embed_text(*texts)
    contrast.update_keys()
    with torch.no_grad():
        key = key_model.embed_video(clips), key_model.embed_text(*texts)
    loss, terms = contrast.loss(query, key, ids)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()
    contrast.enqueue(key, ids)
    return float(loss), {name: float(term) for name, term in terms.items()}


def draw(clips: int, settings: TrainConfig, step: int) -> tuple[Ints, Ints]:
    """Return the rows (B,) of a step's clips and a random number (B,) for each to choose its caption by.

    The clips are a stream of permutations, one an epoch; a step takes the next `batch` of it.
    """
    batch = min(settings.batch, clips)
    first, last = step * batch, (step + 1) * batch - 1
    stream = np.concatenate(
        [np.random.default_rng((settings.seed, 1, e)).permutation(clips) for e in range(first // clips, last // clips + 1)]
    )
    start = first % clips
    return stream[start : start + batch], np.random.default_rng((settings.seed, 2, step)).integers(0, 2**31, batch)


def schedule(step: int, settings: TrainConfig) -> float:
    """Return the learning rate of a step as a share of its peak: linear warm-up, then half a cosine down to zero."""
    warm = max(1, round(settings.warmup * settings.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, settings.steps - warm)))


Texts = tuple[Any, tuple[Tensor, Tensor | None]]


class Captions:
    """Training captions with what the frozen lower part of the text tower makes of them, computed once."""

    def __init__(self, model: HiT, ids: Sequence[Sequence[Ints]], progress: Progress) -> None:
        self.ids, self._tower = ids, model.text
        self._lower: list[list[tuple[Tensor, Tensor | None]]] = []
        if not self._tower.frozen:
            return
        with torch.no_grad(), progress.task("Reading captions", len(ids)) as task:
            for own in ids:
                batch = pack_texts(own)
                hidden, feature = self._tower.lower(batch, Layout(batch.lengths, self._tower.word.weight.device))
                parts = torch.split(hidden, batch.lengths.tolist())
                self._lower.append([(part, None if feature is None else feature[i]) for i, part in enumerate(parts)])
                task.advance()

    def pick(self, rows: Ints, choice: Ints) -> Texts:
        """Return one caption of each row, packed, and the lower states if they are kept."""
        which = [int(c) % len(self.ids[i]) for i, c in zip(rows, choice, strict=True)]
        batch = pack_texts([self.ids[i][j] for i, j in zip(rows, which, strict=True)])
        if not self._lower:
            return batch, None  # type: ignore[return-value]
        lower = [self._lower[i][j] for i, j in zip(rows, which, strict=True)]
        feature = None if lower[0][1] is None else torch.stack([f for _, f in lower if f is not None])
        return batch, (torch.cat([h for h, _ in lower]), feature)


def _groups(model: HiT, settings: TrainConfig) -> list[dict[str, Any]]:
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = settings.lr_text if name.startswith("text.") else settings.lr
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((lr, decay), []).append(parameter)
    return [{"params": params, "lr": lr, "peak": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def _claim(run: Path, recipe: Recipe, learn: Split, experts: Mapping[str, ExpertRecord]) -> None:
    """Mark a folder as this run's, so that another recipe or other data cannot go on from its checkpoints."""
    identity = {"recipe": configs.to_table(recipe), "experts": {name: record.identity for name, record in experts.items()}}
    clips = hashlib.sha256(json.dumps([learn.ids, learn.captions]).encode()).hexdigest()
    text = json.dumps({**identity, "data": clips}, indent=2, sort_keys=True) + "\n"
    path = run / "run.json"
    if path.exists():
        if path.read_text() != text:
            raise UserError(run.parent, "holds a run with other settings or data", "choose another folder, or delete this one")
        return
    run.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".partial").write_text(text)
    path.with_suffix(".partial").replace(path)
