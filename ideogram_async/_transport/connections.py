"""What is asked of a kept connection before it carries another query.

Parts of the transport: aiohttp hands each query to these two classes of a session.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.typedefs import LooseHeaders

RENEWED_AFTER = (240.0, 300.0)
"""Seconds, drawn for each connection, after which it is renewed: a kept one never looks its
name up again, and all of them renewed at once would be a burst."""

_renewals: WeakKeyDictionary[ResponseHandler, float] = WeakKeyDictionary()


class StaleConnectionError(aiohttp.ServerDisconnectedError):
    """A kept connection is not fit for another query; nothing was sent on it."""


class DeadConnectionError(aiohttp.ServerDisconnectedError):
    """A kept connection died under its query: it may have been closed before the query came."""


class Request(aiohttp.ClientRequest):
    """Refuses a connection that is out of step, or too old.

    All queries of a session go to one address with the same headers, which are made once, where
    aiohttp makes them for each: so each session has a class of its own, by `request_class`.
    """

    head: Any = None

    def update_headers(self, headers: LooseHeaders | None) -> None:
        """Take the headers of the session's first query."""
        if self.head is not None:
            self.headers = self.head.copy()
            return
        super().update_headers(headers)
        super().update_auto_headers(None)
        type(self).head = self.headers.copy()

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add nothing: `update_headers` did."""

    # A plain function: a coroutine around aiohttp's own would cost each query one more. What it
    # gives is aiohttp's, though mypy knows the class of a coroutine by its protocol alone.
    def send(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, conn: Connection
    ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Send the query, unless the connection must not carry it."""
        protocol = conn.protocol
        renewal = None if protocol is None else _renewals.get(protocol)
        # A late extra answer of a former query would be taken for this one's (aiohttp 13656).
        if protocol is None or protocol.should_close:
            if renewal is None:  # a new one that talks before it is asked: so would the next
                raise aiohttp.ServerDisconnectedError
            raise StaleConnectionError
        now = self.loop.time()
        if renewal is None:
            _renewals[protocol] = now + random.uniform(*RENEWED_AFTER)  # noqa: S311 - no secret
            self.response_class = Response
        elif now >= renewal:
            raise StaleConnectionError
        return super().send(conn)


def request_class() -> type[Request]:
    """Make the class of one session's queries."""
    return type("Request", (Request,), {})


class Response(aiohttp.ClientResponse):
    """Can close its connection when all is read."""

    _transport: asyncio.Transport | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for the head of the answer."""
        self._transport = connection.transport
        return await super().start(connection)

    def discard_connection(self) -> None:
        """Let the connection carry no other query."""
        if self._transport is not None:
            self._transport.close()


class ReusedResponse(Response):
    """One on a kept connection: where that dies under it, the query may never have come."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for the head of the answer."""
        self._transport = connection.transport
        try:
            return await aiohttp.ClientResponse.start(self, connection)  # one call less
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            raise DeadConnectionError from None
