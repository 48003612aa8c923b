"""Several processes: they equal one, and where one of them dies or is told to end, all end, one of them says why, and the same
command goes on. What runs here is torchrun itself, on the CPU."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from torch import Tensor

import tiny_model
from hit import config
from hit.config import Recipe
from test_step import plan, result, same
from test_train import dataset, recipe

TESTS = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
GONE = "hit: training: another process of it is gone, or does not answer (the same command goes on from the last checkpoint)"
ENDED = ": ended by a SIGTERM, with a checkpoint (the same command goes on from here)"


@contextmanager
def started(*words: object, **variables: object) -> Iterator["subprocess.Popen[str]"]:
    """Start a command; whatever becomes of the test, nothing of it stays."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = [*map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            for pid in (*children(process.pid), process.pid):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def said(errors: str) -> list[str]:
    """Return the lines that are HiT's own."""
    return [line for line in errors.splitlines() if line.startswith("hit: ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    dataset(folder / "data")
    tiny_model.text_encoder(folder / "bert")
    return folder


# Of 18 clips in batches of 8, every third batch goes on into the next epoch and may hold a clip twice.
PLANS: dict[str, dict[str, dict[str, Any]]] = {
    "momentum": {},
    "momentum in parts": {"loss": {"learn_temperature": True}, "train": {"accumulate": 3, "hold_video": 0.5, "captions": 2}},
    "momentum sharded": {
        "loss": {"shard": True, "learn_temperature": True},
        "train": {"accumulate": 2, "captions": 2, "checkpoint_every": 3},
    },
    "in-batch": {"loss": {"kind": "in-batch", "learn_temperature": True}},
    "in-batch in parts": {"loss": {"kind": "in-batch", "feature_weight": 0.0}, "train": {"accumulate": 2, "hold_video": 0.5}},
    "max-margin": {"loss": {"kind": "max-margin"}},
    "max-margin in parts": {"loss": {"kind": "max-margin"}, "train": {"accumulate": 3, "captions": 2, "expert_dropout": 0.5}},
}

ALL_PLANS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from hit import config, dist, train
from hit.errors import UserError
from hit.types import Silent
folder, loop = Path(sys.argv[2]), train._loop
def spy(run, progress):
    history = loop(run, progress)
    torch.save(run.setup.contrast.state_dict(), folder / f"{path.stem}.{dist.rank()}.pt")
    return history
train._loop = spy
for path in sorted(folder.glob("*.toml")):
    try:
        train.train(config.load(path), folder / path.stem, Silent(), page=False)
    except (UserError, SystemExit) as error:
        (folder / f"{path.stem} {os.environ['RANK']}.txt").write_text(str(error))
names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
(folder / f"threads of {os.environ['RANK']}").write_text("".join(name for name in names if "gloo" in name))
"""


def of_plan(place: Path, name: str, batch: int) -> Recipe:
    found = plan(place, **PLANS[name])
    return replace(found, train=replace(found.train, batch=batch))


@pytest.fixture(scope="module")
def together(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each plan, trained by two processes. Their batch of 9 cannot be shared evenly: it is one of 8."""
    folder = tmp_path_factory.mktemp("together")
    plans = {name: of_plan(place, name, 9) for name in PLANS} | {"too few": of_plan(place, "momentum", 1)}
    for name, one in plans.items():
        (folder / f"{name}.toml").write_text(tomli_w.dumps(config.to_table(one)))
    (folder / "all.py").write_text(ALL_PLANS)
    with started(*TORCHRUN, folder / "all.py", TESTS, folder) as process:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    return folder


@pytest.mark.parametrize("name", PLANS)
def test_two_processes_train_to_what_one_does(place: Path, together: Path, tmp_path: Path, name: str) -> None:
    one = result(of_plan(place, name, 8), tmp_path)
    same(one, result(of_plan(place, name, 9), together / name))  # which is finished, and not trained again
    first, second = (torch.load(together / f"{name}.{rank}.pt", weights_only=True) for rank in (0, 1))
    differ = [key for key, tensor in first.items() if not torch.equal(tensor, second[key])]
    assert differ == (["bank", "ids"] if "sharded" in name else [])


def test_what_all_processes_would_say_is_said_once(together: Path) -> None:
    why = "hit train: 18 clips in batches of 1 are not one for each of 2 processes (start fewer processes)"
    assert sorted((together / f"too few {rank}.txt").read_text() for rank in (0, 1)) == ["2", why]


def test_no_thread_of_gloos_outlives_a_training(together: Path) -> None:
    assert [(together / f"threads of {rank}").read_text() for rank in (0, 1)] == ["", ""]


@pytest.fixture(scope="module")
def long(place: Path) -> Path:
    """A run that goes on for some seconds."""
    path = place / "long.toml"
    steps = {"steps": 100, "checkpoint_every": 8, "validate_every": 50}
    path.write_text(tomli_w.dumps(config.to_table(recipe(place / "data", place / "bert", **steps))))
    return path


def test_results_are_printed_once_and_a_run_that_was_told_to_end_goes_on(long: Path, tmp_path: Path) -> None:
    words = [*TORCHRUN, "-m", "hit", "train", long, tmp_path / "unbroken", "--json"]
    with started(*words) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.count("\n") == 1
    card = json.loads(output)
    assert (card["processes"], card["steps"]) == (2, 100)
    assert errors.count("Training: 100%") == 1

    words[-2] = tmp_path / "ended"
    with started(*words) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Training:  60%"):
                break
        process.terminate()
        told = time.monotonic()
        output, errors = process.communicate(timeout=60)
    assert time.monotonic() - told < 20
    assert process.returncode != 0
    assert output == ""
    (line,) = said(errors)
    assert line.endswith(ENDED)
    assert not (tmp_path / "ended" / "card.json").exists()
    with started(*words) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Training:  70%" in errors
    assert "Training:  40%" not in errors
    assert json.loads(output)["history"] == card["history"]
    one, other = (tmp_path / name / "weights.safetensors" for name in ("ended", "unbroken"))
    assert one.read_bytes() == other.read_bytes()


def worker(parent: int, rank: int) -> int:
    """Return the process id of a torchrun's worker."""
    mark = f"RANK={rank}".encode()
    return next(pid for pid in children(parent) if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))


TWO = """
import os, signal, sys
import torch
import torch.distributed as td
from hit import dist
from hit.errors import UserError
device, rank = torch.device("cpu"), int(os.environ["RANK"])
assert dist.rank() == 0 and dist.world() == 1 and not dist.anywhere(False, device) and dist.first() == (rank == 0)
try:
    with dist.group(device):
        assert (dist.rank(), dist.world()) == (rank, 2)
        assert torch.equal(dist.gather(torch.full((2, 1), rank)), torch.tensor([[0], [0], [1], [1]]))
        x = torch.tensor([1.0 + rank], requires_grad=True)
        (dist.gather(x) * torch.tensor([3.0, 5.0]) * (1 + rank)).sum().backward()
        assert x.grad.item() == (3.0, 5.0)[rank] * (1 + 2)
        mean = torch.tensor([float(rank)])
        dist.average([mean])
        assert mean.item() == 0.5
        for flag, heard in ((False, False), (rank == 1, True), (True, True)):
            assert dist.anywhere(flag, device) == heard
        assert dist.shared(lambda: {"rank": rank}, device) == {"rank": 0}
        found = dist.hand_out({"x": torch.full((2,), rank + 3)} if rank == 0 else {}, device)
        assert torch.equal(found["x"], torch.tensor([3, 3]))
        if rank == 0 and sys.argv[1] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if rank == 0 and sys.argv[1] == "fails":
            raise UserError("a disk", "is full")
        if sys.argv[1] == "is wrong":
            raise RuntimeError("a defect")
        td.barrier()
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("first", "second", "codes", "fate"),
    [
        ("", "training: another process of it is gone, or does not answer (", (-signal.SIGKILL, 0), "dies"),
        ("a disk: is full\n", "", (0, 2), "fails"),
        ("", "", (1, 1), "is wrong"),
    ],
)
def test_the_first_that_fails_says_why(first: str, second: str, codes: tuple[int, int], fate: str) -> None:
    """Started without torchrun, so that nothing else ends them; the store they meet at dies with the first one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1], "WORLD_SIZE": 2}
    command = (sys.executable, "-c", TWO, fate)
    with started(*command, RANK=0, **meet) as one, started(*command, RANK=1, **meet) as other:
        said_by = [process.communicate(timeout=60) for process in (one, other)]
    assert (one.returncode, other.returncode) == codes, said_by
    assert said_by[0][0] == first
    assert said_by[1][0].startswith(second)
    assert ("RuntimeError: a defect" in said_by[0][1]) == (fate == "is wrong")


MISTAKE = """
import torch
from hit import dist
from hit.errors import UserError
def wrong():
    raise UserError("a recipe", "is wrong")
try:
    with dist.group(torch.device("cpu")):
        dist.shared(wrong, torch.device("cpu"))
except UserError as error:
    print(error)
    raise SystemExit(error.code)
"""


def test_a_mistake_is_said_once_however_often_torchrun_would_try_it(tmp_path: Path) -> None:
    (tmp_path / "mistake.py").write_text(MISTAKE)
    with started(*TORCHRUN, "--max-restarts", 1, tmp_path / "mistake.py") as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert output == "a recipe: is wrong\n"


def test_alone_all_of_it_is_defined() -> None:
    from hit import dist

    x: Tensor = torch.ones(2)
    assert dist.gather(x) is x
    dist.average([x])
    assert (dist.rank(), dist.world(), dist.first()) == (0, 1, True)
    assert dist.anywhere(True, x.device)
    assert dist.shared(lambda: 3, x.device) == 3
    assert dist.hand_out({"x": x}, x.device)["x"] is x
    with dist.group(x.device):
        assert dist.world() == 1
