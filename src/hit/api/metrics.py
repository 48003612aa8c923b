"""What Prometheus is told. Several worker processes count together, in a folder."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

import hit
from hit import traces
from hit.db.load import load
from hit.service import Service

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the variable that tells prometheus_client, before it is imported, to count in a folder
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHORT = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_PARTS: tuple[traces.Part, ...] = ("embed", "store", "database", "object")
_PAUSE = 1.0  # seconds between two looks at what the process itself takes


class Metrics:
    """What one process counts, and what the library says of itself when it is asked. A context manager: parts count inside."""

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
        parts = Histogram("hit_part_seconds", "Parts of the work.", ["part"], registry=own, buckets=_SHORT)
        self._parts = {part: parts.labels(part) for part in _PARTS}
        words = "What was looked for in a cache, by whether it was there."
        self._lookups = Counter("hit_cache_lookups", words, ["cache", "outcome"], registry=own)
        self._workers = Gauge("hit_workers", "Processes that answer.", **live)
        self._memory = Gauge("hit_memory_bytes", "Memory of the processes that answer.", **live)
        self._connections = Gauge("hit_database_connections", "Connections to the database that are in use.", **live)
        self._turn = threading.Lock()  # the event loop and the threads of /metrics look
        self._own, self._looked, self._known = own, 0.0, dict[str, tuple[int, int]]()
        self._watching = traces.watched(self._took)

    def __enter__(self) -> Self:
        self._workers.set(1)
        self._watching.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._watching.__exit__(kind, error, trace)

    def _took(self, part: traces.Part, seconds: float) -> None:
        if found := self._parts.get(part):
            found.observe(seconds)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer, by the template of its route: whoever asks for what is not there makes no new rows."""
        route = route_of(scope)
        known = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)
        if (now := time.monotonic()) >= self._looked + _PAUSE:
            self._looked = now
            self._look()

    def _look(self) -> None:
        """Take over what others count, and what this process takes."""
        with self._turn:
            if batching := self._service.batching:
                for kind in ("asked", "known", "embedded"):
                    self._texts.labels(kind).set(getattr(batching, kind))
                self._batches.set(batching.batches)
                self._looked_up("texts", batching.asked, batching.known)
            self._looked_up("records", *self._service.db.lookups())
            self._looked_up("media", self._service.media.asked, self._service.media.known)
        with contextlib.suppress(OSError):  # not everywhere
            self._memory.set(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        self._connections.set(self._service.db.connections())

    def _looked_up(self, cache: str, asked: int, known: int) -> None:
        before = self._known.get(cache, (0, 0))
        self._known[cache] = asked, known
        hits = max(0, known - before[1])
        self._lookups.labels(cache, "hit").inc(hits)
        self._lookups.labels(cache, "miss").inc(max(0, asked - before[0] - hits))

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        self._look()
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
    return str(getattr(scope.get("route"), "path", "other"))


class _Library:
    """Counts that the database knows."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # else it would be asked at its registration

    def collect(self) -> Iterator[GaugeMetricFamily]:
        service = self._service
        tallies, now = service.db.tallies(), load(service.db)
        yield _family(
            "hit_build_info", "The program, and the model.", {(hit.__version__, service.library.config.model.revision): 1}
        )
        yield _family("hit_jobs", "Jobs, by their state.", tallies["jobs"])
        yield _family("hit_videos", "Videos, by their status.", tallies["videos"])
        yield _family("hit_segments", "Segments that can be found.", {(): tallies["segments"][""]})
        yield _family("hit_jobs_by_kind", "Jobs, by their kind and state.", now.jobs)
        yield _family("hit_jobs_oldest_seconds", "How long the oldest job of a kind has waited.", now.oldest)
        yield _family("hit_jobs_stale", "Jobs that run, and whose worker is not heard of.", {(): now.stale})
        yield from self._review()
        yield _family("hit_deliveries", "Messages of webhooks that wait, and that were given up.", now.deliveries)

    def _review(self) -> Iterator[GaugeMetricFamily]:
        seats, oldest, now = dict[tuple[str, str], int](), dict[str, float](), datetime.now(UTC)
        for one in self._service.db.waiting():  # by severity, too
            for state, count in (("open", one.open), ("claimed", one.held)):
                seats[one.policy, state] = seats.get((one.policy, state), 0) + count
            if one.oldest:
                oldest[one.policy] = max(oldest.get(one.policy, 0.0), (now - one.oldest).total_seconds())
        yield _family("hit_review_seats", "Cases that wait for a reviewer, and that one has claimed.", seats)
        yield _family("hit_review_oldest_seconds", "How long the oldest open case of a policy has waited.", oldest)


_LABELS = {
    "hit_build_info": ("version", "revision"),
    "hit_jobs": ("state",),
    "hit_videos": ("status",),
    "hit_jobs_by_kind": ("kind", "state"),
    "hit_jobs_oldest_seconds": ("kind",),
    "hit_review_seats": ("policy", "state"),
    "hit_review_oldest_seconds": ("policy",),
    "hit_deliveries": ("state",),
}


def _family(name: str, words: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=_LABELS.get(name, ()))
    for labels, value in values.items():
        family.add_metric([labels] if isinstance(labels, str) else labels, value)
    return family
