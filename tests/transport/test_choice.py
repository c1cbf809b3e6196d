"""Which lane is used, and that whoever watches aiohttp sees queries on the plain one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from functools import wraps
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from ideogram_async import IdeogramClient
from ideogram_async._protocol.query import encode_query
from ideogram_async._transport import answer_reader, choice
from ideogram_async._transport.connection import Wire
from tests.support.lanes import on_fast_lane
from tests.support.raw_server import RawServer
from tests.support.transports import percentage_of, sending

pytestmark = [pytest.mark.anyio, on_fast_lane]

PLAIN, FAST = "plain", "fast"


async def lane_of(**settings: Any) -> tuple[str | None, str]:
    """Return the lane, and the reason, of a client that has had an answer."""
    async with RawServer() as server, IdeogramClient(server.url, **settings) as client:
        assert (await client.retrieve("id")).request_id == "id"
        figures = client.statistics()
        return figures.lane, str(figures.lane_reason)


def _traced(patch: pytest.MonkeyPatch) -> None:
    """Have every session traced, as Sentry and OpenTelemetry do."""
    create = aiohttp.ClientSession.__init__

    @wraps(create)
    def traced(session: aiohttp.ClientSession, *args: Any, **settings: Any) -> None:
        settings["trace_configs"] = [*(settings.get("trace_configs") or ()), aiohttp.TraceConfig()]
        create(session, *args, **settings)

    patch.setattr(aiohttp.ClientSession, "__init__", traced)


def _patched(patch: pytest.MonkeyPatch) -> None:
    """Have every request pass a function of a stranger's, as vcr.py and aioresponses do."""
    request = aiohttp.ClientSession._request

    @wraps(request)
    async def passed(*args: Any, **settings: Any) -> aiohttp.ClientResponse:
        return await request(*args, **settings)

    patch.setattr(aiohttp.ClientSession, "_request", passed)


def _patched_below(patch: pytest.MonkeyPatch) -> None:
    """Have every connection pass a callable object."""

    class Passing:
        def __get__(self, connector: Any, _: object) -> Any:
            return lambda *args, **settings: connect(connector, *args, **settings)

        def __call__(self) -> None:
            """Be callable."""

    connect = aiohttp.TCPConnector.connect
    patch.setattr(aiohttp.TCPConnector, "connect", Passing(), raising=False)


_WATCHED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "traced": (_traced, "aiohttp's sessions are traced"),
    "patched": (_patched, "aiohttp's ClientSession._request is replaced"),
    "patched below": (_patched_below, "aiohttp's TCPConnector.connect is replaced"),
}


async def test_the_fast_lane_is_the_rule(caplog: pytest.LogCaptureFixture) -> None:
    """Statistics and one line of the log say which lane is in use, and why."""
    caplog.set_level(logging.DEBUG, "ideogram_async")
    lane, reason = await lane_of()
    assert lane == FAST
    lines = [record.message for record in caplog.records if "lane" in record.message]
    assert lines == [f"queries take the fast lane: {reason}"]


async def test_no_lane_before_the_first_call() -> None:
    """A client that was not used has chosen none."""
    client = IdeogramClient("https://gateway.example")
    figures = client.statistics()
    assert (figures.lane, figures.lane_reason) == (None, None)
    await client.close()


@pytest.mark.parametrize("name", _WATCHED)
async def test_somebody_watches_aiohttp(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The plain lane is used then, unless the setting forces the fast one."""
    caplog.set_level(logging.DEBUG, "ideogram_async")
    watch, reason = _WATCHED[name]
    watch(monkeypatch)
    assert await lane_of() == (PLAIN, reason)
    assert f"queries take the plain lane: {reason}" in caplog.text
    assert (await lane_of(fast_lane=True))[0] == FAST


async def test_the_setting_forces_the_plain_lane() -> None:
    """With fast_lane=False each query goes through aiohttp's session."""
    assert await lane_of(fast_lane=False) == (PLAIN, "the setting fast_lane is False")


# What the fast lane cannot do without


@pytest.fixture
def unprobed() -> Iterator[None]:
    """Have aiohttp probed anew, before the test and after it."""
    choice.probe.cache_clear()
    yield
    choice.probe.cache_clear()


class _Deaf:
    """A parser that cannot be paused."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        self._parser = aiohttp.http.HttpResponseParser(*args, **settings)
        self.feed_data = self._parser.feed_data
        self.feed_eof = self._parser.feed_eof

    def pause_reading(self) -> None:
        """Go on."""


async def _connect(_: object, __: object) -> None:
    """Connect as another aiohttp might."""


_UNKNOWN: dict[str, tuple[object, str, object]] = {
    "no parser": (answer_reader, "_Parser", None),
    "a parser that does not stop": (answer_reader, "_Parser", _Deaf),
    "a parser in Python": (aiohttp.http, "HttpResponseParser", _Deaf),
    "other arguments": (aiohttp.BaseConnector, "connect", _connect),
    "no protocol": (aiohttp.connector.Connection, "protocol", None),
}


@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("name", _UNKNOWN)
@pytest.mark.parametrize("forced", [None, True])
async def test_an_aiohttp_that_is_not_known(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    forced: bool | None,
) -> None:
    """What aiohttp does not document is tried at the start; the plain lane needs none of it."""
    place, attribute, instead = _UNKNOWN[name]
    async with RawServer() as server:
        with monkeypatch.context() as patch:
            if name == "no protocol":
                patch.delattr(place, attribute)
            else:
                patch.setattr(place, attribute, instead)
            client = IdeogramClient(server.url, fast_lane=forced)
            client._started()
        async with client:
            assert (await client.retrieve("id")).request_id == "id"
            figures = client.statistics()
            assert figures.lane == PLAIN
            assert str(figures.lane_reason).startswith("this aiohttp is not known: ")
    assert ("queries take the plain lane" in caplog.text) is (forced is True)  # a warning


@pytest.mark.parametrize("error", [NotImplementedError, AttributeError])
async def test_a_loop_whose_transports_keep_their_protocol(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first connection shows it; its query and all others then take the plain lane."""
    transports: Any = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    real = transports.set_protocol

    def set_protocol(transport: Any, protocol: asyncio.BaseProtocol) -> None:
        if isinstance(protocol, Wire):
            raise error
        real(transport, protocol)

    monkeypatch.setattr(transports, "set_protocol", set_protocol)
    async with RawServer() as server, IdeogramClient(server.url) as client:
        ids = [f"id-{number}" for number in range(20)]
        assert len([request async for request in client.retrieve_many(ids)]) == 20
        figures = client.statistics()
        assert figures.lane == PLAIN
        assert figures.lane_reason == "the loop's transports cannot change their protocol"
        assert figures.queries == len(server.queries) == 20


async def test_a_proactor_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' own loop has such transports."""
    monkeypatch.setattr(choice, "_PROACTOR", type(asyncio.get_running_loop()))
    assert (await lane_of())[0] == PLAIN


async def test_a_patch_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever patches aiohttp under a running client sees queries from its next connection on."""
    async with RawServer() as server, sending(server.url) as transport:
        server.default = lambda query: [0.1, server.answer(query.request_id)]
        await percentage_of(transport, "one")
        _patched(monkeypatch)
        await percentage_of(transport, "two")
        assert transport.lane[0] == FAST
        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(percentage_of(transport, f"id-{number}"))
        assert transport.lane == (PLAIN, _WATCHED["patched"][1])
        assert len(server.queries) == 5
        await anyio.sleep(56)
        assert server.connections[0].closed.is_set()  # the fast lane's own


async def test_the_plain_lane_writes_a_query_without_a_task() -> None:
    """The body goes out with the head: aiohttp, told of it, would start a task per query (3.11)."""
    loop, started = asyncio.get_running_loop(), []

    def start(loop: asyncio.AbstractEventLoop, coro: Any, **settings: Any) -> Any:
        started.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **settings)

    async with RawServer() as server, sending(server.url, fast_lane=False) as transport:
        await percentage_of(transport, "first")
        loop.set_task_factory(start)
        await percentage_of(transport, "second")
        loop.set_task_factory(None)
    assert "ClientRequest.write_bytes" not in started


async def test_a_connection_that_takes_no_more_for_now() -> None:
    """Where aiohttp has to start a task after all, the query goes out whole, and so does the next.

    It does so where much is waiting to be written.
    """
    async with RawServer() as server, sending(server.url, fast_lane=False) as transport:
        await percentage_of(transport, "first")
        (protocol,) = transport._sessions[0]._request_class.renewals  # type: ignore[attr-defined]
        protocol.pause_writing()
        await percentage_of(transport, "second")
        await percentage_of(transport, "third")
    assert [query.request_id for query in server.queries] == ["first", "second", "third"]


async def test_a_head_that_cannot_be_written() -> None:
    """Its connection is closed: half a query may be on it."""
    async with RawServer() as server, sending(server.url, fast_lane=False) as transport:
        await percentage_of(transport, "first")
        with pytest.raises(ValueError, match="control character"):
            await transport._posts[0](data=b"", headers={"X-Note": "two\nlines"})
        await server.connections[0].closed.wait()
        await percentage_of(transport, "second")


# Whoever watches


async def test_each_query_is_traced_in_the_context_of_its_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Headers that tracing adds are those of the context of the call that awaits the id."""
    caller = ContextVar("caller", default="nobody")

    async def started(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        params.headers["X-Caller"] = caller.get()
        caller.set("another query")
        await asyncio.sleep(0)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(started)
    monkeypatch.setattr(aiohttp, "TraceConfig", lambda: trace)
    _traced(monkeypatch)
    async with RawServer() as server, IdeogramClient(server.url) as client:
        server.default = lambda query: [0.1, server.answer(query.request_id)]

        async def check(name: str) -> None:
            caller.set(name)
            await client.retrieve(f"{name}-wait")
            async for _ in client.retrieve_many([f"{name}-{number}" for number in range(3)]):
                pass

        async with asyncio.TaskGroup() as tasks:
            for name in ("one", "two"):
                tasks.create_task(check(name))
        await client.retrieve("nobody-0")
        assert len(server.queries) == 9
        for query in server.queries:
            assert query.headers("X-Caller") == [query.request_id.partition("-")[0]]


async def test_whoever_comes_later_sees_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the plain lane queries run in their callers' contexts once somebody watches aiohttp."""
    caller, seen = ContextVar("caller", default="nobody"), []
    request = aiohttp.ClientSession._request

    async def watched(*args: Any, **settings: Any) -> aiohttp.ClientResponse:
        seen.append(caller.get())
        return await request(*args, **settings)

    async with RawServer() as server, sending(server.url, fast_lane=False) as transport:
        caller.set("the owner")
        context = copy_context()
        caller.set("a worker")
        await transport.query(0, "one", context)
        monkeypatch.setattr(aiohttp.ClientSession, "_request", watched)
        await anyio.sleep(1.1)
        for name in ("two", "three"):
            await transport.query(0, name, context)
    assert seen == ["the owner"] * 2


async def test_a_trace_sees_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever traces aiohttp is told of the body that is sent, as by any other client."""
    sent = []

    async def written(_: object, __: object, params: aiohttp.TraceRequestChunkSentParams) -> None:
        sent.append(params.chunk)

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(written)
    monkeypatch.setattr(aiohttp, "TraceConfig", lambda: trace)
    _traced(monkeypatch)
    async with RawServer() as server, sending(server.url) as transport:
        await percentage_of(transport, "id")
        assert sent == [encode_query("id")]


async def test_opentelemetry() -> None:
    """Each query has a span and a traceparent of its own, a child of its caller's span."""
    module = pytest.importorskip("opentelemetry.instrumentation.aiohttp_client")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    exported = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    exporter, provider = exported.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    instrumentor, tracer = module.AioHttpClientInstrumentor(), provider.get_tracer("test")
    instrumentor.instrument(tracer_provider=provider)
    try:
        async with RawServer() as server, sending(server.url) as transport:
            assert transport.lane == (PLAIN, "aiohttp's sessions are traced")
            traces = {}
            for name in ("one", "two"):
                with tracer.start_as_current_span(name) as span:
                    traces[name] = f"{span.get_span_context().trace_id:032x}"
                    context = copy_context()
                for _ in range(2):
                    await transport.query(0, name, context)
    finally:
        instrumentor.uninstrument()
    parents = [query.headers("traceparent")[0] for query in server.queries]
    assert len(set(parents)) == 4
    for query, parent in zip(server.queries, parents, strict=True):
        assert parent.split("-")[1] == traces[query.request_id]
    spans = [span for span in exporter.get_finished_spans() if span.name == "POST"]
    assert [f"{span.context.span_id:016x}" for span in spans] == [
        parent.split("-")[2] for parent in parents
    ]


async def test_vcr(tmp_path: Path) -> None:
    """What a cassette has recorded it plays, with no gateway there."""
    vcr = pytest.importorskip("vcr")
    recorder = vcr.VCR(filter_headers=["Authorization"], match_on=["method", "uri", "body"])
    cassette = str(tmp_path / "cassette.yaml")
    async with RawServer(ends={"two": 1000.0}) as server:
        for played in (False, True):
            with recorder.use_cassette(cassette):
                async with IdeogramClient(server.url, token="key-1") as client:
                    requests = [await client.retrieve(name) for name in ("one", "two")]
                    assert [one.completion_percentage for one in requests] == [100, 50]
                    assert client.statistics().lane == PLAIN
            assert len(server.queries) == 2
            if not played:
                await server.stop()
    assert "key-1" not in (await anyio.Path(cassette).read_text())
