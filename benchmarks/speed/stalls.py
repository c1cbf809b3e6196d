"""How long the event loop was held up: a timer that reads the clocks every millisecond."""

from __future__ import annotations

import asyncio
import time

import msgspec

PERIOD_SECONDS = 0.001


class Stall(msgspec.Struct, frozen=True):
    """The longest time between two beats, in milliseconds."""

    work: float
    """CPU time of this process: other processes on the machine do not count."""
    wall: float


class Heartbeat:
    """Beats from its creation to `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._restart()

    def longest(self) -> Stall:
        """Return the longest stall since the last call."""
        self._beat(again=False)
        stall = Stall(self._work * 1e3, self._wall * 1e3)
        self.stop()
        self._restart()
        return stall

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _restart(self) -> None:
        self._work = self._wall = 0.0
        self._wait()

    def _wait(self) -> None:
        self._worked, self._at = time.process_time(), time.perf_counter()
        self._timer = self._loop.call_later(PERIOD_SECONDS, self._beat)

    def _beat(self, *, again: bool = True) -> None:
        self._work = max(self._work, time.process_time() - self._worked)
        self._wall = max(self._wall, time.perf_counter() - self._at - PERIOD_SECONDS)
        if again:
            self._wait()
