"""/v1/evaluations: what verbs wrote is shown as it was measured, what is broken is said to be, and no other file gets out."""

import copy
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import report_files
from api_helpers import client
from hit import datasets, metrics, report
from hit.api.auth import Principal
from hit.api.evaluations import _summary
from hit.library import Library
from hit.metrics import WAYS
from hit.service import ServeConfig
from hit.service.evaluations import DEPTH, Evaluations
from hit.service.reports import read
from hit.service.shapes import OddError
from report_files import CLIPS, Made
from toy import ToyEncoder


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return report_files.make(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def api(made: Path, reports: Made) -> Iterator[TestClient]:
    with client(made / "lib", reports=(str(reports.folder),), roots=(str(reports.data),)) as opened:
        yield opened


def listed(api: TestClient) -> dict[str, dict[str, Any]]:
    answer = api.get("/v1/evaluations")
    assert answer.status_code == 200, answer.text
    return {one["kind"]: one for one in answer.json()["evaluations"]}


def whole(api: TestClient, kind: str) -> dict[str, Any]:
    answer = api.get(f"/v1/evaluations/{listed(api)[kind]['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_reports_of_all_kinds_are_found(api: TestClient, reports: Made) -> None:
    found = listed(api)
    assert set(found) == {"train", "evaluate", "reproduce", "ablate"}
    assert not any(one["problem"] for one in found.values())
    fused = reports.measured.scores()["t2v"]["fused"]
    for kind in ("train", "evaluate", "reproduce"):
        assert found[kind]["figures"]["t2v"] == pytest.approx(fused)
        assert (found[kind]["queries"], found[kind]["videos"]) == (len(reports.measured.texts), len(CLIPS))
        assert found[kind]["seeds"] == [3]
    assert found["train"]["place"] == "run"
    assert found["train"]["folder"] == str(reports.folder / "run")
    assert found["train"]["loss"] == [[1, 9.0], [2, 4.5], [3, 3.0]]
    assert api.get(found["ablate"]["page_url"]).status_code == 200


@pytest.mark.parametrize("kind", ["train", "evaluate", "reproduce"])
def test_curves_are_what_was_measured(api: TestClient, reports: Made, kind: str) -> None:
    curves = report.curves(reports.measured)
    charts = {one["title"]: one for one in whole(api, kind)["charts"]}
    for way, words in WAYS.items():
        for series in charts[f"Recall, {words}"]["series"]:
            points = np.array(series["points"])
            assert points[:, 0].tolist() == list(report.KS)
            np.testing.assert_allclose(points[:, 1], curves[way][series["name"]])
    if kind != "reproduce":
        assert charts["Training loss"]["series"][0]["points"] == [[1, 9.0], [2, 4.5], [3, 3.0]]
        assert charts["Confidence, text to video"]["series"][0]["points"][0] == pytest.approx(
            [100 * reports.found.reliability["t2v"][0].confidence, 100 * reports.found.reliability["t2v"][0].right]
        )


@pytest.mark.parametrize("kind", ["train", "evaluate", "reproduce"])
def test_tables_have_figures_and_intervals(api: TestClient, reports: Made, kind: str) -> None:
    found = whole(api, kind)
    scores = reports.measured.scores()
    for table, way in zip(found["tables"], WAYS, strict=True):
        rows = {row["kind"]: row for row in table["rows"]}
        for level in ("feature", "semantic", "fused"):
            assert [cell["mean"] for cell in rows[level]["cells"]] == pytest.approx(list(scores[way][level].values()))
        low, high = reports.found.intervals[way]["R1"]
        first = rows["fused"]["cells"][0]
        assert (first["low"], first["high"]) == pytest.approx((low, high))
    if kind == "reproduce":
        assert {"post", "published"} <= {row["kind"] for row in found["tables"][0]["rows"]}
        assert all(row["note"] for table in found["tables"] for row in table["rows"] if row["kind"] == "published")


def test_an_ablation_is_the_table_that_was_written(api: TestClient, reports: Made) -> None:
    found = whole(api, "ablate")
    (table,) = found["tables"]
    for row, told in zip(table["rows"], reports.rows, strict=True):
        assert (row["name"], row["note"]) == (told["row"], told["about"])
        for title, cell in zip(table["columns"], row["cells"], strict=True):
            if told[title] is None:
                assert cell is None  # a level that was not trained
            else:
                assert (cell["mean"], cell["std"]) == pytest.approx((told[title]["mean"], told[title]["std"]), abs=1e-3)
    assert (found["best"], found["misses"]) == ("semantic", None)


def test_an_ablation_without_its_table_is_read_of_its_runs(api: TestClient, reports: Made, tmp_path: Path) -> None:
    shutil.copy(reports.folder / "ablation" / "results.jsonl", tmp_path)
    (table,) = read(tmp_path / "results.jsonl").tables
    assert [[cell and round(cell.mean, 3) for cell in row.cells] for row in table.rows] == [
        [cell and round(cell["mean"], 3) for cell in row["cells"]] for row in whole(api, "ablate")["tables"][0]["rows"]
    ]


def test_a_model_without_its_pages_numbers_shows_what_its_card_has(reports: Made, tmp_path: Path) -> None:
    shutil.copy(reports.folder / "run" / "card.json", tmp_path)
    found = read(tmp_path / "card.json")
    assert found.misses is None
    recall = next(chart for chart in found.charts if chart.kind == "recall")
    assert [k for k, _ in recall.series[0].points] == [1, 5, 10, 50]
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "report.html.json").write_text(
        (reports.folder / "run" / "report.html.json").read_text().replace(card["revision"], "another")
    )
    assert read(tmp_path / "card.json").misses is None  # the page is of another training


@pytest.mark.parametrize("kind", ["train", "reproduce"])
def test_misses_are_the_worst_and_only_what_may_be_seen_is_played(api: TestClient, reports: Made, kind: str) -> None:
    found = whole(api, kind)
    ranks = metrics.expected_rank(*reports.measured.ranks["t2v"]["fused"])
    assert [one["rank"] for one in found["misses"]] == sorted((rank for rank in ranks.tolist() if rank > 1), reverse=True)[:12]
    assert [one["query"] for one in found["misses"]] == [one.caption for one in reports.found.misses]
    assert [one["first"]["clip"] for one in found["misses"]] == [one.first.clip for one in reports.found.misses]
    sides = {one["clip"]: one for miss in found["misses"] for one in (miss["right"], miss["first"])}
    assert set(sides) == set(CLIPS)
    for name, one in sides.items():
        if name in ("red", "two-a", "two-b"):
            assert (one["start"], one["end"], one["why"]) == (CLIPS[name][1], CLIPS[name][2], None)
            assert api.get(one["poster_url"]).headers["content-type"] == "image/jpeg"
            film = (reports.data / "videos" / CLIPS[name][0]).read_bytes()
            part = api.get(one["stream_url"], headers={"Range": "bytes=10-19"})
            assert (part.status_code, part.content) == (206, film[10:20])
            assert part.headers["content-type"] == "video/mp4"
        else:
            assert one["stream_url"] is one["poster_url"] is None
            assert one["why"]


def test_no_other_file_gets_out(api: TestClient) -> None:
    found = whole(api, "train")
    base = f"/v1/evaluations/{found['id']}/clips"
    names = [one["clip"] for miss in found["misses"] for one in (miss["right"], miss["first"])]
    for number, name in enumerate(names):
        allowed = name in ("red", "two-a", "two-b")
        for what in ("stream", "poster"):
            answer = api.get(f"{base}/{number}/{what}")
            assert answer.status_code == (200 if allowed else 404), (name, answer.text)
    number = names.index("red")
    assert api.head(f"{base}/{number}/stream").headers["accept-ranges"] == "bytes"
    assert api.get(f"{base}/{number}/stream", headers={"Range": "bytes=999999999-"}).status_code == 416
    for odd in (f"{base}/{len(names)}/stream", f"{base}/-1/stream", f"{base}/x/poster", "/v1/evaluations/none/clips/0/stream"):
        assert api.get(odd).status_code in (404, 422)


def test_a_clip_may_be_seen_where_its_folder_is_served_or_the_library_has_it(made: Path, reports: Made, tmp_path: Path) -> None:
    def playable(library: Path, **config: Any) -> set[str]:
        with client(library, reports=(str(reports.folder),), **config) as api:
            found = whole(api, "train")
            return {
                one["clip"] for miss in found["misses"] for one in miss.values() if isinstance(one, dict) and one["stream_url"]
            }

    assert playable(made / "lib") == set()
    assert playable(made / "lib", roots=(str(reports.data),)) == {"red", "two-a", "two-b"}
    assert playable(made / "lib", roots=(str(reports.data.parent),)) == {"red", "two-a", "two-b", "outside"}
    lib = shutil.copytree(made / "lib", tmp_path / "lib")
    with Library.open(lib, encoder=ToyEncoder()) as library:
        library.index([reports.data / "videos" / "red.mp4"], workers=1)
    assert playable(lib) == {"red"}


@pytest.mark.parametrize("place", ["../../somewhere", ""])  # "": that was answered with 500
def test_a_data_set_that_is_gone_is_said_to_be(made: Path, reports: Made, tmp_path: Path, place: str) -> None:
    shutil.copytree(reports.folder / "run", tmp_path / "run")
    for name in ("card.json", "report.html.json"):
        path = tmp_path / "run" / name
        path.write_text(path.read_text().replace(str(reports.data), place))
    with client(made / "lib", reports=(str(tmp_path),), roots=(str(reports.data),)) as opened:
        assert {one["right"]["why"] for one in whole(opened, "train")["misses"]} == {
            "the data set that the report names is not there, or has changed"
        }


def test_the_models_own_report_is_beside_it(made: Path, reports: Made, tmp_path: Path) -> None:
    lib = shutil.copytree(made / "lib", tmp_path / "lib")
    text = (lib / "library.toml").read_text()
    assert 'absolute = ""' in text
    (lib / "library.toml").write_text(text.replace('absolute = ""', f'absolute = "{reports.folder / "run"}"'))
    with client(lib) as api:
        assert set(listed(api)) == {"train"}
    with client(lib, reports=(str(reports.folder),)) as api:  # not twice
        assert sorted(one["kind"] for one in api.get("/v1/evaluations").json()["evaluations"]) == [
            "ablate",
            "evaluate",
            "reproduce",
            "train",
        ]


def test_viewers_are_shown_no_paths(made: Path, reports: Made) -> None:
    with Library.open(made / "lib", encoder=ToyEncoder()) as library:
        for entry in Evaluations(library, ServeConfig(reports=(str(reports.folder),))).entries():
            text = json.dumps(_summary(entry, Principal("v", "viewer")))
            assert str(reports.folder.parent) not in text
            assert str(reports.data) in json.dumps(_summary(entry, Principal("a", "admin")))


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("card.json", b"{", "is not as `hit train` writes it"),
        ("card.json", b"[]", "is not as"),
        ("card.json", b"{}", "lacks"),
        ("card.json", b"\xff\xfe", "is not as"),
        ("card.json", b"[" * 100_000, "is not as"),
        ("results.json", b'{"scores": 1e400}', "lacks"),
        ("results.jsonl", b"no json", "damaged"),
        ("results.jsonl", b"", "no results yet"),
        ("results.jsonl", b"[1]\n", "is not as"),
        ("page.html.json", b'{"card": null, "found": null}', "is not as"),
    ],
)
def test_a_broken_report_is_listed_with_its_reason(made: Path, tmp_path: Path, name: str, content: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(content)
    with client(made / "lib", reports=(str(tmp_path),)) as api:
        (one,) = api.get("/v1/evaluations").json()["evaluations"]
        assert word in one["problem"]
        assert api.get(f"/v1/evaluations/{one['id']}").json()["problem"] == one["problem"]


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "\ud800",
    "x" * 5000,
    [],
    {},
    [[]],
    {"a": {}},
    [None] * 3,
)


@pytest.mark.parametrize("name", ["run/card.json", "tests/test.html.json", "reproduced/results.json", "ablation/results.jsonl"])
def test_whatever_stands_in_a_report_it_can_be_sent_or_is_refused(reports: Made, tmp_path: Path, name: str) -> None:
    path = shutil.copytree((reports.folder / name).parent, tmp_path / "report") / Path(name).name
    lines = (
        [json.loads(line) for line in path.read_text().splitlines()] if name.endswith("jsonl") else [json.loads(path.read_text())]
    )
    rng, refused = random.Random(name), 0
    for _ in range(60):
        changed = copy.deepcopy(lines)
        _spoil(changed[0], rng)
        path.write_text("\n".join(map(json.dumps, changed)))
        try:
            found = read(path)
        except OddError as error:
            refused += 1
            str(error).encode()
            continue
        json.dumps(asdict(found), allow_nan=False, ensure_ascii=False).encode()
    assert 0 < refused < 60


def _spoil(tree: Any, rng: random.Random) -> None:
    """Put something odd somewhere into a tree."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = rng.choice(list(keys))
        if not isinstance(tree[key], dict | list) or not tree[key] or rng.random() < 0.2:
            tree[key] = rng.choice(ODD)
            return
        tree = tree[key]


def test_links_hidden_folders_and_what_lies_deep_are_passed_by(made: Path, reports: Made, tmp_path: Path) -> None:
    card = (reports.folder / "run" / "card.json").read_bytes()
    served = tmp_path / "served"
    for place in ("here", ".hidden", "a/b/c/d", "a/b/c/d/e"):
        (served / place).mkdir(parents=True, exist_ok=True)
        (served / place / "card.json").write_bytes(card)
    (served / "link").symlink_to(reports.folder)
    (served / "file").mkdir()
    (served / "file" / "card.json").symlink_to(reports.folder / "run" / "card.json")
    with client(made / "lib", reports=(str(served),)) as api:
        found = api.get("/v1/evaluations").json()["evaluations"]
    assert DEPTH == 4
    assert sorted(one["place"] for one in found) == ["a/b/c/d", "here"]


def test_the_data_set_is_the_one_that_is_there(reports: Made) -> None:
    assert set(datasets.read(reports.data).clips) == set(CLIPS)
