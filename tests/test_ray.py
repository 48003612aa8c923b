"""The pool on a Ray cluster of three hosts: the same results as on one machine, whatever is lost meanwhile."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hit
from hit import datasets, extract, features
from hit import experts as plugins
from hit.config import ExpertConfig
from hit.journal import Journal
from hit.library import Library
from library_helpers import dump, good_videos
from ray_cluster import HIT, Cluster, cluster, ended, until
from toy import PLUGIN, ToyEncoder, render

pytest.importorskip("ray")
COLOUR = {"colour": ExpertConfig()}


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))


@pytest.fixture(scope="module")
def ray() -> Iterator[Cluster]:
    with cluster(2) as made:
        yield made


def films(root: Path, names: list[str]) -> datasets.Dataset:
    """Write a data set of small videos, of which no two are the same; the gate is closed."""
    for number, name in enumerate(names):
        colours = ["red", "green", "blue"]
        render(root / "videos" / f"{name}.mp4", [colours[number % 3]], seconds=0.5 + number / 10)
    (root / "captions.csv").write_text("video,caption\n" + "".join(f"{name}.mp4,x\n" for name in names))
    options = {"diary": str(root / "diary"), "gate": str(root / "gate"), "hold": 0.0}
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    (root / "experts.toml").write_text("[experts.colour.options]\n" + "\n".join(lines))
    return datasets.read(root)


def seen(data: datasets.Dataset) -> Counter[str]:
    """Return how often each clip was looked at."""
    diary = data.root / "diary"
    return Counter(diary.read_text().splitlines() if diary.exists() else ())


def content(root: Path, data: datasets.Dataset) -> dict[str, Any]:
    """Return features to the byte."""
    read = features.load(root, plugins.load_all(COLOUR), data.clips)
    return {
        clip: (found["colour"].values.tobytes(), found["colour"].times.tobytes(), found["colour"].texts)
        for clip, found in read.items()
    }


def truth(data: datasets.Dataset, root: Path) -> dict[str, Any]:
    """Return what the local pool makes of it."""
    kept, name = data.root / "gate", data.root / "diary"
    before = name.read_text() if name.exists() else ""
    kept.touch()
    extract.extract(data, data.experts, root, workers=1)
    kept.unlink()
    name.write_text(before)
    return content(root, data)


def test_what_comes_of_it_is_what_comes_of_the_local_pool(ray: Cluster, tmp_path: Path) -> None:
    data = films(tmp_path / "films", ["a", "b", "talking", "puzzling", "deadly", "c", "d"])
    (data.root / "videos" / "b.mp4").write_bytes(b"no video")
    local = extract.extract(data, data.experts, tmp_path / "local", workers=2)
    process = ray.drive(HIT, "extract", data.root, "--out", tmp_path / "far", "--pool", ray.where, "--json")
    said = json.loads(ended(process)[0])
    assert (said["done"], said["skipped"]) == (local.done, local.skipped) == (4, 0)
    reasons = {one["clip"]: one["reason"] for one in said["failed"]}
    assert list(reasons) == [clip for clip, _ in local.failed] == ["b", "deadly", "puzzling"]
    assert {clip: reasons[clip] for clip in ("b", "puzzling")} == {clip: why for clip, why in local.failed if clip != "deadly"}
    assert "worker process died" in reasons["deadly"]
    assert content(tmp_path / "far", data) == content(tmp_path / "local", data)
    assert content(tmp_path / "far", data)["talking"][2], "it has texts"
    entries = [Journal(tmp_path / name / features.JOURNAL).read() for name in ("local", "far")]
    noted, far = ({name: (e.status, e.content, e.size) for name, e in one.items()} for one in entries)
    assert noted == far
    (tmp_path / "hit.toml").write_text(f'pool = "{ray.where}"')
    process = ray.drive(HIT, "extract", data.root, "--out", tmp_path / "far", "--json", HIT_CONFIG=str(tmp_path / "hit.toml"))
    again = json.loads(ended(process)[0])
    assert (again["done"], again["skipped"]) == (0, 4)


INDEX = """
import sys
from pathlib import Path
from hit.library import Library
from toy import ToyEncoder
with Library.create(Path(sys.argv[1]), encoder=ToyEncoder()) as library:
    library.pool = sys.argv[3]
    print(library.index([sys.argv[2]]).to_json())
"""


def test_a_library_that_is_indexed_on_a_cluster_is_the_same(ray: Cluster, tmp_path: Path) -> None:
    good_videos(tmp_path / "films")
    (tmp_path / "films" / "text.mp4").write_text("no video")
    with Library.create(tmp_path / "local", encoder=ToyEncoder()) as library:
        library.index([tmp_path / "films"], workers=1)
    ended(ray.drive(INDEX, tmp_path / "far", tmp_path / "films", ray.where))
    assert dump(tmp_path / "far", ToyEncoder()) == dump(tmp_path / "local", ToyEncoder())


ELSEWHERE = """
import sys
import hit
from hit.errors import UserError
from hit import pool
if sys.argv[2] == "hit":
    hit.__version__ = "99.1"
else:
    import ray
    ray.__version__ = "2.1.0"
try:
    print(list(pool.run(str, [1], 1, where=sys.argv[1])))
except UserError as error:
    print(error)
"""


def test_other_versions_are_named(ray: Cluster) -> None:
    of_hit = ended(ray.drive(ELSEWHERE, ray.where, "hit"))[0]
    assert f"it has hit-video {hit.__version__}, and this machine 99.1" in of_hit
    of_ray = ended(ray.drive(ELSEWHERE, ray.where, "ray"))[0]
    assert "its versions are not those here: Ray 2" in of_ray and "Ray 2.1.0" in of_ray


def test_machines_that_are_lost_and_come_cost_no_file_anything(ray: Cluster, tmp_path: Path) -> None:
    data = films(tmp_path / "films", [f"waiting {number}" for number in range(24)])  # more than a worker draws ahead
    expected = truth(data, tmp_path / "local")
    one, two = ray.nodes
    process = ray.drive(HIT, "extract", data.root, "--out", tmp_path / "far", "--pool", ray.where, "--json")
    until(lambda: seen(data).total() == 2, process)  # both nodes are at work
    one.kill()
    ray.begin(one)
    until(lambda: seen(data).total() == 3, process)  # it is back
    two.cut()
    (data.root / "gate").touch()
    said = json.loads(ended(process)[0])
    assert (said["done"], said["failed"]) == (24, [])
    assert content(tmp_path / "far", data) == expected
    two.kill()
    two.join()


def test_a_run_whose_head_is_lost_ends_in_a_line_and_is_gone_on_with(ray: Cluster, tmp_path: Path) -> None:
    data = films(tmp_path / "films", [*(f"film {number}" for number in range(20)), "waiting"])
    expected = truth(data, tmp_path / "local")
    words = ("extract", data.root, "--out", tmp_path / "far", "--pool", ray.where, "--json")
    process = ray.drive(HIT, *words)
    folder = features.Folder(tmp_path / "far", plugins.load_all(COLOUR)["colour"])
    until(lambda: seen(data)["waiting"] == 1 and len(folder.done()) > 1, process)
    ray.kill_head()
    out, err = ended(process, 2)
    assert out == ""
    assert "its head has not answered" in err.splitlines()[-1]
    for node in ray.nodes:
        node.kill()
    before = folder.done()
    ray.start()
    (data.root / "gate").touch()
    again = json.loads(ended(ray.drive(HIT, *words))[0])
    assert (again["done"], again["skipped"], again["failed"]) == (21 - len(before), len(before), [])
    assert {clip: count for clip, count in seen(data).items() if clip in before} == dict.fromkeys(before, 1)
    assert content(tmp_path / "far", data) == expected
