"""/v1/webhooks: who is told of verdicts, decisions and changes of policies."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from hit.api.auth import Admin
from hit.api.common import Served, router
from hit.api.schemas import Given, Limit, When
from hit.moderation import webhooks as hooks

routes = router("webhooks", 404, 409)
Name = Annotated[
    str, Path(min_length=1, max_length=100, description="1 to 100 printable characters, but for a slash.", examples=["site"])
]
Event = Literal["verdict.changed", "case.decided", "policy.changed"]


class WebhookJson(BaseModel):
    """Where events go; no events named: all. queued, dead: deliveries that wait, and that were given up."""

    name: str
    url: str
    events: list[str]
    created_at: When
    queued: int
    dead: int


class WebhookList(BaseModel):
    """Webhooks by their names."""

    webhooks: list[WebhookJson]


class NewWebhook(Given):
    """Where events are to go."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "site", "url": "https://example.org/hook", "events": ["verdict.changed"]}]}
    )
    name: Annotated[str, Field(min_length=1, max_length=100)]
    url: Annotated[str, Field(min_length=1, max_length=2000)]
    events: Annotated[list[Event], Field(max_length=10)] = Field(default=[], description="All, where none is named.")


class MadeWebhook(WebhookJson):
    """A webhook, with the secret that its deliveries are signed with: it is not shown again."""

    secret: str


class DeliveryJson(BaseModel):
    """An event on its way. error: why the last try failed."""

    id: int
    webhook: str
    event: str
    state: Literal["queued", "sent", "dead"]
    tries: int
    created_at: When
    due_at: When
    sent_at: When | None
    error: str | None


class DeliveryList(BaseModel):
    """Deliveries, the newest first."""

    deliveries: list[DeliveryJson]
    next_page_token: str | None


@routes.get("/webhooks", response_model=WebhookList)
def webhooks(served: Served, who: Admin) -> dict[str, Any]:
    """List webhooks."""
    return {"webhooks": hooks.listed(served.library)}


@routes.post("/webhooks", response_model=MadeWebhook, status_code=201)
def add_webhook(asked: NewWebhook, served: Served, who: Admin) -> dict[str, Any]:
    """Have events sent to an address, signed with a secret that is told now and never again."""
    return hooks.add(served.library, asked.name, asked.url, asked.events, who.name, served.config.allow_private)


@routes.delete("/webhooks/{name}", status_code=204)
def remove_webhook(name: Name, served: Served, who: Admin) -> Response:
    """Send nothing there any more."""
    served.db.drop_endpoint(name)
    return Response(status_code=204)


@routes.post("/webhooks/{name}/test", response_model=DeliveryJson, status_code=202)
def test_webhook(name: Name, served: Served, who: Admin) -> dict[str, Any]:
    """Queue an event `webhook.test`, which says nothing."""
    return hooks.delivery_json(served.db.test_endpoint(name))


@routes.get("/webhooks/deliveries", response_model=DeliveryList)
def deliveries(
    served: Served,
    who: Admin,
    state: Annotated[Literal["queued", "sent", "dead"] | None, Query(description="Only deliveries in this state.")] = None,
    limit: Limit = 50,
    page_token: Annotated[str | None, Query(pattern=r"^[0-9]{1,9}$")] = None,
) -> dict[str, Any]:
    """List deliveries, the newest first; those that were sent are kept for a week."""
    found = served.db.deliveries(state, limit, int(page_token) if page_token else None)
    token = str(found[-1].id) if len(found) == limit else None
    return {"deliveries": [hooks.delivery_json(one) for one in found], "next_page_token": token}


@routes.post("/webhooks/deliveries/{number}/retry", response_model=DeliveryJson, status_code=202)
def retry_delivery(number: Annotated[int, Path(ge=1, le=2**31 - 1)], served: Served, who: Admin) -> dict[str, Any]:
    """Have a delivery that was given up tried again."""
    return hooks.delivery_json(served.db.retry_delivery(number))
