"""A client's metrics and spans through OpenTelemetry. Needs `pip install 'ideogram-async[otel]'`.

Give a client a `Telemetry` as one of its hooks. Names and attributes are those of OpenTelemetry's
semantic conventions for HTTP clients where these apply, and begin with `ideogram.` elsewhere.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping
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
"""The conventions' own boundaries."""
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

Attributes = Mapping[str, str | int]


class Telemetry:
    """A hook that reports metrics, and a span a query.

    One serves any number of clients. Metrics:

    - `http.client.request.duration` (s): of each query, by status and by what went wrong
    - `ideogram.request.duration` (s): from submission to completion, on the server's clock
    - `ideogram.requests`: requests that have ended, by what went wrong
    - `ideogram.session.changes`: new states of sessions, by session and state
    - `ideogram.requests.pending`, `http.client.active_requests`: now, of the clients that `observe`
      was given

    Spans are roots, `POST` and the path, of kind CLIENT: a query may serve many callers, so it has
    no one parent.

    Args:
        tracer_provider: Where spans go; default: the global one.
        meter_provider: Where metrics go; default: the global one.
        spans: Whether there are any. A request takes some five queries.

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
        self._places: dict[str, tuple[str, Attributes]] = {}
        self._known: dict[tuple[str, int | None, str | None], Attributes] = {}

    def __call__(self, event: Event, /) -> None:
        """Report an event."""
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
        """Report what this client has pending and in flight, as long as it lives."""
        alive = (one for one in self._clients if one() is not None)
        self._clients = (*alive, weakref.ref(client))  # replaced: metrics are read in any thread

    def _query(self, event: QueryAnswered) -> None:
        failure = None if event.error is None else _failure(event)
        key = (event.url, event.status, failure)
        attributes = self._known.get(key)
        if attributes is None:
            attributes = self._known[key] = self._attributes(event, failure)
        seconds = event.answered - event.asked
        # Whatever context the query ran in belongs to one of its callers at most.
        self._queries.record(seconds, attributes, Context())
        if self._tracer is not None:
            self._span(event, seconds, attributes, failure)

    def _span(
        self, event: QueryAnswered, seconds: float, attributes: Attributes, failure: str | None
    ) -> None:
        if self._tracer is None:
            return
        now = time.time_ns()
        name, place = self._place(event.url)
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

    def _attributes(self, event: QueryAnswered, failure: str | None) -> Attributes:
        parts = urlsplit(event.url)
        attributes: dict[str, str | int] = {
            "http.request.method": "POST",
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        if failure is not None:
            attributes["error.type"] = failure
        return attributes

    def _place(self, url: str) -> tuple[str, Attributes]:
        """Give a span's name and what tells its address."""
        known = self._places.get(url)
        if known is None:
            path = urlsplit(url).path
            known = self._places[url] = (f"POST {path}", {"url.full": url, "url.template": path})
        return known

    def _sum_of(
        self, figure: Callable[[Statistics], int]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            clients = [client for one in self._clients if (client := one()) is not None]
            if clients:
                yield Observation(sum(figure(client.statistics()) for client in clients))

        return observed


def _failure(event: QueryAnswered) -> str:
    """Tell what went wrong: the status where it says so, else the kind of error."""
    if event.status is not None and event.status >= HTTPStatus.BAD_REQUEST:
        return str(event.status)
    return type(event.error).__name__
