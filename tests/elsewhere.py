"""A gateway in a thread of its own, in real time: for clients in other processes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ideogram_async.testing import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds in which the thread must answer."""


class Elsewhere:
    """`with Elsewhere(...) as served`: the settings are the gateway's."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._started: Future[Gateway] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        self.gateway = self._started.result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self.gateway.url

    def do(self, function: Callable[[Gateway], T]) -> T:
        """Call a function in the gateway's own thread, and give its result."""
        result: Future[T] = Future()

        def call() -> None:
            try:
                result.set_result(function(self.gateway))
            except BaseException as error:  # noqa: BLE001 - it is raised where it was called
                result.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return result.result(PATIENCE)

    def submit(self, count: int, **settings: Any) -> list[str]:
        """Submit so many requests."""
        return self.do(lambda gateway: [gateway.submit(**settings) for _ in range(count)])

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        async with Gateway(**self._settings) as gateway:
            self._started.set_result(gateway)
            await self._over.wait()
