"""A PostgreSQL server of the test run's own: Debian's binaries, no service, nothing synced to the disk.

It has no port, but where tests of several machines give it an address; see `listening`.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hit.db import Database

DEADLINE = 60.0  # seconds for it to take connections
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "autovacuum": "off",
}


class Postgres:
    """A running server, in a folder that goes with it. Whoever has an account there needs no password, but `locked`.

    address: listened at, at the usual port, beside its socket.
    """

    def __init__(self, binaries: Path, address: str = "") -> None:
        self.address = address
        self.folder = Path(tempfile.mkdtemp(prefix="hit-postgres-"))  # its socket's path may have 107 characters
        self._binaries, self._numbers = binaries, itertools.count()
        self._user: str | None = None
        if os.geteuid() == 0:  # the server refuses to be run by root
            self._user = "postgres"
            os.chown(self.folder, pwd.getpwnam("postgres").pw_uid, -1)
        # A language's order of letters, unlike the bytes' order that SQLite has: what depends on it is found out.
        self._run("initdb", "-D", "data", "-U", "hit", "-A", "trust", "-E", "UTF8", "--no-sync", *_LOCALE)
        with (self.folder / "data" / "pg_hba.conf").open("r+") as file:
            rest = file.read()
            file.seek(0)
            file.write("local all locked scram-sha-256\nhost all all samenet trust\n" + rest)
        self.start()
        self._admin = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", pool_pre_ping=True)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = [f"-c{name}={value}" for name, value in {**OPTIONS, "listen_addresses": self.address}.items()]
        with (self.folder.with_suffix(".log")).open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", "data", f"-k{self.folder}", *options],
                cwd=self.folder,
                user=self._user,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + DEADLINE
        while subprocess.run([self._binaries / "pg_isready", "-q", "-h", self.folder], check=False).returncode:
            assert self._process.poll() is None and time.monotonic() < until, self.folder.with_suffix(".log").read_text()
            time.sleep(0.05)

    def crash(self) -> None:
        """End it at once, in the midst of whatever it does."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def stop(self) -> None:
        """End it and remove what it had."""
        self._admin.dispose()
        self.crash()
        shutil.rmtree(self.folder)
        self.folder.with_suffix(".log").unlink()

    def url(self, name: str, user: str = "hit") -> str:
        """Return the URL of a database."""
        return f"postgresql+psycopg://{user}@/{name}?host={self.address or self.folder}"

    def execute(self, statement: str) -> None:
        """Execute a statement as the server's owner."""
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)

    def database(self) -> str:
        """Return the URL of an empty place: a schema, as a new database would cost a thousand files."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}&options=-csearch_path%3D{name}"

    def _run(self, program: str, *words: object) -> None:
        done = subprocess.run(
            [self._binaries / program, *map(str, words)],
            cwd=self.folder,
            user=self._user,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


_LOCALE = ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")


@contextlib.contextmanager
def listening(address: str = "") -> Iterator[Postgres]:
    """Start a server. Without Debian's binaries the test is skipped, or fails where a variable says so, as CI does."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    if not found:
        missing = "PostgreSQL is not installed (apt install postgresql)"
        if os.environ.get("HIT_REQUIRE_POSTGRES"):
            pytest.fail(missing)
        pytest.skip(missing)
    server = Postgres(found[-1].parent, address)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Return a server for this test process."""
    with listening() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a new, empty database, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'library.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
def db(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """Open an empty database, of each kind."""
    made = Database(database_url, tmp_path)
    yield made
    made.close()
