"""An event loop in virtual time: waiting takes no real time; I/O is real."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple, cast

from ._threads import worker_is_busy

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_Events = list[tuple[selectors.SelectorKey, int]]

_THREAD_POLL_SECONDS = 0.002
"""Real seconds between two checks of threads, which can end without waking the loop."""


class _Selector(selectors.DefaultSelector):
    """Polls real I/O. Instead of waiting, it lets the loop's clock jump."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> _Events:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        while True:
            # Checked before the poll: a thread that ends after the check wakes the loop.
            standing = self.loop.is_standing()
            events = self._poll()
            if not events and not standing and self.loop.jump():
                return events
            if not events:
                events = super().select(_THREAD_POLL_SECONDS if standing else None)
            if events:
                return events

    def _poll(self) -> _Events:
        # Twice: a loopback packet can arrive a little late. Yielding the processor in between
        # would cost a whole time slice at every jump on a busy machine.
        return super().select(0) or super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    A selector event loop whose clock jumps to the next timer when nothing else is ready.

    `time()` starts at 0 seconds. It changes only by these jumps, each to the exact time of
    a timer. I/O is real: with both ends of a connection on this loop, at a numeric address,
    the same program gives the same transcript every time.

    The clock stands still, and the loop waits in real time, while a thread works: one of
    `run_in_executor`, `asyncio.to_thread`, `getaddrinfo` or `anyio.to_thread`. Use
    `standing()` for other threads and for processes. A thread that waits for a timer of the
    loop never ends.
    """

    _scheduled: list[asyncio.TimerHandle]  # asyncio's heap of timers
    _clock_resolution: float

    def __init__(self) -> None:
        self._now = 0.0
        self._working: set[Future[Any]] = set()
        self._executor: Executor | None = None
        self._holders = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        # By asyncio's default a timer may run a nanosecond early. Here it runs at its time.
        self._clock_resolution = math.ulp(self._now)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def jump(self) -> bool:
        """Move the clock to the next timer. Return False if there is none."""
        when = self._scheduled[0].when() if self._scheduled else math.inf
        if when == math.inf:
            return False
        self._now = max(self._now, when)
        self._clock_resolution = math.ulp(self._now)
        return True

    def is_standing(self) -> bool:
        """Return whether the clock must stand still now, because a thread works."""
        return self._holders > 0 or bool(self._working) or worker_is_busy(self)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Let the clock stand still within the block, for work that the loop cannot see."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in an executor. The clock stands still until it returns."""
        work = (executor or self._default()).submit(func, *args)
        self._working.add(work)
        future = asyncio.wrap_future(work, loop=self)
        # Added second, so that the loop has been woken before the clock may go on.
        work.add_done_callback(self._working.discard)
        return future

    def set_default_executor(self, executor: Any) -> None:
        """Set the executor that `run_in_executor(None, …)` uses."""
        super().set_default_executor(executor)
        self._executor = executor

    def _default(self) -> Executor:
        if self._executor is None:
            self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        return cast("Executor", self._executor)

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """Wait for the default executor's threads while the clock stands still."""
        with self.standing():
            await super().shutdown_default_executor(*args, **options)


def run_in_virtual_time(
    function: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts, debug: bool | None = None
) -> T:
    """Run a coroutine function on a new `VirtualTimeLoop`, and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=debug) as runner:
        return runner.run(function(*args))
