"""One query over HTTP: with `_connections`, the only place on the client's side to know aiohttp."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http import HttpProcessingError

from ideogram_async._config import Settings
from ideogram_async._errors import (
    APIConnectionError,
    APITimeoutError,
    InvalidResponseError,
    RequestError,
)
from ideogram_async._protocol.answers import read_answer
from ideogram_async._protocol.outcome import Answer, Fault, FaultKind
from ideogram_async._protocol.query import encode_query
from ideogram_async._protocol.sanitize import clean
from ideogram_async._transport.connections import (
    DeadConnectionError,
    Response,
    ReusedResponse,
    StaleConnectionError,
    request_class,
)
from ideogram_async._transport.shared_timeout import SharedTimeout

KEEP_ALIVE = 55.0
"""Seconds that an idle connection is kept."""

_HEADERS = {
    "Accept": "application/json",  # a CDN then answers its own errors as JSON more often (seen)
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
}
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOMEM})
"""Errors of this process: it has no more descriptors, ports or memory."""
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_WHY: dict[type[Exception], str] = {
    aiohttp.ServerDisconnectedError: "it closed the connection",
    DeadConnectionError: "it closed the connection, twice",
    aiohttp.ClientPayloadError: "the answer broke off, or could not be decoded",
    aiohttp.ClientResponseError: "what came could not be read as HTTP",
}


class Transport:
    """The sessions over one pool of connections, one a key; `replayed` is told of each replay."""

    def __init__(self, settings: Settings, replayed: Callable[[int], None]) -> None:
        self._settings = settings
        self._replayed = replayed
        self._secrets = settings.secrets
        self._max_body = settings.max_body
        self._party = urlsplit(settings.base_url).netloc
        if settings.proxy is not None:
            proxy = urlsplit(settings.proxy)
            self._party = f"the proxy {proxy.hostname}, or {self._party} behind it"
        self._connector = aiohttp.TCPConnector(
            limit=0,  # the semaphore bounds the flight
            keepalive_timeout=KEEP_ALIVE,
            ssl=settings.ssl,
        )
        self._attempts = SharedTimeout(settings.attempt_timeout)
        # The whole attempt is timed above; for a kept connection this one costs nothing.
        timeout = aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout)
        headers = [
            {**_HEADERS, **settings.headers, **credential.headers()}
            for credential in settings.credentials
        ]
        # A session's own headers go to a proxy, too, when it is asked for a tunnel (aiohttp 3.14):
        # with a proxy each query brings its headers, which costs more.
        tunnelled = settings.proxy is not None
        self._sessions = [self._session({} if tunnelled else own, timeout) for own in headers]
        self._posts = [
            partial(
                session.post,
                settings.url,
                headers=own if tunnelled else None,
                allow_redirects=False,  # aiohttp would send Access-Token along
                proxy=settings.proxy,
            )
            for session, own in zip(self._sessions, headers, strict=True)
        ]

    async def query(self, index: int, request_id: str) -> Answer | Fault:
        """Ask for one id in the session of that index; raises nothing but cancellation."""
        task, replayed = self._attempts.begin(), False
        try:
            while True:
                try:
                    response = await self._posts[index](data=encode_query(request_id))
                    if response.content.is_eof():  # it all came with the head, as is the rule
                        body = response.content.read_nowait()
                    else:
                        body = await self._rest(response)
                    return self._outcome(request_id, response, body)
                except StaleConnectionError:
                    continue  # nothing was sent, and that connection is gone
                except DeadConnectionError as error:
                    if replayed:
                        return self._fault(request_id, error)
                    replayed = True  # a query is a read: it may go out again at once
                    self._replayed(index)
        except asyncio.CancelledError:
            if not self._attempts.expired(task):
                raise
            return self._fault(request_id, TimeoutError())
        except Exception as error:  # noqa: BLE001 - the one boundary of a query
            return self._fault(request_id, error)
        finally:
            self._attempts.end(task)

    async def close(self) -> None:
        """Close every connection."""
        self._attempts.close()
        for session in self._sessions:
            await session.close()
        await self._connector.close()

    async def _rest(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a body that comes by pieces, decoded, until it is more than the cap allows."""
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

    def _outcome(
        self, request_id: str, response: aiohttp.ClientResponse, body: bytes
    ) -> Answer | Fault:
        status = response.status
        if len(body) > self._max_body:
            if status < HTTPStatus.MULTIPLE_CHOICES:
                return self._too_large(request_id, status)
            body = body[: self._max_body]
        outcome = read_answer(
            request_id,
            status,
            response.headers,
            body,
            secrets=self._secrets,
        )
        if isinstance(outcome, Fault) and outcome.foreign and isinstance(response, Response):
            response.discard_connection()
        return outcome

    def _session(
        self, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=request_class(),
            response_class=ReusedResponse,
            timeout=timeout,
            trust_env=False,  # no netrc, no proxy of the environment
        )

    def _too_large(self, request_id: str, status: int) -> Fault:
        error = InvalidResponseError(
            f"the answer is larger than max_body, {self._max_body} bytes",
            request_id=request_id,
            status=status,
        )
        return Fault(FaultKind.MALFORMED, error)

    def _fault(self, request_id: str, error: Exception) -> Fault:
        """Return the fault in our own words: aiohttp's errors hold the key.

        1. An error of ours: the query could not be made.
        2. This process has run out of something.
        3. A certificate that is not trusted.
        4. No connection within its timeout, or none at all; through a proxy, it may be that one's.
        5. No whole answer within the attempt's timeout.
        6. Anything else broke the exchange.
        """
        cause = getattr(error, "os_error", error)
        if not isinstance(
            error, aiohttp.ClientError | OSError | TimeoutError | HttpProcessingError
        ):
            local = RequestError(f"the query could not be made: {type(error).__name__}: {error}")
            local.request_id, local.__cause__ = request_id, error
            return Fault(FaultKind.LOCAL, local)
        if isinstance(cause, OSError) and cause.errno in _EXHAUSTED:
            what = f"this process could not connect: {cause.strerror}"
            return _connection_fault(FaultKind.EXHAUSTED, what, request_id)
        if isinstance(cause, ssl.SSLCertVerificationError):
            what = (
                f"its certificate is not trusted, {cause.verify_message!r}"
                " (the setting ssl takes a context of your own)"
            )
            return _connection_fault(FaultKind.ADDRESS, what, request_id)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            what = (
                f"{self._party}: no connection within connect_timeout,"
                f" {self._settings.connect_timeout:g} s"
            )
            timeout = APITimeoutError(what, request_id=request_id)
            return Fault(FaultKind.CONNECTION, timeout)
        if isinstance(error, TimeoutError):
            what = f"no whole answer within attempt_timeout, {self._settings.attempt_timeout:g} s"
            return Fault(FaultKind.TIMEOUT, APITimeoutError(what, request_id=request_id))
        if isinstance(error, aiohttp.ClientHttpProxyError):
            what = f"{self._party}: {error.status} for CONNECT"
            return _connection_fault(FaultKind.CONNECTION, what, request_id)
        why = clean(getattr(cause, "strerror", None) or "", self._secrets)
        what = (
            f"no answer from {self._party}: {why or _WHY.get(type(error)) or type(error).__name__}"
        )
        connecting = isinstance(error, aiohttp.ClientConnectorError)
        kind = FaultKind.CONNECTION if connecting else FaultKind.TRANSIENT
        if isinstance(cause, socket.gaierror) and cause.errno in _NO_SUCH_NAME:
            kind, what = FaultKind.UNKNOWN_HOST, f"{self._party} cannot be reached: name not known"
        return _connection_fault(kind, what, request_id)


def _connection_fault(kind: FaultKind, what: str, request_id: str) -> Fault:
    return Fault(kind, APIConnectionError(what, request_id=request_id))
