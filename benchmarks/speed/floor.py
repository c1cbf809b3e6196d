"""The floor of pure asyncio: a protocol that knows this server's answers and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.speed.answers import decode

_END = b"\r\n\r\n"


class Flight:
    """Connections that share the ids to ask; done when each has had an answer."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.told: list[str] = []
        self._connections: list[Floor] = []
        self._ids: Iterator[str] = iter(())
        self._open = 0
        self._done = asyncio.Event()

    def connection(self) -> Floor:
        """Make one more."""
        self._connections.append(Floor(self))
        return self._connections[-1]

    async def drain(self, ids: Sequence[str]) -> Sequence[str]:
        """Ask them all; give those that the answers told."""
        self._ids, self._open, self.told = iter(ids), len(self._connections), []
        self._done.clear()
        for connection in self._connections:
            connection.ask()
        await self._done.wait()
        return self.told

    def next_id(self) -> str | None:
        """Give the next id; count who finds none left."""
        request_id = next(self._ids, None)
        if request_id is None:
            self._open -= 1
            if not self._open:
                self._done.set()
        return request_id


class Floor(asyncio.Protocol):
    """Asks, finds the body's end by its length, decodes, and asks again."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        self._transport = transport

    def ask(self) -> None:
        """Send the next query, if there is one."""
        request_id = self._flight.next_id()
        if request_id is not None:
            body = b'{"request_id":"%b"}' % request_id.encode()
            head = self._flight.head + b"Content-Length: %d" % len(body)
            self._transport.write(head + _END + body)

    def data_received(self, data: bytes) -> None:
        """Take an answer once it is whole."""
        received = self._received + data if self._received else data
        end = received.find(_END) + 4
        field = received.find(b"Content-Length: ", 0, end) + 16
        if end < 20 or len(received) < end + int(received[field : received.find(b"\r", field)]):
            self._received = received
            return
        self._received = b""
        self._flight.told.append(str(decode(received[end:]).sampling_requests[0].request_id))
        self.ask()
