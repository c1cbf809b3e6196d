"""The lower bound of pure asyncio: a protocol that reads this server's answers and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.speed.answers import decode

_END = b"\r\n\r\n"


class FloorClient:
    """Connections that share the ids to ask."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.answered: list[str] = []
        """The ids of the answers."""
        self._connections: list[FloorConnection] = []
        self._ids: Iterator[str] = iter(())
        self._busy = 0
        self._done = asyncio.Event()

    def connection(self) -> FloorConnection:
        """Add a connection."""
        self._connections.append(FloorConnection(self))
        return self._connections[-1]

    async def drain(self, ids: Sequence[str]) -> Sequence[str]:
        """Ask for all ids, and return the ids of the answers."""
        self._ids, self._busy, self.answered = iter(ids), len(self._connections), []
        self._done.clear()
        for connection in self._connections:
            connection.ask()
        await self._done.wait()
        return self.answered

    def next_id(self) -> str | None:
        """Return the next id; with None the connection is done, and with the last one `drain`."""
        request_id = next(self._ids, None)
        if request_id is None:
            self._busy -= 1
            if not self._busy:
                self._done.set()
        return request_id


class FloorConnection(asyncio.Protocol):
    """Sends a query, finds the end of the answer by its length, decodes it, and sends the next."""

    def __init__(self, client: FloorClient) -> None:
        self._client = client
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def ask(self) -> None:
        """Send the next query, if there is an id left."""
        request_id = self._client.next_id()
        if request_id is not None:
            body = b'{"request_id":"%b"}' % request_id.encode()
            head = self._client.head + b"Content-Length: %d" % len(body)
            self._transport.write(head + _END + body)

    def data_received(self, data: bytes) -> None:
        """Decode an answer once it is whole."""
        received = self._received + data if self._received else data
        end = received.find(_END) + 4
        field = received.find(b"Content-Length: ", 0, end) + 16
        if end < 20 or len(received) < end + int(received[field : received.find(b"\r", field)]):
            self._received = received
            return
        self._received = b""
        self._client.answered.append(str(decode(received[end:]).sampling_requests[0].request_id))
        self.ask()
