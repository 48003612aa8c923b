"""Extraction: one pass a file, resumable at any moment, and what fails is listed and tried again."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hit import content, datasets, extract, features, pool, video, watch
from hit import experts as plugins
from hit.config import ExpertConfig
from hit.errors import UserError
from hit.journal import Entry, Journal
from hit.types import Clip, Expert, Features, Silent
from nearby import here

EXPERTS = {"appearance": ExpertConfig(), "sound": ExpertConfig()}


def dataset(root: Path, count: int) -> datasets.Dataset:
    """Write a data set of small videos, every third without sound."""
    (root / "videos").mkdir(parents=True)
    lines = ["video,caption"]
    for number in range(count):
        rng = np.random.default_rng(number)
        samples = None if number % 3 == 0 else rng.normal(0, 0.1, 16000).astype(np.float32)
        video.write(root / "videos" / f"v{number}.mp4", rng.integers(0, 255, (5, 32, 48, 3), dtype=np.uint8), 5, samples, 16000)
        lines.append(f"v{number}.mp4,film {number}")
    (root / "captions.csv").write_text("\n".join(lines))
    return datasets.read(root)


def found(root: Path, data: datasets.Dataset) -> dict[str, dict[str, Features]]:
    return features.load(root, plugins.load_all(EXPERTS), data.clips)


def equal(one: dict[str, dict[str, Features]], two: dict[str, dict[str, Features]]) -> bool:
    return {clip: set(names) for clip, names in one.items()} == {clip: set(names) for clip, names in two.items()} and all(
        np.array_equal(one[clip][name].values, two[clip][name].values)
        and np.array_equal(one[clip][name].times, two[clip][name].times)
        for clip in one
        for name in one[clip]
    )


class _Watcher(Silent):
    """Progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0.0

    @contextmanager
    def task(self, title: str, total: float | None) -> Iterator["_Watcher"]:  # type: ignore[override]
        self.total, self.steps, self.notes = total, 0.0, []  # of the last task
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.steps += steps
        self.notes += [note] if steps else []


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    return dataset(tmp_path_factory.mktemp("data") / "films", 7)


@pytest.fixture(scope="module")
def truth(data: datasets.Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Features]]:
    """What an undisturbed run yields."""
    root = tmp_path_factory.mktemp("truth")
    report = extract.extract(data, EXPERTS, root, workers=1)
    assert (report.done, report.skipped, report.failed) == (7, 0, [])
    return found(root, data)


def test_every_clip_has_what_applies_to_it(data: datasets.Dataset, truth: dict[str, dict[str, Features]]) -> None:
    assert list(truth) == list(data.clips)
    assert {clip for clip, by_name in truth.items() if "sound" in by_name} == {"v1", "v2", "v4", "v5"}
    experts = plugins.load_all(EXPERTS)
    [media] = video.read(data.clips["v1"].path, [data.clips["v1"]], plugins.wants(experts))
    assert equal({"v1": plugins.run(experts, media)}, {"v1": truth["v1"]})


def test_a_second_run_does_nothing_and_a_new_expert_only_its_own(
    data: datasets.Dataset, truth: dict[str, dict[str, Features]], tmp_path: Path
) -> None:
    watcher = _Watcher()
    report = extract.extract(data, {"appearance": ExpertConfig()}, tmp_path, workers=1, progress=watcher)
    assert (watcher.total, watcher.steps) == (7, 7)
    assert sorted(note.rpartition("  ")[2] for note in watcher.notes) == [f"v{number}.mp4" for number in range(7)]
    assert all("h of video" in note and "x real time" in note for note in watcher.notes)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    report = extract.extract(data, {"appearance": ExpertConfig()}, tmp_path, workers=1)
    assert (report.done, report.skipped) == (0, 7)
    report = extract.extract(data, EXPERTS, tmp_path, workers=2)
    assert (report.done, report.skipped) == (7, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert equal(found(tmp_path, data), truth)
    assert extract.extract(data, EXPERTS, tmp_path).skipped == 7


_RUN = """
import os, sys
from pathlib import Path
from hit import datasets, extract
from hit.config import ExpertConfig
from hit.types import Silent

class Killer(Silent):
    def task(self, title, total):
        return self if title.startswith("Extracting") else Silent()

    def advance(self, steps=1, note=""):
        Killer.left -= steps
        if steps and Killer.left == 0:
            os.kill(os.getpid(), 9)

if __name__ == "__main__":
    Killer.left = int(sys.argv[3])
    extract.SHARD = 2
    experts = {"appearance": ExpertConfig(), "sound": ExpertConfig()}
    extract.extract(datasets.read(Path(sys.argv[1])), experts, Path(sys.argv[2]), workers=2, progress=Killer())
"""


@pytest.mark.parametrize("after", [1, 4, 7])
def test_killed_and_run_again_equals_undisturbed(
    data: datasets.Dataset, truth: dict[str, dict[str, Features]], tmp_path: Path, after: int
) -> None:
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    root = tmp_path / "features"
    run = subprocess.run([sys.executable, str(script), str(data.root), str(root), str(after)], check=False)
    assert run.returncode == -signal.SIGKILL
    kept = sum(len(features.Folder(root, expert).done()) for expert in plugins.load_all(EXPERTS).values())
    assert kept < 2 * 7
    assert kept >= 2 * (after - 2)
    report = extract.extract(data, EXPERTS, root, workers=1)
    assert report.done + report.skipped == 7
    assert equal(found(root, data), truth)


def test_what_fails_is_listed_and_tried_again(tmp_path: Path) -> None:
    data = dataset(tmp_path / "films", 4)
    good = here(data.clips["v1"].path).read_bytes()
    here(data.clips["v1"].path).write_bytes(b"")
    here(data.clips["v2"].path).write_bytes(b"no video")
    root = tmp_path / "features"
    Journal(root / features.JOURNAL).write(Entry("x", "failed", clips={"of another data set": "is empty"}))
    report = extract.extract(data, EXPERTS, root, workers=1)
    assert (report.done, report.skipped) == (2, 0)
    assert [clip for clip, _ in report.failed] == ["v1", "v2"]
    assert report.failed[0][1] == "is empty"
    assert "not a readable video" in report.failed[1][1]
    assert set(found(root, data)) == {"v0", "v3"}
    assert set(features.failures(root)) == {"v1", "v2", "of another data set"}
    here(data.clips["v1"].path).write_bytes(good)
    report = extract.extract(data, EXPERTS, root, workers=1)
    assert (report.done, report.skipped, [clip for clip, _ in report.failed]) == (1, 2, ["v2"])
    assert set(features.failures(root)) == {"v1", "v2", "of another data set"}, "that v1 is done, its features say"
    assert set(found(root, data)) == {"v0", "v1", "v3"}


def _kill_on_v1(job: extract.Job, experts: Mapping[str, Expert], beat: Callable[[float], None]) -> watch.Plan:
    if job.path.stem == "v1":
        os.kill(os.getpid(), signal.SIGKILL)
    return _PLAN(job, experts, beat)


def _hang_on_v1(job: extract.Job, experts: Mapping[str, Expert], beat: Callable[[float], None]) -> watch.Plan:
    if job.path.stem == "v1":
        signal.pause()
    return _PLAN(job, experts, beat)


_PLAN = extract._plan


@pytest.mark.parametrize(("plan", "why"), [(_kill_on_v1, "died (SIGKILL)"), (_hang_on_v1, "no progress for 5 s")])
def test_a_file_that_kills_or_hangs_its_worker_is_listed(
    data: datasets.Dataset,
    truth: dict[str, dict[str, Features]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plan: object,
    why: str,
) -> None:
    monkeypatch.setattr(extract, "_plan", plan)
    report = extract.extract(data, EXPERTS, tmp_path, workers=1, limits=pool.Limits(silence=5))
    assert report.done == 6
    [(clip, reason)] = report.failed
    assert (clip, why in reason) == ("v1", True), reason
    rest = datasets.Dataset(data.root, {name: clip for name, clip in data.clips.items() if name != "v1"}, {}, {})
    assert equal(found(tmp_path, rest), {name: by_name for name, by_name in truth.items() if name != "v1"})
    entries = {Path(name).stem: entry for name, entry in Journal(report.journal).read().items()}
    assert {name for name, entry in entries.items() if entry.status == "failed"} == {"v1"}
    assert entries["v1"].clips == {"v1": reason}
    assert entries["v2"].duration == pytest.approx(1.0)
    assert entries["v2"].seconds > 0


def test_a_clip_for_which_nothing_decodes_is_listed(data: datasets.Dataset, tmp_path: Path) -> None:
    clip = data.clips["v1"]
    beyond = type(clip)("late", clip.video, clip.path, 50.0, 60.0)
    wide = datasets.Dataset(data.root, {clip.id: clip, "late": beyond}, {}, {})
    report = extract.extract(wide, EXPERTS, tmp_path, workers=1)
    assert (report.done, report.failed) == (1, [("late", "nothing of it could be decoded")])


def test_an_expert_that_does_not_load_stops_at_once(data: datasets.Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no kind 'smell'"):
        extract.extract(data, {"smell": ExpertConfig()}, tmp_path)
    assert not list(tmp_path.iterdir())


# -- known by content


def _seen(root: Path, data: datasets.Dataset) -> tuple[int, int, int]:
    report = extract.extract(data, {"appearance": ExpertConfig()}, root, workers=1)
    return report.done, report.skipped, len(report.failed)


def _looked_at(root: Path) -> int:
    """Return how often files have been looked at."""
    lines = (root / features.JOURNAL).read_text().splitlines()
    return sum(json.loads(line)["status"] != "pending" for line in lines)


def test_a_video_that_is_renamed_or_lies_there_twice_is_looked_at_once(tmp_path: Path) -> None:
    data, root = dataset(tmp_path / "films", 3), tmp_path / "features"
    twin = data.root / "videos" / "twin.mp4"
    shutil.copyfile(here(data.clips["v1"].path), twin)
    (data.root / "captions.csv").write_text("video,caption\n" + "".join(f"{name},x\n" for name in ("v0", "v1", "v2", "twin")))
    data = datasets.read(data.root)
    assert _seen(root, data) == (4, 0, 0)
    assert _looked_at(root) == 3
    read = features.load(root, plugins.load_all({"appearance": ExpertConfig()}), data.clips)
    assert equal({"x": read["twin"]}, {"x": read["v1"]})

    here(data.clips["v2"].path).rename(data.root / "videos" / "new name.mp4")
    (data.root / "captions.csv").write_text("video,caption\nnew name,x\nv0,y\n")
    moved = datasets.read(data.root)
    assert _seen(root, moved) == (0, 2, 0)
    assert _looked_at(root) == 3
    again = features.load(root, plugins.load_all({"appearance": ExpertConfig()}), moved.clips)
    assert equal({"x": again["new name"]}, {"x": read["v2"]})


def test_a_video_that_is_replaced_is_looked_at_again_and_one_that_is_touched_is_not(tmp_path: Path) -> None:
    data, root = dataset(tmp_path / "films", 2), tmp_path / "features"
    expert = plugins.load_all({"appearance": ExpertConfig()})
    assert _seen(root, data) == (2, 0, 0)
    before = features.load(root, expert, data.clips)
    os.utime(here(data.clips["v0"].path))
    assert _seen(root, data) == (0, 2, 0)
    here(data.clips["v1"].path).write_bytes(here(data.clips["v0"].path).read_bytes())
    assert _seen(root, data) == (0, 2, 0), "this content is known"
    after = features.load(root, expert, data.clips)
    assert equal(after, {"v0": before["v0"], "v1": before["v0"]})
    video.write(here(data.clips["v1"].path), np.full((5, 32, 48, 3), 99, np.uint8), 5)
    assert _seen(root, data) == (1, 1, 0)
    here(data.clips["v1"].path).with_suffix(".srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    assert _seen(root, data) == (1, 1, 0), "its subtitles are part of it"


def test_of_clips_with_the_same_content_each_has_its_own(tmp_path: Path) -> None:
    data, root = dataset(tmp_path / "films", 3), tmp_path / "features"
    for name in ("v1", "v2"):
        here(data.clips[name].path).write_bytes(here(data.clips["v0"].path).read_bytes()[:100])
    report = extract.extract(data, EXPERTS, root, workers=1)
    assert [clip for clip, _ in report.failed] == ["v1", "v2"], "broken alike"
    assert set(found(root, data)) == {"v0"}, "both are known as failed"
    assert [entry.status for entry in Journal(report.journal).read().values()] == ["done", "failed", "failed"]

    for name in ("v1", "v2"):
        here(data.clips[name].path).write_bytes(here(data.clips["v0"].path).read_bytes())
    motion = {"motion": ExpertConfig()}
    expert = plugins.load("motion", ExpertConfig())
    mine = Features(np.ones((1, expert.dim), np.float32), np.array([[0, 1]], np.float32))
    features.Folder(root, expert).write({"v1": mine})  # imported: made from who knows what
    report = extract.extract(data, EXPERTS | motion, root, workers=1)
    assert report.failed == []
    read = features.load(root, plugins.load_all(EXPERTS | motion), data.clips)
    assert equal({"x": {"motion": read["v1"]["motion"]}}, {"x": {"motion": mine}})
    assert equal({"x": read["v0"]}, {"x": read["v2"]})
    assert not np.array_equal(read["v2"]["motion"].values, mine.values)


def test_what_two_workers_of_a_cluster_make_of_the_same_content_is_there_once(
    data: datasets.Dataset, truth: dict[str, dict[str, Features]], tmp_path: Path
) -> None:
    extract.extract(data, EXPERTS, tmp_path, workers=1)
    shards, journal, clip = set(tmp_path.rglob("*.safetensors")), Journal(tmp_path / features.JOURNAL).read(), data.clips["v1"]
    [entry] = [entry for name, entry in journal.items() if Path(name) == clip.path]
    other = {name: Features(found.values + 1, found.times) for name, found in truth["v1"].items()}
    for digest, count in ((entry.content, 0), ("of another content", 2)):
        keeper = extract._Keeper(tmp_path, plugins.load_all(EXPERTS), 1 << 20)
        job = extract.Job(clip.path, ((clip, tuple(EXPERTS)),), content.look(clip.path), digest, entry.file)
        keeper.add(job, ("v1", 0.0, other))
        keeper.end(job, watch.End(video.probe(clip.path)))
        [told] = keeper.flush()
        assert (told.file, told.status, told.content) == (entry.file, "done", digest)
        assert len(set(tmp_path.rglob("*.safetensors")) - shards) == count
        assert equal({"v1": found(tmp_path, data)["v1"]}, {"v1": other if count else truth["v1"]})
    with pytest.raises(UserError, match="yields more than"):
        extract._Keeper(tmp_path, plugins.load_all(EXPERTS), 16).add(job, ("v1", 0.0, other))


def test_a_worker_takes_a_copy_of_another_time_and_no_other_content(data: datasets.Dataset, tmp_path: Path) -> None:
    clip = data.clips["v1"]
    path = Path(shutil.copy(here(clip.path), tmp_path / "v1.mp4"))
    look, digest = content.look(path), hashlib.sha256(path.read_bytes()).hexdigest()
    job = extract.Job(path, ((dataclasses.replace(clip, path=path), tuple(EXPERTS)),), look, digest, "videos:v1.mp4")
    keeper = extract._Keeper(tmp_path / "features", plugins.load_all(EXPERTS), 1 << 20)
    info, seen = (
        video.probe(path),
        {
            name: Features(np.zeros((1, one.dim), np.float32), np.array([[0, 1]], np.float32))
            for name, one in plugins.load_all(EXPERTS).items()
        },
    )
    for change, status in ((path.touch, "done"), (lambda: path.write_bytes(bytes(look.size)), "failed")):
        os.utime(path, ns=(1, 1))
        change()
        keeper.add(job, (clip.id, 0.0, seen))
        keeper.end(job, watch.End(info))
        [told] = keeper.flush()
        assert (told.status, told.mtime_ns) == (status, look.mtime_ns)


def test_what_workers_write_elsewhere_has_failed(data: datasets.Dataset, tmp_path: Path) -> None:
    experts = plugins.load_all(EXPERTS)
    folders = {name: features.Folder(tmp_path, expert) for name, expert in experts.items()}
    ledger, look = extract._Ledger(folders, Journal(tmp_path / features.JOURNAL)), content.Look(1, 1)
    jobs = [extract.Job(clip.path, ((clip, tuple(EXPERTS)),), look, name, name) for name, clip in data.clips.items()]
    for job in jobs:
        ledger.add(job, Entry(job.name, "done"))
        ledger.end(job, watch.End(None))
    for folder in folders.values():
        folder.write({"v0": None}, {"v0": extract._key("v0", data.clips["v0"])})
    ledger.miss(jobs)
    assert set(ledger.failed) == set(data.clips) - {"v0"} and "shared by all machines" in ledger.failed["v1"]
    told = Journal(tmp_path / features.JOURNAL).read()
    assert {name: entry.status for name, entry in told.items()} == {
        name: "done" if name == "v0" else "failed" for name in data.clips
    }


def _replace_it(job: extract.Job, experts: Mapping[str, Expert], beat: Callable[[float], None]) -> watch.Plan:
    video.write(here(job.path), np.full((5, 32, 48, 3), 99, np.uint8), 5)
    return _PLAN(job, experts, beat)


def test_a_file_that_is_replaced_while_it_is_read_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, root = dataset(tmp_path / "films", 1), tmp_path / "features"
    monkeypatch.setattr(extract, "_plan", _replace_it)
    assert extract.extract(data, EXPERTS, root, workers=1).failed == [("v0", "changed while it was read")]
    monkeypatch.undo()
    assert extract.extract(data, EXPERTS, root, workers=1).failed == []


def test_a_clip_whose_times_are_changed_is_looked_at_again(tmp_path: Path) -> None:
    data, root = dataset(tmp_path / "films", 1), tmp_path / "features"
    clip = data.clips["v0"]
    for span, expected in (((0.0, 0.5), (1, 0, 0)), ((0.0, 0.5), (0, 1, 0)), ((0.5, 1.0), (1, 0, 0))):
        part = dataclasses.replace(clip, start=span[0], end=span[1])
        assert _seen(root, datasets.Dataset(data.root, {"v0": part}, {}, {})) == expected
    read = features.load(root, plugins.load_all({"appearance": ExpertConfig()}), ["v0"])
    assert read["v0"]["appearance"].times[0, 0] == 0.5


def test_features_of_unknown_origin_stay(tmp_path: Path) -> None:
    data, root = dataset(tmp_path / "films", 1), tmp_path / "features"
    expert = plugins.load("appearance", ExpertConfig())
    mine = Features(np.ones((1, expert.dim), np.float32), np.array([[0, 1]], np.float32))
    features.Folder(root, expert).write({"v0": mine})
    assert _seen(root, data) == (0, 1, 0)
    assert equal(features.load(root, {"appearance": expert}, ["v0"]), {"v0": {"appearance": mine}})


# -- long clips


@given(st.floats(0, 50), st.floats(0.1, 2000), st.floats(-5, 5))
def test_stretches_cover_a_clip_and_none_is_a_scrap(start: float, length: float, beyond: float) -> None:
    clip = Clip("a", "a", Path("a"), start, start + length if beyond >= 0 else float("inf"))
    found = extract.stretches(clip, start + length + beyond * (beyond >= 0))
    assert (found[0].start, found[-1].end) == (clip.start, clip.end)
    assert all(one.end == two.start for one, two in pairwise(found))
    assert all(one.end - one.start == pytest.approx(extract.STRETCH) for one in found[:-1])
    last = start + length - found[-1].start
    assert len(found) == 1 or last + 1e-6 >= extract.REST
    assert last <= extract.STRETCH + extract.REST + 1e-6


def test_a_clip_seen_in_stretches_has_the_rows_of_one_seen_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "long.mp4"
    images = rng.integers(0, 255, (45, 32, 48, 3), dtype=np.uint8)
    video.write(path, images, 5, rng.normal(0, 0.1, 9 * 16000).astype(np.float32), 16000)
    data = datasets.loose(tmp_path, [path])
    whole = extract.extract(data, EXPERTS, tmp_path / "whole", workers=1)
    assert whole.failed == []
    monkeypatch.setattr(extract, "_plan", _short)
    assert extract.extract(data, EXPERTS, tmp_path / "parts", workers=1).failed == []
    one, two = found(tmp_path / "whole", data)[str(path)], found(tmp_path / "parts", data)[str(path)]
    assert np.array_equal(one["appearance"].times, two["appearance"].times)
    assert np.allclose(one["sound"].times, two["sound"].times, atol=0.032), "a window that would reach into the next stretch"
    assert np.array_equal(one["appearance"].values, two["appearance"].values)
    assert len(two["sound"].values) == 18


def _short(job: extract.Job, experts: Mapping[str, Expert], beat: Callable[[float], None]) -> watch.Plan:
    extract.STRETCH, extract.REST = 4.0, 0.5  # in the worker process
    planned = _PLAN(job, experts, beat)
    assert [(clip.start, clip.end) for clip in planned.clips] == [(0, 4), (4, 8), (8, float("inf"))]
    return planned
