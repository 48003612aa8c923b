"""The HTTP door of a library: an API under /v1 for programs, and pages for people."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import hit
from hit.api import (
    bank,
    cases,
    describe,
    document,
    embeddings,
    evaluations,
    explore,
    health,
    ingest,
    jobs,
    labelled,
    labels,
    layers,
    login,
    media,
    models,
    policies,
    problems,
    review,
    search,
    searches,
    upload_search,
    videos,
    web,
    webhooks,
)
from hit.service import Service

ROUTES = (
    *(health, login, search, upload_search, searches, describe, explore, embeddings, models, labels, labelled),
    *(ingest, videos, media, jobs, evaluations, policies, bank, webhooks, review, cases),
    *(document, web),
)


def create_app(service: Service) -> FastAPI:
    """Return the application that serves a library. It closes the service when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        layers.make_room(service.config)
        with service, app.state.metrics:
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
    for module in ROUTES:
        app.include_router(module.routes)
    web.mount(app)
    document.install(app)
    return app
