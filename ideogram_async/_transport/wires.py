"""The fast lane: connections that aiohttp opens and that are kept here, one write per query.

aiohttp builds and checks the request, looks the name up, connects, and does TLS and the proxy's
CONNECT; its parser reads every answer. What it would do anew for each query is done once, since
all queries go to one address with the same headers.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, NoReturn

import aiohttp
from aiohttp import http

from ideogram_async._transport.lane import (
    DeadConnectionError,
    LaneError,
    Post,
    Response,
    UnreadableError,
)

KEEP_ALIVE_SECONDS = 55.0
"""How long an idle connection is kept: many servers close theirs after 60 s."""
RENEWED_AFTER_SECONDS = (240.0, 300.0)
"""When a connection is renewed, drawn for each: a kept one never looks its name up again, and all
of them renewed at once would be a burst."""
_Parser: Any = getattr(http, "HttpResponseParser", None)  # `choice.probe` looks whether it is there
_FIRST_FINAL_STATUS = 200
_SWITCHING_PROTOCOLS = 101


class Wire(asyncio.Protocol):
    """A connection that carries one query at a time.

    It stands in the place of aiohttp's own protocol, which goes on hearing of the connection's
    end: closing the connector waits for that.
    """

    _reading_paused = False  # aiohttp's StreamReader looks at it in some versions

    def __init__(
        self, connection: Any, *, renew_at: float, max_body: int, put: Callable[[Wire], None]
    ) -> None:
        self.renew_at = self.expires_at = renew_at
        """When it may carry no other query: it has been idle for too long, or is to be renewed."""
        self._connection = connection
        self._transport = connection.transport
        self._handler = connection.protocol
        self._max_body = max_body
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Response] | None = None
        self._reused = False
        self._reusable = True
        self._clear()

    def _clear(self) -> None:
        self._parser: Any = None
        self._message: Any = None
        self._payload: Any = None
        self._body = b""
        """What was taken from the payload before its end."""
        self._paused = False

    def is_usable(self, now: float) -> bool:
        """Return whether it may carry another query."""
        return now < self.expires_at and not self._transport.is_closing()

    def ask(self, query: bytes) -> asyncio.Future[Response]:
        """Send a query, and return the future of its answer."""
        # A parser for each answer: a kept one could carry half of an extra answer over.
        self._parser = _Parser(
            self,
            self._loop,
            self._max_body,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
        )
        self._silent = True
        self._answer = answer = self._loop.create_future()
        self._transport.write(query)
        return answer

    def release(self, *, reusable: bool) -> None:
        """Keep the connection for another query, if nothing speaks against it."""
        self._answer = None
        if reusable and self._reusable:
            self._reused = True
            self._put(self)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer.

        1. Nothing is asked: a late extra answer (aiohttp's issue 13656). The connection is closed.
        2. It is no HTTP, or a header is too long: the query fails.
        3. The head is not whole, or that of a 1xx: more will come.
        4. The body is whole: the answer is. What follows it closes the connection afterwards.
        5. The parser has paused: the answer may be too large.
        6. The body cannot be decoded: the query fails.
        """
        if self._answer is None or self._answer.done():
            self.close()
            return
        self._silent = False
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, the gateway's bytes cause it
            self._fail(UnreadableError(), error)
            return
        for message, payload in messages:
            if self._message is not None:
                self._reusable = False
            elif message.code >= _FIRST_FINAL_STATUS or message.code == _SWITCHING_PROTOCOLS:
                self._message, self._payload = message, payload
                self._reusable = not (message.should_close or upgraded)
        payload = self._payload
        if payload is None:
            return
        if payload.is_eof():
            self._finish()
        elif self._paused:
            self._drain()
        elif payload.exception() is not None:
            self._fail(payload.exception())

    def pause_reading(self) -> None:
        """Stop the parser: the body has twice `max_body`, or very many chunks.

        Else an answer of 64 KB could unpack to 64 MB before anybody looks at it.
        """
        self._paused = True
        self._parser.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Do nothing: `_drain` goes on by itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End the query under way, if any.

        1. The body lasts until the end of the connection: the answer is whole.
        2. The answer is cut: the query fails.
        3. Nothing of it came on a reused connection: the query may never have come.
        4. Nothing of it came on a new connection: the query fails.
        """
        self._handler.connection_lost(exc)
        self.close()
        if self._answer is None or self._answer.done():
            return
        if self._message is not None:
            self._end_of_body()
        elif self._reused and self._silent:
            self._fail(DeadConnectionError())
        elif isinstance(exc, OSError):
            self._fail(aiohttp.ClientOSError(*exc.args))
        else:
            self._fail(aiohttp.ServerDisconnectedError())

    def _end_of_body(self) -> None:
        try:
            self._parser.feed_eof()
        except Exception as error:  # noqa: BLE001 - as in `data_received`
            self._fail(aiohttp.ClientPayloadError(), error)
        else:
            self._finish()

    def _drain(self) -> None:
        """Take what is there, and go on if that is not too much."""
        self._paused = False
        self._body += self._payload.read_nowait()
        if len(self._body) <= self._max_body:
            self.data_received(b"")
        else:
            self._reusable = False
            self._finish()

    def _finish(self) -> None:
        message, body = self._message, self._payload.read_nowait()
        if self._body:
            body = self._body + body
        self._clear()
        if self._answer is not None:
            self._answer.set_result(Response(message.code, message.headers, body, self.release))

    def _fail(self, error: BaseException, cause: BaseException | None = None) -> None:
        self._clear()
        self.close()
        if self._answer is not None:
            error.__cause__ = error.__cause__ or cause
            self._answer.set_exception(error)


class Wires:
    """The connections of a client: the one that has been idle for longest is used next."""

    def __init__(
        self,
        connector: aiohttp.TCPConnector,
        posts: Sequence[Post],
        *,
        timeout: aiohttp.ClientTimeout,
        max_body: int,
        watcher: Callable[[], str | None],
    ) -> None:
        self._connector = connector
        self._posts = posts
        self._watcher = watcher
        self._timeout = timeout
        self._max_body = max_body
        self._time = asyncio.get_running_loop().time
        self._heads: list[bytes | None] = [None] * len(posts)
        """The head of each key's queries, made by the first connection that is opened for it."""
        self._idle: deque[Wire] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def post(self, index: int, body: bytes, context: Context | None) -> Response:  # noqa: ARG002 - nothing traces queries here
        """Send a query with the key of that index, and return its answer."""
        head = self._heads[index]
        wire = None if head is None else self._take()
        if wire is None or head is None:
            wire, head = await self._open(index)
        try:
            return await wire.ask(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        except BaseException:
            wire.close()
            raise

    def close(self) -> None:
        """Keep nothing any more: the connector closes every connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._idle.clear()

    # Keeping

    def _take(self) -> Wire | None:
        now = self._time()
        while self._idle:
            wire = self._idle.popleft()
            if wire.is_usable(now):
                return wire
            wire.close()
        return None

    def _put(self, wire: Wire) -> None:
        wire.expires_at = min(self._time() + KEEP_ALIVE_SECONDS, wire.renew_at)
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
            return self._adopt(opened.connection), self._head(index, opened.request)
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
        wire = Wire(connection, renew_at=renew_at, max_body=self._max_body, put=self._put)
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


class _Opened(Exception):  # noqa: N818 - no error: aiohttp knows no other way to hand one out
    """Carries a connection out of `ClientSession.post`."""

    def __init__(self, request: aiohttp.ClientRequest, connection: Any) -> None:
        self.request = request
        self.connection = connection
