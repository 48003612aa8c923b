"""How quickly `hit serve` answers, alone and in a crowd: a library behind HTTP on this machine, asked by another process.

python benchmarks/serve.py [--segments 100000] [--clients 50] [--workers 1] [--seconds 20] [--folder DIR] [--tiny]
                           [--streams 20] [--setting KEY=VALUE]...

Clients keep their connection, and each asks the next query as soon as it has an answer; all queries differ (see `crowd.py`), so
that no embedding is remembered. `encoder_qps` is how many such texts a second the encoder embeds in its best batch, in a process
that has the machine for itself. Milliseconds are wall clock at the client; `cpu_ms` is CPU time of a query, the server's (all its
processes) and the client's. Memory is what lies in no file; in a run of a minute or more its growth is that of its last half.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import crowd
import numpy as np

from hit.encoder import load_encoder

WARM = 2.0  # seconds before those that count
BATCHES = 8, 32, 128
PATIENCE = 120.0  # seconds until a server must answer
MB = 1 << 20


@dataclass
class Asked:
    """What clients have seen."""

    walls: list[float] = field(default_factory=list)  # seconds of each answer
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return the figures."""
        p50, p99 = (np.percentile(self.walls, [50, 99]) * 1000).round(1).tolist() if self.walls else (None, None)
        return {"p50_ms": p50, "p99_ms": p99, "qps": round(len(self.walls) / self.seconds, 1), "answers": len(self.walls)}


class Connection:
    """A client's connection, kept open."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> "Connection":
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def request(self, method: str, path: str, body: bytes = b"", header: str = "") -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n{header}"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        start = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(start.partition("content-length:")[2].partition("\r\n")[0])
        return int(start.split(" ", 2)[1]), await self.reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


async def ask(port: int, clients: int, seconds: float, texts: Iterator[str]) -> Asked:
    """Have clients ask, each one query after the other."""
    asked = Asked()
    begun = time.perf_counter()

    async def client() -> None:
        connection = await Connection(port).open()
        while (start := time.perf_counter()) < begun + seconds:
            body = json.dumps({"query_text": next(texts), "limit": 10}).encode()
            status, answer = await connection.request("POST", "/v1/search", body)
            asked.walls.append(time.perf_counter() - start)
            if status != 200 or answer.count(b'"rank"') != 10:
                asked.errors.append(f"{status} {answer[:200].decode()}")
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    asked.seconds = time.perf_counter() - begun
    return asked


async def stream(port: int, videos: Sequence[str], until: asyncio.Event) -> float:
    """Read videos at once, a mebibyte at a time, until told to end; return the megabytes a second."""
    read, begun = [0], time.perf_counter()

    async def client(video: str) -> None:
        connection, at = await Connection(port).open(), 0
        while not until.is_set():
            status, data = await connection.request(
                "GET", f"/v1/videos/{video}/stream", header=f"Range: bytes={at}-{at + MB - 1}\r\n"
            )
            assert status == 206, (status, data[:200])
            read[0] += len(data)
            at = at + MB if len(data) == MB else 0
        connection.close()

    await asyncio.gather(*map(client, videos))
    return read[0] / 1e6 / (time.perf_counter() - begun)


class Server:
    """`hit serve` in processes of its own."""

    def __init__(self, library: Path, settings: Sequence[str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "hit", "serve", str(library), "--port", str(self.port), *settings]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the server
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def wait(self) -> None:
        """Return once it answers."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)
        self.log.seek(0)
        raise SystemExit(f"the server did not begin:\n{self.log.read().decode()}")

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def _processes(self) -> list[int]:
        found, waiting = [], [self.process.pid]
        while waiting:
            found.append(waiting.pop())
            for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
        return found

    def cpu(self) -> float:
        """Return the CPU seconds of its processes."""
        ticks = os.sysconf("SC_CLK_TCK")
        stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self._processes())
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / ticks

    def memory(self) -> float:
        """Return their megabytes that lie in no file."""
        texts = (Path(f"/proc/{pid}/status").read_text() for pid in self._processes())
        return sum(int(text.partition("RssAnon:")[2].split()[0]) for text in texts) / 1024


def encoder_limit(model: Path, count: int) -> dict[str, Any]:
    """Return how many texts a second the encoder embeds, by the size of its batches; `best` of them."""
    encoder, texts = load_encoder(model), crowd.queries(count, 3)
    encoder.embed_texts(texts[:8])
    found: dict[str, Any] = {}
    for batch in BATCHES:
        begun = time.perf_counter()
        for start in range(0, count, batch):
            encoder.embed_texts(texts[start : start + batch])
        found[str(batch)] = round(count / (time.perf_counter() - begun), 1)
    return {**found, "best": max(found.values())}


async def measure(server: Server, given: argparse.Namespace, videos: Sequence[str]) -> dict[str, Any]:
    """Ask alone, then in a crowd."""
    texts = iter(crowd.queries(given.queries, 4))
    await ask(server.port, given.clients, WARM, texts)
    alone = await ask(server.port, 1, min(given.seconds, 20.0), texts)
    over, reading = asyncio.Event(), []
    if videos:
        reading.append(asyncio.create_task(stream(server.port, videos, over)))
    memory = [server.memory()]

    async def watch() -> None:
        while True:
            await asyncio.sleep(1)
            memory.append(server.memory())

    watching = asyncio.create_task(watch())
    cpu, own = server.cpu(), time.process_time()
    crowded = await ask(server.port, given.clients, given.seconds, texts)
    cpu, own = server.cpu() - cpu, time.process_time() - own
    watching.cancel()
    over.set()
    half = memory[len(memory) // 2 :]
    found = {
        "alone": alone.row(),
        "crowd": crowded.row(),
        "p99_over_p50_alone": round(float(np.percentile(crowded.walls, 99) / np.percentile(alone.walls, 50)), 1),
        "errors": len(alone.errors) + len(crowded.errors),
        "first_errors": (alone.errors + crowded.errors)[:3],
        "cpu_ms": {"server": round(1000 * cpu / len(crowded.walls), 2), "client": round(1000 * own / len(crowded.walls), 2)},
        "memory_mb": {
            "before": round(memory[0]),
            "after": round(memory[-1]),
            "growth": round(float(np.median(half) - half[0]), 1),
        },
    }
    if reading:
        found["streams"] = {"count": len(videos), "mb_s": round(await reading[0], 1)}
    return found


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--queries", type=int, default=200_000, help="how many there are, no more can be answered")
    parser.add_argument("--streams", type=int, default=0, help="videos that are streamed meanwhile")
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="for the server")
    parser.add_argument("--folder", help="where the library is made, or was: 250 MB for 100,000 segments")
    parser.add_argument("--tiny", action="store_true", help="5,000 segments, 4 clients, 2 seconds")
    given = parser.parse_args()
    if given.tiny:
        given.segments, given.clients, given.seconds, given.queries = 5000, 4, 2.0, 20_000
    with tempfile.TemporaryDirectory() as folder:
        place = Path(given.folder or folder)
        library = crowd.library(place, given.segments)
        videos = crowd.films(place, given.streams) if given.streams else []
        limit = encoder_limit(place / "model", 128 if given.tiny else 384)
        room = [f"concurrent={given.clients}", "queued=1000", "jobs=false", f"workers={given.workers}"]
        server = Server(library, [*room, *given.setting])
        try:
            server.wait()
            found = asyncio.run(measure(server, given, videos))
        finally:
            server.close()
    print(
        json.dumps(
            {
                "benchmark": "serve",
                **{name: getattr(given, name) for name in ("segments", "clients", "workers")},
                "threads": os.environ.get("OMP_NUM_THREADS"),
                "encoder_qps": limit,
                **found,
                "qps_over_encoder": round(found["crowd"]["qps"] / limit["best"], 3),
            }
        )
    )
    if found["errors"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
