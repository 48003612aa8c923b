"""Peak memory of a training step against the number of negatives: from banks, or from a batch that holds as many.

python benchmarks/memory.py [--tiny]

Each point is a process of its own: what its peak resident memory gains by a loss (banks and key encoders too, where there are
any) and two steps (`hit.step.take`). Towers are tiny (2 blocks of width 64; 6 tokens a clip, 8 a text), so that it is the
negatives that are weighed: real towers would make large batches dearer by far. Levels have 256 numbers, as ever.
`points`: K rows in each of the four banks and batches of 32, against in-batch InfoNCE on batches of K + 1, of which the largest
are left out (null): their scores alone are K^2 numbers a matching. `batches`: what 4,096 bank rows add to a step at several
batch sizes. The banks themselves (`banks_mb`) are the same for all; a row of scores for each query comes to them.
"""

import argparse
import json
import multiprocessing
import resource

import numpy as np
import torch

from hit.batches import Batches, Captions
from hit.config import LossConfig, ModelConfig, TextTowerConfig, TrainConfig, VideoTowerConfig
from hit.model import HiT
from hit.momentum import MomentumContrast
from hit.splits import Split
from hit.step import Setup, take
from hit.types import Features, Silent

BATCH, ROWS = 32, 4096
SHAPE: dict[str, int | float | str] = {"model_type": "bert", "vocab_size": 99, "max_position_embeddings": 16}
SHAPE |= {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}


def peak() -> float:
    """Return the largest resident memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(point: tuple[LossConfig, int]) -> float:
    """Return how many MB a loss and two steps with it add, in a process that has trained a small batch before."""
    loss, batch = point
    torch.set_num_threads(1)
    train(LossConfig(bank=16), 4)
    before = peak()
    train(loss, batch)
    return round(peak() - before, 1)


def train(loss: LossConfig, batch: int) -> None:
    """Take two steps."""
    torch.manual_seed(0)
    config = ModelConfig(video=VideoTowerConfig(width=64, layers=2, heads=2, ffn=128), text=TextTowerConfig())
    query = HiT(config, {"frames": 64}, SHAPE)
    contrast = MomentumContrast(query, loss)
    contrast.state[1] = len(contrast.ids)  # full banks
    times = np.stack([np.arange(4), np.arange(1, 5)], axis=1).astype(np.float32)
    rng = np.random.default_rng(0)
    clips = [{"frames": Features(rng.standard_normal((4, 64), np.float32), times)} for _ in range(batch)]
    settings = TrainConfig(batch=batch)
    captions = Captions(query, [[rng.integers(99, size=8)] for _ in clips], Silent())
    batches = Batches(query, Split([str(i) for i in range(batch)], clips, [[""]] * batch), captions, settings)
    optimizer = torch.optim.AdamW([p for p in contrast.parameters() if p.requires_grad], fused=True)
    setup = Setup(settings, contrast, query, batches, optimizer, torch.amp.GradScaler("cpu", enabled=False))
    for step in range(2):
        take(setup, step)


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="few negatives, to try the benchmark itself")
    tiny = parser.parse_args().tiny
    negatives = [64, 256] if tiny else [256, 1024, 4096, 16384, 65536]
    common = [n for n in negatives if n <= 4096]  # beyond, in-batch takes more than this machine should be asked for
    sizes = [8, 16] if tiny else [32, 128, 512]
    points = [(LossConfig(bank=n), BATCH) for n in negatives] + [(LossConfig("in-batch"), n + 1) for n in common]
    points += [(LossConfig(bank=rows), batch) for batch in sizes for rows in (ROWS, 0)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "hit.step"])  # the second one comes with an optimizer
    with context.Pool(1, maxtasksperchild=1) as pool:
        found = pool.map(measure, points, chunksize=1)
    bank, in_batch, extra = np.split(np.array(found), [len(negatives), len(negatives) + len(common)])
    result = {
        "benchmark": "memory",
        "points": [
            {"negatives": n, "bank_mb": float(bank[i]), "in_batch_mb": float(in_batch[i]) if n in common else None}
            for i, n in enumerate(negatives)
        ],
        "ratio": round(float(in_batch[-1] / bank[len(common) - 1]), 1),
        "ratio_at": common[-1],
        "bank_batch": BATCH,
        "batches": [
            {"batch": batch, "without_mb": float(without), "bank_adds_mb": round(float(with_bank - without), 1)}
            for batch, (with_bank, without) in zip(sizes, extra.reshape(-1, 2), strict=True)
        ],
        "bank_rows": ROWS,
        "banks_mb": round(4 * ROWS * ModelConfig().dim * 4 / 2**20, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
