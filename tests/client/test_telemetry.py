"""What OpenTelemetry's own exporters get of a client's work."""

from __future__ import annotations

import asyncio
import gc
from typing import Any
from urllib.parse import urlsplit

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async.telemetry import Telemetry
from ideogram_async.testing import Gateway, Reply

pytestmark = pytest.mark.anyio
CANARY = "canary-4711"


class Scene:
    """OpenTelemetry with exporters in memory, and a client that reports to it."""

    def __init__(self, gateway: Gateway, **settings: Any) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry = Telemetry(
            tracer_provider=self.tracers,
            meter_provider=MeterProvider([self.reader]),
            **settings,
        )
        self.client = IdeogramClient(
            gateway.url, token=CANARY, schedule=FixedInterval(1.0), hooks=[self.telemetry]
        )

    def points(self) -> dict[str, list[Any]]:
        """Give the points of each metric, as they stand now."""
        read = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (read.resource_metrics if read else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


async def test_each_query_is_a_span() -> None:
    """A query's span has the conventions' name, kind, times and attributes, and no parent."""
    async with Gateway(tokens=[CANARY], latency=0.25, path_prefix="/relay") as gateway:
        scene = Scene(gateway)
        request_id = gateway.submit(duration=2.0)
        with scene.tracers.get_tracer("a caller's").start_as_current_span("a caller's own"):
            async with scene.client as client:
                await client.wait(request_id)
    *spans, _ = scene.exporter.get_finished_spans()
    assert len(spans) == len(gateway.queries) > 1
    path = "/relay/api/ideogram/task-request"
    address = urlsplit(gateway.url)
    for span in spans:
        assert (span.name, span.kind, span.parent) == (f"POST {path}", SpanKind.CLIENT, None)
        assert dict(span.attributes or {}) == {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": address.hostname,
            "server.port": address.port,
            "url.full": f"{address.scheme}://{address.netloc}{path}",
            "url.template": path,
            "ideogram.request.id": request_id,
        }
        assert ((span.end_time or 0) - (span.start_time or 0)) / 1e9 == pytest.approx(0.25)
        assert span.status.status_code is StatusCode.UNSET


async def test_what_fails_is_told_by_its_kind() -> None:
    """The status is the kind of an error that has one, else the error's class, in both signals."""
    async with Gateway(tokens=[CANARY]) as gateway:
        scene = Scene(gateway)
        gateway.script(Reply(500))
        gateway.script(Reply(200, {"Content-Type": "application/json"}, b"OK"))
        async with scene.client as client:
            await client.wait(gateway.submit(duration=10.0))
            async with gateway.down():
                waiting = asyncio.create_task(client.wait(gateway.submit(duration=1.0)))
                await asyncio.sleep(0.5)
            await waiting
        points = scene.points()["http.client.request.duration"]
    spans = scene.exporter.get_finished_spans()
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    kinds = ["500", "InvalidResponseError", "APIConnectionError"]
    assert list(dict.fromkeys((one.attributes or {})["error.type"] for one in failed)) == kinds
    told = {
        (point.attributes.get("error.type"), point.attributes.get("http.response.status_code", 0))
        for point in points
    }
    assert told == {
        (None, 200),
        ("500", 500),
        ("InvalidResponseError", 200),
        ("APIConnectionError", 0),
    }
    assert sum(point.count for point in points) == len(spans)
    assert CANARY not in repr(points) + repr([span.to_json() for span in spans])


async def test_requests_and_sessions_are_counted() -> None:
    """Ends of requests, how long they took, and what befell sessions: each has its metric."""
    async with Gateway(tokens=[CANARY]) as gateway:
        scene = Scene(gateway)
        refusal = Reply(429, {"Retry-After": "2"})
        gateway.on_query = lambda query: refusal if 3 < query.at < 4 else None
        ids = [gateway.submit(duration=10.0), gateway.submit(duration=20.0)]
        ids.append(gateway.submit(duration=5.0, errored=True))
        async with scene.client as client:
            async for _ in client.as_completed(ids, return_exceptions=True):
                pass
        points = scene.points()
    (durations,) = points["ideogram.request.duration"]
    assert durations.count == 2
    assert durations.sum == pytest.approx(30.0, abs=4.0)
    ended = {
        point.attributes.get("error.type"): point.value for point in points["ideogram.requests"]
    }
    assert ended == {None: 2, "RequestFailed": 1}
    changes = [dict(point.attributes) for point in points["ideogram.session.changes"]]
    assert changes == [
        {"ideogram.session.index": 0, "ideogram.session.state": state}
        for state in ("throttled", "open")
    ]


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_what_is_pending_is_observed() -> None:
    """Of the clients that are observed, the sum of what is pending and in flight is told."""
    async with Gateway(tokens=[CANARY], latency=0.5) as gateway:
        scene, other = Scene(gateway), Scene(gateway)
        assert "ideogram.requests.pending" not in scene.points()
        scene.telemetry.observe(scene.client)
        scene.telemetry.observe(other.client)
        async with scene.client, other.client:
            waits = [
                asyncio.create_task(client.wait(gateway.submit(progress="never")))
                for client in (scene.client, scene.client, other.client)
            ]
            await asyncio.sleep(0.25)
            points = scene.points()
            assert [point.value for point in points["ideogram.requests.pending"]] == [3]
            assert [point.value for point in points["http.client.active_requests"]] == [3]
            await _cancelled(waits)
        waits.clear()
        del other
        scene.client = IdeogramClient(gateway.url)
        gc.collect()
        assert "ideogram.requests.pending" not in scene.points()


async def test_without_spans() -> None:
    """Metrics can be had without spans."""
    async with Gateway(tokens=[CANARY]) as gateway:
        scene = Scene(gateway, spans=False)
        async with scene.client as client:
            await client.wait(gateway.submit(duration=1.0))
        assert scene.exporter.get_finished_spans() == ()
        assert scene.points()["http.client.request.duration"]


async def test_where_opentelemetry_is_not_set_up() -> None:
    """With the interfaces alone, and nothing behind them, nothing is reported and nothing fails."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, hooks=[Telemetry()]) as client,
    ):
        assert (await client.wait(gateway.submit(duration=1.0))).is_complete
