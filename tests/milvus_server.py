"""Milvus for the tests: embedded, and as servers that are talked to over TCP: Milvus Lite's, and a real Milvus.

The real one comes from the package `milvus`, which carries the whole server with all that it stands on. It takes ports that are
not ours to choose, so it runs on a host of its own: see `netns`. Where that cannot be, Milvus Lite's server stands in for it.
"""

import contextlib
import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from netns import Host, bridge_ip, hosts, lacking

DEADLINE = 120.0  # seconds for it to answer
PORT, HEALTH = 19530, 9091
# A strong read waits for the server's clock, which ticks 5 times a second; one that was killed is missed after 30 seconds, and
# until then the next one does not load what it had; and a test run has no use for megabytes of log.
QUICKER = {"proxy.timeTickInterval": "50", "common.session.ttl": "5", "log.level": "error", "log.stdout": "false"}


class Milvus(Protocol):
    """A server that can be killed and started again, with what it had, at the same address."""

    uri: str

    def start(self) -> "Milvus":
        """Start it and wait until it answers."""
        ...

    def kill(self) -> None:
        """End it as a crash would."""
        ...


class Server:
    """Milvus Lite's server of `folder`, on one port for as long as this object lives."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder, self.host = folder, host
        with socket.socket() as free:
            free.bind((host, 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://{host}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        """Start it and wait until it takes connections."""
        words = ["-m", "milvus_lite", "server", "--data-dir", str(self.folder), "--host", self.host, "--port", str(self.port)]
        with self.folder.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words], stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        until = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
                return self
            assert self._process.poll() is None, self.folder.with_suffix(".log").read_text()
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Real:
    """A real Milvus on a host, with its data in `folder`."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.uri = f"http://{host.ip}:{PORT}"
        self._binaries = _unpacked()

    def start(self) -> "Real":
        """Start it and wait until it says that it is well."""
        from milvus import MilvusServerConfig

        config = MilvusServerConfig(data_dir=str(self.folder))
        config.resolve_storage()  # its ports it keeps: nothing else is on that host
        for name, value in QUICKER.items():
            config.set(name, value)
        config.write_config()
        environment = {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(HEALTH),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": str(self._binaries),
            "HOME": str(self.folder),
        }
        with (self.folder / "stdout").open("ab") as log:
            words = [self._binaries / "milvus", "run", "standalone"]
            process = self.host.start(*words, env=environment, cwd=self.folder, stdout=log, stderr=log)
        until = time.monotonic() + DEADLINE
        while not self._well():
            assert process.poll() is None, (self.folder / "stdout").read_text()[-4000:]
            assert time.monotonic() < until, "Milvus does not answer"
            time.sleep(0.1)
        return self

    def _well(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{self.host.ip}:{HEALTH}/healthz", timeout=5) as answer:
            return b"OK" in answer.read()
        return False

    def kill(self) -> None:
        """End it as a crash would."""
        self.host.kill()


def _unpacked() -> Path:
    """Return the folder of the server's programs, unpacked once for all runs: it takes 5 s and 440 MB."""
    import milvus

    folder = Path(tempfile.gettempdir()) / f"hit-milvus-{milvus.__version__}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        milvus._initialize_data_files(str(folder))
    return folder / "bin"


def unreal() -> str:
    """Return why no real Milvus can be started here, "" where one can."""
    if importlib.util.find_spec("milvus") is None:
        return "the package milvus is not installed"
    return lacking()


def say_unreal() -> str:
    """Return why no real Milvus can be started here, "" where one can, and say so. Fails where a variable asks for one."""
    if why := unreal():
        assert not os.environ.get("HIT_REQUIRE_NETNS"), why
        warnings.warn(f"no real Milvus, but Milvus Lite's server: {why}", stacklevel=2)
    return why


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Milvus]:
    """Start a Milvus with its data in a new folder: a real one where that can be, else Milvus Lite's server."""
    if not say_unreal():
        with hosts(1) as (host,), on_host(host, folder) as real:
            yield real
        return
    folder.mkdir()
    server = Server(folder / "data")
    try:
        yield server.start()
    finally:
        server.kill()


@contextlib.contextmanager
def on_host(host: Host, folder: Path) -> Iterator[Milvus]:
    """Start a real Milvus on a host, with its data in a new folder, or Milvus Lite's server on the bridge to it."""
    folder.mkdir()
    server: Milvus = Server(folder / "data", bridge_ip(host)) if say_unreal() else Real(host, folder)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")  # not for longer: it is busy with itself, 0.07 of a core
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server of this test process; a variable may name another one."""
    if given := os.environ.get("HIT_TEST_MILVUS"):
        yield given
        return
    with running(tmp_path_factory.mktemp("milvus") / "data") as server:
        yield server.uri


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of an embedded one."""
    return f"milvus+lite:{tmp_path_factory.mktemp('milvus') / 'lite'}"
