"""`hit serve`: the server's processes."""

import json
import os
from dataclasses import asdict
from pathlib import Path

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
    return create_app(Service(Path(library), configs.build(ServeConfig, told, _TOLD)))
