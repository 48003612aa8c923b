"""A Ray cluster for tests: a head and nodes, each on a host of its own, with a token, and quick to notice who is lost."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import netns
from toy import PLUGIN

PORT = 6379
LOST = 6  # seconds after which a head is taken for lost here
PATIENCE = 120  # seconds: the machine may be busy
HIT = f"""
import faulthandler, sys
faulthandler.dump_traceback_later({PATIENCE} / 2)  # seconds; it tells where it hangs
from hit.pool import ray
ray.LOST = {LOST}
from hit.cli import main
sys.exit(main())
"""


class Cluster:
    """The head, the first of the hosts, has no cores for workers, each node has one. environment: what all of it is told."""

    def __init__(self, hosts: Sequence[netns.Host], folder: Path, environment: Mapping[str, str]) -> None:
        self.head, self.nodes = hosts[0], list(hosts[1:])
        self.where = f"{self.head.ip}:{PORT}"
        self._folder = folder
        self._drivers: list[subprocess.Popen[str]] = []
        self.environment = {
            **environment,
            "PYTHONPATH": f"{Path(__file__).parent}:{PLUGIN}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "5000",  # a busy machine is late
            "RAY_health_check_failure_threshold": "3",
        }

    def start(self) -> None:
        """Start all of it. Nodes come when they come; work waits for them."""
        self.begin(self.head)
        deadline = time.monotonic() + PATIENCE
        while not _answers(self.head.ip):
            assert time.monotonic() < deadline, self.log(self.head)
            time.sleep(0.1)
        for host in self.nodes:
            self.begin(host)

    def begin(self, host: netns.Host) -> None:
        """Start Ray on a host."""
        role = [f"--address={self.where}", "--num-cpus=1"]
        if host is self.head:
            role = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self._folder}", "--num-cpus=0"]
        words = ["start", "--block", f"--node-ip-address={host.ip}", "--object-store-memory=100000000", *role]
        command = [sys.executable, "-m", "ray.scripts.scripts", *words]
        if host is not self.head:  # hosts share their files, and Ray looks for free names: each has its own folder
            own = tempfile.mkdtemp(dir=self._folder)
            command = ["unshare", "--mount", "sh", "-c", f'mount --bind {own} {self._folder} && exec "$@"', "sh", *command]
        with (self._folder / f"{host.name}.log").open("a") as log:
            host.start(*command, env=self.environment, stdout=log, stderr=log)

    def kill_head(self) -> None:
        """Kill Ray on the head, but no driver."""
        drivers = {process.pid for process in self._drivers}
        for pid in map(int, self.head.pids()):
            with suppress(ProcessLookupError):
                if os.getpgid(pid) not in drivers:
                    os.kill(pid, signal.SIGKILL)

    def log(self, host: netns.Host) -> str:
        """Return what Ray said on a host."""
        return (self._folder / f"{host.name}.log").read_text()[-4000:]

    def drive(self, source: str, *words: object, **environment: str) -> "subprocess.Popen[str]":
        """Start some Python on the head."""
        command = [sys.executable, "-c", source, *map(str, words)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.head.start(*command, env=self.environment | environment, **pipes)
        self._drivers.append(process)
        return process


def ended(process: "subprocess.Popen[str]", code: int = 0) -> tuple[str, str]:
    """Wait for a driver's end, and return what it said."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, f"{process.returncode}: {out[-2000:]}\n{err[-6000:]}"
    return out, err


def until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait until something is so, while a driver runs."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def on_hosts(hosts: Sequence[netns.Host], environment: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Start a cluster on hosts."""
    folder = Path(tempfile.mkdtemp(prefix="hr"))  # short: a socket's path has 107 characters
    try:
        made = Cluster(hosts, folder, environment or {})
        made.start()
        yield made
    finally:
        for host in hosts:
            host.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cluster(nodes: int) -> Iterator[Cluster]:
    """Start a cluster with so many nodes beside its head, on hosts of its own."""
    with netns.hosts(1 + nodes) as hosts, on_hosts(hosts) as made:
        yield made


def _answers(ip: str) -> bool:
    try:
        socket.create_connection((ip, PORT), 1).close()
    except OSError:
        return False
    return True
