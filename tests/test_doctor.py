"""The doctor: each part is really broken, and the finding is to say so; nothing is changed, waited for, or given away."""

import contextlib
import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import Run
from hit import doctor
from hit.db import Database, Endpoint, Job
from hit.db import look as databases
from hit.db.setup import HEAD
from hit.doctor import machine, services
from hit.errors import UserError
from hit.library import KEY, Library
from hit.upkeep import pieces
from postgres import Postgres
from s3 import S3, moto, s3
from test_traces import Collector, collector
from tiny_model import write
from toy import PLUGIN, ToyEncoder

__all__ = ["collector", "moto", "s3"]  # fixtures


def states(result: dict[str, Any]) -> dict[str, str]:
    """Return for each part the worst that is said of it."""
    found: dict[str, str] = {}
    for one in result["findings"]:
        found[one["part"]] = max(found.get(one["part"], "ok"), one["state"], key=["ok", "warn", "fail"].index)
    return found


def examined(path: Path | None = None) -> dict[str, Any]:
    """Ask the doctor, who waits for longer here: this machine may be busy."""
    return doctor.examine(path, 600.0)


def said(result: dict[str, Any], part: str) -> str:
    return "\n".join(f"{one['state']} {one['what']} / {one['mend']}" for one in result["findings"] if one["part"] == part)


def described(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    (folder / "hit.toml").write_text(text)
    monkeypatch.setenv("HIT_CONFIG", str(folder / "hit.toml"))


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))


@pytest.fixture(scope="module")
def modelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model and a library that was made for it, without videos."""
    folder = tmp_path_factory.mktemp("modelled")
    Library.create(folder / "lib", write(folder / "model")).close()
    return folder


def moved(modelled: Path, folder: Path) -> None:
    """Copy it, so that nothing leads back."""
    shutil.copytree(modelled, folder, dirs_exist_ok=True)
    settings = folder / "lib" / "library.toml"
    settings.write_text(settings.read_text().replace(str(modelled), str(folder)))


@pytest.fixture
def nobody() -> Iterator[int]:
    """Return a port at which connections are taken, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_sound_library_is_left_as_it_is(modelled: Path, tmp_path: Path, hit: Run) -> None:
    moved(modelled, tmp_path)
    own = tmp_path / "lib"
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file() and path.suffix[:3] != ".db"}
    done = hit("doctor", own, "--json", "--seconds", 600)
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["sound"], done.stdout
    parts = (
        "hit.toml library.toml versions files memory threads disk pool database schema serve store model experts jobs lock folder"
    )
    assert set(states(result)) == set(parts.split()) and "fail" not in states(result).values()
    assert {path: path.read_bytes() for path in before} == before and not list(own.glob(".hit-doctor*"))
    shutil.move(tmp_path / "model", tmp_path / "gone")
    done = hit("doctor", own, "--seconds", 600)
    assert done.returncode == 1 and "1 fail\n" in done.stdout and "FAIL   model" in done.stdout, done.stdout


def test_a_model_that_is_another_or_broken_is_told(modelled: Path, tmp_path: Path) -> None:
    moved(modelled, tmp_path)
    settings = tmp_path / "lib" / "library.toml"
    text = settings.read_text()
    revision = text.split('revision = "')[1][:12]
    settings.write_text(text.replace(revision, "0" * 12))
    found = said(examined(tmp_path / "lib"), "model")
    assert found.startswith("fail") and revision in found and "0" * 12 in found
    settings.write_text(text)
    with (tmp_path / "model" / "weights.safetensors").open("r+b") as file:
        file.truncate(1000)
    assert said(examined(tmp_path / "lib"), "model").startswith("fail")
    assert states(examined(tmp_path / "none"))["library.toml"] == "fail"


def test_a_schema_is_compared_and_not_changed(own: Path) -> None:
    for schema, state in (("0005", "warn"), ("9999", "fail")):
        with sqlite3.connect(own / "library.db") as opened:
            opened.execute("UPDATE alembic_version SET version_num = ?", [schema])
        result = examined(own)
        assert states(result)["schema"] == state and schema in said(result, "schema") and HEAD in said(result, "schema")
        with sqlite3.connect(own / "library.db") as opened:
            assert opened.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema,)]
    (own / "library.db").write_bytes(b"no database, but something else" * 100)
    assert "damaged" in said(examined(own), "database")
    (own / "library.db").unlink()
    assert "no such file" in said(examined(own), "database") and not (own / "library.db").exists()


def test_a_database_that_is_being_written_to_is_well(own: Path, postgres: Postgres, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(own / "library.db", isolation_level=None)) as opened:
        opened.execute("BEGIN IMMEDIATE")
        (found,) = (one for one in services.database(f"sqlite:///{own}/library.db", True) if one.part == "database")
        assert found.state == "warn" and "being written to" in found.what
    url = postgres.database()
    with contextlib.closing(Database(url, tmp_path)) as db, db.write() as session:
        assert not databases.look(url).busy  # whose turn it is does not matter
        session.execute(sa.text("UPDATE changes SET count = count + 1"))
        assert databases.look(url).busy
    assert not databases.look(url).busy


def test_a_damaged_library_toml_is_no_folder_that_joins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, tmp_path, '[library]\ndatabase = "postgresql://ann@127.0.0.1:1/videos"\n')
    (tmp_path / "library.toml").write_text("[mod")
    (found,) = (one for one in examined(tmp_path)["findings"] if one["part"] == "library.toml")
    assert found["state"] == "fail" and "not a TOML file" in found["what"]


def test_settings_that_cannot_be_read_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "hit.toml")  # as a disk whose server is gone: opening it does not end
    monkeypatch.setenv("HIT_CONFIG", str(tmp_path / "hit.toml"))
    assert "has not answered within 1 s" in said(doctor.examine(seconds=1.0), "hit.toml")
    os.close(os.open(tmp_path / "hit.toml", os.O_WRONLY))  # which ends it


def test_nobody_is_left_behind_who_asks_a_cluster(nobody: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="has not answered within 1 s"):
        list(services.pool(f"127.0.0.1:{nobody}", 1.0))


def test_a_server_is_looked_at_and_written_to_without_a_trace(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    seen = databases.look(url)
    assert seen.kind == "postgresql" and seen.schema is None and seen.encoding == "UTF8" and abs(seen.ahead or 0.0) < 1
    assert seen.used and 0 < seen.used[0] < seen.used[1] and databases.look(url).schema is None  # the probe left nothing
    with contextlib.closing(Database(url, tmp_path)) as db:
        before = db.state()
        found = list(services.database(url, True))
        assert {one.state for one in found} == {"ok"} and db.state() == before
    postgres.execute("CREATE ROLE onlooker LOGIN")
    schema = url.rpartition("%3D")[2]
    postgres.execute(f"GRANT USAGE ON SCHEMA {schema} TO onlooker; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO onlooker")
    with pytest.raises(UserError, match="permission denied"):
        databases.look(url.replace("hit@", "onlooker@"))
    with pytest.raises(UserError, match="cannot be opened"):
        databases.look(url.replace("hit@", "stranger@"))


def test_a_folder_that_is_to_join_is_looked_at_by_its_database(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database()
    described(monkeypatch, tmp_path, f'[library]\ndatabase = "{url}"\n')
    assert "holds no library" in said(examined(tmp_path / "lib"), "library.toml")
    with Library.create(tmp_path / "first", encoder=ToyEncoder(), database=url) as made:
        told = examined(tmp_path / "lib")
        assert f"joins library {made.config.id}" in said(told, "library.toml") and not (tmp_path / "lib").exists()
    assert states(told)["library.toml"] == states(told)["schema"] == "ok"


def test_a_cluster_that_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, tmp_path, 'pool = "127.0.0.1:1"\n')
    found = said(examined(), "pool")
    assert found.startswith("fail") and "nothing answers at 127.0.0.1:1" in found and "ray start" in found


@pytest.mark.slow
def test_the_nodes_of_a_cluster_are_asked_what_they_have() -> None:
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=1, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
    try:
        (found,) = services.pool(ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()
    assert found.state == "ok" and f"ray {ray.__version__}" in found.what


@pytest.mark.parametrize(("seconds", "state"), [(0.0, "ok"), (5.0, "warn"), (-100.0, "fail")])
def test_clocks_that_differ_are_told(
    postgres: Postgres, s3: S3, monkeypatch: pytest.MonkeyPatch, seconds: float, state: str
) -> None:
    bucket, real = s3.bucket(), time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)  # ours
    for found in (services.database(postgres.database(), False), services.objects(bucket)):
        (clock,) = [one for one in found if one.part == "clock"]
        assert clock.state == state, clock
        assert state == "ok" or ("NTP" in clock.mend and ("behind" if seconds > 0 else "ahead") in clock.what)


def test_a_bucket_is_tried_and_left_empty(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bucket = s3.bucket()
    described(
        monkeypatch,
        tmp_path,
        f'[library]\nobjects = "{bucket}/deep"\n[roots]\nvideos = "{s3.bucket()}"\nother = "s3://missing"\n',
    )
    result = examined()
    assert (states(result)["objects"], states(result)["root videos"]) == ("ok", "warn"), result  # there is nothing in it
    assert states(result)["root other"] == "fail" and "no such bucket" in said(result, "root other")
    described(monkeypatch, tmp_path, '[library]\nobjects = "s3://missing"\n')
    assert "no such bucket" in said(examined(), "objects")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "nothing answers at 127.0.0.1:1" in said(examined(), "objects")


def test_roots_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full" / "sub").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    names = ("full", "empty", "file", "none")
    described(monkeypatch, tmp_path, "[roots]\n" + "".join(f'{name} = "{tmp_path / name}"\n' for name in names))
    found = states(examined())
    assert [found[f"root {name}"] for name in names] == ["ok", "warn", "fail", "fail"]


def test_what_does_not_answer_is_not_waited_for_and_no_secret_is_told(
    nobody: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter-22")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-w0rd")
    described(monkeypatch, tmp_path, f'[library]\ndatabase = "postgresql://ann@127.0.0.1:{nobody}/videos"\n')
    result = doctor.examine(seconds=1.0)
    assert "has not answered within 1 s" in said(result, "database") and not result["sound"]
    described(monkeypatch, tmp_path, '[library]\ndatabase = "postgresql://ann@127.0.0.1:1/videos"\n')
    refused = examined()
    assert states(refused)["database"] == "fail" and "PGPASSWORD" in said(refused, "database")
    described(
        monkeypatch,
        tmp_path,
        '[library]\ndatabase = "postgresql://ann:hunter-22@127.0.0.1:1/videos"\nobjects = "s3://a:s3cret-w0rd@b"\n',
    )
    told = examined()
    assert "bears a password" in said(told, "database") and states(told)["objects"] == "fail"
    described(monkeypatch, tmp_path, '[library]\ndatabase = "mysql://ann:hunter-22@127.0.0.1:1/videos"\n')
    odd = examined()
    assert states(odd)["database"] == "fail"
    text = json.dumps([result, refused, told, odd])
    assert "hunter-22" not in text and "s3cret-w0rd" not in text


def test_a_hit_toml_that_does_not_fit_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hit: Run) -> None:
    described(monkeypatch, tmp_path, "[logg]\n")
    done = hit("doctor", "--json")
    assert done.returncode == 1 and "did you mean 'log'" in said(json.loads(done.stdout), "hit.toml")
    assert hit("library", "info", tmp_path).stderr.count("\n") == 1  # all else is refused


def test_a_collector_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    described(monkeypatch, tmp_path, f'trace = "{collector.url}"\n')
    assert states(examined())["trace"] == "ok"
    collector.close()
    result = examined()
    assert states(result)["trace"] == "warn" and result["sound"]  # searches are answered
    monkeypatch.setattr(services, "version", lambda name: "")
    assert states(examined())["trace"] == "fail"  # nothing starts


def test_a_store_out_of_step_jobs_and_a_key_that_is_gone_are_told(own: Path, tmp_path: Path) -> None:
    with Library.open(own, encoder=ToyEncoder()) as library:
        library.store.delete(library.db.rows(library.stored.revision)[:2])
        now = datetime.now(UTC)
        library.db.add_endpoint(Endpoint(name="site", url="https://x.example/", events=[], salt="", by="", created_at=now))
        done = library.db.begin_job("index", {}, "me")
        library.db.end_job(done, "me", "failed", {}, "why")
        stale = library.db.begin_job("rebuild", {}, "me")
        waits = library.db.submit_job("remove", {"videos": ["a"]}).id
        with library.db.write() as session:
            session.get_one(Job, stale).beat_at = now - timedelta(minutes=5)
            session.get_one(Job, waits).created_at = now - timedelta(hours=30)
    result = examined(own)
    assert "hit library rebuild" in said(result, "store") and states(result)["store"] == "fail"
    jobs = said(result, "jobs")
    assert "1 jobs run whose worker is not heard of" in jobs and "has waited for 30.0 hours" in jobs and f"{done} (index)" in jobs
    assert states(result)["webhooks"] == "fail"
    (own / KEY).write_bytes(b"k" * 32)
    (own / KEY).chmod(0o644)
    assert "chmod 600" in said(examined(own), "webhooks")
    with Library.open(own) as library:
        pieces.move(library, str(tmp_path / "objects"))
    (own / KEY).unlink()
    assert "webhooks" not in states(examined(own))  # it is fetched from there when it is needed
    (tmp_path / "objects" / KEY).unlink()
    assert states(examined(own))["webhooks"] == "fail"


def test_a_full_disk_and_one_that_is_read_only_are_told(own: Path, tmp_path: Path) -> None:
    """On a disk of two megabytes, and, for there is no other for root, one that is mounted anew as read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f'mount -t tmpfs -o size=2m,nr_inodes=40 none "{disk}" || exit 77; cp "{own}"/library.* "{disk}";'
        f' mount -o remount,ro "{disk}";'
        f' exec "{sys.executable}" -m hit doctor "{disk}" --json'
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    assert states(result)["disk"] == "fail" and "MiB free at" in said(result, "disk")
    assert states(result)["folder"] == "fail" and "Read-only" in said(result, "folder")
    assert states(result)["database"] == "fail" and done.returncode == 1


def test_few_names_on_a_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize, f_files, f_favail = 1 << 30, 4096, 1000, 1

    monkeypatch.setattr(machine, "statvfs", lambda path: Full)
    assert {(one.state, "inodes" in one.what) for one in machine.disks(None)} == {("ok", False), ("fail", True)}


def test_limits_memory_and_threads_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    (tmp_path / "most").write_text(f"{2**30}\n")
    (tmp_path / "used").write_text(f"{2**30 - 2**20}\n")
    monkeypatch.setattr(machine, "_LIMIT", (str(tmp_path / "most"), str(tmp_path / "used")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        found = {one.part: one for one in machine.machine()}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [found[part].state for part in ("files", "memory", "threads")] == ["fail", "fail", "warn"]
    assert "ulimit -n" in found["files"].mend and "1 MiB" in found["memory"].what


def test_a_package_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = machine.version
    assert {one.state for one in machine.versions()} == {"ok"}
    monkeypatch.setattr(machine, "version", lambda name: {"torch": "1.0", "av": ""}.get(name, real(name)))
    found = [one.what for one in machine.versions() if one.state == "fail"]
    assert found == ["av is not installed", "torch is 1.0, and hit needs <2.14,>=2.8"]
