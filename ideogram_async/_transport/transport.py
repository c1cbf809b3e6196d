"""One query over HTTP: beside the downloads only this package knows aiohttp."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from http import HTTPStatus

import aiohttp

from ideogram_async._config import Settings
from ideogram_async._errors import InvalidResponseError
from ideogram_async._logging import logger
from ideogram_async._protocol.answers import read_answer
from ideogram_async._protocol.outcome import Fault, FaultKind
from ideogram_async._statistics import TransportLane
from ideogram_async._transport.choice import watcher, why_plain
from ideogram_async._transport.faults import FaultReader
from ideogram_async._transport.lane import DeadConnectionError, Lane, LaneError, Outcome, Post
from ideogram_async._transport.plain_lane import PlainLane, ReusedResponse, request_class
from ideogram_async._transport.wires import KEEP_ALIVE_SECONDS, Wires

_HEADERS = {
    "Accept": "application/json",  # a CDN then answers its own errors as JSON more often (seen)
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
}


class Transport:
    """Sends the queries of a client over one pool of connections.

    `replayed` is called with the index of the key for each query that is sent a second time.
    """

    lane: tuple[TransportLane, str]
    """The lane that queries take, and why."""

    def __init__(self, settings: Settings, replayed: Callable[[int], None]) -> None:
        self._settings = settings
        self._replayed = replayed
        self._secrets = settings.secrets
        self._faults = FaultReader(settings)
        self._loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(
            limit=0,  # the semaphore bounds the flight
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            ssl=settings.ssl,
        )
        # The whole attempt is timed above; for a kept connection this one costs nothing.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout)
        self._sessions: list[aiohttp.ClientSession] = []
        self._posts = [
            self._post({**_HEADERS, **settings.headers, **credential.headers()})
            for credential in settings.credentials
        ]
        self._lanes: list[Lane] = []
        self._choose(why_plain(self._sessions, forced=settings.fast_lane))

    async def query(self, index: int, request_id: str, context: Context | None = None) -> Outcome:
        """Ask for one id with the key of that index; raise nothing but cancellation.

        1. It is sent at once, as a rule, or aiohttp sends it.
        2. A connection must be opened first: see `_query`.
        3. A reused connection died before the answer: the query, a read, is sent again at once.
        4. It is cancelled: its connection is closed.
        5. Anything else: no answer came.
        """
        lane = self._lane
        try:
            answer = lane.send(index, request_id, context)
            if answer is not None:
                return await answer
        except DeadConnectionError as error:
            self._replayed(index)
            return await self._query(index, request_id, context, error.until, replayed=True)
        except asyncio.CancelledError:
            lane.close_cancelled()
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary of a query
            return self._faults.fault(request_id, error)
        until = self._loop.time() + self._settings.attempt_timeout
        return await self._query(index, request_id, context, until)

    async def _query(
        self,
        index: int,
        request_id: str,
        context: Context | None,
        until: float,
        *,
        replayed: bool = False,
    ) -> Outcome:
        """Send a query, which is over by `until`.

        1. A reused connection died before the answer: it is sent again at once, but once.
        2. The lane cannot be used here: the plain one is, from now on.
        3. Anything else: no answer came.
        """
        while True:
            try:
                return await self._lane.post(index, request_id, context, until)
            except DeadConnectionError as error:
                if replayed:
                    return self._faults.fault(request_id, error)
                replayed = True
                self._replayed(index)
            except LaneError as error:
                if self.lane[0] == "fast":  # else another query has found out before
                    self._choose(str(error))
            except Exception as error:  # noqa: BLE001 - as in `query`
                return self._faults.fault(request_id, error)

    async def close(self) -> None:
        """Close every connection."""
        for lane in self._lanes:
            lane.close()
        for session in self._sessions:
            await session.close()
        await self._connector.close()

    def _choose(self, why_plain: str | None) -> None:
        forced, max_body = self._settings.fast_lane, self._settings.max_body
        if why_plain is None:
            self.lane = "fast", "aiohttp is known, and nobody watches it"
            lane: Lane = Wires(
                self._connector,
                self._posts,
                self._read,
                timeout=self._timeout,
                attempt_timeout=self._settings.attempt_timeout,
                max_body=max_body,
                watcher=lambda: None if forced else watcher(self._sessions),
            )
        else:
            self.lane = "plain", why_plain
            lane = PlainLane(
                self._posts,
                self._read,
                attempt_timeout=self._settings.attempt_timeout,
                max_body=max_body,
                watcher=lambda: watcher(self._sessions),
            )
        self._lane = lane
        self._lanes.append(lane)
        level = logging.WARNING if forced and why_plain else logging.DEBUG
        logger.log(level, "queries take the %s lane: %s", *self.lane)

    def _post(self, headers: dict[str, str]) -> Post:
        """Make the session of one key, and return how to post with it."""
        # A session's own headers go to a proxy, too, when it is asked for a tunnel (aiohttp 3.14):
        # with a proxy each query brings its headers, which costs more.
        tunnelled = self._settings.proxy is not None
        session = aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            headers=None if tunnelled else headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=request_class(),
            response_class=ReusedResponse,
            timeout=self._timeout,
            trust_env=False,  # no netrc, no proxy of the environment
        )
        self._sessions.append(session)
        return partial(
            session.post,
            self._settings.url,
            headers=headers if tunnelled else None,
            allow_redirects=False,  # aiohttp would send Access-Token along
            proxy=self._settings.proxy,
        )

    def _read(
        self, request_id: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> Outcome:
        if len(body) > self._settings.max_body:
            if status < HTTPStatus.MULTIPLE_CHOICES:
                error = InvalidResponseError(
                    f"the answer is larger than max_body, {self._settings.max_body} bytes",
                    request_id=request_id,
                    status=status,
                )
                return Fault(FaultKind.MALFORMED, error)
            body = body[: self._settings.max_body]
        if self._settings.proxy and status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return self._faults.refused_by_proxy(request_id, status)
        return read_answer(request_id, status, headers, body, secrets=self._secrets)
