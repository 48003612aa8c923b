"""Hosts for tests: network namespaces of this machine, on a bridge of their own. They share its files, not its network.

Real processes run in them and talk by real TCP; a host can be cut off, and what runs there killed. Making them takes root and
iproute2: where that is not there, the tests that want hosts say so and are skipped, unless HIT_REQUIRE_NETNS is set, as CI does.
"""

import itertools
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

_numbers = itertools.count()


class Host:
    """A namespace with an address; a context of `hosts`."""

    def __init__(self, name: str, bridge: str, ip: str) -> None:
        self.name, self.ip, self._bridge = name, ip, bridge
        self._link = f"{name}v"  # the bridge's end
        self._started: list[subprocess.Popen[str]] = []
        _ip("netns", "add", name)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", self._link, "master", bridge, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{ip}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def start(self, *words: object, env: Mapping[str, str] | None = None, **options: Any) -> "subprocess.Popen[str]":
        """Start a command on the host, in a session of its own. It ends with the host, if not before."""
        command = ["ip", "netns", "exec", self.name, *map(str, words)]
        process = subprocess.Popen(command, text=True, env={**os.environ, **(env or {})}, start_new_session=True, **options)
        self._started.append(process)
        return process

    def run(self, *words: object, timeout: float = 120, env: Mapping[str, str] | None = None) -> str:
        """Run a command on the host to its end, and return what it said. Raises CalledProcessError, with its errors as a note."""
        command = ["ip", "netns", "exec", self.name, *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})}, check=False
        )
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
            error.add_note(done.stdout[-4000:] + done.stderr[-4000:])
            raise error
        return done.stdout

    def cut(self) -> None:
        """Cut the host off, as by a pulled cable."""
        _ip("link", "set", self._link, "down")

    def join(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self._link, "up")

    def pids(self) -> list[str]:
        """Return the numbers of what runs on the host."""
        return _ip("netns", "pids", self.name).split()

    def kill(self) -> None:
        """Kill all that runs on the host, at once, as by a loss of power; the host itself stays."""
        for pid in self.pids():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
        for process in self._started:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        self._started.clear()

    def close(self) -> None:
        """Do away with it."""
        self.kill()
        _ip("link", "del", self._link)  # or it goes some time after its host
        _ip("netns", "del", self.name)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Make so many hosts; the test itself sits on the bridge, and is reached at the address of any host with .1 at its end.

    Skips the test where that cannot be, and says why.
    """
    if why := lacking():
        assert not os.environ.get("HIT_REQUIRE_NETNS"), why
        pytest.skip(why)
    mark = f"ht{secrets.token_hex(2)}{next(_numbers)}"  # a link's name has 15 characters
    net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
    _ip("link", "add", mark, "type", "bridge")
    made: list[Host] = []
    try:
        _ip("address", "add", f"{net}.1/24", "dev", mark)
        _ip("link", "set", mark, "up")
        made += (Host(f"{mark}-{number}", mark, f"{net}.{number + 2}") for number in range(count))
        yield made
    finally:
        for host in made:
            host.close()
        _ip("link", "del", mark)


def bridge_ip(host: Host) -> str:
    """Return the address at which hosts reach the test itself."""
    return f"{host.ip.rpartition('.')[0]}.1"


def lacking() -> str:
    """Return why there can be no hosts here, "" where there can."""
    if not shutil.which("ip"):
        return "no network namespaces here: iproute2 is not installed"
    name = f"ht{secrets.token_hex(3)}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        tried = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, text=True, check=False)
        _ip("netns", "del", name)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    _ip("link", "del", name)
    return ""


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout
