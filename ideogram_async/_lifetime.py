"""A client's life: made anywhere, started by its first call, in one loop, until it is closed."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable, Mapping
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

from ideogram_async import _log, _settings
from ideogram_async._adaptive import AdaptiveSchedule
from ideogram_async._core import Core, running, until_done
from ideogram_async._credentials import Credential
from ideogram_async._downloads import Downloads
from ideogram_async._errors import ClientClosed
from ideogram_async._hooks import Hook
from ideogram_async._schedule import Schedule
from ideogram_async._statistics import Statistics


class Lifetime:
    """What a client is, apart from its calls; `IdeogramClient` tells of the arguments."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        access_token: str | None = None,
        credentials: Iterable[Credential] = (),
        max_in_flight: int = 20,
        max_rate: float | None = None,
        deadline: float | None = 900.0,
        attempt_timeout: float = 30.0,
        connect_timeout: float = 5.0,
        max_body: int = 1 << 20,
        schedule: Schedule[Any] | None = None,
        proxy: str | None = None,
        ssl: SSLContext | bool = True,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        allow_http: bool = False,
        downloads: Downloads | None = None,
        hooks: Iterable[Hook] = (),
    ) -> None:
        _log.set_up()
        self._core: Core | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._last = Statistics()
        try:
            self._settings = _settings.settle(
                base_url,
                token=token,
                access_token=access_token,
                credentials=credentials,
                max_in_flight=max_in_flight,
                max_rate=max_rate,
                deadline=deadline,
                attempt_timeout=attempt_timeout,
                connect_timeout=connect_timeout,
                max_body=max_body,
                proxy=proxy,
                ssl=ssl,
                headers=headers,
                user_agent=user_agent,
                allow_http=allow_http,
                downloads=Downloads() if downloads is None else downloads,
                hooks=hooks,
            )
        finally:  # reports of errors may show a frame's locals
            del token, access_token, credentials
        self._schedule: Schedule[Any] = AdaptiveSchedule() if schedule is None else schedule

    def __repr__(self) -> str:
        settings = getattr(self, "_settings", None)
        return f"<IdeogramClient {'unmade' if settings is None else settings.base_url}>"

    def statistics(self) -> Statistics:
        """Give the figures of this client as they stand now."""
        return self._last if self._core is None else self._core.statistics()

    def hold(self, seconds: float, *, session: int = 0) -> None:
        """Send nothing on a session for so long, and pace it anew, as at a refusal of its own.

        For processes that share a key, and so its limit: what one of them was refused (see `held`
        in its statistics) is told to the others, who let its probe go first.

        Args:
            seconds: How long the other one holds.
            session: Which key, in their order.

        Raises:
            ValueError: The seconds are not > 0 and finite, or there is no such session.
            ClientClosed: The client was closed.

        """
        checked = _settings.check_seconds("seconds", seconds)
        if session not in range(len(self._settings.credentials)):
            raise ValueError(f"session is {session!r}: expected the place of a key")
        if checked is not None:
            self._started().hold(checked, session)

    async def close(self) -> None:
        """End every call with `ClientClosed`, and close every connection, within 5 seconds.

        Cancelling it does not stop it: the cancellation comes out once all is closed.
        """
        core = self._core
        if core is not None:
            self._closing = core.start_closing()
            self._last = core.statistics()
        self._closed, self._core = True, None
        try:
            await until_done(self._closing)
        finally:
            if core is not None:
                self._last = core.statistics()  # nothing is in flight any more

    aclose = close

    async def __aenter__(self) -> Self:
        self._started()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None:
            warnings.warn(
                f"{self!r} was never closed: use `async with`, or `await client.close()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            core.abandon()

    def _started(self) -> Core:
        """Give the running core, and refuse at once whatever cannot work."""
        if self._closed:
            raise ClientClosed("the client is closed")
        self._core = running(self._core, self._settings, self._schedule)
        return self._core
