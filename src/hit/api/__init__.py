"""The HTTP door of a library: an API under /v1 for programs, and pages for people."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

import hit
from hit.api import describe, embeddings, evaluations, models, problems, search, searches, upload_search, videos, web
from hit.service import Service


def create_app(service: Service) -> FastAPI:
    """Return the application that serves a library. It closes the service when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with service:
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

    @app.middleware("http")
    async def name(request: Request, call_next: RequestResponseEndpoint) -> Response:
        request.state.request_id = uuid.uuid4().hex[:16]
        response = await call_next(request)
        response.headers["X-Request-ID"] = request.state.request_id
        return response

    for module in (search, upload_search, searches, describe, embeddings, models, videos, evaluations, web):
        app.include_router(module.routes)
    web.mount(app)
    return app
