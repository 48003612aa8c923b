"""The door: exit codes, one line for what a user can mend, JSON as the last line, and a quick start."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hit as package

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# A command of the real application that does what the test's snippet says.
SNIPPET = """
import os, signal, sys, time
from pathlib import Path
from hit.cli import app, emit, main
from hit.errors import UserError

@app.command()
def odd() -> None:
    {body}

main()
"""


def run_snippet(body: str) -> "subprocess.CompletedProcess[str]":
    code = SNIPPET.format(body=body)
    return subprocess.run([sys.executable, "-c", code, "odd"], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["-h"], [], ["train", "--help"]])
def test_help_is_quick(words: list[str]) -> None:
    code = "import sys\nsys.argv[0] = 'hit'\nfrom hit.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=60)
    heavy = {
        "torch",
        "transformers",
        "av",
        "cv2",
        "numpy",
        "sqlalchemy",
        "alembic",
        "scipy",
        "PIL",
        "scenedetect",
        "rich.progress",
    }
    assert done.stdout
    assert heavy & set(done.stderr.split()) == set()


def test_version(hit_apart: Run) -> None:
    assert hit_apart("--version").stdout == f"hit {package.__version__}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fly"], "hit: No such command 'fly' (see `hit --help`)"),
        (["demo"], "hit: Missing argument 'DIR' (see `hit demo --help`)"),
        (["demo", "x", "--clips", "many"], "hit: Invalid value for '--clips': "),
        (["demo", "x", "--clip", "30"], "hit: No such option: --clip"),
        (
            ["train", "nowhere.toml", "out"],
            "hit: nowhere.toml: there is no such recipe (a TOML file, or one of ",
        ),
        (["extract", "nowhere"], "hit: nowhere"),
        (["evaluate", "no-model", "no-data"], "hit: no-"),
    ],
)
def test_what_a_user_can_mend_is_one_line(hit_apart: Run, tmp_path: Path, words: list[str], line: str) -> None:
    done = hit_apart(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(line)


def test_a_bad_override_names_the_nearest_key(hit_apart: Run, tmp_path: Path) -> None:
    (tmp_path / "r.toml").touch()
    done = hit_apart("train", "r.toml", "out", "train.stepz=3", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "hit: r.toml: train: unknown key 'stepz' (did you mean 'steps'?)\n")


def test_odd_names_stay_in_one_line() -> None:
    done = run_snippet(r"raise UserError('a\n\x1b[31mb\udcff', 'cannot be read')")
    assert (done.returncode, done.stderr) == (
        2,
        "hit: a \N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}: cannot be read\n",
    )


def test_our_own_defects_keep_their_traceback() -> None:
    done = run_snippet("assert 1 + 1 == 3")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert done.stderr.endswith("AssertionError\n")


def test_interrupt() -> None:
    # Whoever starts the tests in the background has SIGINT ignored in all that they start.
    done = run_snippet(
        "signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT); time.sleep(30)"
    )
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)


@pytest.mark.parametrize("lines", [2, 100_000])
def test_a_reader_who_leaves_is_no_error(lines: int) -> None:
    code = SNIPPET.format(body=f"[print(i) for i in range({lines})]")
    with subprocess.Popen(
        [sys.executable, "-c", code, "odd"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""


def test_json_is_the_last_line() -> None:
    done = run_snippet("emit({'path': Path('a'), 'name': 'b\\udcff\\n', 'score': 0.5}, True, print)")
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout) == {"path": "a", "name": "b\udcff\n", "score": 0.5}


def test_experts(hit_apart: Run) -> None:
    found = json.loads(hit_apart("experts", "--json").stdout)["experts"]
    assert {"appearance", "motion", "sound", "image-model"} <= {row["name"] for row in found}
    shown = hit_apart("experts").stdout
    assert all(row["name"] in shown and row["module"] in shown for row in found)
