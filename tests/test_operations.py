"""What those who look after a deployment go by: the dashboard and the alarms fit the figures; and all is lost, and comes back."""

import json
import re
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

import hit as hit_
from api_helpers import BASE, client
from conftest import Run
from hit import deployment, doctor, objects
from hit.api import create_app
from hit.db import Job
from hit.db.numbers import check
from hit.library import KEY, Library
from hit.moderation import webhooks
from hit.service import ServeConfig, Service
from hit.service.access import Access
from hit.service.config import read
from postgres import Postgres
from review_helpers import ask, claimed, judge, new
from s3 import S3, moto, s3
from tiny_model import write
from toy import render

__all__ = ["moto", "s3"]  # fixtures
METRIC = re.compile(r"\bhit_[a-z_]+\b")


def metrics(text: str) -> dict[str, float]:
    """Return what Prometheus is told, by name and labels."""
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def names(text: str) -> set[str]:
    return {
        line.split()[2] for line in text.splitlines() if line.startswith("# HELP") and not line.split()[2].endswith("_created")
    }


@pytest.fixture
def told(own: Path) -> Iterator[TestClient]:
    """Serve a library of which there is something to tell."""
    with client(own) as api:
        db = api.app.state.service.db  # type: ignore[attr-defined]
        ask(db, new("a"), new("b", policy="q"))
        claimed(db, "ann")
        db.submit_job("index", {"sources": ["/v"]})
        db.submit_job("remove", {"videos": ["a"]})
        stale = db.begin_job("rebuild", {}, "me")
        with db.write() as session:
            session.get_one(Job, stale).beat_at = datetime.now(UTC) - timedelta(minutes=5)
            session.get_one(Job, 2 if stale != 2 else 1).created_at = datetime.now(UTC) - timedelta(hours=2)
        yield api


def test_who_looks_at_once_counts_nothing_twice(told: TestClient) -> None:
    found, meet = told.app.state.metrics, threading.Barrier(2)  # type: ignore[attr-defined]

    class Slow(dict[str, tuple[int, int]]):
        def get(self, *words: Any) -> Any:
            before = super().get(*words)
            with suppress(threading.BrokenBarrierError):
                meet.wait(0.2)  # for the other one, who is to be kept out
            return before

    service = told.app.state.service  # type: ignore[attr-defined]
    found.text()
    before = metrics(found.text().decode())
    service.media.asked += 1000
    found._known = Slow(found._known)
    both = [threading.Thread(target=found._look) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    key = 'hit_cache_lookups_total{cache="media",outcome="miss"}'
    assert metrics(found.text().decode())[key] == before.get(key, 0.0) + 1000


def test_what_waits_and_what_takes_how_long_is_counted(told: TestClient) -> None:
    for _ in range(2):
        assert told.post("/v1/search", json={"query_text": "red"}).status_code == 200
    found = metrics(told.get("/metrics").text)
    assert (
        found['hit_jobs_by_kind{kind="index",state="queued"}'] == found['hit_jobs_by_kind{kind="rebuild",state="running"}'] == 1
    )
    assert found["hit_jobs_stale"] == 1 and max(v for k, v in found.items() if k.startswith("hit_jobs_oldest")) > 7000
    assert sum(v for k, v in found.items() if k.startswith("hit_review_seats") and 'state="open"' in k) == 1
    assert sum(v for k, v in found.items() if k.startswith("hit_review_seats") and 'state="claimed"' in k) == 1
    assert found[f'hit_build_info{{revision="toy-1",version="{hit_.__version__}"}}'] == 1
    assert found["hit_workers"] == 1 and found["hit_memory_bytes"] > 2**20 and found["hit_database_connections"] >= 0
    counts = {part: found[f'hit_part_seconds_count{{part="{part}"}}'] for part in ("embed", "store", "database", "object")}
    assert counts["embed"] == counts["store"] == 2 and counts["database"] > 2 and counts["object"] == 0
    hits, misses = (found[f'hit_cache_lookups_total{{cache="records",outcome="{outcome}"}}'] for outcome in ("hit", "miss"))
    assert hits >= 5 and misses >= 5  # the second time, and the first
    again = metrics(told.get("/metrics").text)  # what was taken over is not counted twice
    assert again['hit_cache_lookups_total{cache="records",outcome="hit"}'] == hits


def test_the_dashboard_shows_all_there_is_and_nothing_else(told: TestClient, root: Path) -> None:
    there = names(told.get("/metrics").text)
    board = json.loads((root / "deploy" / "grafana.json").read_text())
    shown, places = set[str](), set[tuple[int, int]]()
    for panel in board["panels"]:
        box = panel["gridPos"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert not cells & places and box["x"] + box["w"] <= 24, f"{panel['title']} lies over another one"
        places |= cells
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"]["unit"] and panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")") and target["expr"].count("{") == target["expr"].count(
                "}"
            )
            assert '{job=~"$job"' in target["expr"] and target["legendFormat"]
            shown |= {based(one, there) for one in METRIC.findall(target["expr"])}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert shown == there


def based(name: str, there: set[str]) -> str:
    """Return the metric that a series belongs to."""
    short = re.sub(r"_(bucket|sum|count)$", "", name)
    assert name in there or short in there, f"{name} is told by nobody"
    return name if name in there else short


def test_each_alarm_says_why_it_rings_and_what_mends_it(told: TestClient, root: Path) -> None:
    there = names(told.get("/metrics").text)
    (group,) = yaml.safe_load((root / "deploy" / "alerts.yml").read_text())["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])
    book = (root / "docs" / "operations.md").read_text()
    for rule in group["rules"]:
        for one in METRIC.findall(rule["expr"]):
            based(one, there)
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert {"summary", "reason", "mending"} == set(rule["annotations"]) and rule["labels"]["severity"] in ("page", "ticket")
        assert f"`{rule['alert']}`" in book, f"docs/operations.md does not tell of {rule['alert']}"
    docs = book + (root / "docs" / "deploy.md").read_text()
    assert {name for name in there if f"`{name}`" not in docs} == set()


def test_the_example_is_what_the_program_reads(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (root / "deploy" / "hit.toml").read_text()
    path = tmp_path / "hit.toml"
    monkeypatch.setenv("HIT_CONFIG", str(path))
    path.write_text(text)
    assert deployment.read() == deployment.Deployment()  # everything is said as it is without it
    path.write_text(re.sub(r"^# ([a-z]+ = )", r"\1", text, flags=re.MULTILINE))
    found = deployment.read()
    assert found.trace and found.roots and found.library.objects and found.library.store and found.library.database
    (tmp_path / "lib").mkdir()
    assert read(tmp_path / "lib").workers == 4


# -- all is lost


@contextmanager
def served(library: Path) -> Iterator[TestClient]:
    """Serve a library with its own model, to whoever has a token."""
    with TestClient(create_app(Service(library, ServeConfig(auth="on", jobs=False))), base_url=BASE) as opened:
        yield opened


def seen(api: TestClient, secret: str) -> dict[str, Any]:
    """Return what a user sees of a library, in whatever place it is."""
    head = {"Authorization": f"Bearer {secret}"}

    def get(path: str) -> Any:
        answer = api.get(f"/v1/{path}", headers=head)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    queries = [
        {"query_text": "a red ball"},
        {"query_text": "green", "exclude": ["red"]},
        {"query_text": "ball", "group_by": "video"},
    ]
    answers = [api.post("/v1/search", json=query, headers=head).json() for query in queries]
    assert all(answer["hits"] for answer in answers[::2])
    hit = answers[0]["hits"][0]
    poster = api.get(hit["thumbnail_url"], headers=head)
    assert poster.status_code == 200
    jobs = [(job["kind"], job["state"]) for job in get("jobs")["jobs"] if job["kind"] != "backup"]
    lists = {
        path: get(path)
        for path in ("label-sets", "policies", "searches", "tags", "cases", "review/stats", f"videos/{hit['video_id']}")
    }
    lists["review/stats"]["queue"].pop("oldest_seconds")  # which grows
    return {"answers": answers, "poster": poster.content, "jobs": jobs, **lists}


def furnished(path: Path, model: Path, url: str, videos: Path) -> dict[str, Any]:
    """Make a library with all that one can have; return {secret, webhook's secret, head of the chain}."""
    render(videos / "red.mp4", ["red"], seconds=1.0)
    render(videos / "green.mp4", ["green", "red"], seconds=1.0)
    with Library.create(path, model, database=url) as library:
        library.index([videos], workers=1)
        secret, _ = Access(library.db).create("ops", "admin", None)
        hook = webhooks.add(library, "site", "https://hooks.example/x", [], "ops")["secret"]
        ask(library.db, new(library.db.files()[next(iter(library.db.files()))].video), new("gone"))
        judge(library.db, "ann", "block")
        head = check(library.db)[1]
    (path / "serve.toml").write_text("workers = 3\n")
    with served(path) as api:
        head_ = {"Authorization": f"Bearer {secret}"}
        labels = {"labels": [{"name": "red", "texts": ["a red ball"]}]}
        policy = {"texts": ["a red ball"], "review": {"percentile": 50}}
        for call, body in (
            ("label-sets/things", labels),
            ("policies/reds", policy),
            ("searches/mine", {"query": {"query_text": "red"}}),
        ):
            answer = api.put(f"/v1/{call}", json=body, headers=head_)
            assert answer.status_code in (200, 201), answer.text
    return {"secret": secret, "hook": hook, "head": head}


def test_all_is_lost_and_comes_back(
    postgres: Postgres, s3: S3, tmp_path: Path, hit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup while it is served; then database, bucket, folder and model are gone; a new place, a new database."""
    bucket = objects.folder(s3.bucket())
    (tmp_path / "hit.toml").write_text(f'[library]\nobjects = "{bucket.url}"\n')
    monkeypatch.setenv("HIT_CONFIG", str(tmp_path / "hit.toml"))
    first, second, out = postgres.database(), postgres.database(), tmp_path / "away" / "hit.tar.gz"
    (tmp_path / "old").mkdir()
    out.parent.mkdir()
    known = furnished(tmp_path / "old" / "lib", write(tmp_path / "old" / "model"), first, tmp_path / "videos")
    key = (tmp_path / "old" / "lib" / KEY).read_bytes()
    with served(tmp_path / "old" / "lib") as api:
        before, enough, statuses = seen(api, known["secret"]), threading.Event(), set[int]()
        counted = metrics(api.get("/metrics", headers={"Authorization": f"Bearer {known['secret']}"}).text)
        assert counted['hit_part_seconds_count{part="object"}'] > 0  # the poster's bytes

        def drive() -> None:
            while not enough.is_set():
                head = {"Authorization": f"Bearer {known['secret']}"}
                statuses.add(api.post("/v1/search", json={"query_text": "red"}, headers=head).status_code)

        driver = threading.Thread(target=drive)
        driver.start()
        try:
            done = hit("library", "backup", tmp_path / "old" / "lib", out)
        finally:
            enough.set()
            driver.join()
        assert done.returncode == 0 and statuses == {200}, (done.stderr, statuses)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600, "it holds a secret"
    with tarfile.open(out) as tar:
        assert tar.getmember(KEY).mode == 0o600
    shutil.rmtree(tmp_path / "old")
    postgres.execute(f"DROP SCHEMA {first.rpartition('%3D')[2]} CASCADE")
    lost = [entry.name for entry in bucket.list()]
    assert len(lost) > 3
    bucket.delete(lost)

    (tmp_path / "new").mkdir()
    back = tmp_path / "new" / "lib"
    done = hit("library", "restore", out, back, "--database", second)
    assert done.returncode == 0, done.stderr
    with served(back) as api:
        after = seen(api, known["secret"])
        for part in before:
            assert after[part] == before[part], part
        assert api.get("/v1/jobs", headers={"Authorization": "Bearer other"}).status_code == 401
    with Library.open(back) as library:
        count, head, wrong = check(library.db, known["head"])
        assert (count, head, wrong) == (1, known["head"], [])
        assert webhooks.secret(library, library.db.endpoint("site")) == known["hook"]
        assert library.index([tmp_path / "videos"], workers=1).unchanged == 2  # it is known still, and goes on
    assert (back / KEY).read_bytes() == key and stat.S_IMODE((back / KEY).stat().st_mode) == 0o600
    assert read(back).workers == 3
    assert json.loads(hit("library", "verify", back, "--json").stdout)["sound"]
    found = doctor.examine(back, 600.0)
    assert found["sound"] and not [
        one for one in found["findings"] if one["state"] != "ok" and one["part"] not in ("disk", "memory", "files")
    ]
