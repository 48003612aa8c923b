"""docs/tutorial.md, typed as it stands on one machine and on a little cluster: only hit.toml differs, and the answers are equal.

The cluster: Ray's head and a node on hosts of their own; PostgreSQL, Milvus Lite's server and an S3, each by TCP.
"""

import io
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import netns
import s3
from hit import config, datasets, experts, extract, features, objects, train
from hit.cli import app
from hit.deployment import VARIABLE
from hit.render import render_corpus
from hit.types import Far, Silent, Where
from milvus_server import Server
from postgres import listening
from ray_cluster import HIT, Cluster, ended, on_hosts
from test_docs import fenced

pytest.importorskip("ray")
Typed = Mapping[str, dict[str, Any]]  # what each command said, by the command
CLIPS = 12  # the least that a corpus has
SAME = 1e-5  # of scores: the engines add up in another order


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the tutorial begins with: videos, and a model."""
    folder = tmp_path_factory.mktemp("tutorial")
    render_corpus(folder / "my-videos", CLIPS, 0, progress=Silent())
    data = datasets.read(folder / "my-videos")
    recipe = config.load("tiny", [f"data.path={data.root}", "train.steps=2", "train.batch=2", "train.threads=1"])
    extract.extract(data, recipe.experts or experts.DEFAULT, workers=1)
    train.train(recipe, folder / "my-model", Silent(), page=False)
    return folder


def typed(root: Path, run: Callable[[list[str]], str]) -> Typed:
    """Type the tutorial's lines."""
    lines = [line for text, marked in fenced(root / "docs" / "tutorial.md") if marked for line in text.splitlines() if line]
    assert len(lines) >= 7
    said = {}
    for line in lines:
        words = shlex.split(line)[1:]
        said[" ".join(words[: 2 if words[0] == "library" else 1])] = json.loads(run([*words, "--json"]).splitlines()[-1])
    return said


def seen(place: Where) -> dict[str, Any]:
    """Return the features that lie in a folder, by expert and clip, to the byte."""
    found: dict[str, Any] = {}
    for name, expert in experts.load_all(experts.DEFAULT).items():
        kept = features.Folder(place, expert)
        found[name] = {clip: (one.values.tobytes(), one.times.tobytes()) for clip, one in kept.read(kept.done()).items()}
    return found


@contextmanager
def one_machine(things: Path, folder: Path) -> Iterator[Callable[[list[str]], str]]:
    roots = {"videos": str(things / "my-videos" / "videos"), "features": str(folder / "features")}
    (folder / "features").mkdir()
    (folder / "hit.toml").write_text(tomli_w.dumps({"roots": roots}))

    os.chdir(folder)

    def run(words: list[str]) -> str:
        with redirect_stdout(io.StringIO()) as out:
            app(words, standalone_mode=False)
        return out.getvalue()

    yield run


@contextmanager
def little_cluster(things: Path, folder: Path) -> Iterator[tuple[Callable[[list[str]], str], Cluster, str]]:
    with ExitStack() as stack:
        hosts = stack.enter_context(netns.hosts(2))
        here = netns.bridge_ip(hosts[0])
        postgres = stack.enter_context(listening(here))
        milvus = Server(folder / "milvus", here).start()
        stack.callback(milvus.kill)
        store = stack.enter_context(s3.server(here))
        bucket = store.bucket("tutorial")
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        s3.use(store, patch)
        made = stack.enter_context(on_hosts(hosts, store.env))  # they have the store's keys, as a cluster's machines have
        videos = objects.folder(f"{bucket}/videos")
        own = things / "my-videos" / "videos"
        for path in own.rglob("*.mp4"):
            videos.upload(path.relative_to(own).as_posix(), path)
        table = {
            "pool": made.where,
            "library": {"database": postgres.url("postgres"), "store": milvus.uri, "objects": f"{bucket}/library"},
            "roots": {"videos": f"{bucket}/videos", "features": f"{bucket}/features"},
        }
        (folder / "hit.toml").write_text(tomli_w.dumps(table))
        os.chdir(folder)  # a driver's, and so its workers'

        def run(words: list[str]) -> str:
            return ended(made.drive(HIT, *words, **{VARIABLE: str(folder / "hit.toml")}))[0]

        yield run, made, bucket


def test_the_same_words_do_the_same_on_one_machine_and_on_many(
    root: Path, things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, elsewhere = (tmp_path / name for name in ("one", "many", "joined"))
    for folder in (here, there, elsewhere):
        folder.mkdir()
        (folder / "my-model").symlink_to(things / "my-model")
    monkeypatch.chdir(tmp_path)
    with one_machine(things, here) as run:
        single = typed(root, run)
    with little_cluster(things, there) as (run, made, bucket):
        many = typed(root, run)
        assert seen(Far(f"{bucket}/features")) == seen(here / "features")
        os.chdir(elsewhere)  # another machine, which has a hit.toml and nothing else
        joined = json.loads(run(["search", "my-library", "a red ball", "--json"]).splitlines()[-1])
        made.nodes[0].kill()
    for key in ("videos", "segments", "added", "failed"):
        assert many["index"][key] == single["index"][key], key
    assert single["index"]["added"] == CLIPS
    for answer in (many["search"], joined):
        both = list(zip(answer["hits"], single["search"]["hits"], strict=True))
        assert both
        for one, other in both:
            assert one["clip_id"] == other["clip_id"]
            assert one["score"] == pytest.approx(other["score"], abs=SAME)
    assert single["library verify"]["sound"] and many["library verify"]["sound"]
    for kind in ("doctor", "library backup"):
        assert set(many[kind]) == set(single[kind]), kind
    assert (there / "my-library.tar").stat().st_size > 0
    left = [path.relative_to(there) for path in (there / "my-library").rglob("*.mp4")]
    assert left == [], "no video was copied to the machine that gave the commands"
