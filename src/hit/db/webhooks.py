"""Endpoints that are told of events, and what is on its way to them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from hit import traces
from hit.db.records import check
from hit.db.schema_review import Delivery, Endpoint
from hit.db.session import Sessions
from hit.errors import NotFoundError, UserError
from hit.files import BusyError

EVENTS = ("verdict.changed", "case.decided", "policy.changed")
_KEPT = timedelta(days=7)  # what was sent


def put_event(session: Session, event: str, body: Mapping[str, Any]) -> None:
    """Queue an event for all endpoints that want it, in the transaction that makes it true, with the present request's id."""
    assert event in EVENTS, event
    told: list[Endpoint] | None = session.info.get("endpoints")
    asked = {"request_id": request} if (request := traces.current_id()) else {}
    if told is None:  # once in a transaction, which may queue thousands
        told = session.info["endpoints"] = list(session.scalars(sa.select(Endpoint).order_by(Endpoint.name)))
    for endpoint in told:
        if not endpoint.events or event in endpoint.events:
            session.add(_delivery(endpoint.name, event, {**body, **asked}))


class WebhookRecords(Sessions):
    """The part of a Database that holds them."""

    def add_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """Have events sent somewhere. Raises UserError for what cannot be a name, BusyError for one that is taken."""
        check(f"the webhook's name '{endpoint.name}'", endpoint.name)
        if "/" in endpoint.name:  # it is a part of an address
            raise UserError(f"the webhook's name '{endpoint.name}'", "has a slash in it")
        if unknown := [event for event in endpoint.events if event not in EVENTS]:
            raise UserError(f"the event '{unknown[0]}'", "is none", f"one of {', '.join(EVENTS)}")
        with self.write(content=False) as session:
            if session.get(Endpoint, endpoint.name):
                raise BusyError(f"the webhook '{endpoint.name}'", "is there already", "remove it first, or choose another name")
            session.add(endpoint)
        return endpoint

    def drop_endpoint(self, name: str) -> None:
        """Send nothing there any more, and forget what was on its way. Raises NotFoundError."""
        with self.write(content=False) as session:
            session.delete(_endpoint(session, name))

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint. Raises NotFoundError."""
        with self.read() as session:
            return _endpoint(session, name)

    def endpoints(self) -> list[tuple[Endpoint, dict[str, int]]]:
        """Return all endpoints by name, and how many deliveries each has in which state."""
        counts: dict[str, dict[str, int]] = {}
        query = sa.select(Delivery.endpoint, Delivery.state, sa.func.count()).group_by(Delivery.endpoint, Delivery.state)
        with self.read() as session:
            for name, state, count in session.execute(query):
                counts.setdefault(name, {})[state] = count
            return [(one, counts.get(one.name, {})) for one in session.scalars(sa.select(Endpoint).order_by(Endpoint.name))]

    def test_endpoint(self, name: str) -> Delivery:
        """Queue an event that says nothing. Raises NotFoundError."""
        with self.write(content=False) as session:
            _endpoint(session, name)
            session.add(made := _delivery(name, "webhook.test", {}))
        return made

    def claim_delivery(self, lease: float, by: datetime | None = None) -> tuple[Delivery, Endpoint] | None:
        """Take the delivery that is due longest, if any was due by then; after so many seconds, others may take it again."""
        now = datetime.now(UTC)
        due = (Delivery.state == "queued") & (Delivery.due_at <= (by or now))
        first = sa.select(Delivery.id).where(due).order_by(Delivery.due_at, Delivery.id).limit(1)
        with self.read() as session:  # nobody who writes is kept waiting for nothing
            if session.scalar(first) is None:
                return None
        taken = sa.update(Delivery).where(Delivery.id == first.with_for_update(skip_locked=True).scalar_subquery(), due)
        with self.write(content=False, alone=False) as session:
            values = {"due_at": now + timedelta(seconds=lease), "tries": Delivery.tries + 1}
            found = session.scalar(taken.values(**values).returning(Delivery))
            return (found, session.get_one(Endpoint, found.endpoint)) if found else None

    def end_delivery(self, delivery: Delivery, error: str | None = None, due_at: datetime | None = None) -> None:
        """Note that a delivery arrived; or with an `error` that it did not, and when it is due again: None, it is dead."""
        state = "sent" if error is None else "dead" if due_at is None else "queued"
        now = datetime.now(UTC)
        values = {"state": state, "error": error, "due_at": due_at or now, "sent_at": now if error is None else None}
        mine = (Delivery.id == delivery.id) & (Delivery.state == "queued")
        if error is not None:  # who came too late does not undo what another began; what has arrived has
            mine &= Delivery.tries == delivery.tries
        with self.write(content=False, alone=False) as session:
            session.execute(sa.update(Delivery).where(mine).values(**values))
            session.execute(sa.delete(Delivery).where(Delivery.state == "sent", Delivery.sent_at < now - _KEPT))

    def deliveries(self, state: str | None = None, limit: int = 50, before: int | None = None) -> Sequence[Delivery]:
        """Return deliveries, the newest first."""
        query = sa.select(Delivery).order_by(Delivery.id.desc()).limit(limit)
        query = query if state is None else query.where(Delivery.state == state)
        with self.read() as session:
            return list(session.scalars(query if before is None else query.where(Delivery.id < before)))

    def retry_delivery(self, number: int) -> Delivery:
        """Have a dead delivery tried again, from the first try. Raises NotFoundError, and BusyError for one that is not dead."""
        with self.write(content=False, alone=False) as session:
            found = session.get(Delivery, number, with_for_update=True)
            if found is None:
                raise NotFoundError(f"delivery {number}", "there is none of this number")
            if found.state != "dead":
                raise BusyError(f"delivery {number}", f"is {found.state}, and not dead")
            found.state, found.tries, found.due_at = "queued", 0, datetime.now(UTC)
            return found


def _delivery(endpoint: str, event: str, body: Mapping[str, Any]) -> Delivery:
    now = datetime.now(UTC)
    return Delivery(endpoint=endpoint, event=event, body=dict(body), state="queued", tries=0, created_at=now, due_at=now)


def _endpoint(session: Session, name: str) -> Endpoint:
    if found := session.get(Endpoint, name):
        return found
    raise NotFoundError(f"webhook {name}", "there is none of this name")
