"""A gateway of bare sockets: what it sends, and when, is told byte by byte.

It knows just enough of HTTP to read a query. No HTTP library stands between a test and the wire,
so it can break every rule: answer twice, stop in the middle, close, reset, drip, or never accept.
"""

from __future__ import annotations

import asyncio
import enum
import gzip
import json
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Self, cast

import anyio

from ideogram_async import IdeogramClient

_LINGER_ZERO = struct.pack("ii", 1, 0)
_TURNS = 50
"""Turns of the loop in which closed connections are gone; a bound, not a wait."""


class End(enum.Enum):
    """A step that ends a script before its query is answered in full."""

    CLOSE = "by FIN"
    RESET = "by RST"
    HANG = "by waiting until the client leaves"


Step = bytes | float | End
"""What is sent, how many seconds nothing is, or how it ends."""
Play = Iterable[Step] | AsyncGenerator[Step, None]
"""A script: of steps, or a generator of its own, which may wait for a test's events."""


Choice = Play | Callable[["Query"], Play]
"""A script, or what chooses one for a query."""


@dataclass(eq=False)
class Query:
    """A query as it came over the wire."""

    connection: Connection
    at: float
    head: str
    body: bytes
    sent: int = 0
    """Bytes that its script has sent so far."""

    @property
    def request_id(self) -> str:
        """The id that it asks for; empty where it has no body."""
        return str(json.loads(self.body)["request_id"]) if self.body else ""

    @property
    def target(self) -> str:
        """The target on its first line."""
        return self.head.split(" ", 2)[1]

    def headers(self, name: str) -> list[str]:
        """Give the values of a header, as often as it came."""
        lines = (line.partition(":") for line in self.head.split("\r\n")[1:])
        return [value.strip() for key, _, value in lines if key.lower() == name.lower()]


class Connection(asyncio.Protocol):
    """One accepted connection: reads queries, and plays a script for each."""

    _transport: asyncio.Transport

    def __init__(self, server: RawServer) -> None:
        self.number = 0
        self.queries: list[Query] = []
        self.received = b""
        """What came of a query that is not whole."""
        self.closed = asyncio.Event()
        self.error: Exception | None = None
        self._server = server
        self._arrived: asyncio.Queue[Query] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self._loop = asyncio.get_running_loop()
        self._player: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, if so told, then wait for queries."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of another class
        # Else a second small write waits for real time: 40 ms, until the first is acknowledged.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.append(self)
        self.number = len(self._server.connections)
        if self._server.greeting:
            self._transport.write(self._server.greeting)
        self._player = self._loop.create_task(self._play_all())

    def data_received(self, data: bytes) -> None:
        """Cut what comes into queries."""
        self.received += data
        while (query := self._parse()) is not None:
            self.queries.append(query)
            self._server.queries.append(query)
            self._arrived.put_nowait(query)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is gone, and of what."""
        self.error = exc
        self.closed.set()
        if self._player is not None:
            self._player.cancel()

    def pause_writing(self) -> None:
        """Send no more for now."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def send(self, data: bytes) -> None:
        """Send bytes that nobody asked for."""
        assert not self._transport.is_closing(), "the client has left"
        self._transport.write(data)

    def end(self, how: End) -> None:
        """Close it."""
        if how is End.RESET:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self._transport.abort()
        else:
            self._transport.close()

    def _parse(self) -> Query | None:
        head, blank, rest = self.received.partition(b"\r\n\r\n")
        if not blank:
            return None
        query = Query(self, self._loop.time(), head.decode("latin-1"), b"")
        size = int((query.headers("Content-Length") or ["0"])[0])
        if len(rest) < size:
            return None
        query.body, self.received = rest[:size], rest[size:]
        return query

    async def _play_all(self) -> None:
        while True:
            query = await self._arrived.get()
            with self._server.answering():
                await self._play(query, self._server.choose(query))

    async def _play(self, query: Query, play: Play) -> None:
        if isinstance(play, AsyncGenerator):
            async with aclosing(play):
                async for step in play:
                    await self._take(query, step)
        else:
            for step in play:
                await self._take(query, step)

    async def _take(self, query: Query, step: Step) -> None:
        if self._transport.is_closing():
            await self.closed.wait()
        elif isinstance(step, bytes):
            query.sent += len(step)
            self._transport.write(step)
            await self._writable.wait()
        elif isinstance(step, End):
            if step is not End.HANG:
                self.end(step)
            await self.closed.wait()
        else:
            await asyncio.sleep(step)


@dataclass
class RawServer:
    """A port on 127.0.0.1: `async with RawServer() as server`.

    Each query takes the first script in line that is for it, else `default`, else gets its
    record. Leaving the block asserts that every script in line was played.
    """

    ssl: SSLContext | None = None
    greeting: bytes = b""
    """What each connection is sent as soon as it is accepted."""
    ends: dict[str, float] = field(default_factory=dict)
    """When an id completes, on the loop's clock; an id that is not here is complete."""
    default: Callable[[Query], Play] | None = None
    connections: list[Connection] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    in_flight: int = 0
    peak_in_flight: int = 0

    def __post_init__(self) -> None:
        self._scripts: list[tuple[str | None, Callable[[Query], Play]]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._port = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http{'s' if self.ssl else ''}://127.0.0.1:{self._port}"

    @property
    def open(self) -> list[Connection]:
        """The connections that are open now."""
        return [connection for connection in self.connections if not connection.closed.is_set()]

    def script(
        self, play: Callable[[Query], Play] | Play, *, request_id: str | None = None
    ) -> None:
        """Put a script in line for the next query, of that id if given."""
        chosen = play if callable(play) else lambda _: play
        self._scripts.append((request_id, chosen))

    def choose(self, query: Query) -> Play:
        """Say what a query gets."""
        for entry in self._scripts:
            if entry[0] in {None, query.request_id}:
                self._scripts.remove(entry)
                return entry[1](query)
        return [self.answer(query.request_id)] if self.default is None else self.default(query)

    def answer(self, request_id: str) -> bytes:
        """Give the good answer of now for an id."""
        done = asyncio.get_running_loop().time() >= self.ends.get(request_id, 0.0)
        return reply(record(request_id, 100 if done else 50))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a query in flight."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    async def start(self) -> None:
        """Listen; again, on the same port, after `stop`."""
        loop = asyncio.get_running_loop()
        if self._socket.fileno() < 0:
            self._socket = socket.create_server(("127.0.0.1", self._port))
        self._server = await loop.create_server(
            lambda: Connection(self), sock=self._socket, ssl=self.ssl
        )

    async def stop(self) -> None:
        """Close the port, and reset every connection: what connects now is refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.close()
        for connection in self.open:
            connection.end(End.RESET)
        await self.emptied()

    async def emptied(self, *connections: Connection) -> None:
        """Wait until these connections, or all, are gone, if they are being closed."""
        for _ in range(_TURNS):
            if all(one.closed.is_set() for one in connections or self.connections):
                return
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.stop()
        if kind is None:
            assert not self._scripts, "a fault did not fire"


def record(request_id: str, percentage: float = 100) -> dict[str, object]:
    """Make the record of an id."""
    return {
        "request_id": request_id,
        "completion_percentage": percentage,
        "is_completed": percentage == 100,
        "responses": [],
    }


def body_of(document: Mapping[str, object]) -> bytes:
    """Make the body that lists a record."""
    return json.dumps({"sampling_requests": [document]}).encode()


def reply(
    document: Mapping[str, object] | bytes,
    status: str = "200 OK",
    *headers: str,
    zipped: bool = False,
    chunked: bool = False,
) -> bytes:
    """Make a whole answer, of a record or of any body."""
    body = document if isinstance(document, bytes) else body_of(document)
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if zipped:
        body = gzip.compress(body, mtime=0)
        lines.append("Content-Encoding: gzip")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def drain(client: IdeogramClient, ids: Sequence[str]) -> dict[str, float]:
    """Have all ids completed, and give the loop time of each, within what no good run takes."""
    ends = {}
    with anyio.fail_after(3600):
        async for request in client.as_completed(ids):
            ends[request.request_id] = anyio.current_time()
    assert sorted(map(str, ends)) == sorted(ids)
    return ends


class FullPort:
    """A port whose queue of connections is full: whoever connects now waits without end."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._waiting: list[socket.socket] = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(self._socket.getsockname())
            self._waiting.append(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in [*self._waiting, self._socket]:
            sock.close()
