"""What several test files share. The real files beside the project are used where they exist, and named where they do not."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings

from api_helpers import made, own
from hit.cli import main
from hit.db import Database, session, setup
from milvus_server import milvus_lite, milvus_server
from postgres import database_url, db, postgres

__all__ = ["database_url", "db", "made", "milvus_lite", "milvus_server", "own", "postgres"]  # fixtures

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # two test processes on two cores
    os.environ.setdefault(variable, "1")
settings.register_profile("calm", deadline=None)  # how long anything takes, no test asserts: other work may keep it waiting
settings.load_profile("calm")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network is wrong: let it fail at once


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real videos that may lie beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real videos at {folder}")
    return folder


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hit() -> Run:
    """Return a function that runs the command line inside this process, where torch is loaded already."""

    def run(*words: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        given = [str(word) for word in words]
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            patch.setattr(sys, "argv", ["hit", *given])
            patch.chdir(cwd or Path.cwd())
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        return subprocess.CompletedProcess(given, code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def hit_apart() -> Run:
    """Return a function that runs the command line in a process of its own."""

    def run(*words: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "hit", *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False, timeout=900
        )

    return run


@pytest.fixture(autouse=True)
def in_line() -> Iterator[None]:
    """SVT-AV1 leaves a process of root's that encoded with it, and all that it starts then, before every other: put it back."""
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


REAL = ("test_db", "test_faults", "test_upgrade")  # what looks at how a database comes to be


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty SQLite database as all migrations, one after the other, make it."""
    folder = tmp_path_factory.mktemp("migrated")
    Database(f"sqlite:///{folder / 'library.db'}", folder).close()
    return folder / "library.db"


@pytest.fixture(autouse=True)
def copied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, migrated: Path) -> None:
    """Have a new SQLite database be a copy of that one: migrating takes a quarter of a second, some hundred times."""
    if request.module.__name__ in REAL:
        return

    def quick(engine: sa.Engine, folder: Path) -> None:
        if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
            with engine.connect() as opened, sqlite3.connect(migrated) as whole:
                fresh: Any = opened.connection.driver_connection
                whole.backup(fresh)
        setup.migrate(engine, folder)

    monkeypatch.setattr(session, "migrate", quick)
