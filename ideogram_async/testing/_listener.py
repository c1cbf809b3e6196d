"""The gateway's socket and its connections, by aiohttp's low-level server."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

_LINGER_ZERO = struct.pack("ii", 1, 0)
_TURNS_TO_CLOSE = 100
"""Turns of the loop after which aborted connections are gone: an upper bound."""
_TURNS_TO_CONNECT = 3
"""Turns of the loop after which an accepted socket has become a connection."""
_BACKLOG = 1024


def abort(transport: asyncio.BaseTransport | None, *, reset: bool) -> None:
    """Close a connection at once, by RST or else by FIN."""
    if not isinstance(transport, asyncio.Transport) or transport.is_closing():
        return
    if reset and (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()


class RawResponse(web.StreamResponse):
    """An answer whose bytes are complete: aiohttp adds nothing to them, which costs little."""

    def __init__(self, data: bytes, *, keep_alive: bool) -> None:
        super().__init__()
        self._data = data
        self._keep = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection is kept."""
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write all bytes at once."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("closed before the answer")
        transport.write(self._data)

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: all bytes are written."""


class _Server(web.Server):
    """A server that numbers its connections."""

    def __init__(self, handler: Callable[..., Awaitable[Any]], **settings: Any) -> None:
        super().__init__(handler, handler_cancellation=True, access_log=None, **settings)
        self.numbers: dict[object, int] = {}
        self.opened = 0

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.opened += 1
        self.numbers[handler] = self.opened

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.numbers.pop(handler, None)


class Listener:
    """A port with its connections, which can be closed and opened again."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        host: str,
        port: int,
        keepalive: float,
    ) -> None:
        self.host = host
        self.port = port
        self._server = _Server(handler, keepalive_timeout=keepalive)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0)
        self._socket: socket.socket | None = None
        self._site: web.SockSite | None = None

    @property
    def opened(self) -> int:
        """The number of connections that were opened so far."""
        return self._server.opened

    def connection(self, request: web.BaseRequest) -> int:
        """Return the number of a query's connection, or 0 if it is closed."""
        return self._server.numbers.get(request.protocol, 0)

    async def start(self) -> None:
        """Open the port; after `stop`, the same port."""
        if self._site is not None:
            return
        if self._runner.server is None:
            await self._runner.setup()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.create_server((self.host, self.port), family=family)
        self.port = sock.getsockname()[1]
        self._socket, self._site = sock, web.SockSite(self._runner, sock, backlog=_BACKLOG)
        await self._site.start()

    async def stop(self, *, reset: bool = True) -> None:
        """Close the port and all connections."""
        if self._site is None or self._socket is None:
            return
        site, self._site = self._site, None
        # No more is accepted, and accepted sockets become connections: asyncio would leak them.
        asyncio.get_running_loop().remove_reader(self._socket)
        for _ in range(_TURNS_TO_CONNECT):
            await asyncio.sleep(0)
        await site.stop()
        for connection in self._server.connections:
            abort(connection.transport, reset=reset)
        await self._emptied()

    async def close(self) -> None:
        """Close the port and all connections for good."""
        await self.stop(reset=False)
        await self._runner.cleanup()

    async def _emptied(self) -> None:
        for _ in range(_TURNS_TO_CLOSE):
            if not self._server.connections:
                return
            await asyncio.sleep(0)
