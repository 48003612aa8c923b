"""/livez, /readyz, /metrics: for whoever looks after the server."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from hit.api.common import PROBLEM, Served
from hit.api.metrics import CONTENT_TYPE, Metrics
from hit.api.problems import Problem

routes = APIRouter(tags=["health"], responses={"4XX": PROBLEM, "5XX": PROBLEM})


class Health(BaseModel):
    """That all is well."""

    status: str = "ok"


@routes.get("/livez", response_model=Health)
async def livez() -> Health:
    """Say that the process answers. One that does not is to be started anew."""
    return Health()


@routes.get("/readyz", response_model=Health, responses={503: PROBLEM})
def readyz(served: Served) -> Health:
    """Say that searches can be answered: the database is reached, the model is loaded, the store is open."""
    if reasons := served.unready():
        raise Problem(503, "not ready", "; ".join(reasons.values()), "see its log", reasons=reasons)
    return Health()


@routes.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Tell Prometheus."""
    found: Metrics = request.app.state.metrics
    return Response(found.text(), headers={"Content-Type": CONTENT_TYPE})
