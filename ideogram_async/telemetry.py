"""A client's metrics and spans through OpenTelemetry. Needs `pip install 'ideogram-async[otel]'`.

A client takes a `Telemetry` as one of its hooks. Names and attributes follow OpenTelemetry's
semantic conventions for HTTP clients where those apply; all others begin with `ideogram.`.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from ideogram_async import (
    Event,
    IdeogramClient,
    QueryAnswered,
    RequestEnded,
    SessionChanged,
    Statistics,
    __version__,
)

__all__ = ["Telemetry"]

_NAME = "ideogram_async"
_QUERY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Boundaries of the histogram of queries: those of the conventions."""
_REQUEST_SECONDS = (
    1.0,
    2.0,
    3.0,
    5.0,
    7.5,
    10.0,
    15.0,
    20.0,
    30.0,
    45.0,
    60.0,
    120.0,
    300.0,
    900.0,
)
"""Boundaries of the histogram of requests, which typically take 3 to 72 s (seen)."""

Attributes = Mapping[str, str | int]


class Telemetry:
    """A hook that reports metrics, and one span per query.

    One instance serves any number of clients. Metrics:

    - `http.client.request.duration` (s): duration of each query, by status and kind of error
    - `ideogram.request.duration` (s): time from submission to completion, on the server's clock
    - `ideogram.requests`: requests that have ended, by kind of error
    - `ideogram.session.changes`: changes of a session's state, by session and state
    - `ideogram.requests.pending`, `http.client.active_requests`: present numbers, of the clients
      that were passed to `observe`

    A span is named `POST` and the path, and its kind is CLIENT. It has no parent, since one query
    can serve many callers.

    For example::

        from ideogram_async import IdeogramClient
        from ideogram_async.telemetry import Telemetry


        def traced_client(base_url: str) -> IdeogramClient:
            telemetry = Telemetry()  # or with providers of its own, or spans=False
            client = IdeogramClient(base_url, hooks=[telemetry])
            telemetry.observe(client)  # also metrics of what is pending
            return client

    Args:
        tracer_provider: Receives the spans. Default: the global provider.
        meter_provider: Receives the metrics. Default: the global provider.
        spans: Whether spans are made. A request takes about five queries.

    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        spans: bool = True,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider) if spans else None
        meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._queries = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_QUERY_SECONDS,
        )
        self._durations = meter.create_histogram(
            "ideogram.request.duration",
            unit="s",
            description="Time from an image request's submission to its completion.",
            explicit_bucket_boundaries_advisory=_REQUEST_SECONDS,
        )
        self._ended = meter.create_counter(
            "ideogram.requests", unit="{request}", description="Image requests that have ended."
        )
        self._changes = meter.create_counter(
            "ideogram.session.changes", unit="{change}", description="New states of sessions."
        )
        meter.create_observable_up_down_counter(
            "ideogram.requests.pending",
            [self._sum_of(lambda figures: figures.pending)],
            unit="{request}",
            description="Image requests that are being polled.",
        )
        meter.create_observable_up_down_counter(
            "http.client.active_requests",
            [self._sum_of(lambda figures: figures.in_flight)],
            unit="{request}",
            description="Number of active HTTP requests.",
        )
        self._clients: tuple[weakref.ref[IdeogramClient], ...] = ()

    def __call__(self, event: Event, /) -> None:
        """Report one event."""
        match event:
            case QueryAnswered():
                self._query(event)
            case RequestEnded(error=None, age=age):
                self._ended.add(1)
                if age is not None:
                    self._durations.record(age)
            case RequestEnded(error=error):
                self._ended.add(1, {"error.type": type(error).__name__})
            case SessionChanged(session=session, state=state):
                attributes = {"ideogram.session.index": session, "ideogram.session.state": state}
                self._changes.add(1, attributes)

    def observe(self, client: IdeogramClient) -> None:
        """Report the client's pending requests and queries in flight, while the client exists."""
        alive = (one for one in self._clients if one() is not None)
        self._clients = (*alive, weakref.ref(client))  # a new tuple: any thread may read metrics

    def _query(self, event: QueryAnswered) -> None:
        failure = None if event.error is None else _failure(event)
        attributes = _attributes(event.url, event.status, failure)
        seconds = event.answered - event.asked
        # An empty context: the current one belongs to one caller at most.
        self._queries.record(seconds, attributes, Context())
        if self._tracer is None:
            return
        now = time.time_ns()
        name, place = _place(event.url)
        span = self._tracer.start_span(
            name,
            Context(),
            SpanKind.CLIENT,
            {**attributes, **place, "ideogram.request.id": event.request_id},
            start_time=now - int(seconds * 1e9),
        )
        if failure is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(now)

    def _sum_of(
        self, figure: Callable[[Statistics], int]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            clients = [client for one in self._clients if (client := one()) is not None]
            if clients:
                yield Observation(sum(figure(client.statistics()) for client in clients))

        return observed


@lru_cache
def _attributes(url: str, status: int | None, failure: str | None) -> Attributes:
    """Return the attributes of a query."""
    parts = urlsplit(url)
    attributes: dict[str, str | int] = {
        "http.request.method": "POST",
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
    if status is not None:
        attributes["http.response.status_code"] = status
    if failure is not None:
        attributes["error.type"] = failure
    return attributes


@lru_cache
def _place(url: str) -> tuple[str, Attributes]:
    """Return a span's name and the attributes of its address."""
    path = urlsplit(url).path
    return f"POST {path}", {"url.full": url, "url.template": path}


def _failure(event: QueryAnswered) -> str:
    """Return the kind of error: a status of 400 or above, else the error's class."""
    if event.status is not None and event.status >= HTTPStatus.BAD_REQUEST:
        return str(event.status)
    return type(event.error).__name__
