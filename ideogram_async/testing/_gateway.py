"""The gateway as clients meet it, on loopback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias, Unpack

import anyio
import msgspec
from aiohttp import web

from ._access import Access, bearer
from ._limits import Limit
from ._listener import Listener, RawResponse, abort
from ._pictures import ASSETS, ImageQuery, Pictures
from ._queries import Query
from ._replies import (
    UNAUTHORIZED,
    Altered,
    Fault,
    Reply,
    TransportFault,
    invalid_url,
    json_reply,
    record_wire,
    relay_error,
)
from ._requests import RequestOptions, Requests
from ._script import Script
from ._submissions import Submission

PATH = "/api/ideogram/task-request"

Latency: TypeAlias = float | tuple[float, float] | Callable[[], float]
Route: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_MALFORMED = relay_error(400, "request_id is required", kind="invalid_request_error")
_UNKNOWN = json_reply({"sampling_requests": []})


class _Asked(msgspec.Struct):
    request_id: str


_decoder = msgspec.json.Decoder(_Asked)
_encoder = msgspec.json.Encoder()


class Gateway:
    """
    A gateway on loopback, in the same loop as its clients: `async with Gateway() as gateway`.

    All times are in seconds. A "loop time" is on the event loop's clock; the server's time
    is `now()`. A record shows the state at the moment when its answer is sent.

    - `tokens`, `access_tokens`: the accepted keys. A header style without any is not checked.
    - `latency`: seconds from a query to its answer: a number, a `(low, high)` range to draw
      from, or a function. `refusal_latency`: the same for queries that `limit` refuses.
    - `limit`: decides which queries are refused. It can be replaced at any time.
    - `epoch`: the Unix time at which the gateway is made; `clock_offset` is added to it.
    - `seed`: the seed of ids, durations and latencies.
    - `path_prefix`: a path before the query's own, as "/relay".
    - `keepalive`: seconds that an idle connection is kept.
    - `keep_headers`: whether each `Query` keeps its headers.
    - `image_delay`: seconds for which a request's images answer 404 after its end.

    Attributes: `queries` are all queries in order, `image_queries` all for images, which `queries`
    does not hold, and `submissions` all requests by id. `in_flight` and `peak_in_flight` count the
    queries that are being answered, `refused` those that the limit refused. `unknown` is the answer
    for an id that was never submitted. `on_query` is a function that may return a fault for each
    query.
    """

    def __init__(
        self,
        *,
        tokens: Iterable[str] = (),
        access_tokens: Iterable[str] = (),
        latency: Latency = 0.1,
        refusal_latency: Latency | None = None,
        limit: Limit | None = None,
        epoch: float = 1_730_000_000.0,
        clock_offset: float = 0.0,
        seed: int = 0,
        path_prefix: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        keepalive: float = 3600.0,
        keep_headers: bool = False,
        image_delay: float = 0.0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._requests = Requests(epoch=epoch, clock_offset=clock_offset, seed=seed)
        self.submissions: dict[str, Submission] = self._requests.submissions
        self._access = Access(tokens, access_tokens)
        self.latency = latency
        self.refusal_latency = refusal_latency
        self.limit = limit
        self.keep_headers = keep_headers
        self.unknown: Reply = _UNKNOWN
        self.on_query: Callable[[Query], Fault | None] | None = None
        self.queries: list[Query] = []
        self.in_flight: int = 0
        self.peak_in_flight: int = 0
        self.refused: int = 0
        self._latencies = random.Random(f"latency {seed}")  # noqa: S311 - repeatable, no secret
        self._prefix = path_prefix.rstrip("/")
        self._path = self._prefix + PATH
        self._listener = Listener(self._handle, host=host, port=port, keepalive=keepalive)
        self._script = Script()
        self._pictures = Pictures(self.submissions, self._loop.time, self._prefix)
        self.image_queries: list[ImageQuery] = self._pictures.queries
        self.image_delay = image_delay
        self._routes: dict[str, Route] = {self._prefix + ASSETS: self._serve_image}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """The base URL for clients, without a slash at the end."""
        host = self._listener.host
        authority = f"[{host}]" if ":" in host else host
        return f"http://{authority}:{self._listener.port}{self._prefix}"

    @property
    def assets_url(self) -> str:
        """The images' address, for `Downloads(assets_url=…, allow_loopback=True)`."""
        return self.url + ASSETS

    @property
    def connections(self) -> int:
        """The number of connections that were opened so far."""
        return self._listener.opened

    # Requests

    @property
    def clock_offset(self) -> float:
        """Seconds that the server's clock is ahead of `epoch`. It can be set at any time."""
        return self._requests.clock_offset

    @clock_offset.setter
    def clock_offset(self, seconds: float) -> None:
        self._requests.clock_offset = seconds

    def now(self) -> float:
        """Return the server's time, as in the Date header and in records: Unix seconds."""
        return self._requests.now()

    def submit(self, **options: Unpack[RequestOptions]) -> str:
        """
        Submit a request, and return its id. All options can be left out.

        - `duration`: seconds of work. Default: drawn from those that are typical of the kind.
        - `queue`: seconds of waiting before the work. Default: 0.
        - `progress`: the kind of its progress, or a function for it. Default: "text".
        - `request_id`: its id. Default: a new one.
        - `submitted`: the loop time of its submission, also in the past. Default: now.
        - `visible_after`: seconds from then until the gateway knows the id. Default: 0.
        - `model_version`, `request_type`, `sampling_speed`, `prompt`: as in its record. The
          type's default is TEXT_TO_IMAGE; SUPER_RES for the progress "stuck".
        - `images`: the number of images that it ends with. Default: 1.
        - `errored`: whether it fails at its end. Default: False.
        - `assets_url`: the start of the image address in its record. Default: Ideogram's own; the
          gateway's `assets_url` is where it serves the image.
        """
        return self._requests.submit(**options)

    def record(self, request_id: str) -> dict[str, Any]:
        """Return a request's present record, as it would be answered now."""
        return self.submissions[request_id].record(self._loop.time())

    def completes_at(self, request_id: str) -> float:
        """Return the loop time at which a request ends, or inf if it never does."""
        return self.submissions[request_id].completes_at

    # Start and end

    async def start(self) -> None:
        """Open the port; after `stop`, the same port."""
        await self._listener.start()

    async def stop(self) -> None:
        """Close the port, and reset all connections. New ones are refused."""
        with anyio.CancelScope(shield=True):
            await self._listener.stop()

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """Stop at the start of the block, and start again at its end."""
        await self.stop()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self.start()

    async def close(self) -> None:
        """Close the gateway. Open queries get no answer."""
        with anyio.CancelScope(shield=True):
            await self._listener.close()

    # Refusals and faults

    def revoke(self, key: str) -> None:
        """Refuse a key from now on."""
        self._access.revoke(key)

    def accept(self, key: str) -> None:
        """Accept a key from now on: one that was revoked, or else a new Bearer token."""
        self._access.accept(key)

    def script(
        self,
        fault: Fault,
        *,
        times: float = 1,
        request_id: str | None = None,
        key: str | None = None,
    ) -> None:
        """Answer the next `times` queries with a fault; only those of one id or key, if given.

        `times` is at least 1, or `math.inf`.

        Several calls form a line: the first fault that fits a query is used.
        """
        self._script.add(fault, times, request_id, key)

    def clear_script(self) -> None:
        """Remove all faults that `script` has added."""
        self._script.clear()

    def route(self, prefix: str, handler: Route) -> None:
        """Serve the paths that start with `prefix` by an aiohttp handler."""
        path = self._prefix + prefix
        self._routes.pop(path, None)
        self._routes = {path: handler, **self._routes}

    # Queries

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        if path != self._path:
            for prefix, handler in self._routes.items():
                if path.startswith(prefix):
                    return await handler(request)
        query = self._arrived(request)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            return await self._answer(query, request)
        finally:
            self.in_flight -= 1

    async def _serve_image(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._pictures.serve(request, self.image_delay)

    def _arrived(self, request: web.BaseRequest) -> Query:
        headers = request.headers
        query = Query(
            self._loop.time(),
            self._listener.connection(request),
            bearer(headers),
            headers.get("Access-Token"),
            request.method,
            request.raw_path,
            headers=headers if self.keep_headers else None,
        )
        self.queries.append(query)
        return query

    async def _answer(self, query: Query, request: web.BaseRequest) -> web.StreamResponse:
        query.request_id = _request_id(await request.read())
        fault = self._judge(query)
        await self._delay(fault)
        if isinstance(fault, TransportFault):
            return await self._break(fault, query, request)
        status, wire = self._wire(fault, query)
        query.status, query.answered = status, self._loop.time()
        return RawResponse(wire, keep_alive=request.keep_alive)

    def _judge(self, query: Query) -> Fault | None:
        """Return the fault that a query is answered with, or None for its record."""
        if query.path != self._path or query.method != "POST":
            return invalid_url(query.method, query.path)
        fault = self._script.take(query)
        if fault is None and self.on_query is not None:
            fault = self.on_query(query)
        return fault or self._refusal(query)

    def _refusal(self, query: Query) -> Fault | None:
        if self.limit is not None and not self.limit.admit(query.at, query.key):
            return self._limited(self.limit, query)
        if not self._access.admits(query.token, query.access_token):
            return UNAUTHORIZED
        return _MALFORMED if query.request_id is None else None

    def _limited(self, limit: Limit, query: Query) -> Fault:
        self.refused += 1
        reply = limit.refusal(query.at, query.key, self.now())
        if reply.delay is None and self.refusal_latency is not None:
            reply = msgspec.structs.replace(reply, delay=self._draw(self.refusal_latency))
        return reply

    async def _delay(self, fault: Fault | None) -> None:
        told = fault.delay if isinstance(fault, Reply) else None
        seconds = self._draw(self.latency) if told is None else told
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _draw(self, latency: Latency) -> float:
        if isinstance(latency, tuple):
            return self._latencies.uniform(*latency)
        return latency() if callable(latency) else latency

    def _wire(self, fault: Reply | Altered | None, query: Query) -> tuple[int, bytes]:
        """Return an answer's status and bytes, with the record's present state."""
        document = None if isinstance(fault, Reply) else self._requests.document(query.request_id)
        if isinstance(fault, Reply):
            reply = fault
        elif document is None:
            reply = self.unknown
        elif fault is None:
            return 200, record_wire(_encoder.encode(document), self._requests.http_date())
        else:
            reply = fault.reply(document)
        return reply.status, reply.wire(self._requests.http_date())

    async def _break(
        self, fault: TransportFault, query: Query, request: web.BaseRequest
    ) -> web.StreamResponse:
        if fault is TransportFault.HANG:
            await self._loop.create_future()
        if fault is TransportFault.TRUNCATE:
            query.status, wire = self._wire(None, query)
            return RawResponse(wire[:-9], keep_alive=False)
        abort(request.transport, reset=fault is TransportFault.RESET)
        return RawResponse(b"", keep_alive=False)


def _request_id(body: bytes) -> str | None:
    try:
        return _decoder.decode(body).request_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
