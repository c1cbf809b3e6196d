"""The fast lane: connections that aiohttp opens and that are kept here, one write per query.

aiohttp builds and checks the request, looks the name up, connects, and does TLS and the proxy's
CONNECT; its parser reads every answer that is not of the usual form. What it would do anew for each
query is done once, since all queries go to one address with the same headers.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, NoReturn

import aiohttp

from ideogram_async._protocol.query import encode_query
from ideogram_async._transport.connection import Wire
from ideogram_async._transport.lane import LaneError, Outcome, Post, Read
from ideogram_async._transport.shared_timeout import Deadlines
from ideogram_async._transport.whole_answer import WholeAnswers

KEEP_ALIVE_SECONDS = 55.0
"""How long an idle connection is kept: many servers close theirs after 60 s."""
RENEWED_AFTER_SECONDS = (240.0, 300.0)
"""When a connection is renewed, drawn for each: a kept one never looks its name up again, and all
of them renewed at once would be a burst."""


class Wires:
    """The connections of a client: the one that has been idle for longest is used next."""

    def __init__(
        self,
        connector: aiohttp.TCPConnector,
        posts: Sequence[Post],
        read: Read,
        *,
        timeout: aiohttp.ClientTimeout,
        attempt_timeout: float,
        max_body: int,
        watcher: Callable[[], str | None],
    ) -> None:
        self._connector = connector
        self._posts = posts
        self._read = read
        self._watcher = watcher
        self._timeout = timeout
        self._attempt_timeout = attempt_timeout
        self._max_body = max_body
        self._time = asyncio.get_running_loop().time
        self._heads: list[bytes | None] = [None] * len(posts)
        """The head of each key's queries, made by the first connection that is opened for it."""
        self._whole_answers = WholeAnswers(max_body)
        self._idle: deque[Wire] = deque()
        self._asked: Deadlines[Wire] = Deadlines(Wire.time_out)
        """Those that wait for an answer."""
        self._timer: asyncio.TimerHandle | None = None

    def send(
        self,
        index: int,
        request_id: str,
        context: Context | None,  # noqa: ARG002 - nothing traces queries here
        until: float | None = None,
    ) -> asyncio.Future[Outcome] | None:
        """Send a query with the key of that index on an idle connection, if there is one."""
        body = encode_query(request_id)  # before a connection is taken, for it may fail
        head = self._heads[index]
        if head is None:
            return None
        now, idle = self._time(), self._idle
        while idle:
            wire = idle.popleft()
            if wire.is_usable(now):
                until = until or now + self._attempt_timeout
                return self._ask(wire, request_id, _query(head, body), until)
            wire.close()
        return None

    async def post(
        self,
        index: int,
        request_id: str,
        context: Context | None,
        until: float,
    ) -> Outcome:
        """Send a query with the key of that index, on a new connection if need be."""
        answer = self.send(index, request_id, context, until)
        if answer is None:
            async with asyncio.timeout_at(until):
                wire, head = await self._open(index)
            query = _query(head, encode_query(request_id))
            answer = self._ask(wire, request_id, query, until)
        try:
            return await answer
        except asyncio.CancelledError:
            self.close_cancelled()
            raise

    def close_cancelled(self) -> None:
        """Close the connections of queries that nobody waits for any more."""
        for wire in self._asked:
            if wire.is_cancelled:
                self._asked.discard(wire)
                wire.close()

    def close(self) -> None:
        """Keep nothing any more: the connector closes every connection."""
        self._asked.close()
        if self._timer is not None:
            self._timer.cancel()
        self._idle.clear()

    def _ask(
        self, wire: Wire, request_id: str, query: bytes, until: float
    ) -> asyncio.Future[Outcome]:
        self._asked.add(wire, until)
        return wire.ask(request_id, query, until)

    # Keeping

    def _returned(self, wire: Wire, reusable: bool) -> None:
        self._asked.discard(wire)
        if not reusable:
            wire.close()
            return
        wire.keep(self._time() + KEEP_ALIVE_SECONDS)
        self._idle.append(wire)
        if self._timer is None:
            self._close_expired_at(wire.expires_at)

    def _close_expired_at(self, when: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(when, self._close_expired, when)

    def _close_expired(self, when: float) -> None:
        """Close the connections that expired by `when`, the very time that the timer was set to.

        The clock may stand a hair before it: compared with that, the first would expire never.
        """
        self._timer = None
        while self._idle and self._idle[0].expires_at <= when:
            self._idle.popleft().close()
        if self._idle:
            self._close_expired_at(self._idle[0].expires_at)

    # Opening

    async def _open(self, index: int) -> tuple[Wire, bytes]:
        watcher = self._watcher()
        if watcher is not None:
            raise LaneError(watcher)
        try:
            await self._posts[index](middlewares=(self._connect,))
        except _Opened as opened:
            request, connection = opened.args
            return self._adopt(connection), self._head(index, request)
        raise LaneError("aiohttp opened no connection: it is patched")

    async def _connect(self, request: aiohttp.ClientRequest, _: object) -> NoReturn:
        """Connect in the place of aiohttp's session, which would go on to send the request."""
        try:
            connection = await self._connector.connect(request, [], self._timeout)
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError from None
        raise _Opened(request, connection)

    def _adopt(self, connection: Any) -> Wire:
        if connection.protocol is None or connection.protocol.should_close:
            connection.close()  # it talks before it is asked, and so would the next
            raise aiohttp.ServerDisconnectedError
        renew_at = self._time() + random.uniform(*RENEWED_AFTER_SECONDS)  # noqa: S311 - no secret
        wire = Wire(
            connection,
            renew_at=renew_at,
            max_body=self._max_body,
            read=self._read,
            whole_answers=self._whole_answers,
            returned=self._returned,
        )
        try:
            connection.transport.set_protocol(wire)
        except (AttributeError, NotImplementedError):
            connection.close()
            raise LaneError("the loop's transports cannot change their protocol") from None
        return wire

    def _head(self, index: int, request: aiohttp.ClientRequest) -> bytes:
        """Return the head up to the length of the body, as aiohttp would write it."""
        head = self._heads[index]
        if head is None:
            through_proxy = request.proxy is not None and not request.is_ssl()
            target = str(request.url) if through_proxy else request.url.raw_path_qs
            request.headers.pop("Content-Length", None)
            lines = [f"{request.method} {target} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in request.headers.items()]
            head = self._heads[index] = "\r\n".join([*lines, "Content-Length: "]).encode()
        return head


def _query(head: bytes, body: bytes) -> bytes:
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


class _Opened(Exception):  # noqa: N818 - no error: aiohttp knows no other way to hand one out
    """Carries a request and its connection out of `ClientSession.post`."""
