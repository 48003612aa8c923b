"""What waits in a library, and for how long: what those who watch it are told."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from hit.db.access import aware
from hit.db.jobs import STALE
from hit.db.schema import Job
from hit.db.schema_review import Delivery
from hit.db.session import Sessions


@dataclass(slots=True)
class Load:
    """Jobs by (kind, state), and messages of webhooks that have not arrived, by state.

    oldest: for how many seconds the oldest job of a kind has waited. stale: how many jobs run whose beat has stopped.
    """

    jobs: dict[tuple[str, str], int] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    deliveries: dict[str, int] = field(default_factory=dict)


def load(db: Sessions) -> Load:
    """Return what waits now."""
    found, now = Load(), datetime.now(UTC)
    with db.read() as session:
        rows = session.execute(
            sa.select(Job.kind, Job.state, sa.func.count(), sa.func.min(Job.created_at)).group_by(Job.kind, Job.state)
        )
        for kind, state, count, first in rows:
            found.jobs[kind, state] = count
            if state == "queued":
                found.oldest[kind] = _since(first, now)
        still = now - timedelta(seconds=STALE)
        silent = sa.select(sa.func.count()).where(Job.state == "running", Job.beat_at < still)
        found.stale = session.scalar(silent) or 0
        query = sa.select(Delivery.state, sa.func.count()).where(Delivery.state != "sent").group_by(Delivery.state)
        found.deliveries = dict(session.execute(query).all())
    return found


def _since(then: datetime, now: datetime) -> float:
    return max(0.0, (now - aware(then)).total_seconds())
