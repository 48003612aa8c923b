"""What a request, or a job, is followed by through threads, processes and machines: its id and, where they are wanted, its spans.

Ids are always there. Spans go to an OpenTelemetry collector, by the extra `trace`, once `start` was called, and cost next to
nothing before. How long parts of the work take is also told to whoever watches: that is what Prometheus' histograms are made of.
"""

import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, Self

import hit
from hit.errors import UserError

Part = Literal["embed", "store", "database", "object", "file"]
Told = Callable[[Part, float], None]
Value = str | int | float | bool
KEYS = ("request", "trace")  # of what is passed on

_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_SECONDS = 3.0  # for a collector to take what it is sent: who ends waits no longer for one that is away
_request: ContextVar[str] = ContextVar("request", default="")
_job: ContextVar[int] = ContextVar("job", default=0)
_watchers: list[Told] = []
_provider: Any = None  # opentelemetry's
_tracer: Any = None


# -- ids


def current_id() -> str:
    """Return the id of the request that this thread or task works for; the empty word where there is none."""
    return _request.get()


def current_job() -> int:
    """Return the number of the job that this thread works on, or 0."""
    return _job.get()


def take(given: str) -> str:
    """Go on under an id that came with a request, if it may be one, else under a new one; return it."""
    number = given if _ID.fullmatch(given) else uuid.uuid4().hex[:16]
    _request.set(number)
    return number


@contextmanager
def about(request: str = "", job: int = 0) -> Iterator[None]:
    """Have this thread or task work for a request and on a job."""
    before = _request.set(request), _job.set(job)
    try:
        yield
    finally:
        _request.reset(before[0])
        _job.reset(before[1])


def passed_on() -> dict[str, str]:
    """Return what a job's detail bears of the request that asked for it: {request, trace}, without what there is not."""
    found = {"request": _request.get(), "trace": _parent() if _tracer else ""}
    return {key: value for key, value in found.items() if value}


# -- spans


def start(endpoint: str) -> None:
    """Send spans to a collector, http://HOST:4318, from now on; where that is empty, nowhere.

    What else it asks for stands in OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER. Raises
    UserError where the extra is not installed.
    """
    global _provider, _tracer  # noqa: PLW0603  # one a process
    if not endpoint or _provider:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        what = f"needs the package {(error.name or '').split('.')[0]}, which is not installed"
        raise UserError("trace", what, "pip install 'hit-video[trace]', or leave `trace` out of hit.toml") from None
    names = {"service.name": "hit", "service.version": hit.__version__}
    own = Resource.create({**names, "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"})
    _provider = TracerProvider(resource=own, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_SECONDS)
    _provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=_SECONDS * 1000))
    _tracer = _provider.get_tracer("hit", hit.__version__)


def stop() -> None:
    """Send what has not been sent yet, and no more."""
    global _provider, _tracer  # noqa: PLW0603
    if _provider:  # which tries again and again where nobody takes what it sends
        ending = threading.Thread(target=_provider.shutdown, daemon=True)
        ending.start()
        ending.join(_SECONDS)
    _provider = _tracer = None


class Span:
    """A stretch of work, as a context manager; this one is noted nowhere."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def say(self, name: str = "", **about: Value) -> None:
        """Name it otherwise, and say more of it."""


class _Noted(Span):
    """One that a collector is told of."""

    def __init__(self, name: str, parent: str, about: dict[str, Value]) -> None:
        self._name, self._given, self._about = name, parent, about

    def __enter__(self) -> Self:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        there = TraceContextTextMapPropagator().extract({"traceparent": self._given}) if self._given else None
        numbers = {key: value for key, value in (("request.id", _request.get()), ("job.id", _job.get())) if value}
        self._span = _tracer.start_span(self._name, there, attributes={**numbers, **self._about})
        self._token = context.attach(trace.set_span_in_context(self._span, there))
        return self

    def __exit__(self, *error: Any) -> None:
        from opentelemetry import context, trace

        context.detach(self._token)
        if error[0] is not None:  # its words may be a user's
            self._span.set_status(trace.StatusCode.ERROR, error[0].__name__)
        self._span.end()

    def say(self, name: str = "", **about: Value) -> None:
        if name:
            self._span.update_name(name)
        self._span.set_attributes(about)


class _Timed(Span):
    """A part that those who watch are told of, and that is noted within another one."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def __enter__(self) -> Self:
        self._span = _Noted(self._part, "", {}).__enter__() if _tracer and _parent() else NONE
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *error: Any) -> None:
        took = time.perf_counter() - self._begun
        self._span.__exit__(*error)
        for told in _watchers:
            told(self._part, took)


NONE = Span()


def span(name: str, parent: str = "", **about: Value) -> Span:
    """Return a span to be entered; `parent` is a W3C traceparent from elsewhere, if there is one."""
    return _Noted(name, parent, about) if _tracer else NONE


def part(name: Part) -> Span:
    """Return a part of the work to be entered, which counts where it is watched, and is a span inside of another one."""
    return _Timed(name) if _watchers or _tracer else NONE


def took(name: Part, seconds: float, **about: Value) -> None:
    """Note a part of the work that has just ended after so many seconds, as `part` does."""
    for told in _watchers:
        told(name, seconds)
    if _tracer and _parent():
        now = time.time_ns()
        made = _tracer.start_span(name, attributes=about, start_time=now - int(seconds * 1e9))
        made.end(now)


@contextmanager
def watched(told: Told) -> Iterator[None]:
    """Have somebody told of each part that ends, in whichever thread, and of how many seconds it took."""
    _watchers.append(told)
    try:
        yield
    finally:
        _watchers.remove(told)


def watching() -> bool:
    """Tell whether anybody wants to know what takes how long."""
    return bool(_watchers) or _tracer is not None


def trace_id() -> str:
    """Return the id of the trace that this thread or task adds to, as 32 hexadecimal digits, or the empty word."""
    return _parent()[3:35] if _tracer else ""


def _parent() -> str:
    """Return the present span as a W3C traceparent; the empty word where there is none."""
    from opentelemetry import trace

    now = trace.get_current_span().get_span_context()
    return f"00-{now.trace_id:032x}-{now.span_id:016x}-{int(now.trace_flags):02x}" if now.is_valid else ""
