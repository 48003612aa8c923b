"""`hit serve` with the toy encoder, as a process of its own, and what drives it.

Run as a script: serve_toy.py LIBRARY FOLDER [KEY=VALUE]... It prints its address to stdout when it answers. A search for "gate"
makes a file FOLDER/came and waits until there is a file FOLDER/open.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from hit.errors import UserError
from hit.types import Floats
from toy import PLUGIN, ToyEncoder

PATIENCE = 120.0  # seconds until a test gives up: this machine may be busy


class GatedEncoder(ToyEncoder):
    """The toy, which can be made to wait, and to fail."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        if (self.folder / "broken").exists():
            raise UserError("the model", "is broken", "mend it")
        if "gate" in texts:
            (self.folder / "came").touch()
            until((self.folder / "open").exists)
        return super().embed_texts(texts)


class Served:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process, self.url, self.port = process, url, urlsplit(url).port or 0

    def status(self, path: str) -> int:
        """Return the status of a GET, 0 where the connection breaks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()
        return answer.status

    def post(self, path: str, body: object) -> Any:
        """Return the JSON that a POST is answered with."""
        request = urllib.request.Request(
            self.url + path.lstrip("/"), json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def get(self, path: str) -> Any:
        """Return the JSON of a GET."""
        with urllib.request.urlopen(self.url + path.lstrip("/"), timeout=PATIENCE) as answer:
            return json.load(answer)

    def events(self) -> bytes:
        """Listen to the events of all jobs until the server ends them."""
        with urllib.request.urlopen(f"{self.url}v1/events", timeout=PATIENCE) as answer:
            data: bytes = answer.read()
        return data

    def search(self, text: str) -> int:
        """Return the status of a search."""
        return self.status(f"/v1/search?q={quote(text)}")

    def workers(self) -> set[int]:
        """Return the processes that answer: the children that are no trackers of resources."""
        return {one for one in children(self.process.pid) if b"spawn_main" in _line(one)}

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def _line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def children(process: int) -> set[int]:
    """Return the processes that any thread of a process has begun."""
    try:
        found = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:
        return set()
    return {int(one) for some in found for one in some}


def alive(process: int) -> bool:
    """Tell whether a process is at work: neither gone nor dead with nobody to ask how."""
    return bool(_line(process))


def until(true: Callable[[], bool]) -> None:
    """Wait until something holds. Raises TimeoutError if that takes too long."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


@contextlib.contextmanager
def serving(library: Path, folder: Path, *settings: str) -> Iterator[Served]:
    """Serve a library at a free port; the server's stderr goes to FOLDER/stderr. It is killed at the end if it still is there."""
    words = [sys.executable, __file__, str(library), str(folder), "port=0", *settings]
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN)}  # its expert
    with (
        (folder / "stderr").open("a") as log,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, (folder / "stderr").read_text()
            yield Served(process, url)
        finally:
            process.kill()


if __name__ == "__main__":
    from hit.api import run
    from hit.service import config

    try:
        sys.exit(
            run.serve(
                Path(sys.argv[1]),
                config.read(Path(sys.argv[1]), sys.argv[3:]),
                GatedEncoder(Path(sys.argv[2])),
                lambda url: print(url, flush=True),
            )
        )
    except UserError as error:
        print(error, file=sys.stderr)
        os._exit(error.code)
