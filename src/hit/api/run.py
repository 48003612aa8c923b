"""`hit serve`: the address that is listened at, and what a process does that answers there."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from hit import deployment, logs, traces
from hit.analysis import ServingEncoder
from hit.api import create_app
from hit.api.wire import Protocol
from hit.api.workers import Supervisor, follow_parent
from hit.errors import UserError
from hit.library import Library
from hit.service import ServeConfig, Service

GRACE = 10.0  # seconds for requests in flight, once the server is told to end
_BACKLOG = 2048  # connections that wait to be accepted, while a worker begins or all are busy


def serve(
    library: Path, config: ServeConfig, encoder: ServingEncoder | None = None, ready: Callable[[str], None] = lambda url: None
) -> int:
    """Serve a library until somebody ends it; `ready` is told the address once it is answered at.

    Returns the exit code: 0 after SIGTERM, 130 after Ctrl-C; either a second time ends it without waiting for anything. Raises
    UserError for a library that cannot be opened and an address that cannot be listened at, before any worker is begun.
    """
    Library.open(library, encoder=encoder, mend=False).close()  # one process brings it to this program's schema
    with listen(config.host, config.port) as listening:
        config = replace(config, port=listening.getsockname()[1])
        if config.workers == 1:
            return work(library, config, encoder, listening, lambda: ready(url_of(config)))
        logs.set_up()
        with tempfile.TemporaryDirectory(prefix="hit-serve-") as figures:
            # Read by the workers as they begin: they share the cores, and what each has counted is added up.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // config.workers)))
            crew = Supervisor(work_apart, (library, config, encoder, listening), config.workers, patience=3 * GRACE)
            return crew.run(listening, lambda: ready(url_of(config)))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises UserError for an address that is in use, or not this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not to wait for connections that are long over
            listening.bind(address)
            listening.listen(_BACKLOG)  # here: two that have bound the same port would both go on until then
        except OSError:
            listening.close()
            raise
    except OSError as error:
        fix = "name another one with --port; 0 takes one that is free" if port else "name an address of this machine"
        raise UserError(f"{host}:{port}", f"cannot be listened at: {error.strerror}", fix) from None
    return listening


def url_of(config: ServeConfig) -> str:
    """Return where a server is looked at from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)  # noqa: S104  # compared, not listened at
    return f"http://{f'[{host}]' if ':' in host else host}:{config.port}/"


def work(
    library: Path,
    config: ServeConfig,
    encoder: ServingEncoder | None,
    listening: socket.socket,
    ready: Callable[[], None],
    alone: bool = True,
) -> int:
    """Answer requests until a signal comes; return the exit code. Raises UserError for a model that cannot be loaded.

    alone: no supervisor ends this process where it is in a hurry, so a second signal does.
    """
    described = deployment.read()
    traces.start(described.trace)
    service = Service(library, config, encoder)
    try:
        service.warm()
    except BaseException:
        service.close()
        raise
    options: dict[str, Any] = {"proxy_headers": bool(config.proxies), "forwarded_allow_ips": list(config.proxies)}
    server = _Server(
        uvicorn.Config(
            create_app(service),  # which closes it
            http=Protocol,
            log_config=logs.config(described.log),
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(GRACE),
            **options,
        ),
        service,
        ready,
        alone,
    )
    server.run([listening])
    traces.stop()
    return 130 if server.ended_by == signal.SIGINT else 0 if server.started else 1


def work_apart(
    library: Path, config: ServeConfig, encoder: ServingEncoder | None, listening: socket.socket, ready: Connection
) -> int:
    """Be one of several workers; `ready` is sent something when it answers. Ctrl-C is for the supervisor to act on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
    return work(library, config, encoder, listening, lambda: ready.send(os.getpid()), alone=False)


class _Server(uvicorn.Server):
    """One that says when it answers, has the service stop first, and at a second signal stops at once if it is alone."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None], alone: bool) -> None:
        super().__init__(config)
        self.service, self.ready, self.alone, self.ended_by = service, ready, alone, 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.stop()  # streams of events would go on for ever
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and self.alone:
            os._exit(128 + sig)  # as after a loss of power: nothing is lost that counts
        self.ended_by, self.should_exit = self.ended_by or sig, True
