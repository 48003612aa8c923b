"""What Prometheus is told. Several worker processes count together, in a folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

from hit.service import Service

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the variable that tells prometheus_client, before it is imported, to count in a folder
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """What one process counts, and what the library says of itself when it is asked."""

    def __init__(self, service: Service) -> None:
        self._service, own = service, CollectorRegistry()
        by = ["method", "route"]
        self._requests = Counter("hit_requests", "Requests that were answered.", [*by, "status"], registry=own)
        self._seconds = Histogram("hit_request_seconds", "Until an answer was out.", by, registry=own, buckets=_SECONDS)
        live: dict[str, Any] = {"multiprocess_mode": "livesum", "registry": own}
        self.flying = Gauge("hit_requests_in_flight", "Requests that are being answered.", **live)
        self.waiting = Gauge("hit_requests_waiting", "Requests that wait for their turn.", ["pool"], **live)
        self.refused = Counter("hit_requests_refused", "Requests that were told to come again later.", ["pool"], registry=own)
        self._texts = Gauge("hit_texts", "Texts asked for, known from before, and embedded.", ["kind"], **live)
        self._batches = Gauge(
            "hit_text_batches", "Calls of the model's text tower: hit_texts{kind='embedded'} are in them.", **live
        )
        self._own = own

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer, by the template of its route: whoever asks for what is not there makes no new rows."""
        route = route_of(scope)
        known = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)
        if batching := self._service.batching:
            for kind in ("asked", "known", "embedded"):
                self._texts.labels(kind).set(getattr(batching, kind))
            self._batches.set(batching.batches)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        registry = CollectorRegistry()
        if folder := os.environ.get(FOLDER):
            for path in Path(folder).glob("gauge_live*_*.db"):  # of a worker that was killed nothing is in flight
                if not Path(f"/proc/{path.stem.rpartition('_')[2]}").exists():
                    path.unlink(missing_ok=True)
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        else:
            registry.register(self._own)
        registry.register(_Library(self._service))
        return generate_latest(registry)


def route_of(scope: Scope) -> str:
    """Return the template of the route that a request took."""
    return getattr(scope.get("route"), "path", "other")


class _Library:
    """Counts that the database knows."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # else it would be asked at its registration

    def collect(self) -> Iterator[GaugeMetricFamily]:
        tallies = self._service.db.tallies()
        for name, words, label in (
            ("hit_jobs", "Jobs, by their state.", "state"),
            ("hit_videos", "Videos, by their status.", "status"),
        ):
            family = GaugeMetricFamily(name, words, labels=[label])
            for value, number in tallies[name.removeprefix("hit_")].items():
                family.add_metric([value], number)
            yield family
        yield GaugeMetricFamily("hit_segments", "Segments that can be found.", tallies["segments"][""])
