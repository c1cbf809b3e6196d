"""The clients that are measured: each opens once, and then asks for ids it is handed.

Each is written as its own documentation has it, with a pool that holds the whole flight, the same
headers, bodies as ready bytes and answers decoded by msgspec, except where its name says otherwise.
Every answer's id is given back, to be held against those that were asked when the clock stands.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from benchmarks.speed.answers import RUNNING, decode, make_ids
from benchmarks.speed.busy_schedule import Restless
from benchmarks.speed.floor import Flight
from benchmarks.speed.pydantic_models import reader
from ideogram_async import Hook, IdeogramClient

Drain = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Asks for ids; gives those that the answers told."""
Ask = Callable[[str], Awaitable[Any]]
"""Gives an answer, decoded."""

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
    """Whom to ask, and how."""

    base_url: str
    authority: str | None
    in_flight: int
    pending: int
    """Ids that are polled where that is measured."""

    @property
    def url(self) -> str:
        """Where queries are posted."""
        return self.base_url + PATH

    def context(self) -> ssl.SSLContext | bool:
        """Make what aiohttp and httpx take as their TLS context."""
        return ssl.create_default_context(cafile=self.authority) if self.authority else True


def _body(request_id: str) -> bytes:
    return b'{"request_id":' + _encode(request_id) + b"}"


def _told(answer: Any) -> str:
    """Give the id that an answer tells, of whatever kind it was decoded to."""
    if isinstance(answer, dict):
        return str(answer["sampling_requests"][0]["request_id"])
    told: str = answer.sampling_requests[0].request_id
    return told


def _workers(ask: Ask, in_flight: int) -> Drain:
    """Ask by as many workers as may be in flight, all from one list: the cheapest way there is."""

    async def drain(ids: Sequence[str]) -> Sequence[str]:
        waiting, told = iter(ids), []

        async def work() -> None:
            for request_id in waiting:
                told.append(_told(await ask(request_id)))  # noqa: PERF401 - all workers share it

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(work())
        return told

    return drain


@asynccontextmanager
async def floor(target: Target) -> AsyncIterator[Drain]:
    """A bare asyncio protocol: the floor, and no plan."""
    host, port = urlsplit(target.url).netloc.split(":")
    lines = [f"POST {PATH} HTTP/1.1", f"Host: {host}:{port}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    flight = Flight("\r\n".join([*lines, ""]).encode())
    context = target.context() if target.authority else None
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(flight.connection, host, int(port), ssl=context)
        for _ in range(target.in_flight)
    ]
    yield flight.drain
    for transport, _ in opened:
        transport.abort()


@asynccontextmanager
async def bare(target: Target) -> AsyncIterator[Drain]:
    """Tuned aiohttp: by its public settings, with nothing around it."""
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

        yield _workers(ask, target.in_flight)


@asynccontextmanager
async def tutorial(target: Target) -> AsyncIterator[Drain]:
    """Plain aiohttp, as its tutorial has it."""
    url = target.url
    connector = aiohttp.TCPConnector(ssl=target.context())
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def ask(request_id: str) -> Any:
            async with session.post(url, json={"request_id": request_id}) as response:
                return await response.json()

        yield _workers(ask, target.in_flight)


def _ours(target: Target, **settings: Any) -> IdeogramClient:
    return IdeogramClient(
        target.base_url,
        token=TOKEN,
        max_in_flight=target.in_flight,
        max_rate=math.inf,  # no gentle start
        ssl=target.context(),
        **settings,
    )


@asynccontextmanager
async def retrieve_many(target: Target) -> AsyncIterator[Drain]:
    """Ours, one query an id."""
    async with _ours(target) as client:

        async def drain(ids: Sequence[str]) -> Sequence[str]:
            return [str(request.request_id) async for request in client.retrieve_many(ids)]

        yield drain


@asynccontextmanager
async def as_completed(target: Target, hooks: Sequence[Hook] = ()) -> AsyncIterator[Drain]:
    """Ours, of ids that are complete at once."""
    async with _ours(target, hooks=hooks) as client:

        async def drain(ids: Sequence[str]) -> Sequence[str]:
            return [str(request.request_id) async for request in client.as_completed(ids)]

        yield drain


def hook(target: Target) -> AbstractAsyncContextManager[Drain]:
    """The same, told to a hook that does nothing."""
    return as_completed(target, [lambda _: None])


def metrics(target: Target) -> AbstractAsyncContextManager[Drain]:
    """The same, told to OpenTelemetry's SDK as metrics."""
    return as_completed(target, [_telemetry(spans=False)])


def spans(target: Target) -> AbstractAsyncContextManager[Drain]:
    """The same, told to OpenTelemetry's SDK as metrics and spans."""
    return as_completed(target, [_telemetry(spans=True)])


def _telemetry(*, spans: bool) -> Hook:
    """Set the SDK up as services do, with an exporter that drops what it gets."""
    module = importlib.import_module
    exported = module("opentelemetry.sdk.trace.export")

    class Dropping:
        """An exporter that keeps nothing."""

        def export(self, _: object) -> Any:
            return exported.SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            """Have nothing to do."""

    tracers = module("opentelemetry.sdk.trace").TracerProvider()
    tracers.add_span_processor(exported.BatchSpanProcessor(Dropping()))
    reader = module("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    meters = module("opentelemetry.sdk.metrics").MeterProvider([reader])
    telemetry: Hook = module("ideogram_async.telemetry").Telemetry(
        tracer_provider=tracers, meter_provider=meters, spans=spans
    )
    return telemetry


@asynccontextmanager
async def polling(target: Target) -> AsyncIterator[Drain]:
    """Ours, polling ids that stay pending: as many queries as ids are handed in."""
    schedule = Restless(target.pending * 1e-5)
    async with _ours(target, schedule=schedule) as client:

        async def drain(ids: Sequence[str]) -> Sequence[str]:
            until = client.statistics().queries + len(ids)
            while client.statistics().queries < until:  # noqa: ASYNC110 - it has no event of this
                await asyncio.sleep(0.02)
            return ids

        pending = make_ids(target.pending, RUNNING)
        async with client.as_completed(pending) as run:
            first = asyncio.ensure_future(anext(run))  # starts it; none of them will complete
            await drain(pending)
            yield drain
            assert run.statistics().pending == len(pending)
            first.cancel()


@asynccontextmanager
async def httpx(target: Target) -> AsyncIterator[Drain]:
    """Plain httpx, and pydantic."""
    async with _httpx(target, verify=target.context()) as drain:
        yield drain


@asynccontextmanager
async def httpx_aiohttp(target: Target) -> AsyncIterator[Drain]:
    """Its API over aiohttp, and pydantic."""
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

        yield _workers(ask, target.in_flight)


@asynccontextmanager
async def niquests(target: Target) -> AsyncIterator[Drain]:
    """What requests became, with asyncio."""
    module, url = importlib.import_module("niquests"), target.url
    size, verify = target.in_flight, target.authority or True
    async with module.AsyncSession(pool_connections=1, pool_maxsize=size) as session:
        session.headers.update(HEADERS)

        async def ask(request_id: str) -> Any:
            response = await session.post(url, data=_body(request_id), verify=verify)
            return decode(response.content)

        yield _workers(ask, target.in_flight)


@asynccontextmanager
async def pyreqwest(target: Target) -> AsyncIterator[Drain]:
    """Rust's reqwest, which runs on threads of its own."""
    builder = importlib.import_module("pyreqwest.client").ClientBuilder().default_headers(HEADERS)
    if target.authority:
        builder = builder.add_root_certificate_pem(_read(target.authority))
    url = target.url
    async with builder.build() as client:

        async def ask(request_id: str) -> Any:
            response = await client.post(url).body_bytes(_body(request_id)).build().send()
            return decode(await response.bytes())

        yield _workers(ask, target.in_flight)


@asynccontextmanager
async def primp(target: Target) -> AsyncIterator[Drain]:
    """Another one on Rust, made to look like browsers."""
    client_class, url = importlib.import_module("primp").AsyncClient, target.url
    trust = {"ca_cert_file": target.authority} if target.authority else {}
    client = client_class(headers=HEADERS, **trust)

    async def ask(request_id: str) -> Any:
        response = await client.post(url, content=_body(request_id))
        return decode(response.content)

    yield _workers(ask, target.in_flight)


@asynccontextmanager
async def aiosonic(target: Target) -> AsyncIterator[Drain]:
    """Pure asyncio."""
    module, url = importlib.import_module("aiosonic"), target.url
    pools = {":default": module.connectors.PoolConfig(size=target.in_flight)}
    context = target.context() if target.authority else None
    async with module.HTTPClient(connector=module.TCPConnector(pool_configs=pools)) as client:

        async def ask(request_id: str) -> Any:
            response = await client.post(url, data=_body(request_id), headers=HEADERS, ssl=context)
            return decode(await response.content())

        yield _workers(ask, target.in_flight)


@asynccontextmanager
async def curl_cffi(target: Target) -> AsyncIterator[Drain]:
    """Python over libcurl."""
    module, url = importlib.import_module("curl_cffi.requests"), target.url
    async with module.AsyncSession(
        max_clients=target.in_flight, headers=HEADERS, verify=target.authority or True
    ) as session:

        async def ask(request_id: str) -> Any:
            response = await session.post(url, data=_body(request_id))
            return decode(response.content)

        yield _workers(ask, target.in_flight)


def _read(file: str) -> bytes:
    with open(file, "rb") as opened:  # noqa: PTH123 - a name is what crossed the process's border
        return opened.read()


class Competitor(NamedTuple):
    """One client, and how it is measured."""

    what: str
    opened: Callable[[Target], AbstractAsyncContextManager[Drain]]
    share: float = 1.0
    """Of the queries: the dear ones are asked for fewer, so that a round takes them no longer."""
    in_flight: int = 64
    malloc_trap: bool = False
    """Whether glibc's trap is left open, as it is where nobody knows of it (see `_machine`)."""


COMPETITORS = {
    "floor": Competitor("asyncio protocol by hand (the floor)", floor),
    "bare": Competitor("aiohttp, tuned", bare),
    "retrieve_many": Competitor("ours, retrieve_many", retrieve_many),
    "as_completed": Competitor("ours, as_completed", as_completed),
    "polling": Competitor("ours, polling what stays pending", polling),
    "tutorial": Competitor("aiohttp, as its tutorial has it", tutorial),
    "tutorial_trapped": Competitor("the same, malloc's trap open", tutorial, malloc_trap=True),
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
"""Ours once more, observed: measured against itself, in `benchmarks.hooks`."""
EVERY = {**COMPETITORS, **OBSERVED}
