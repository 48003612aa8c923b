"""The documents tell the truth: the reference is complete, what README says can be typed, links lead somewhere."""

import inspect
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from safetensors.numpy import load_file

import toy
from hit import experts
from hit.cli import app
from hit.render import render_corpus
from hit.types import Silent

ELSEWHERE = {"git", "cd", "apt", "pip", "export", "ray"}  # first words of commands that are not ours
BLOCK = re.compile(r"(?P<run><!-- run -->\n)?```sh\n(?P<text>.*?)```", re.DOTALL)


def commands() -> dict[str, Any]:
    """Return the commands by all the words that call them."""
    return dict(_walk("", typer.main.get_command(app)))


def _walk(prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _walk(f"{prefix}{name} ", command)
        else:
            yield f"{prefix}{name}", command


def fenced(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (text, is it marked to be run) of every block of shell commands in a document."""
    yield from ((block["text"], bool(block["run"])) for block in BLOCK.finditer(path.read_text()))


def complaint(line: str, targets: set[str]) -> str:
    """Say why a line of a document cannot be typed, or return nothing."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["torchrun"] and "hit" in words:
        words = words[words.index("hit") :]  # hit's own words are as ever
    if not words or words[0] in ELSEWHERE:
        return ""
    if words[0] == "make":
        return "" if {word for word in words[1:] if "=" not in word} <= targets else f"no such target: {line}"
    if words[0] != "hit":
        return f"neither hit nor make: {line}"
    if words[1:2] == ["--version"]:
        return ""
    known = commands()
    name = next((name for name in (" ".join(words[1:3]), " ".join(words[1:2])) if name in known), None)
    if name is None:
        return f"no such command: {line}"
    try:
        known[name].make_context(f"hit {name}", words[1 + len(name.split()) :])
    except typer.TyperException as error:
        return f"{error.format_message()}: {line}"
    return ""


@pytest.fixture(scope="module")
def targets(root: Path) -> set[str]:
    return set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))


def documents(root: Path) -> list[Path]:
    return [*root.glob("*.md"), *root.joinpath("docs").rglob("*.md"), *root.joinpath("examples").rglob("*.md")]


def test_reference_is_current(root: Path) -> None:
    reference = runpy.run_path(str(root / "docs" / "generate.py"))["reference"]()
    assert (root / "docs" / "cli.md").read_text() == reference, "run `make docs`"


def test_tables_of_costs_are_current(root: Path) -> None:
    tables = runpy.run_path(str(root / "docs" / "costs.py"))["tables"]()
    assert f"<!-- costs -->\n{tables}\n<!-- /costs -->" in (root / "docs" / "scale.md").read_text(), "run `python docs/costs.py`"


def test_every_command_and_option_is_documented(root: Path) -> None:
    page = (root / "docs" / "cli.md").read_text()
    for name, command in commands().items():
        assert command.help, name
        assert f"## `hit {name}" in page
        section = page.split(f"## `hit {name}")[1].split("\n## ")[0]
        for parameter in command.params:
            assert parameter.help, f"{name}: {parameter.name}"
            assert parameter.help in section
            assert all(spelling in section for spelling in parameter.opts if spelling.startswith("-"))


def test_what_documents_say_can_be_typed(root: Path, targets: set[str]) -> None:
    found = [
        (path.name, complaint(line, targets))
        for path in documents(root)
        for text, _ in fenced(path)
        for line in text.replace("\\\n", " ").splitlines()
    ]
    assert len(found) >= 8
    assert [(name, line) for name, line in found if line] == []


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("hit fly out", "no such command"),
        ("hit demo", "Missing argument"),
        ("hit import fly in", "no such command"),
        ("hit import arrays a.csv b.npz out", "Missing option"),
        ("hit demo out --speed 3", "No such option"),
        ("hit demo out --clips many", "Invalid value"),
        ("make tea", "no such target"),
        ("rm -rf out", "neither hit nor make"),
        ("torchrun --nproc-per-node 2 -m hit fly out", "no such command"),
        ("torchrun --nproc-per-node 2 fly.py", "neither hit nor make"),
    ],
)
def test_a_wrong_line_is_seen(targets: set[str], line: str, answer: str) -> None:
    assert answer in complaint(line, targets)


def test_links_lead_somewhere(root: Path) -> None:
    links = [(path, link) for path in documents(root) for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text())]
    ours = [(path, link.partition("#")[0]) for path, link in links if not re.match(r"[a-z]+:|#", link)]
    assert ours
    assert [f"{path.name}: {link}" for path, link in ours if not (path.parent / link).exists()] == []


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def test_experts_are_documented_with_their_options(root: Path) -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", (root / "docs" / "experts.md").read_text(), re.MULTILINE))
    ours = {name: entry for name, entry in experts.available().items() if entry.dist and entry.dist.name == "hit-video"}
    assert set(rows) == set(ours)
    for name, entry in ours.items():
        plugin = entry.load()
        assert f"| {getattr(plugin, 'dim', '')} " in rows[name] or not hasattr(plugin, "dim")
        for option, about in inspect.signature(plugin).parameters.items():
            shown = f"`{option}` {about.default}".replace("'", "") if type(about.default) in (int, float) else f"`{option}`"
            assert option == "name" or shown in rows[name].replace('"', ""), f"{name}: {shown}"


def test_the_expert_of_the_document_works(root: Path, tmp_path: Path) -> None:
    """What docs/experts.md shows is installed as it says, listed, and run on a video."""
    page = root / "docs" / "experts.md"
    [module] = blocks(page, "python")
    assert len([line for line in module.splitlines() if line]) <= 20
    [project] = [table for text in blocks(page, "toml") if (table := tomllib.loads(text).get("project"))]
    [[group, entries]] = project["entry-points"].items()
    site = tmp_path / "site"  # what pip makes of it
    about = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (site / "hit_brightness.py").write_text(module)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (about / "entry_points.txt").write_text("".join([f"[{group}]\n", *(f"{key} = {value}\n" for key, value in entries.items())]))
    data = tmp_path / "data"
    toy.render(data / "videos" / "a.mp4", ["red", "grey"])
    (data / "captions.csv").write_text("video,caption\na.mp4,red then grey\n")
    (tmp_path / "recipe.toml").write_text('[experts.light]\nkind = "brightness"\noptions = { rate = 4 }\n')

    def run(*words: str) -> Any:
        path = f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        command = [sys.executable, "-m", "hit", *words, "--json"]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    [listed] = [row for row in run("experts")["experts"] if row["name"] == "brightness"]
    assert (listed["package"], listed["dim"], listed["licence"], listed["ready"]) == ("hit-brightness", 2, "MIT", True)
    assert run("extract", "data", "--recipe", "recipe.toml", "--workers", "1")["failed"] == []
    [shard] = (data / "features").glob("light-*/*.safetensors")
    values = load_file(shard)["values"]
    assert values.shape == (16, 2)
    assert (values[:, 0] > 0).all()


def test_blocks_marked_to_be_run_do_run(root: Path, tmp_path: Path) -> None:
    """The steps on one's own videos, as README has them but for two steps of training, on a tiny corpus in their place."""
    render_corpus(tmp_path / "my-videos", 12, 0, progress=Silent())
    scripts = [text for text, run in fenced(root / "README.md") if run]
    assert scripts
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for script in scripts:
        quick = re.sub(r"^(hit train .*)$", r"\1 train.steps=2 train.batch=4", script, flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-euc", quick], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert ".mp4" in done.stdout
