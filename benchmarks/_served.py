"""The loopback gateway in real time, in a thread of its own, for processes that poll it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ideogram_async.testing import Gateway

T = TypeVar("T")

ROOT = Path(__file__).parents[1]


class Served:
    """A gateway that other processes can reach: `with Served() as served`."""

    gateway: Gateway

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self.gateway = self.call(lambda: Gateway(**self._settings))
        self._wait(self.gateway.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._wait(self.gateway.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function within the gateway's loop."""

        async def called() -> T:
            return function()

        return self._wait(called())

    def environment(self) -> dict[str, str]:
        """Give the environment of a process that polls it."""
        kept = {name: value for name, value in os.environ.items() if "IDEOGRAM" not in name}
        return kept | {"IDEOGRAM_BASE_URL": self.gateway.url, "PYTHONPATH": str(ROOT)}

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)
