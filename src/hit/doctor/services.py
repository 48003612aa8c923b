"""What a deployment reaches over the network, or on disks that many machines see."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import hit
from hit import objects as folders
from hit import settings
from hit.db import look as databases
from hit.doctor.finding import FAIL, OK, WARN, Finding, skew
from hit.doctor.machine import version
from hit.errors import UserError
from hit.stores import milvus as stores
from hit.stores import milvus_address

_CONNECT = 5.0  # seconds to reach an address
_OLDEST = 13  # PostgreSQL that is looked after still
_USED = 0.8  # of PostgreSQL's connections
_CLOCK = 1.0  # seconds to which object stores tell a time
_POOL = 25.0  # seconds for a cluster to say who it is
_MILVUS = (2, 3)  # the oldest that was tried


def database(url: str, library: bool) -> Iterator[Finding]:
    """Reach a database and write to it, which is taken back; look at its schema, clock and connections. library: it has one."""
    settings.check(url)
    seen = databases.look(url)
    what = f"{seen.kind} {seen.version}, read" + ("" if seen.busy else " and written to")
    if seen.kind != "sqlite":
        what += f"; psycopg {version('psycopg')}"
    if seen.busy:
        yield Finding("database", f"{what}; it is being written to by another", WARN, "ask again when that is done")
    else:
        yield Finding("database", what, OK)
    yield _schema(seen, library)
    if seen.kind == "sqlite":
        return
    if int(seen.version.split(".")[0]) < _OLDEST:
        yield Finding("database", f"PostgreSQL {seen.version} is older than {_OLDEST}", WARN, f"upgrade it to {_OLDEST} or newer")
    if seen.encoding != "UTF8":
        mend = "make a database WITH ENCODING 'UTF8', and `hit library restore` into it"
        yield Finding("database", f"its encoding is {seen.encoding}: not every title can be kept", FAIL, mend)
    if seen.ahead is not None:
        yield skew("clock", "the database server's", seen.ahead)
    if seen.used and seen.used[0] > _USED * seen.used[1]:
        used, most = seen.used
        yield Finding("database", f"{used} of {most} connections are in use", WARN, "set max_connections to 40 for each worker")


def _schema(seen: databases.Seen, library: bool) -> Finding:
    if seen.schema is None:
        state = FAIL if library else OK
        return Finding("schema", "the database is empty", state, "`hit library restore` a backup" if library else "")
    if seen.schema == seen.head:
        return Finding("schema", f"{seen.schema}, this program's", OK)
    if seen.schema > seen.head:
        what = f"{seen.schema} is newer than this program's {seen.head}"
        return Finding("schema", what, FAIL, "upgrade hit on this machine")
    what = f"{seen.schema} is older than this program's {seen.head}: the next command that opens the library brings it there"
    return Finding("schema", what, WARN, "back up, stop older servers, then open it: docs/operations.md, Upgrades")


def objects(url: str) -> Iterator[Finding]:
    """Write a small file, read and remove it again; its time tells the store's clock."""
    _reach_store(url)
    folder, name, data = folders.folder(url), f"hit-doctor-{secrets.token_hex(6)}", secrets.token_bytes(32)
    begun = time.time()
    folder.write(name, data)
    ended = time.time()
    try:
        same, entry = folder.read(name) == data, folder.head(name)
    finally:
        folder.delete([name])
    if same:
        yield Finding("objects", f"{folders.shown(url)}: written, read, removed", OK)
    else:
        yield Finding("objects", f"{folders.shown(url)}: what is read is not what was written", FAIL, "see what lies before it")
    ahead = entry.modified.timestamp() + _CLOCK / 2 - (begun + ended) / 2
    yield skew("clock", "the object store's", ahead, _CLOCK / 2 + (ended - begun) / 2)


def root(name: str, place: str) -> Iterator[Finding]:
    """List a root."""
    part = f"root {name}"
    if folders.is_url(place):
        _reach_store(place)
        first: Any = next(iter(folders.folder(place).list()), None)
    else:
        try:
            with os.scandir(place) as found:
                first = next(found, None)
        except OSError as error:
            mend = f"mount it on this machine, or name another place for {name} in hit.toml"
            yield Finding(part, f"{place} cannot be listed: {error.strerror}", FAIL, mend)
            return
    if first is None:
        yield Finding(part, f"{folders.shown(place)} is empty", WARN, "see that it is mounted, and whether videos are to come")
    else:
        yield Finding(part, f"{folders.shown(place)} can be listed", OK)


def _reach_store(url: str) -> None:
    """Raise UserError where nobody answers at the end point of a store: its client would try again for minutes."""
    end = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    if url.startswith("s3:") and end:
        reach(f"the object store of {folders.shown(url)}", end, "see to AWS_ENDPOINT_URL, and that it runs")


def reach(what: str, url: str, mend: str) -> None:
    """Raise UserError where nobody answers at an address."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), _CONNECT).close()
    except OSError as error:
        raise UserError(what, f"nothing answers at {host}:{port}: {error.strerror or error}", mend) from None


def milvus(uri: str) -> Iterator[Finding]:
    """Ask the server of a vector store who it is."""
    told = stores.server(uri)
    number = told.removeprefix("v").split("-")[0]
    steps = tuple(int(step) for step in number.split(".")[:2] if step.isdecimal())
    what = f"Milvus {told}, index {milvus_address.parse(uri).index}; pymilvus {version('pymilvus')}"
    if steps and steps < _MILVUS:
        yield Finding("store", what, WARN, "upgrade Milvus to 2.3 or newer")
    else:
        yield Finding("store", what, OK)


def trace(url: str) -> Iterator[Finding]:
    """Send a collector an empty message."""
    if find_spec("opentelemetry") is None or not version("opentelemetry-sdk"):
        yield Finding(
            "trace", "opentelemetry-sdk is not installed: hit serve does not start", FAIL, "pip install 'hit-video[trace]'"
        )
        return
    request = urllib.request.Request(f"{url.rstrip('/')}/v1/traces", b"", {"Content-Type": "application/x-protobuf"})  # noqa: S310
    mend = "start the collector, or see to `trace` in hit.toml; searches go on without it"
    try:
        with urllib.request.urlopen(request, timeout=_CONNECT) as answer:  # noqa: S310  # what hit.toml names
            state = OK if answer.status == 200 else WARN
            yield Finding("trace", f"{url}: answered {answer.status}", state, "" if state == OK else mend)
    except urllib.error.HTTPError as error:
        yield Finding("trace", f"{url}: answered {error.code}", WARN, mend)
    except (OSError, ValueError) as error:
        yield Finding("trace", f"{url}: {getattr(error, 'reason', error)}", WARN, mend)


def pool(where: str, seconds: float = _POOL) -> Iterator[Finding]:
    """Say who looks at videos: of a cluster the nodes, and whether they have what this machine has. seconds: for it to answer."""
    until = time.monotonic() + seconds
    if where == "local":
        yield Finding("pool", f"processes of this machine, {os.cpu_count()} cores", OK)
        return
    if not version("ray"):
        yield Finding("pool", f"{where} needs ray, which is not installed", FAIL, "pip install 'hit-video[ray]'")
        return
    if where == "ray":
        yield Finding("pool", f"a Ray of this machine's own, ray {version('ray')}", OK)
        return
    nodes = _nodes(where, until)
    own = {"python": ".".join(map(str, sys.version_info[:3])), "ray": version("ray"), "hit": hit.__version__}
    for node in nodes:
        other = [f"{name} {node[name]}, here {mine}" for name, mine in own.items() if node.get(name) not in (mine, None)]
        who = f"node {node['address']}, {node['cpus']:g} cores"
        if not node["alive"]:
            yield Finding("pool", f"node {node['address']} is dead", WARN, "start it again: ray start --address=HEAD:PORT")
        elif node.get("hit", "") == "":
            yield Finding("pool", f"{who}: {node.get('error', 'hit is not installed there')}", FAIL, "install the same there")
        elif other:
            yield Finding("pool", f"{who}: {'; '.join(other)}", FAIL, "install the same on all machines")
        else:
            yield Finding("pool", f"{who}: ray {own['ray']}, python {own['python']}, hit {own['hit']}", OK)


def _nodes(where: str, until: float) -> list[dict[str, Any]]:
    """Return who is in a cluster. In a process of its own: Ray waits for minutes where its cluster is gone."""
    reach(f"pool {where}", f"ray://{where.removeprefix('ray://')}", "start it: ray start --head --port=6379")
    left = min(_POOL, until - time.monotonic())
    words = [sys.executable, "-m", "hit.pool.nodes", where]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "start_new_session": True}
    with subprocess.Popen(words, **options) as process:  # noqa: S603  # this program
        try:
            out, _ = process.communicate(timeout=max(0.0, left))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise UserError(
                f"pool {where}", f"has not answered within {left:.0f} s", "see that its head runs: ray status"
            ) from None
    try:
        told = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        raise UserError(
            f"pool {where}", f"cannot be asked (exit code {process.returncode})", f"ray status --address={where}"
        ) from None
    if "error" in told:
        raise UserError(*told["error"])
    return list(told["nodes"])
