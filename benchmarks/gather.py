"""Bytes and memory of a training step against the number of processes, and what that comes to on many GPUs.

python benchmarks/gather.py [--tiny]

Starts 1, 2 and 4 processes of gloo, which take steps (`hit.step.take`) of tiny towers whose levels have 256 numbers, on batches
of 32 clips for each process: with full banks, with sharded ones (`loss.shard`), and of the in-batch baseline.

`handed`: the bytes that a process hands to each kind of collective in a step, counted at the calls (DDP's by its hook; its
bitmap of unused parameters is left out). `wire_mb`: what then went over the loopback interface, of all processes together, by
the kernel's count; run it in a network of its own, or other programs are counted too:

    unshare -n sh -c 'ip link set lo up; python benchmarks/gather.py'

`predicted_mb` is what the formula of `wire` makes of the bytes handed over; `model` is that formula for 8 to 64 GPUs at 25 GB/s
and the sizes of real towers, which were not run. `bank_mb` and `scores_mb` are exact sizes of a process's tensors.
"""

import argparse
import json
import multiprocessing
import socket
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as td
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from hit.batches import Batches, Captions
from hit.config import LossConfig, ModelConfig, TextTowerConfig, TrainConfig, VideoTowerConfig
from hit.model import HiT
from hit.momentum import MomentumContrast
from hit.splits import Split
from hit.step import Setup, take
from hit.types import Features, Silent

EACH, STEPS = 32, 4  # clips of a process in a step; steps that are counted
SHAPE: dict[str, int | float | str] = {"model_type": "bert", "vocab_size": 99, "max_position_embeddings": 16}
SHAPE |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
KINDS = {"full": {}, "sharded": {"shard": True}, "in-batch": {"kind": "in-batch"}}
SIZES = [(128, 4096), (128, 65536), (1024, 65536)]  # clips of a GPU in a step, rows of a bank
SPEED = 25e9  # bytes a second
PARAMETERS = 137e6  # BERT-base and MMT's video tower
MB = 2**20


def count(handed: Counter[str]) -> None:
    """Count the bytes that this process hands to collectives from now on."""

    def counted(name: str, call: Any, argument: int) -> Any:
        def wrapped(*args: Any, **options: Any) -> Any:
            handed[name] += args[argument].nbytes
            return call(*args, **options)

        return wrapped

    td.all_gather, td.all_reduce = counted("all_gather", td.all_gather, 1), counted("all_reduce", td.all_reduce, 0)


def prepare(loss: LossConfig, rank: int, world: int, handed: Counter[str]) -> Setup:
    """Make everything that a step needs, with full banks."""
    torch.manual_seed(0)
    config = ModelConfig(video=VideoTowerConfig(width=32, layers=2, heads=2, ffn=64), text=TextTowerConfig())
    query = HiT(config, {"frames": 32}, SHAPE)
    batch = EACH * world
    contrast = MomentumContrast(query, loss, batch)
    contrast.state[1] = len(contrast.ids)
    times = np.stack([np.arange(4), np.arange(1, 5)], axis=1).astype(np.float32)
    rng = np.random.default_rng(0)
    clips = [{"frames": Features(rng.standard_normal((4, 32), np.float32), times)} for _ in range(2 * batch)]
    settings = TrainConfig(batch=batch)
    captions = Captions(query, [[rng.integers(99, size=8)] for _ in clips], Silent())
    forward: torch.nn.Module = query
    if world > 1:
        forward = DistributedDataParallel(query)

        def hook(_: None, bucket: td.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
            handed["gradients"] += bucket.buffer().nbytes
            handed["all_reduce"] -= bucket.buffer().nbytes  # as which they go round
            return allreduce_hook(None, bucket)  # type: ignore[arg-type]

        forward.register_comm_hook(None, hook)
    batches = Batches(query, Split([str(i) for i in range(len(clips))], clips, [[""]] * len(clips)), captions, settings)
    optimizer = torch.optim.AdamW([p for p in contrast.parameters() if p.requires_grad], fused=True)
    return Setup(settings, contrast, forward, batches, optimizer, torch.amp.GradScaler("cpu", enabled=False))


def sent() -> int:
    """Return the bytes that have gone over this network's loopback interface."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split()[9])


def work(job: tuple[int, int, int, int, str]) -> tuple[dict[str, int], float, float, int]:
    """Take steps as one of the processes, and return what they came to."""
    rank, world, port, rows, kind = job
    torch.set_num_threads(1)
    if world > 1:
        td.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    found = steps(rank, world, rows, kind)
    if world > 1:  # after the last holder of the group, which would keep Python from gloo's threads as it waits for them
        td.destroy_process_group()
    return found


def steps(rank: int, world: int, rows: int, kind: str) -> tuple[dict[str, int], float, float, int]:
    """Return the bytes handed over a step, those on the wire, a step's seconds, and the banks' bytes."""
    handed: Counter[str] = Counter()
    count(handed)
    setup = prepare(LossConfig(bank=rows, **KINDS[kind]), rank, world, handed)  # type: ignore[arg-type]
    take(setup, 0)
    quiet(world)
    before = sent()
    handed.clear()
    seconds = []
    for step in range(1, 1 + STEPS):
        began = time.perf_counter()
        take(setup, step)
        seconds.append(time.perf_counter() - began)
    quiet(world)
    gone = sent() - before
    quiet(world)
    own = {name: total // STEPS for name, total in handed.items()}
    return own, gone / STEPS, statistics.median(seconds), setup.contrast.bank.nbytes


def quiet(world: int) -> None:
    """Wait until no process has anything more to send."""
    if world > 1:
        td.barrier()


def wire(handed: dict[str, int], world: int) -> float:
    """Return the bytes that a process sends for what it hands over: rings of all-gather and all-reduce."""
    return (world - 1) * (handed.get("all_gather", 0) + 2 * (handed.get("all_reduce", 0) + handed.get("gradients", 0)) / world)


def measure(context: Any, world: int, rows: int, kind: str) -> dict[str, Any]:
    """Start the processes and return what the first one tells."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with context.Pool(world, maxtasksperchild=1) as pool:
        jobs = [(rank, world, port, rows, kind) for rank in range(world)]
        told = list(pool.imap_unordered(work, jobs))  # unordered: an error does not wait for the others
    handed, lo, seconds, bank = told[0]
    columns = EACH * world + (0 if kind == "in-batch" else rows)
    return {
        "processes": world,
        "kind": kind,
        "handed": handed,
        "predicted_mb": round(world * wire(handed, world) / MB, 3),
        "wire_mb": round(lo / MB, 3) if world > 1 else 0.0,
        "bank_mb": round(bank / MB, 3),
        "scores_mb": round(4 * 4 * EACH * columns / MB, 3),
        "step_s": round(seconds, 4),
    }


def model(world: int, each: int, rows: int, dim: int = 256) -> dict[str, Any]:
    """Return what a step costs a GPU, by the formulas that the measurements bear out: float32, one caption a clip."""
    vectors = 4 * dim * 4 * each  # bytes of a process's two levels of two modalities
    ids, sums = 8 * each, 4 * 4 * each * world
    kinds = {
        "full": {"all_gather": vectors + ids},
        "sharded": {"all_gather": vectors + ids, "all_reduce": vectors * world + 3 * sums},
        "in-batch": {"all_gather": vectors + ids, "all_reduce": vectors * world},
    }
    gradients = wire({"gradients": int(4 * PARAMETERS)}, world)
    found: dict[str, Any] = {"gpus": world, "batch": each * world, "gradients_mb": round(gradients / MB, 1)}
    found["gradients_s"] = round(gradients / SPEED, 5)
    for kind, handed in kinds.items():
        moved = wire(handed, world)
        found[kind] = {"mb": round(moved / MB, 2), "s": round(moved / SPEED, 6)}
    bank = 4 * dim * 4 * rows
    found["bank_mb"] = {"full": bank / MB, "sharded": bank / MB / world}
    found["scores_mb"] = {
        "momentum": round(16 * each * (each * world + rows) / MB, 1),
        "in-batch": round(16 * each * each * world / MB, 1),
        "in-batch, joint on every process": round(16 * (each * world) ** 2 / MB, 1),
    }
    return found


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="two processes at most, to try the benchmark itself")
    tiny = parser.parse_args().tiny
    rows = 256 if tiny else 4096
    worlds = [2] if tiny else [1, 2, 4]
    kinds = [kind for kind in KINDS if not tiny or kind != "in-batch"]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "hit.step"])  # the second one comes with an optimizer
    sizes = [(each, bank, world) for each, bank in SIZES for world in (1, 2, 4, 8, 16, 32, 64)]
    result = {
        "benchmark": "gather",
        "each": EACH,
        "rows": rows,
        "measured": [measure(context, world, rows, kind) for world in worlds for kind in kinds],
        "model": [model(world, each, bank) for each, bank, world in sizes],
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
