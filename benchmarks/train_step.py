"""CPU seconds a pair of one training step: packed, padded to MMT's shapes, and packed without momentum, a step of each in turn.

python benchmarks/train_step.py [--batch 32] [--steps 3] [--threads 1] [--options] [--tiny]

The step is `hit.step.take`: packing, the encoders of both modalities, banks of 4,096, the four matchings, backward, clipped
AdamW, banks written. The text tower has the shape of BERT-base, all of it trained, the video tower that of MMT; weights are
random. "padded" works on MMT's fixed shapes: 218 places a clip ([CLS], and for each of 7 experts an aggregate and 30 rows) and
30 places a text.

The clips are made up after MSR-VTT (10,000 clips in 41.2 hours, 10 to 30 s each): 14.8 s on average; s3d, vggish and scene give
a row a second, rgb five, of which 30 stay. vggish is absent where there is no sound. face (a row a second of a random share of
the clip), speech (2.5 words a second of a random share) and ocr (7 words on average) are often absent; the share of clips in
which an expert is present (PRESENT) is a guess. Captions have 12 words on average, and two marks. The result holds the shares
and the tokens that came of it.

--options adds bfloat16 autocast and torch.compile, each in turn with the row that it changes; the seconds of compiling are given
apart. On a GPU, seconds are those of CUDA events.
"""

import argparse
import copy
import dataclasses
import json
import resource
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BertConfig

from hit.batches import Batches, Captions
from hit.config import LossConfig, ModelConfig, TextTowerConfig, TrainConfig, VideoTowerConfig
from hit.model import HiT
from hit.momentum import MomentumContrast
from hit.splits import Split
from hit.step import Setup, take
from hit.tokens import Ints
from hit.types import Features, Silent

EXPERTS = {"s3d": 1024, "vggish": 128, "face": 512, "rgb": 2048, "speech": 300, "ocr": 300, "scene": 2208}
PRESENT = {"s3d": 1.0, "vggish": 0.87, "face": 0.7, "rgb": 1.0, "speech": 0.6, "ocr": 0.5, "scene": 1.0}
WORDS, VIDEO_PLACES, TEXT_PLACES = 12, 1 + 7 * (1 + 30), 30
WARM, CLIPS = 3, 4  # steps, at most, before those that count: torch.compile meets its shapes; batches' worth of clips
ROWS: dict[str, dict[str, Any]] = {
    "packed": {},
    "padded": {"packed": False},
    "in_batch": {"kind": "in-batch"},
}
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {  # what each is measured against, and what it changes
    "packed, bfloat16": ("packed", {"autocast": "bfloat16"}),
    "packed, compiled": ("packed", {"compile": True}),
    "padded, compiled": ("padded", {"compile": True}),
}


def clip(rng: np.random.Generator) -> Mapping[str, Features]:
    """Make up the features of one clip."""
    seconds = min(30.0, 10 + rng.exponential(4.95))
    rows = {
        "rgb": int(5 * seconds),
        "face": 1 + int(seconds * rng.random()),
        "speech": 1 + int(2.5 * seconds * rng.random()),
        "ocr": int(rng.geometric(1 / 7)),
    }
    found = {}
    for name, width in EXPERTS.items():
        if rng.random() < PRESENT[name]:
            edges = np.linspace(0, seconds, rows.get(name, int(seconds)) + 1, dtype=np.float32)
            values = rng.standard_normal((len(edges) - 1, width), np.float32)
            found[name] = Features(values, np.stack([edges[:-1], edges[1:]], axis=1))
    return found


def data(count: int, vocabulary: int) -> tuple[Split, list[list[Ints]]]:
    """Make up clips, and the word pieces of a caption for each."""
    rng = np.random.default_rng(0)
    lengths = 2 + np.clip(rng.negative_binomial(8, 8 / (8 + WORDS), count), 2, TEXT_PLACES - 2)
    captions = [[rng.integers(vocabulary, size=n)] for n in lengths]
    return Split([str(i) for i in range(count)], [clip(rng) for _ in range(count)], [[""]] * count), captions


def prepare(args: argparse.Namespace) -> Setup:
    """Make everything that a step of training needs, with full banks."""
    small: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 99,
    }
    shape = BertConfig(**(small if args.tiny else {})).to_dict()
    video = VideoTowerConfig(width=32, layers=2, heads=2, ffn=64) if args.tiny else VideoTowerConfig()
    torch.manual_seed(0)
    query = HiT(ModelConfig(video=video, text=TextTowerConfig(max_tokens=TEXT_PLACES)), EXPERTS, shape).to(args.device)
    contrast = MomentumContrast(query, LossConfig(bank=64 if args.tiny else 4096)).to(args.device)
    contrast.bank.copy_(torch.nn.functional.normalize(torch.randn_like(contrast.bank), dim=-1))
    contrast.state[1] = len(contrast.ids)
    learn, captions = data(CLIPS * args.batch, shape["vocab_size"])
    settings = TrainConfig(batch=args.batch)
    batches = Batches(query, learn, Captions(query, captions, Silent()), settings)
    optimizer = torch.optim.AdamW(query.parameters(), settings.lr, fused=True)
    return Setup(settings, contrast, query, batches, optimizer, torch.amp.GradScaler(args.device, enabled=False))


def variant(base: Setup, change: Mapping[str, Any]) -> Setup:
    """Make a training that differs by `change` and works on the very same weights and banks, so that memory holds one model."""
    shared = {id(tensor): tensor for tensor in (*base.contrast.parameters(), *base.contrast.buffers())}
    contrast = copy.deepcopy(base.contrast, shared)
    query = contrast.query
    if "kind" in change:
        contrast = MomentumContrast(query, LossConfig(change["kind"]))
    for model in (query, contrast.key) if not change.get("packed", True) else ():
        assert model is not None, "padded, with momentum"
        model.video.longest, model.text.longest = VIDEO_PLACES, TEXT_PLACES
    for block in (*query.video.blocks, *query.text.blocks) if change.get("compile") else ():
        block.compile()
    settings = dataclasses.replace(base.settings, autocast=change.get("autocast", "none"))
    return dataclasses.replace(base, settings=settings, contrast=contrast, forward=query)


def timed(setup: Setup, step: int) -> float:
    """Return the seconds of one step: CPU time of this process and of compilers that it waited for, or the GPU's time."""
    if setup.contrast.bank.device.type != "cuda":
        began = _cpu()
        take(setup, step)
        return _cpu() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    take(setup, step)
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure(base: Setup, rows: Mapping[str, Mapping[str, Any]], steps: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the seconds of each measured step of each row, all of the same batches in turn, and of the steps before them."""
    setups = {name: variant(base, change) for name, change in rows.items()}
    warm = {name: WARM if "compile" in change else 1 for name, change in rows.items()}
    first = {name: sum(timed(setup, step) for step in range(warm[name])) for name, setup in setups.items()}
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for step in range(WARM, WARM + steps):
        for name, setup in setups.items():
            seconds[name].append(timed(setup, step))
    return seconds, first


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, list[float]]:
    """Return the median over the steps of the ratio of two rows, and its range."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    return round(statistics.median(found), 2), [round(min(found), 2), round(max(found), 2)]


def tokens(setup: Setup, steps: int) -> dict[str, float]:
    """Return how many tokens a measured step has on average, and how many places MMT has for them."""
    packs = [setup.batches.pack(*setup.batches.draw(step)) for step in range(WARM, WARM + steps)]
    video = statistics.mean(int(pack.clips.lengths.sum()) for pack in packs)
    text = statistics.mean(int(pack.texts.lengths.sum()) for pack in packs)
    places = setup.settings.batch * VIDEO_PLACES, setup.settings.batch * TEXT_PLACES
    return {
        "video_packed": round(video),
        "video_padded": places[0],
        "text_packed": round(text),
        "text_padded": places[1],
        "filled_share": round((video + text) / sum(places), 3),
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each row")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--options", action="store_true", help="measure bfloat16 and torch.compile, too")
    parser.add_argument("--tiny", action="store_true", help="towers of no size, to try the benchmark itself")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    base = prepare(args)
    seconds, _ = measure(base, ROWS, args.steps)
    unit = "cuda_s_per_pair" if args.device.startswith("cuda") else "cpu_s_per_pair"
    speedup, momentum = ratio(seconds["padded"], seconds["packed"]), ratio(seconds["packed"], seconds["in_batch"])
    result: dict[str, Any] = {
        "benchmark": "train_step",
        unit: {name: per_pair(args, own) for name, own in seconds.items()},
        "packed_speedup": speedup[0],
        "momentum_cost": momentum[0],
        "ranges": {"packed_speedup": speedup[1], "momentum_cost": momentum[1]},
        "batch": args.batch,
        "tokens": tokens(base, args.steps),
        "present": PRESENT,
        "threads": args.threads,
        "steps": args.steps,
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device,
        "torch": torch.__version__,
    }
    if args.options:
        result["options"] = options(args, base, unit)
    print(json.dumps(result))


def options(args: argparse.Namespace, base: Setup, unit: str) -> dict[str, dict[str, Any]]:
    """Measure each option against the row without it, in turn."""
    import torch._inductor.config as inductor  # slow to import

    inductor.compile_threads, inductor.force_disable_caches = 1, True  # compile here and now: its CPU time counts
    found = {}
    for name, (without, change) in OPTIONS.items():
        torch.compiler.reset()
        seconds, first = measure(base, {without: ROWS[without], name: ROWS[without] | change}, args.steps)
        faster, spread = ratio(seconds[without], seconds[name])
        row = {
            unit: per_pair(args, seconds[name]),
            "against": per_pair(args, seconds[without]),
            "faster": faster,
            "range": spread,
        }
        if "compile" in change:
            row["compile_s"] = round(first[name] - WARM * statistics.median(seconds[name]), 1)
        found[name] = row
    return found


def per_pair(args: argparse.Namespace, seconds: Sequence[float]) -> float:
    """Return the median seconds of a step for each of its pairs."""
    return float(f"{statistics.median(seconds) / args.batch:.3g}")


if __name__ == "__main__":
    main()
