"""The plain lane: each query by `ClientSession.post`, so that whoever watches aiohttp sees it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from ideogram_async._transport.in_context import InContext
from ideogram_async._transport.lane import DeadConnectionError, Post, Response
from ideogram_async._transport.wires import RENEWED_AFTER_SECONDS

_renewals: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
"""When each connection is renewed."""


class PlainLane:
    """Sends each query through aiohttp's session and pool."""

    def __init__(self, posts: Sequence[Post], *, max_body: int) -> None:
        self._posts = posts
        self._max_body = max_body

    async def post(self, index: int, body: bytes, context: Context | None) -> Response:
        """Send a query with the key of that index, and return its answer."""
        if context is not None:  # a copy for each: traces of concurrent queries would nest
            return await InContext(context.copy(), self._post(index, body))
        return await self._post(index, body)

    async def _post(self, index: int, body: bytes) -> Response:
        while True:
            try:
                response = await self._posts[index](data=body)
            except _StaleConnectionError:
                continue  # nothing was sent, and that connection is gone
            content = response.content
            # As a rule it has all come with the head.
            answer = content.read_nowait() if content.is_eof() else await self._rest(response)
            release = partial(_release, response)
            return Response(response.status, response.headers, answer, release)

    def close(self) -> None:
        """Do nothing: aiohttp keeps the connections."""

    async def _rest(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a body that comes by pieces until it is more than `max_body` allows."""
        chunks, size = [], 0
        try:
            async for chunk in response.content.iter_any():
                chunks.append(chunk)
                size += len(chunk)
                if size > self._max_body:
                    response.close()
                    break
        finally:
            response.release()
        return b"".join(chunks)


class _StaleConnectionError(aiohttp.ServerDisconnectedError):
    """A kept connection is not fit for another query; nothing was sent on it."""


class Request(aiohttp.ClientRequest):
    """Refuses a connection that is out of step, or too old."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Send the query, unless the connection must not carry it."""
        protocol = conn.protocol
        renewal = None if protocol is None else _renewals.get(protocol)
        # A late extra answer of a former query would be taken for this one's (aiohttp 13656).
        if protocol is None or protocol.should_close:
            if renewal is None:  # a new one that talks before it is asked: so would the next
                raise aiohttp.ServerDisconnectedError
            raise _StaleConnectionError
        now = self.loop.time()
        if renewal is None:
            _renewals[protocol] = now + random.uniform(*RENEWED_AFTER_SECONDS)  # noqa: S311 - no secret
            self.response_class = FirstResponse
        elif now >= renewal:
            raise _StaleConnectionError
        return await super().send(conn)


class FirstResponse(aiohttp.ClientResponse):
    """The first on its connection; knows how to close that when all is read."""

    _transport: Any = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Wait for the head of the answer."""
        self._transport = connection.transport
        return await super().start(connection)

    def discard_connection(self) -> None:
        """Let the connection carry no other query."""
        if self._transport is not None:
            self._transport.close()


class ReusedResponse(FirstResponse):
    """One on a kept connection: where that dies under it, the query may never have come."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Wait for the head of the answer."""
        try:
            return await super().start(connection)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            raise DeadConnectionError from None


def _release(response: aiohttp.ClientResponse, *, reusable: bool) -> None:
    if not reusable and isinstance(response, FirstResponse):  # else it is a stand-in's
        response.discard_connection()
