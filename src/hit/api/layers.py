"""The layers around all routes, each a plain ASGI application, that a request goes through."""

import anyio.to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from hit.api.envelope import Envelope
from hit.api.guard import Guard
from hit.api.limits import Bodies, Turns
from hit.api.login import Throttle
from hit.api.metrics import Metrics
from hit.api.repeat import Once, Unchanged
from hit.service import ServeConfig, Service

_LIGHT = 40  # threads for what is not heavy: as many as Starlette has for all
_SPARED = ("image/*", *DEFAULT_EXCLUDED_CONTENT_TYPES)  # from being compressed
_ASKED = ["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Range", "X-Request-ID"]
_SHOWN = ["ETag", "Idempotent-Replay", "Location", "Retry-After", "X-Request-ID"]


def wrap(app: FastAPI, service: Service) -> None:
    """Put the layers around an application, the innermost first."""
    config = service.config
    metrics = app.state.metrics = Metrics(service)
    app.state.throttle = Throttle()
    app.add_middleware(Unchanged)
    app.add_middleware(Once, service=service)
    app.add_middleware(Turns, config=config, metrics=metrics)
    app.add_middleware(Bodies, config=config)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5, exclude_content_types=_SPARED)
    app.add_middleware(Guard, service=service)
    if config.cors:
        methods = ["GET", "POST", "PUT", "DELETE"]
        app.add_middleware(
            CORSMiddleware, allow_origins=config.cors, allow_methods=methods, allow_headers=_ASKED, expose_headers=_SHOWN
        )
    app.add_middleware(Envelope, metrics=metrics)


def make_room(config: ServeConfig) -> None:
    """Have threads enough: heavy requests, `concurrent` at once, leave the others what they would have without them."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = _LIGHT + config.concurrent
