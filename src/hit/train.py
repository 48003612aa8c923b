"""`hit train`: one loop that reads downwards.

What a batch holds depends on the seed and the step alone, so a run that was interrupted goes on from its last checkpoint to
the very same result. Under torchrun each process takes its share of every batch; the result is that of one process. All of
them must see the same data set; `out` is read and written by the first one alone.
"""

import hashlib
import json
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hit import calibration, checkpoint, confidence, datasets, dist, provenance, report, splits
from hit import config as configs
from hit import experts as plugins
from hit.batches import Batches, Captions, size
from hit.board import Board
from hit.config import Recipe, TrainConfig
from hit.encoder import ExpertRecord, FolderConfig, HiTEncoder, load_encoder, read_card, save
from hit.errors import EndedError, UserError
from hit.files import write_whole
from hit.measure import Measured, measure
from hit.model import HiT, text_shape
from hit.momentum import MomentumContrast
from hit.splits import Split
from hit.step import Setup, take
from hit.text import Tokenizer, locate
from hit.types import Features, Progress, Silent

EPOCH = 32_000  # clips; MMT's
FIT = 20_000  # training clips, at most, that the scales and the whitening are made by
NAMED = 3  # settings that are named at most where a run differs from the one before


@dataclass(frozen=True)
class Run:
    """All that the loop works on."""

    setup: Setup
    held_out: Split
    encoder: HiTEncoder
    folder: Path  # of checkpoints and curves


def train(recipe: Recipe, out: Path, progress: Progress, page: bool = True) -> dict[str, Any]:
    """Train as the recipe says, write a model folder to `out`, and return its card.

    If a `page` is wanted, it has a report.html, and a calibration where enough clips are held out.

    A run that stopped goes on from `out/run`; one that was finished is left as it is. A SIGTERM ends it after the step it is
    at, by an EndedError. Raises UserError if `out` belongs to another run, if features are missing, if another process of the
    run died, or if the loss is not finite.
    """
    device = _device(recipe.train.device)
    with dist.group(device):
        return _train(recipe, out, device, progress if dist.first() else Silent(), page)


def _train(recipe: Recipe, out: Path, device: torch.device, progress: Progress, page: bool) -> dict[str, Any]:
    began = time.monotonic()
    _check(recipe.train)
    torch.set_num_threads(recipe.train.threads or max(1, (os.cpu_count() or 1) // dist.world()))
    if not recipe.data.path:
        raise UserError("data.path", "the recipe names no data set", "add data.path=FOLDER to the command")
    dataset = datasets.read(Path(recipe.data.path))
    chosen = recipe.experts or dataset.experts or plugins.DEFAULT
    experts = plugins.load_all(chosen)
    learn, held_out = splits.learning(dataset, recipe.data, experts)
    config = FolderConfig(
        recipe.name, recipe.model, {name: ExpertRecord(chosen[name], e.dim, e.identity) for name, e in experts.items()}
    )
    digest = hashlib.sha256(json.dumps([learn.ids, learn.captions]).encode()).hexdigest()
    identity = _identity(recipe, config, digest)
    if differ := list(_differences(dist.shared(lambda: identity, device), identity)):
        why = f"processes of one run have not the same {_few(differ)}"
        raise UserError("hit train", why, "give each node the same command and the same data set")
    if dist.shared(lambda: claim(out / "run", identity), device):
        if page and dist.first() and not (out / calibration.FILE).exists():  # a run that was killed after its card
            _calibrate(out, load_encoder(out), (learn, held_out), None)
        return dist.shared(lambda: read_card(out), device)
    text_folder = locate(recipe.model.text.source)
    run = _prepare(recipe, config, text_folder, (learn, held_out), device, out / "run", progress)
    history, seen = _loop(run, progress)
    model = run.setup.contrast.query
    card = {
        "name": recipe.name,
        "recipe": configs.to_table(recipe),
        "data": {"path": str(dataset.root.resolve()), "train_digest": digest},
        "clips": {"train": len(learn.ids), "validation": len(held_out.ids)},
        "captions": {"train": sum(map(len, learn.captions)), "validation": sum(map(len, held_out.captions))},
        "experts": {name: record.identity for name, record in config.experts.items()},
        "seed": recipe.train.seed,
        "steps": recipe.train.steps,
        "seconds": round(time.monotonic() - began, 1),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "processes": dist.world(),
        "parameters": {
            "all": sum(p.numel() for p in model.parameters()),
            "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        },
        "scores": {"validation": history[-1]} if history else {},
        "history": history,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }
    if dist.first():
        calibration.forget(out)
        save(out, model, config, text_folder, card)
        if page:
            _calibrate(out, run.encoder, (learn, held_out), seen)
            name = "clips held out of training"
            seen = seen or (measure(run.encoder, held_out) if held_out.ids else None)
            found = report.collect(seen, dataset, name) if seen else None
            report.write(out / "report.html", read_card(out), found)
    return dist.shared(lambda: read_card(out), device)


def _calibrate(out: Path, encoder: HiTEncoder, parts: tuple[Split, Split], seen: Measured | None) -> None:
    """Write a finished model's calibration, where enough clips were held out for one."""
    learn, held_out = parts
    if len(held_out.ids) >= calibration.LEAST:
        made = confidence.calibrate(encoder, read_card(out)["revision"], learn, seen or measure(encoder, held_out))
        made.save(out)


def _check(settings: TrainConfig) -> None:
    for name in ("steps", "batch", "accumulate", "captions", "validate_every", "checkpoint_every", "keep_checkpoints"):
        if (count := getattr(settings, name)) < 1:
            raise UserError(f"train.{name}", f"{count} is less than 1")
    for name in ("expert_dropout", "hold_video", "warmup", "decay", "decay_factor"):
        if not 0 <= (share := getattr(settings, name) or 0) <= 1:
            raise UserError(f"train.{name}", f"{share} is not between 0 and 1")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError("train.device", f"'{name}' is no device", "auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device", "torch sees no CUDA device here", "set train.device=auto")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else device


def _prepare(
    recipe: Recipe,
    config: FolderConfig,
    text_folder: Path,
    parts: tuple[Split, Split],
    device: torch.device,
    folder: Path,
    progress: Progress,
) -> Run:
    (learn, held_out), settings = parts, recipe.train
    torch.manual_seed(settings.seed)
    model = HiT(recipe.model, {name: record.dim for name, record in config.experts.items()}, text_shape(text_folder))
    model.text.load(text_folder)
    model.to(device)
    if dist.first() and not checkpoint.there(folder / "checkpoints"):
        _fit(model, learn.features, settings)
    dist.align(model.state_dict().values())
    contrast = MomentumContrast(model, recipe.loss, size(len(learn.ids), settings, dist.world())).to(device)
    tokenizer = Tokenizer(text_folder, recipe.model.text.max_tokens)
    captions = Captions(model, [tokenizer(own) for own in learn.captions], progress)
    if settings.compile:  # after the captions, which come in too many shapes
        for block in (*model.video.blocks, *model.text.blocks):
            block.compile()
    forward: nn.Module = model
    if dist.world() > 1:  # parameters may lie idle: those of experts that no clip of a batch has
        forward = DistributedDataParallel(model, find_unused_parameters=True)
    batches = Batches(model, learn, captions, settings)
    optimizer = torch.optim.AdamW(_groups(contrast, settings), fused=True)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.autocast == "float16")
    setup = Setup(settings, contrast, forward, batches, optimizer, scaler)
    return Run(setup, held_out, HiTEncoder(model, tokenizer, config, "training"), folder)


def _fit(model: HiT, clips: Sequence[Mapping[str, Features]], settings: TrainConfig) -> None:
    """Fit to the training clips, or to FIT of them, what is not learnt by steps."""
    rows = range(0, len(clips), -(-len(clips) // FIT))
    for name in model.video.experts:
        seen = [own[name].values for own in map(clips.__getitem__, rows) if name in own and len(own[name].values)]
        if seen:
            model.video.fit_scale(name, torch.from_numpy(np.concatenate(seen)))
    if settings.whiten_heads:
        model.eval()
        model.whiten_video(model.video.pack([clips[i] for i in rows[first : first + 128]]) for first in range(0, len(rows), 128))


def _loop(run: Run, progress: Progress) -> tuple[list[dict[str, Any]], Measured | None]:
    """Train to the last step; return the scores on the held-out clips, and the last measurement if one was made here.

    Raises EndedError after a SIGTERM.
    """
    setup, settings, first = run.setup, run.setup.settings, dist.first()
    seen: Measured | None = None
    checkpoints, step, history = run.folder / "checkpoints", 0, []
    if (found := checkpoint.restore(checkpoints, setup.contrast, setup.optimizer)) is not None:
        step, history = found[0], found[1]["history"]
        setup.scaler.load_state_dict(found[1]["scaler"])

    def keep() -> None:
        notes = {"history": history, "scaler": setup.scaler.state_dict()}
        checkpoint.save(checkpoints, step, setup.contrast, setup.optimizer, notes, settings.keep_checkpoints)

    with (
        Board(run.folder / "tensorboard", step, first) as board,
        progress.task("Training", settings.steps) as task,
        _sigterm() as told,
    ):
        task.advance(step)
        setup.contrast.train()
        while step < settings.steps:
            began = time.monotonic()
            _set_rates(setup, step)
            outcome = take(setup, step)
            if not math.isfinite(outcome.loss):
                fix = "lower train.lr, or look for outliers in the features"
                raise UserError(f"step {step}", f"the loss became {outcome.loss}", fix)
            step += 1
            last = step == settings.steps
            task.advance(1, f"loss {outcome.loss:.2f}")
            board.step(setup, step, outcome, time.monotonic() - began)
            if first and run.held_out.ids and (last or step % settings.validate_every == 0):
                seen = measure(run.encoder, run.held_out)
                scores = seen.scores()
                ways = {way: scores[way] for way in ("t2v", "v2t")}
                history.append({"step": step, "loss": outcome.loss, "terms": outcome.terms, **ways})
                board.validation(setup, step, outcome, ways)
                task.advance(0, f"loss {outcome.loss:.2f}, validation R@1 {scores['t2v']['fused']['R1']:.1f} %")
            ended = dist.anywhere(bool(told), setup.contrast.bank.device)
            if last or step % settings.checkpoint_every == 0 or ended:
                keep()
            if ended and not last:
                raise EndedError(f"step {step}", "ended by a SIGTERM, with a checkpoint", "the same command goes on from here")
    return history, seen


def schedule(step: int, settings: TrainConfig) -> float:
    """Return the learning rate of a step as a share of its peak: linear warm-up, the peak, half a cosine down to zero.

    With `decay_factor` that is multiplied onto the peak after every EPOCH clips instead.
    """
    warm = _warm(settings)
    if step < warm:
        return (step + 1) / warm
    if settings.decay_factor is not None:
        return float(settings.decay_factor ** (step * settings.batch // EPOCH))
    start = max(warm, round((1 - settings.decay) * settings.steps))
    return 0.5 * (1 + math.cos(math.pi * max(0, step - start) / max(1, settings.steps - start)))


def _warm(settings: TrainConfig) -> int:
    return max(1, round(settings.warmup * settings.steps))


def _set_rates(setup: Setup, step: int) -> None:
    """Set the learning rates of a step, and hold the video side still as long as the recipe says.

    Both towers at once settle for what both can tell from the start; a video side that stays lets the text side find the
    rest, such as the order of events (docs/method.md). It warms up on its own when it is let go.
    """
    settings = setup.settings
    held = round(settings.hold_video * settings.steps)
    for group in setup.optimizer.param_groups:
        ramp = min(1.0, (step - held + 1) / _warm(settings)) if group["side"] == "video" and held else 1.0
        group["lr"] = group["peak"] * schedule(step, settings) * max(0.0, ramp)
        if group["side"] == "video":
            for parameter in group["params"]:
                parameter.requires_grad_(step >= held)


def _groups(contrast: MomentumContrast, settings: TrainConfig) -> list[dict[str, Any]]:
    rates = {
        "video": settings.lr,
        "text": settings.lr_text,
        "heads": settings.lr if settings.lr_heads is None else settings.lr_heads,
    }
    groups: dict[tuple[str, float, float], list[Tensor]] = {}
    for name, parameter in contrast.named_parameters():
        if parameter.requires_grad:
            part = name.split(".")[1] if "." in name else "heads"  # the temperature learns as the heads do
            side = "video" if name.startswith(("query.video.", "query.heads.video")) else "text"
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((side, rates[part], decay), []).append(parameter)
    return [
        {"params": params, "side": side, "lr": lr, "peak": lr, "weight_decay": decay}
        for (side, lr, decay), params in groups.items()
    ]


@contextmanager
def _sigterm() -> Iterator[list[int]]:
    """Note a SIGTERM instead of dying of it: the loop then ends after a checkpoint.

    One of several processes notes it for good: where another one dies torchrun sends it, and this one has yet to say so.
    """
    seen: list[int] = []
    try:
        before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    except ValueError:  # not in the main thread
        yield seen
        return
    try:
        yield seen
    finally:
        if dist.world() == 1:
            signal.signal(signal.SIGTERM, before)


def _identity(recipe: Recipe, config: FolderConfig, digest: str) -> dict[str, Any]:
    """Return all that a run's result depends on."""
    table = configs.to_table(recipe)
    for key in ("path", "test_split", "cut"):  # a data set may move, and what is measured later changes no run
        table["data"].pop(key)
    table["loss"].pop("shard")  # nor does where the banks lie
    return {**table, "experts": {name: record.identity for name, record in config.experts.items()}, "training clips": digest}


def claim(run: Path, identity: Mapping[str, Any]) -> bool:
    """Mark a folder as the run of this identity; return whether it is finished already.

    Raises UserError, naming what differs, where other settings, experts or training clips began it: its checkpoints must not
    be gone on from.
    """
    path = run / "run.json"
    if path.exists():
        if differ := list(_differences(json.loads(path.read_text()), identity)):
            why = f"holds another run: not the same {_few(differ)}"
            raise UserError(run.parent, why, "choose another folder, or delete this one")
        return (run.parent / "card.json").is_file()
    run.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(identity, indent=2, sort_keys=True) + "\n").encode())
    return False


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from (f"{key}.{name}" for name in _differences(a, b))
        elif a != b:
            yield key
