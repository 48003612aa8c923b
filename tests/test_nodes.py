"""Training on two hosts by torchrun: it equals the run of one process, and a worker or a node that dies costs steps, not results.

The hosts are namespaces of this machine with a network of their own. The second one is given a folder of its own to write to,
and leaves it alone: checkpoints come to it from the first one.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli_w
from safetensors.torch import load_file

import netns
import tiny_model
from hit import config
from netns import Host
from test_dist import GONE, said, worker
from test_step import plan, result, same
from test_train import dataset

STEPS, EVERY = 60, 8
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    dataset(folder / "data")
    tiny_model.text_encoder(folder / "bert")
    made = plan(folder, train={"steps": STEPS, "batch": 8, "checkpoint_every": EVERY, "keep_checkpoints": 99})
    (folder / "plan.toml").write_text(tomli_w.dumps(config.to_table(made)))
    return folder


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Host, Host]]:
    with netns.hosts(2) as (one, other):
        yield one, other


@pytest.fixture(scope="module")
def start(place: Path, nodes: tuple[Host, Host]) -> Start:
    """Return what starts a node's part of a training; they meet at the first one, by a name of their own."""

    def run(number: int, out: Path) -> "subprocess.Popen[str]":
        node, first = nodes[number], nodes[0]
        words = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"]
        words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first.ip}:29400", "--rdzv-id", out.name]
        words += ["--local-addr", node.ip, "--rdzv-conf", f"is_host={int(number == 0)},keep_alive_interval=1"]
        command = [sys.executable, *words, "-m", "hit", "train", place / "plan.toml", out / f"{number}", "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return node.start(*command, env={"GLOO_SOCKET_IFNAME": "eth0", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}, **pipes)

    return run


@pytest.fixture(autouse=True)
def nothing_left(nodes: tuple[Host, Host]) -> Iterator[None]:
    yield
    for node in nodes:
        node.kill()


def finish(*processes: "subprocess.Popen[str]") -> None:
    """Wait for the ends of trainings."""
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def unbroken(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training by both nodes."""
    folder = tmp_path_factory.mktemp("unbroken")
    finish(*(start(number, folder) for number in (0, 1)))
    return folder


def test_two_nodes_train_to_what_one_process_does(place: Path, unbroken: Path, tmp_path: Path) -> None:
    assert [path.name for path in unbroken.iterdir()] == ["0"]
    result(config.load(place / "plan.toml"), tmp_path / "alone")
    one, other = (folder / "run/checkpoints/step-00000008.safetensors" for folder in (tmp_path / "alone", unbroken / "0"))
    same(load_file(one), load_file(other))


def reaches(process: "subprocess.Popen[str]", step: int) -> tuple[int, list[str]]:
    """Read what a training says until it is so far; return the lowest step that it told of, and HiT's own lines."""
    seen, lines = [], []
    assert process.stderr
    for line in process.stderr:
        lines.append(line)
        if (found := re.match(rf"Training: .* (\d+)/{STEPS}\b", line)) and "stopped" not in line:
            seen.append(int(found[1]))
            if seen[-1] >= step:
                return min(seen), said("".join(lines))
    raise AssertionError(f"it ended: {''.join(lines)}")


def test_a_worker_and_a_node_that_die_cost_the_steps_since_the_last_checkpoint(
    start: Start, nodes: tuple[Host, Host], unbroken: Path, tmp_path: Path
) -> None:
    first, second = (start(number, tmp_path) for number in (0, 1))
    reaches(first, 18)
    os.kill(worker(second.pid, 1), signal.SIGKILL)
    after_worker, _ = reaches(first, 36)
    nodes[1].kill()
    second = start(1, tmp_path)
    after_node, lines = reaches(first, STEPS)
    finish(first, second)
    for reached, resumed in ((18, after_worker), (36, after_node)):
        assert resumed % EVERY == 0
        assert resumed > reached - EVERY
    assert lines == [GONE]
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    one, other = (folder / "0" / "weights.safetensors" for folder in (tmp_path, unbroken))
    assert one.read_bytes() == other.read_bytes()
