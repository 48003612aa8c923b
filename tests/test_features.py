"""Feature folders: what is written is read back, whole or not at all, and revisions never mix."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from hit import features
from hit.errors import UserError
from hit.journal import Entry, Journal
from hit.types import Features
from nearby import here


@dataclass
class _Expert:
    name: str = "toy"
    dim: int = 3
    identity: str = "toy 1"


def _some(rows: int, seed: int = 0, dim: int = 3) -> Features:
    rng = np.random.default_rng(seed)
    starts = np.arange(rows, dtype=np.float32)
    return Features(rng.normal(size=(rows, dim)).astype(np.float32), np.stack([starts, starts + 1], 1).astype(np.float32))


def _same(one: Features, two: Features) -> bool:
    return np.array_equal(one.values, two.values) and np.array_equal(one.times, two.times) and one.texts == two.texts


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.text(min_size=1), st.none() | st.integers(0, 5), max_size=5), max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, shards: list[dict[str, int | None]]) -> None:
    root = tmp_path_factory.mktemp("features")
    folder, truth = features.Folder(root, _Expert()), {}
    for number, shard in enumerate(shards):
        new = {clip: None if rows is None else _some(rows, number) for clip, rows in shard.items() if clip not in truth}
        folder.write(new)
        truth.update(new)
    for reader in (folder, features.Folder(root, _Expert())):
        assert reader.done() == set(truth)
        found = reader.read([*truth, "never written"])
        assert set(found) == {clip for clip, value in truth.items() if value is not None}
        assert all(_same(found[clip], value) for clip, value in truth.items() if value is not None)


_anything = st.text(st.characters(exclude_categories=[]), max_size=8)  # lone surrogates too


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1), st.none() | st.integers(0, 4) | st.lists(_anything, max_size=4), min_size=1, max_size=4)
)
def test_words_are_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, clips: dict[str, int | list[str] | None]
) -> None:
    """None: the expert does not apply; a number: rows without words; a list: a row a string."""
    truth: dict[str, Features | None] = {}
    for clip, kind in clips.items():
        if isinstance(kind, list):
            rows = _some(len(kind))
            truth[clip] = Features(rows.values, rows.times, tuple(kind))
        else:
            truth[clip] = None if kind is None else _some(kind)
    root = tmp_path_factory.mktemp("features")
    features.Folder(root, _Expert()).write(truth)
    found = features.Folder(root, _Expert()).read(truth)
    assert set(found) == {clip for clip, value in truth.items() if value is not None}
    assert all(_same(value, found[clip]) for clip, value in truth.items() if value is not None)
    [shard] = here(features.Folder(root, _Expert()).path).glob("*.safetensors")
    with safe_open(shard, "numpy") as file:
        assert ("texts" in set(file.keys())) == any(isinstance(kind, list) for kind in clips.values()), "old shards have none"


def test_a_text_a_row_or_none() -> None:
    rows = _some(2)
    with pytest.raises(ValueError, match="a text a row, not 1 for 2 rows"):
        Features(rows.values, rows.times, ("one",))


def test_words_that_do_not_fit_their_rows_are_damage(tmp_path: Path) -> None:
    folder, rows = features.Folder(tmp_path, _Expert()), _some(2)
    folder.write({"a": Features(rows.values, rows.times, ("one", "two"))})
    [shard] = here(folder.path).glob("*.safetensors")
    whole = shard.read_bytes()
    for spoiled in (b'[["one,__two"]]_', b'[["one"]]_______', b'{"one": "two"}__', b"[[1, 2, 3]]_____", b'[["one\xff", "w"]]'):
        shard.write_bytes(whole.replace(b'[["one", "two"]]', spoiled.replace(b"_", b" ")))
        with pytest.raises(UserError, match="is damaged"):
            features.Folder(tmp_path, _Expert()).read(["a"])


def test_revisions_never_mix(tmp_path: Path) -> None:
    old, new = _Expert(identity="toy 1"), _Expert(identity="toy 2")
    features.Folder(tmp_path, old).write({"a": _some(2)})
    assert features.Folder(tmp_path, new).done() == set()
    with pytest.raises(UserError, match=r"1 of 1 clips have no features of 'toy'.*run `hit extract`"):
        features.load(tmp_path, {"toy": new}, ["a"])
    about = json.loads(here(features.Folder(tmp_path, old).path / "expert.json").read_text())
    assert about == {"name": "toy", "dim": 3, "identity": "toy 1"}


def test_a_damaged_shard_is_named_with_the_fix(tmp_path: Path) -> None:
    folder = features.Folder(tmp_path, _Expert())
    folder.write({"a": _some(2), "b": _some(1)})
    [shard] = here(folder.path).glob("*.safetensors")
    whole = shard.read_bytes()
    for content in (whole[:-5], whole[:20], b"", b"\xff" * 100, whole.replace(b"ids", b"idx")):
        shard.write_bytes(content)
        with pytest.raises(UserError, match=f"{shard.name}: is damaged.*delete this file"):
            features.Folder(tmp_path, _Expert()).done()


def test_shards_of_another_width_are_refused(tmp_path: Path) -> None:
    features.Folder(tmp_path, _Expert()).write({"a": _some(2)})
    with pytest.raises(UserError, match="do not fit"):
        features.Folder(tmp_path, _Expert(dim=4)).done()


def test_remains_of_a_killed_writer_are_ignored_and_cleaned(tmp_path: Path) -> None:
    folder = features.Folder(tmp_path, _Expert())
    folder.write({"a": _some(2)})
    path = here(folder.path)
    old, new = path / ".x.safetensors.1.part", path / ".y.safetensors.2.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert features.Folder(tmp_path, _Expert()).done() == {"a"}
    folder.write({"b": _some(2)})
    assert not old.exists()
    assert new.exists(), "that one may be another writer's at this moment"


def test_two_writers_keep_each_others_shards(tmp_path: Path) -> None:
    one, two = features.Folder(tmp_path, _Expert()), features.Folder(tmp_path, _Expert())
    one.write({"a": _some(2)})
    two.write({"b": _some(3)})
    one.write({"c": None})
    assert one.done() == two.done() == {"a", "b", "c"}


_FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from hit import features
from hit.errors import UserError
from hit.types import Features
class Expert: name, dim, identity = "toy", 3, "toy 1"
folder = features.Folder(Path(sys.argv[1]), Expert())
folder.write({"a": Features(np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32))})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    folder.write({"b": Features(np.zeros((9999, 3), np.float32), np.zeros((9999, 2), np.float32))})
except UserError as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] in (-1, resource.RLIM_INFINITY)
    run = subprocess.run([sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot be written" in run.stdout
    folder = features.Folder(tmp_path, _Expert())
    assert folder.done() == {"a"}
    assert not list(here(folder.path).glob(".*"))


def test_load_gives_every_expert_in_the_order_asked_for(tmp_path: Path) -> None:
    toy, ear = _Expert(), _Expert("ear", 2, "ear 1")
    features.Folder(tmp_path, toy).write({"a": _some(2), "b": _some(0), "c": _some(1)})
    features.Folder(tmp_path, ear).write({"a": None, "b": _some(4, dim=2), "c": _some(1, dim=2)})
    found = features.load(tmp_path, {"toy": toy, "ear": ear}, ["b", "a"])
    assert list(found) == ["b", "a"]
    assert {clip: sorted(by_name) for clip, by_name in found.items()} == {"b": ["ear", "toy"], "a": ["toy"]}
    assert found["b"]["toy"].values.shape == (0, 3)


def test_clips_known_as_failed_are_left_out(tmp_path: Path) -> None:
    features.Folder(tmp_path, _Expert()).write({"a": _some(2)})
    with pytest.raises(UserError, match="such as 'bad'"):
        features.load(tmp_path, {"toy": _Expert()}, ["a", "bad"])
    journal = Journal(tmp_path / features.JOURNAL)
    journal.write(Entry("bad.mp4", "failed", clips={"bad": "is empty"}), Entry("ü", "failed", clips={"ünïcode": "näh"}))
    assert features.failures(tmp_path) == {"bad": "is empty", "ünïcode": "näh"}
    assert set(features.load(tmp_path, {"toy": _Expert()}, ["a", "bad"])) == {"a"}
    journal.write(Entry("bad.mp4", "done", clips={"another data set's": "is late"}))
    assert set(features.failures(tmp_path)) == {"bad", "ünïcode", "another data set's"}


def test_of_a_clip_that_was_replaced_the_later_features_hold(tmp_path: Path) -> None:
    folder, one, two, three = features.Folder(tmp_path, _Expert()), _some(2), _some(3), _some(4)
    folder.write({"a": one, "b": one}, {"a": "first", "b": "first"})
    folder.write({"a": two, "c": two}, {"a": "second"})
    assert folder.counts() == {"a": 3, "b": 2, "c": 3}
    folder.write({"a": three}, {"a": "first"})
    for reader in (folder, features.Folder(tmp_path, _Expert())):
        assert reader.contents() == {"a": "first", "b": "first", "c": ""}
        assert reader.counts() == {"a": 4, "b": 2, "c": 3}
        assert {clip: len(found.values) for clip, found in reader.read(["a", "b", "c"]).items()} == {"a": 4, "b": 2, "c": 3}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.integers(0, 5), max_size=5), min_size=1, max_size=4))
def test_what_is_mapped_is_what_would_be_loaded(
    tmp_path_factory: pytest.TempPathFactory, shards: list[dict[str, int | None]]
) -> None:
    root, experts = tmp_path_factory.mktemp("features"), {"toy": _Expert(), "other": _Expert("other")}
    for number, shard in enumerate(shards):  # of a clip that comes again the later ones hold
        for name, shift in (("toy", 0), ("other", 9)):
            new = {clip: None if rows is None else _some(rows, number + shift) for clip, rows in shard.items()}
            features.Folder(root, experts[name]).write(new)
    ids = sorted({clip for shard in shards for clip in shard}, reverse=True)
    loaded, mapped = features.load(root, experts, ids), features.mapped(root, experts, ids)
    assert list(mapped.ids) == ids
    assert mapped.seen().tolist() == [any(len(own.values) for own in clip.values()) for clip in loaded.values()]
    for clip, one in zip(loaded.values(), mapped, strict=True):
        assert clip.keys() == one.keys()
        assert all(_same(clip[name], one[name]) for name in clip)
    rows = list(range(0, len(ids), 2))
    assert list(mapped.take(rows).ids) == ids[::2]
    assert [list(clip) for clip in mapped.take(rows)] == [list(clip) for clip in mapped[::2]]


def test_a_mapped_shard_is_read_when_it_is_asked_for_and_never_written(tmp_path: Path) -> None:
    experts = {"toy": _Expert()}
    folder = features.Folder(tmp_path, _Expert())
    folder.write({"a": _some(4)})
    (shard,) = tmp_path.glob("*/*.safetensors")
    before = shard.read_bytes()
    mapped = features.mapped(tmp_path, experts, ["a"])
    mapped[0]["toy"].values[:] = 7  # in this process alone
    assert shard.read_bytes() == before
    values = before.index(_some(4).values.tobytes())
    shard.write_bytes(before[:values] + np.float32(np.nan).tobytes() + before[values + 4 :])
    later = features.mapped(tmp_path, experts, ["a"])
    with pytest.raises(UserError, match=f"{shard.name}: is damaged: .* not finite"):
        later[0]
