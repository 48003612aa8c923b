"""Milvus Lite for the tests: embedded, and as a server in a process of its own that is talked to over TCP."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DEADLINE = 60.0  # seconds for it to answer


class Server:
    """The server of `folder`, on one port for as long as this object lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        """Start it and wait until it takes connections."""
        words = ["-m", "milvus_lite", "server", "--data-dir", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        with self.folder.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words], stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        until = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
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


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server: of a real Milvus, where a variable names one, which is nothing that CI has."""
    if real := os.environ.get("HIT_TEST_MILVUS"):
        yield real
        return
    server = Server(tmp_path_factory.mktemp("milvus") / "data").start()
    yield server.uri
    server.kill()


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of an embedded one."""
    return f"milvus+lite:{tmp_path_factory.mktemp('milvus') / 'lite'}"
