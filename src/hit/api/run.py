"""`hit serve`: the server's processes."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from hit import config as configs
from hit.api import create_app
from hit.service import ServeConfig, Service

_TOLD = "HIT_SERVE"  # the variable by which worker processes are told what to serve


def serve(library: Path, config: ServeConfig) -> None:
    """Serve a library until somebody ends it."""
    os.environ[_TOLD] = json.dumps([str(library.absolute()), asdict(config)])
    uvicorn.run(
        "hit.api.run:app",
        factory=True,
        host=config.host,
        port=config.port,
        workers=config.workers if config.workers > 1 else None,
        log_level="info",
        server_header=False,
        timeout_graceful_shutdown=10,
    )


def app() -> FastAPI:
    """Return the application of a worker process."""
    library, told = json.loads(os.environ[_TOLD])
    service = Service(Path(library), configs.build(ServeConfig, told, _TOLD))
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, _first(service.stopping.set, signal.getsignal(sign)))
    return create_app(service)


def _first(stop: Callable[[], None], then: Any) -> Callable[[int, Any], None]:
    """Return a handler that has those who wait for news leave, for whom the server would wait."""

    def handle(sign: int, frame: Any) -> None:
        stop()
        if callable(then):
            then(sign, frame)

    return handle
