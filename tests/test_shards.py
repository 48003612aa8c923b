"""Features by URL: folders of shards and journals in an object store are what they are on a disk; damage is told."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from conftest import Run
from hit import datasets, features, objects, splits, video
from hit import experts as plugins
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.features import Folder
from hit.journal import Entry, Journal
from hit.types import Far, Features, Where
from s3 import S3, Gate, gate, moto, s3

__all__ = ["gate", "moto", "s3"]  # fixtures


@dataclass
class Toy:
    name: str = "toy"
    dim: int = 3
    identity: str = "toy 1"


def some(rows: int, seed: int = 0, texts: bool = False) -> Features:
    rng = np.random.default_rng(seed)
    starts = np.arange(rows, dtype=np.float32)
    times = np.stack([starts, starts + 1], 1).astype(np.float32)
    return Features(rng.normal(size=(rows, 3)).astype(np.float32), times, tuple(f"ü{i}" for i in range(rows)) if texts else None)


def told(found: dict[str, Features]) -> dict[str, object]:
    return {clip: (one.values.tolist(), one.times.tolist(), one.texts) for clip, one in found.items()}


def all_of(root: Where) -> list[object]:
    folder = Folder(root, Toy())
    mapped = [told(dict(clip)) for clip in features.mapped(root, {"toy": Toy()}, "abcd")]
    return [folder.done(), folder.contents(), folder.counts(), told(folder.read([*"abcdx"])), mapped]


def test_a_folder_is_the_same_on_a_disk_and_in_a_store(s3: S3, tmp_path: Path) -> None:
    roots: list[Where] = [tmp_path / "features", Far(f"{s3.bucket()}/data/features")]
    for root in roots:
        one, other = Folder(root, Toy()), Folder(root, Toy())
        one.write({"a": some(2), "b": None, "c": some(0)}, {"a": "film 0 1"})
        other.write({"a": some(3, 1, texts=True), "d": some(1)}, {"a": "film 2"})  # a later generation
        one.write({})
    here, there = map(all_of, roots)
    assert here == there and here[0] == {*"abcd"} and here[2] == {"a": 3, "b": None, "c": 0, "d": 1}
    with pytest.raises(UserError, match="its revision is 'toy 2', there are features of 'toy 1'"):
        features.load(roots[1], {"toy": Toy(identity="toy 2")}, ["a"])


def test_no_more_of_a_shard_is_fetched_than_is_asked_for(gate: Gate, moto: S3) -> None:
    root = Far(f"{moto.bucket()}/features")
    Folder(root, Toy()).write({f"clip {i}": some(5000, i) for i in range(20)})  # 2 MB
    before = gate.got
    assert len(Folder(root, Toy()).done()) == 20 and Folder(root, Toy()).counts()["clip 3"] == 5000
    assert gate.got - before < 400_000
    assert len(Folder(root, Toy()).read(["clip 7"])["clip 7"].values) == 5000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (100).to_bytes(8, "little") + b"{",
        (4).to_bytes(8, "little") + b"null",
    ],
)
def test_damage_is_told(s3: S3, data: bytes) -> None:
    root = Far(f"{s3.bucket()}/features")
    folder = Folder(root, Toy())
    objects.folder(str(folder.path)).write("x.safetensors", data)
    with pytest.raises(UserError, match=r"x\.safetensors: is damaged: .*delete this file and run `hit extract` again"):
        folder.done()


def test_a_shard_that_breaks_off_is_told(s3: S3) -> None:
    root = Far(f"{s3.bucket()}/features")
    folder = Folder(root, Toy())
    folder.write({"a": some(50)})
    where = objects.folder(str(folder.path))
    [name] = [one.name for one in where.list() if one.name.endswith(".safetensors")]
    where.write(name, where.read(name)[:-100])
    with pytest.raises(UserError, match="is damaged"):
        Folder(root, Toy()).read(["a"])


# -- journals


def test_a_journal_in_a_store_says_what_one_on_a_disk_says(s3: S3, tmp_path: Path) -> None:
    store = f"{s3.bucket()}/features/journal.jsonl"
    journals = [Journal(tmp_path / "journal.jsonl"), Journal(Far(store))]
    entries = [Entry(f"film {i % 5}", "failed" if i % 2 else "done", f"reason {i}") for i in range(70)]
    for journal in journals:
        for entry in entries[:68]:
            journal.write(entry)
        journal.tidy()
        journal.write(*entries[68:])
        journal.write()
    assert list(journals[0].entries()) == list(journals[1].entries()) == entries
    assert journals[0].read() == journals[1].read()
    assert len(list(objects.folder(store).list())) == 2
    assert list(Journal(Far(f"{store}/none")).entries()) == []


# -- data sets


def test_where_a_data_sets_features_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert features.home(tmp_path) == tmp_path / "features"
    (tmp_path / "hit.toml").write_text('[roots]\ndata = "s3://bucket/data/"\n')
    monkeypatch.setenv("HIT_CONFIG", str(tmp_path / "hit.toml"))
    features.settle(tmp_path, tmp_path / "elsewhere")  # on this machine: it stays what a command was told
    assert not (tmp_path / "features.url").exists()
    features.settle(tmp_path, Far("s3://bucket/data/msrvtt"))
    assert (tmp_path / "features.url").read_text() == "data:msrvtt\n"
    assert features.home(tmp_path) == Far("s3://bucket/data/msrvtt")
    for text in ("", "relative", "data:../x"):
        (tmp_path / "features.url").write_text(text)
        with pytest.raises(UserError, match=r"no place of features|no path in the root"):
            features.home(tmp_path)
    (tmp_path / "own" / "features").mkdir(parents=True)
    features.settle(tmp_path / "own", Far("s3://bucket/data/msrvtt"))
    assert features.home(tmp_path / "own") == tmp_path / "own" / "features"


def test_a_data_set_whose_videos_and_features_are_in_a_store(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hit: Run
) -> None:
    bucket, rng = s3.bucket(), np.random.default_rng(0)
    for number in range(2):
        path = tmp_path / f"v{number}.mp4"
        video.write(path, rng.integers(0, 255, (10, 32, 48, 3), dtype=np.uint8), 5)
        objects.folder(bucket).upload(f"films/v{number}.mp4", path)
    (tmp_path / "hit.toml").write_text(f'[roots]\nfilms = "{bucket}/films"\n')
    monkeypatch.setenv("HIT_CONFIG", str(tmp_path / "hit.toml"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "clips.csv").write_text(
        f"id,video,start,end\none,films:v0.mp4,0,1\ntwo,films:v0.mp4,1,\nthree,{bucket}/films/v1.mp4,,\n"
    )
    (data / "captions.csv").write_text("clip,caption,split\none,a,train\ntwo,b,train\nthree,c,val\n")
    read = datasets.read(data)
    assert [str(clip.path) for clip in read.clips.values()] == [f"{bucket}/films/v{i}.mp4" for i in (0, 0, 1)]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[experts.appearance]\n")
    words = ("extract", data, "--out", f"{bucket}/features", "--recipe", recipe, "--workers", 1, "--json")
    done = hit(*words)
    assert done.returncode == 0, done.stderr
    assert {key: json.loads(done.stdout)[key] for key in ("done", "skipped", "failed")} == {"done": 3, "skipped": 0, "failed": []}
    assert (data / "features.url").read_text() == f"{bucket}/features\n" and not (data / "features").exists()
    experts = plugins.load_all({"appearance": ExpertConfig()})
    learn, held_out = splits.load(read, "train", experts), splits.load(read, "val", experts)
    assert (learn.ids, held_out.ids) == (["one", "two"], ["three"])
    entries = list(Journal(Far(f"{bucket}/features/journal.jsonl")).read())
    assert sorted(entries) == ["films:v0.mp4", "films:v1.mp4"]
    again = hit("extract", data, "--recipe", recipe, "--json")  # where its features are, it says itself
    assert again.returncode == 0 and json.loads(again.stdout)["skipped"] == 3
    for name, complaint in (
        ("films:../x.mp4", "no path in the root films"),
        ("../x.mp4", "not a path inside the data set's folder"),
    ):
        (data / "clips.csv").write_text(f"id,video,start,end\none,{name},0,1\n")
        with pytest.raises(UserError, match=complaint):
            datasets.read(data)
