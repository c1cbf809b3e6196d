"""The plain lane: each query by `ClientSession.post`, so that whoever watches aiohttp sees it."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

import aiohttp
from aiohttp import hdrs

from ideogram_async._protocol.outcome import Fault
from ideogram_async._protocol.query import encode_query
from ideogram_async._transport.in_context import InContext
from ideogram_async._transport.lane import DeadConnectionError, Outcome, Post, Read
from ideogram_async._transport.shared_timeout import SharedTimeout
from ideogram_async._transport.wires import RENEWED_AFTER_SECONDS

LOOK_FOR_WATCHERS_SECONDS = 1.0
"""Seconds between looks whether somebody watches aiohttp: only then contexts matter."""


class PlainLane:
    """Sends each query through aiohttp's session and pool."""

    def __init__(
        self,
        posts: Sequence[Post],
        read: Read,
        *,
        attempt_timeout: float,
        max_body: int,
        watcher: Callable[[], str | None],
    ) -> None:
        self._time = asyncio.get_running_loop().time
        self._attempt_timeout = attempt_timeout
        self._posts = posts
        self._read = read
        self._max_body = max_body
        self._watcher = watcher
        self._is_watched = True
        self._look_again_at = -math.inf
        self._attempts = SharedTimeout()

    def send(
        self, index: int, request_id: str, context: Context | None
    ) -> Coroutine[Any, Any, Outcome]:
        """Return what sends a query: to leave that to `post` costs 5 % of the query's CPU time."""
        return self.post(index, request_id, context, self._time() + self._attempt_timeout)

    async def post(
        self, index: int, request_id: str, context: Context | None, until: float
    ) -> Outcome:
        """Send a query with the key of that index, and return what it comes to."""
        task = self._attempts.begin(until)
        try:
            body = encode_query(request_id)
            while True:
                try:
                    response = await self._request(index, body, context, until)
                    break
                except _StaleConnectionError:
                    continue  # nothing was sent, and that connection is gone
                except _DeadConnectionError:
                    raise DeadConnectionError(until) from None
            content = response.content
            # As a rule it has all come with the head.
            answer = content.read_nowait() if content.is_eof() else await self._rest(response)
        except asyncio.CancelledError:
            if not self._attempts.expired(task):
                raise
            raise TimeoutError from None
        finally:
            self._attempts.end(task)
        outcome = self._read(request_id, response.status, response.headers, answer)
        is_misplaced = isinstance(outcome, Fault) and outcome.is_misplaced
        is_over = is_misplaced or len(answer) > self._max_body
        if is_over and isinstance(response, ReusedResponse):  # else it is a stand-in's
            response.discard_connection()
        return outcome

    def _request(
        self, index: int, body: bytes, context: Context | None, until: float
    ) -> Awaitable[aiohttp.ClientResponse]:
        """Return aiohttp's request, which runs in the context where somebody watches it."""
        if until >= self._look_again_at:
            self._look_again_at = until + LOOK_FOR_WATCHERS_SECONDS
            self._is_watched = self._watcher() is not None
        post = self._posts[index]
        if context is None or not self._is_watched:
            return post(data=body)
        context = context.copy()  # one for each: traces of concurrent queries would nest
        return InContext(context, context.run(post, data=body))

    def close_cancelled(self) -> None:
        """Do nothing: aiohttp closes the connection of a query whose task is cancelled."""

    def close(self) -> None:
        """Stop the timer: aiohttp keeps the connections."""
        self._attempts.close()

    async def _rest(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a body that comes by pieces until it is more than `max_body` allows."""
        body = bytearray()
        try:
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > self._max_body:
                    response.close()
                    break
        finally:
            response.release()
        return bytes(body)


class _StaleConnectionError(aiohttp.ServerDisconnectedError):
    """A kept connection is not fit for another query; nothing was sent on it."""


class _DeadConnectionError(aiohttp.ServerDisconnectedError):
    """A kept connection died under its query."""


class Request(aiohttp.ClientRequest):
    """Refuses a connection that is out of step, or too old.

    All queries of a session go to one address with the same headers, unless somebody who traces
    them adds some. aiohttp makes the headers anew for each: here they are made once per session,
    which has a class of its own (see `request_class`).

    aiohttp starts a task per body, to write it. Here aiohttp sends the head of a query without a
    body, and `_HeadAndBody` adds the body, unless somebody traces the session: then aiohttp tells
    what it sends.
    """

    given: Any = None
    """The headers of the session's first query, as aiohttp passes them on."""
    made: Any = None
    """What aiohttp made of them."""
    renewals: dict[Any, float]
    """When each connection of the session is renewed."""
    query: bytes | None = None
    """The body that aiohttp has not been told of."""

    def update_headers(self, headers: Any) -> None:
        """Set the headers: those of the first query, where the same are given."""
        if headers == self.given:
            self.headers = self.made.copy()
            return
        super().update_headers(headers)
        super().update_auto_headers(None)
        if self.given is None:
            cls = type(self)
            cls.given, cls.made = headers.copy(), self.headers.copy()

    def update_auto_headers(self, skip_auto_headers: Any) -> None:
        """Add nothing: `update_headers` did."""

    def update_body_from_data(self, body: Any, *rest: Any, **named: Any) -> None:
        """Keep a body back, unless somebody traces the session; the fast lane has none here."""
        if body is None or self.session.trace_configs:
            super().update_body_from_data(body, *rest, **named)
        else:
            self.query = body
            self.headers[hdrs.CONTENT_LENGTH] = str(len(body))

    # No coroutine around aiohttp's own, which each query would pay for.
    def send(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, conn: Any
    ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Send the query, unless the connection must not carry it."""
        protocol = conn.protocol
        renewal = None if protocol is None else self.renewals.get(protocol)
        # A late extra answer of a former query would be taken for this one's (aiohttp 13656).
        if protocol is None or protocol.should_close:
            if renewal is None:  # a new one that talks before it is asked: so would the next
                raise aiohttp.ServerDisconnectedError
            raise _StaleConnectionError
        now = self.loop.time()
        if renewal is None:
            self._begin(protocol, now)
        elif now >= renewal:
            raise _StaleConnectionError
        if self.query is not None:
            protocol.transport = _HeadAndBody(protocol, self.query)
        return super().send(conn)

    def _begin(self, protocol: Any, now: float) -> None:
        """Set when a new connection is renewed; forget those that are closed."""
        for closed in [one for one in self.renewals if not one.is_connected()]:
            del self.renewals[closed]
        self.renewals[protocol] = now + random.uniform(*RENEWED_AFTER_SECONDS)  # noqa: S311 - no secret
        self.response_class = FirstResponse


class _HeadAndBody:
    """Stands for a connection's transport until the head is written: both go out at once."""

    __slots__ = ("_body", "_protocol", "_transport")

    def __init__(self, protocol: Any, body: bytes) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._body = body

    def is_closing(self) -> bool:
        closing: bool = self._transport.is_closing()
        return closing

    def write(self, head: bytes) -> None:
        self._protocol.transport = self._transport
        self._transport.write(head + self._body)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def request_class() -> type[Request]:
    """Return the class of one session's queries."""
    return type("Request", (Request,), {"renewals": {}})


class ReusedResponse(aiohttp.ClientResponse):
    """One on a kept connection: where that dies under it, the query may never have come."""

    _transport: Any = None
    _is_first = False

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Wait for the head of the answer."""
        self._transport = connection.transport
        try:
            return await aiohttp.ClientResponse.start(self, connection)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if self._is_first:
                raise
            raise _DeadConnectionError from None

    def discard_connection(self) -> None:
        """Let the connection carry no other query, once all is read."""
        if self._transport is not None:
            self._transport.close()


class FirstResponse(ReusedResponse):
    """The first on its connection."""

    _is_first = True
