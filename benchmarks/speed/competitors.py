"""The clients that are measured: each opens once, and then asks for the ids of each turn.

Each is written as its own documentation shows. Each has a pool with room for all its queries in
flight, the same headers, bodies as bytes, and answers decoded by msgspec, except where its name
says otherwise. Each returns the ids of the answers, which are checked after the clock is stopped.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from benchmarks.speed.answers import RUNNING, decode, make_ids
from benchmarks.speed.busy_schedule import BusySchedule
from benchmarks.speed.floor import FloorClient
from benchmarks.speed.pydantic_models import reader
from ideogram_async import Hook, IdeogramClient

Drain = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Asks for ids, and returns the ids of the answers."""
Ask = Callable[[str], Awaitable[Any]]
"""Asks for one id, and returns the decoded answer."""

PATH = "/api/ideogram/task-request"
TOKEN = "a-key-that-is-as-long-as-real-ones-are-0123456789"  # noqa: S105 - made up
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
}
_encode = msgspec.json.Encoder().encode


class Target(msgspec.Struct, frozen=True):
    """The server, and the load."""

    base_url: str
    ca_file: str | None
    """The certificate authority to trust; None for plain HTTP."""
    in_flight: int
    pending: int
    """How many pending ids `polling` polls."""

    @property
    def url(self) -> str:
        """The address of the endpoint."""
        return self.base_url + PATH

    def context(self) -> ssl.SSLContext | bool:
        """Return the TLS context in the form that aiohttp and httpx accept."""
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else True


def _body(request_id: str) -> bytes:
    return b'{"request_id":' + _encode(request_id) + b"}"


def _id_of(answer: Any) -> str:
    """Return the id in an answer, whatever it was decoded to."""
    if isinstance(answer, dict):
        return str(answer["sampling_requests"][0]["request_id"])
    request_id: str = answer.sampling_requests[0].request_id
    return request_id


def workers(ask: Ask, in_flight: int, id_of: Callable[[Any], str] = _id_of) -> Drain:
    """Return a drain with a worker for each query in flight, all on one list: the cheapest way."""

    async def drain(ids: Sequence[str]) -> Sequence[str]:
        waiting, answered = iter(ids), []

        async def work() -> None:
            for request_id in waiting:
                answered.append(id_of(await ask(request_id)))  # noqa: PERF401 - shared

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(work())
        return answered

    return drain


@asynccontextmanager
async def floor(target: Target) -> AsyncIterator[Drain]:
    """A bare asyncio protocol: the lower bound."""
    host, port = urlsplit(target.url).netloc.split(":")
    lines = [f"POST {PATH} HTTP/1.1", f"Host: {host}:{port}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    client = FloorClient("\r\n".join([*lines, ""]).encode())
    context = target.context() if target.ca_file else None
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(client.connection, host, int(port), ssl=context)
        for _ in range(target.in_flight)
    ]
    yield client.drain
    for transport, _ in opened:
        transport.abort()


@asynccontextmanager
async def bare(target: Target) -> AsyncIterator[Drain]:
    """aiohttp, tuned by its public settings, with nothing around it."""
    url = target.url
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=55.0, ssl=target.context())
    async with aiohttp.ClientSession(
        connector=connector,
        headers=HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
    ) as session:

        async def ask(request_id: str) -> Any:
            async with session.post(url, data=_body(request_id)) as response:
                return decode(await response.read())

        yield workers(ask, target.in_flight)


@asynccontextmanager
async def tutorial(target: Target) -> AsyncIterator[Drain]:
    """aiohttp, as its tutorial shows."""
    url = target.url
    connector = aiohttp.TCPConnector(ssl=target.context())
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def ask(request_id: str) -> Any:
            async with session.post(url, json={"request_id": request_id}) as response:
                return await response.json()

        yield workers(ask, target.in_flight)


def _ours(target: Target, **settings: Any) -> IdeogramClient:
    settings = {"max_rate": math.inf, **settings}  # no slow start
    return IdeogramClient(
        target.base_url,
        token=TOKEN,
        max_in_flight=target.in_flight,
        ssl=target.context(),
        **settings,
    )


@asynccontextmanager
async def retrieve_many(target: Target, **settings: Any) -> AsyncIterator[Drain]:
    """Ours, one query per id."""
    async with _ours(target, **settings) as client:

        async def drain(ids: Sequence[str]) -> Sequence[str]:
            run = client.retrieve_many(ids, timeout=None)  # under valgrind a turn takes minutes
            return [str(request.request_id) async for request in run]

        yield drain


@asynccontextmanager
async def as_completed(target: Target, **settings: Any) -> AsyncIterator[Drain]:
    """Ours, for ids that are complete at the first query."""
    async with _ours(target, **settings) as client:

        async def drain(ids: Sequence[str]) -> Sequence[str]:
            return [str(request.request_id) async for request in client.as_completed(ids)]

        yield drain


def hook(target: Target) -> AbstractAsyncContextManager[Drain]:
    """`as_completed` with a hook that does nothing."""
    return as_completed(target, hooks=[lambda _: None])


def metrics(target: Target) -> AbstractAsyncContextManager[Drain]:
    """`as_completed` with OpenTelemetry's SDK: metrics."""
    return as_completed(target, hooks=[_telemetry(spans=False)])


def spans(target: Target) -> AbstractAsyncContextManager[Drain]:
    """`as_completed` with OpenTelemetry's SDK: metrics and spans."""
    return as_completed(target, hooks=[_telemetry(spans=True)])


def _telemetry(*, spans: bool) -> Hook:
    """Return the hook, with the SDK set up as in services; its exporter drops every span."""
    module = importlib.import_module
    exported = module("opentelemetry.sdk.trace.export")

    class Dropping:
        """An exporter that drops every span."""

        def export(self, _: object) -> Any:
            return exported.SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            """Do nothing."""

    tracers = module("opentelemetry.sdk.trace").TracerProvider()
    tracers.add_span_processor(exported.BatchSpanProcessor(Dropping()))
    reader = module("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    meters = module("opentelemetry.sdk.metrics").MeterProvider([reader])
    telemetry: Hook = module("ideogram_async.telemetry").Telemetry(
        tracer_provider=tracers, meter_provider=meters, spans=spans
    )
    return telemetry


@asynccontextmanager
async def polling(target: Target, **settings: Any) -> AsyncIterator[Drain]:
    """Ours, polling ids that stay pending, until as many queries are done as ids were given."""
    schedule = BusySchedule(target.pending * 1e-5)
    async with _ours(target, schedule=schedule, **settings) as client:
        until = 0

        async def drain(ids: Sequence[str]) -> Sequence[str]:
            nonlocal until  # what one turn asks too much, the next asks less
            until += len(ids)
            while client.statistics().queries < until:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.005)
            return ids

        pending = make_ids(target.pending, RUNNING)
        async with client.as_completed(pending) as run:
            first = asyncio.ensure_future(anext(run))  # starts the run; no id will complete
            await drain(pending)
            yield drain
            assert run.statistics().pending == len(pending)
            first.cancel()


@asynccontextmanager
async def httpx(target: Target) -> AsyncIterator[Drain]:
    """Httpx and pydantic."""
    async with _httpx(target, verify=target.context()) as drain:
        yield drain


@asynccontextmanager
async def httpx_aiohttp(target: Target) -> AsyncIterator[Drain]:
    """Httpx over aiohttp, and pydantic."""
    transport = importlib.import_module("httpx_aiohttp").AiohttpTransport
    async with _httpx(target, transport=transport(verify=target.context())) as drain:
        yield drain


@asynccontextmanager
async def _httpx(target: Target, **settings: Any) -> AsyncIterator[Drain]:
    module, url, read = importlib.import_module("httpx"), target.url, reader()
    async with module.AsyncClient(headers=HEADERS, timeout=30, **settings) as client:

        async def ask(request_id: str) -> Any:
            response = await client.post(url, content=_body(request_id))
            return read(response.content)

        yield workers(ask, target.in_flight)


@asynccontextmanager
async def niquests(target: Target) -> AsyncIterator[Drain]:
    """niquests, the successor of requests."""
    module, url = importlib.import_module("niquests"), target.url
    size, verify = target.in_flight, target.ca_file or True
    async with module.AsyncSession(pool_connections=1, pool_maxsize=size) as session:
        session.headers.update(HEADERS)

        async def ask(request_id: str) -> Any:
            response = await session.post(url, data=_body(request_id), verify=verify)
            return decode(response.content)

        yield workers(ask, target.in_flight)


@asynccontextmanager
async def pyreqwest(target: Target) -> AsyncIterator[Drain]:
    """pyreqwest, on Rust's reqwest, which has its own threads."""
    builder = importlib.import_module("pyreqwest.client").ClientBuilder().default_headers(HEADERS)
    if target.ca_file:
        builder = builder.add_root_certificate_pem(_read(target.ca_file))
    url = target.url
    async with builder.build() as client:

        async def ask(request_id: str) -> Any:
            response = await client.post(url).body_bytes(_body(request_id)).build().send()
            return decode(await response.bytes())

        yield workers(ask, target.in_flight)


@asynccontextmanager
async def primp(target: Target) -> AsyncIterator[Drain]:
    """primp, on Rust, which imitates browsers."""
    client_class, url = importlib.import_module("primp").AsyncClient, target.url
    trust = {"ca_cert_file": target.ca_file} if target.ca_file else {}
    client = client_class(headers=HEADERS, **trust)

    async def ask(request_id: str) -> Any:
        response = await client.post(url, content=_body(request_id))
        return decode(response.content)

    yield workers(ask, target.in_flight)


@asynccontextmanager
async def aiosonic(target: Target) -> AsyncIterator[Drain]:
    """aiosonic, in pure asyncio."""
    module, url = importlib.import_module("aiosonic"), target.url
    pools = {":default": module.connectors.PoolConfig(size=target.in_flight)}
    context = target.context() if target.ca_file else None
    async with module.HTTPClient(connector=module.TCPConnector(pool_configs=pools)) as client:

        async def ask(request_id: str) -> Any:
            response = await client.post(url, data=_body(request_id), headers=HEADERS, ssl=context)
            return decode(await response.content())

        yield workers(ask, target.in_flight)


@asynccontextmanager
async def curl_cffi(target: Target) -> AsyncIterator[Drain]:
    """curl_cffi, on libcurl."""
    module, url = importlib.import_module("curl_cffi.requests"), target.url
    async with module.AsyncSession(
        max_clients=target.in_flight, headers=HEADERS, verify=target.ca_file or True
    ) as session:

        async def ask(request_id: str) -> Any:
            response = await session.post(url, data=_body(request_id))
            return decode(response.content)

        yield workers(ask, target.in_flight)


def _read(file: str) -> bytes:
    return Path(file).read_bytes()


class Competitor(NamedTuple):
    """One client, and how it is measured."""

    what: str
    opened: Callable[[Target], AbstractAsyncContextManager[Drain]]
    share: float = 1.0
    """The share of a turn's queries: expensive clients do fewer, so that turns last as long."""
    in_flight: int = 64
    default_malloc: bool = False
    """Whether glibc's threshold stays as it is (see `_machine.raise_mmap_threshold`)."""


def _plain(opened: Callable[..., AbstractAsyncContextManager[Drain]]) -> Any:
    return partial(opened, fast_lane=False)


COMPETITORS = {
    "floor": Competitor("an asyncio protocol (lower bound)", floor),
    "bare": Competitor("aiohttp, tuned", bare),
    "retrieve_many": Competitor("ours, retrieve_many", retrieve_many),
    "as_completed": Competitor("ours, as_completed", as_completed),
    "polling": Competitor("ours, polling pending ids", polling),
    "retrieve_many_plain": Competitor("ours, retrieve_many, plain lane", _plain(retrieve_many)),
    "as_completed_plain": Competitor("ours, as_completed, plain lane", _plain(as_completed)),
    "polling_plain": Competitor("ours, polling, plain lane", _plain(polling)),
    "tutorial": Competitor("aiohttp, as in its tutorial", tutorial),
    "tutorial_default_malloc": Competitor(
        "the same, malloc as it is", tutorial, default_malloc=True
    ),
    "pyreqwest": Competitor("pyreqwest (Rust)", pyreqwest),
    "primp": Competitor("primp (Rust)", primp),
    "aiosonic": Competitor("aiosonic", aiosonic),
    "curl_cffi": Competitor("curl_cffi", curl_cffi, share=0.5),
    "httpx_aiohttp": Competitor("httpx over aiohttp, pydantic", httpx_aiohttp, share=0.5),
    "niquests": Competitor("niquests", niquests, share=0.2),
    "httpx": Competitor("httpx, pydantic, 8 in flight", httpx, share=0.2, in_flight=8),
}

OBSERVED = {
    "hook": Competitor("ours, a hook that does nothing", hook),
    "metrics": Competitor("ours, OpenTelemetry: metrics", metrics),
    "spans": Competitor("ours, OpenTelemetry: metrics and spans", spans),
}
"""Ours with hooks, which `benchmarks.hooks` compares with ours without."""
