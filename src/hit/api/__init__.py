"""The HTTP door of a library: an API under /v1 for programs, and pages for people."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import hit
from hit.api import evaluations, health, layers, login, problems, search, videos, web
from hit.service import Service


def create_app(service: Service) -> FastAPI:
    """Return the application that serves a library. It closes the service when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with service:
            layers.make_room(service.config)
            yield

    app = FastAPI(
        title="HiT",
        summary="Find video by text and text by video.",
        version=hit.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.state.service = service
    problems.install(app)
    layers.wrap(app, service)
    for module in (health, login, search, videos, evaluations, web):
        app.include_router(module.routes)
    web.mount(app)
    return app
