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

from hit import checkpoint, datasets, metrics, provenance, splits
from hit import config as configs
from hit import experts as plugins
from hit.config import DataConfig, Recipe, TrainConfig
from hit.encoder import ExpertRecord, FolderConfig, HiTEncoder, read_card, save
from hit.errors import UserError
from hit.files import write_whole
from hit.model import HiT, Layout, text_shape
from hit.momentum import MomentumContrast, gather_keys
from hit.splits import Split
from hit.text import Tokenizer, locate
from hit.tokens import Ints, TextTokens, pack_clips, pack_texts
from hit.types import Expert, Progress


@dataclass(frozen=True)
class Run:
    """All that the loop works on."""

    settings: TrainConfig
    learn: Split
    held_out: Split
    contrast: MomentumContrast
    captions: "Captions"
    optimizer: torch.optim.Optimizer
    encoder: HiTEncoder
    folder: Path  # of checkpoints and curves


def train(recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
    """Train as the recipe says, write a model folder to `out`, and return its card.

    A run that stopped goes on from `out/run`; one that was finished is left as it is. Raises UserError if `out` belongs to
    another run, if features are missing, or if the loss is not finite.
    """
    began = time.monotonic()
    torch.set_num_threads(recipe.train.threads or os.cpu_count() or 1)
    if not recipe.data.path:
        raise UserError("data.path", "the recipe names no data set", "add data.path=FOLDER to the command")
    dataset = datasets.read(Path(recipe.data.path))
    chosen = recipe.experts or dataset.experts or plugins.DEFAULT
    experts = plugins.load_all(chosen)
    learn, held_out = _splits(recipe.data, dataset, experts)
    config = FolderConfig(
        recipe.name,
        recipe.model,
        {name: ExpertRecord(chosen[name], e.dim, e.identity) for name, e in experts.items()},
    )
    if claim(out / "run", recipe, config, learn):
        return read_card(out)
    text_folder = locate(recipe.model.text.source)
    run = _prepare(recipe, config, text_folder, (learn, held_out), out / "run", progress)
    history = _loop(run, progress)
    model = run.contrast.query
    card = {
        "name": recipe.name,
        "recipe": configs.to_table(recipe),
        "clips": {"train": len(learn.ids), "validation": len(held_out.ids)},
        "captions": {"train": sum(map(len, learn.captions)), "validation": sum(map(len, held_out.captions))},
        "experts": {name: record.identity for name, record in config.experts.items()},
        "seed": recipe.train.seed,
        "steps": recipe.train.steps,
        "seconds": round(time.monotonic() - began, 1),
        "parameters": {
            "all": sum(p.numel() for p in model.parameters()),
            "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        },
        "scores": {"validation": history[-1]} if history else {},
        "history": history,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }
    save(out, model, config, text_folder, card)
    return read_card(out)


def _splits(data: DataConfig, dataset: datasets.Dataset, experts: Mapping[str, Expert]) -> tuple[Split, Split]:
    learn = splits.load(dataset, data.train_split, experts)
    if dataset.split(data.val_split):
        return learn, splits.load(dataset, data.val_split, experts)
    return splits.hold_out(learn, data.val_share)


def _prepare(
    recipe: Recipe, config: FolderConfig, text_folder: Path, parts: tuple[Split, Split], folder: Path, progress: Progress
) -> Run:
    learn, held_out = parts
    torch.manual_seed(recipe.train.seed)
    model = HiT(recipe.model, {name: record.dim for name, record in config.experts.items()}, text_shape(text_folder))
    model.text.load(text_folder)
    for name in config.experts:
        seen = [clip[name].values for clip in learn.features if name in clip and len(clip[name].values)]
        if seen:
            model.video.fit_scale(name, torch.from_numpy(np.concatenate(seen)))
    tokenizer = Tokenizer(text_folder, recipe.model.text.max_tokens)
    return Run(
        recipe.train,
        learn,
        held_out,
        MomentumContrast(model, recipe.loss),
        Captions(model, [tokenizer(own) for own in learn.captions], progress),
        torch.optim.AdamW(_groups(model, recipe.train), fused=True),
        HiTEncoder(model, tokenizer, config, "training"),
        folder,
    )


def _loop(run: Run, progress: Progress) -> list[dict[str, Any]]:
    """Train to the last step; return what was seen on the held-out clips."""
    settings, optimizer, checkpoints = run.settings, run.optimizer, run.folder / "checkpoints"
    step, history = 0, []
    if (found := checkpoint.restore(checkpoints, run.contrast, optimizer)) is not None:
        step, history = found[0], found[1]["history"]
    with (
        SummaryWriter(str(run.folder / "tensorboard"), purge_step=step + 1) as board,
        progress.task("Training", settings.steps) as task,
    ):
        task.advance(step)
        run.contrast.train()
        while step < settings.steps:
            torch.manual_seed(settings.seed * 1_000_003 + step)  # dropout, too, depends on the step alone
            rate = schedule(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
            loss, terms = _step(run, *draw(len(run.learn.ids), settings, step))
            if not math.isfinite(loss):
                raise UserError(f"step {step}", f"the loss became {loss}", "lower train.lr, or look for outliers in the features")
            step += 1
            last = step == settings.steps
            task.advance(1, f"loss {loss:.2f}")
            for name, value in {**terms, "total": loss}.items():
                board.add_scalar(f"loss/{name}", value, step)
            board.add_scalar("learning rate/share of peak", rate, step)
            if run.held_out.ids and (last or step % settings.validate_every == 0):
                scores = metrics.score(run.encoder, run.held_out.features, run.held_out.captions)
                history.append({"step": step, "loss": loss, **{way: scores[way] for way in ("t2v", "v2t")}})
                for level, values in scores["t2v"].items():
                    board.add_scalar(f"validation R@1 text to video/{level}", values["R1"], step)
                task.advance(0, f"loss {loss:.2f}, validation R@1 {scores['t2v']['fused']['R1']:.1f} %")
            if last or step % settings.checkpoint_every == 0:
                checkpoint.save(checkpoints, step, run.contrast, optimizer, {"history": history}, settings.keep_checkpoints)
    return history


def _step(run: Run, rows: Ints, choice: Ints) -> tuple[float, dict[str, float]]:
    model, keys = run.contrast.query, run.contrast.key
    clips = pack_clips([run.learn.features[i] for i in rows], model.video.experts, model.config.video.max_tokens)
    texts, ids = run.captions.pick(rows, choice), torch.from_numpy(rows)
    query = model.embed_video(clips), model.embed_text(*texts)
    run.contrast.update_keys()
    with torch.no_grad():
        key = gather_keys(keys.embed_video(clips), keys.embed_text(*texts), ids)
    loss, terms = run.contrast.loss(query, key)
    run.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
    torch.nn.utils.clip_grad_norm_(model.parameters(), run.settings.clip_norm)
    run.optimizer.step()
    run.contrast.enqueue(key)
    return float(loss.detach()), {name: float(term) for name, term in terms.items()}


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
    """Return the learning rate of a step as a share of its peak: linear warm-up, the peak, half a cosine down to zero."""
    warm = max(1, round(settings.warmup * settings.steps))
    if step < warm:
        return (step + 1) / warm
    start = max(warm, round((1 - settings.decay) * settings.steps))
    return 0.5 * (1 + math.cos(math.pi * max(0, step - start) / max(1, settings.steps - start)))


CHUNK = 128  # captions whose frozen part is computed at once
Texts = tuple[TextTokens, tuple[Tensor, Tensor | None] | None]


class Captions:
    """Training captions with what the frozen lower part of the text tower makes of them, computed once."""

    def __init__(self, model: HiT, ids: Sequence[Sequence[Ints]], progress: Progress) -> None:
        self.ids, tower = ids, model.text
        self._first = np.cumsum([0, *map(len, ids)])  # of each clip's captions among all
        self._lower: dict[int, tuple[Tensor, Tensor | None]] = {}
        if not tower.frozen:
            return
        flat = [caption for own in ids for caption in own]
        by_length = sorted(range(len(flat)), key=lambda i: len(flat[i]))  # neighbours of one length: no padding
        with torch.no_grad(), progress.task("Reading captions", len(flat)) as task:
            for start in range(0, len(flat), CHUNK):
                chosen = by_length[start : start + CHUNK]
                batch = pack_texts([flat[i] for i in chosen])
                hidden, feature = tower.lower(batch, Layout(batch.lengths, tower.word.weight.device))
                parts = torch.split(hidden, batch.lengths.tolist())
                self._lower.update((i, (parts[j], None if feature is None else feature[j])) for j, i in enumerate(chosen))
                task.advance(len(chosen))

    def pick(self, rows: Ints, choice: Ints) -> Texts:
        """Return one caption of each row, packed, and the lower states if they are kept."""
        which = [int(c) % len(self.ids[i]) for i, c in zip(rows, choice, strict=True)]
        batch = pack_texts([self.ids[i][j] for i, j in zip(rows, which, strict=True)])
        if not self._lower:
            return batch, None
        lower = [self._lower[int(self._first[i]) + j] for i, j in zip(rows, which, strict=True)]
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


def claim(run: Path, recipe: Recipe, config: FolderConfig, learn: Split) -> bool:
    """Mark a folder as this run's; return whether it is finished already.

    Raises UserError where another recipe, other experts or other data began it: its checkpoints must not be gone on from.
    """
    data = hashlib.sha256(json.dumps([learn.ids, learn.captions]).encode()).hexdigest()
    recipe_table = configs.to_table(recipe)
    recipe_table["data"].pop("path")  # a data set may move
    identity = {"recipe": recipe_table, "model": configs.to_table(config), "data": data}
    text = json.dumps(identity, indent=2, sort_keys=True) + "\n"
    path = run / "run.json"
    if path.exists():
        if path.read_text() != text:
            raise UserError(run.parent, "holds a run with other settings or data", "choose another folder, or delete this one")
        return (run.parent / "card.json").is_file()
    run.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    return False
