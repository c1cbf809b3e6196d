"""An event loop on virtual time: waiting costs nothing, input and output are real."""

from __future__ import annotations

import asyncio
import math
import selectors
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast

from ._threads import worker_is_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

__all__ = ["VirtualTimeLoop", "run_in_virtual_time"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_Events = list[tuple[selectors.SelectorKey, int]]

# Real seconds between two looks at threads which may end without waking the loop.
_THREAD_POLL = 0.002


class _Selector(selectors.DefaultSelector):
    """Polls real input and output, and lets the loop's clock jump instead of waiting."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> _Events:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        while True:
            # Asked before the poll: a thread that has ended since then has woken the loop.
            standing = self.loop.is_standing()
            events = self._poll()
            if events:
                return events
            if standing:
                events = super().select(_THREAD_POLL)
            elif not self.loop.jump():
                events = super().select(None)
            else:
                return events
            if events:
                return events

    def _poll(self) -> _Events:
        # Twice: loopback packets may come a hair late. Yielding the processor in between
        # would give away whole time slices on a busy machine, at every jump.
        return super().select(0) or super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    A selector event loop whose clock jumps to the next timer when nothing else is to do.

    `time()` starts at 0 seconds and moves only by such jumps, each to the very time
    of a timer. Input and output are real: run both ends of a connection on this loop,
    at a numeric address, and the same program gives the same transcript every time.

    The clock stands, and the loop waits in real time, while a thread works: one of
    `run_in_executor`, `asyncio.to_thread`, `getaddrinfo` or `anyio.to_thread`. For
    other threads and for processes use `standing()`. A thread that itself waits for
    one of the loop's timers waits for ever.
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
        # A timer runs at its own time: not a nanosecond before, as by asyncio's default.
        self._clock_resolution = math.ulp(self._now)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def jump(self) -> bool:
        """Move the clock to the next timer; False if there is none."""
        when = self._scheduled[0].when() if self._scheduled else math.inf
        if when == math.inf:
            return False
        self._now = max(self._now, when)
        self._clock_resolution = math.ulp(self._now)
        return True

    def is_standing(self) -> bool:
        """Tell whether the clock must stand now, since a thread works."""
        return self._holders > 0 or bool(self._working) or worker_is_busy(self)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Let the clock stand: for work outside the loop which it cannot see."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in an executor; the clock stands until it returns."""
        work = (executor or self._default()).submit(func, *args)
        self._working.add(work)
        future = asyncio.wrap_future(work, loop=self)
        # Second, so that the loop has been woken by the time the clock is let go.
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

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the default executor's threads, with the clock standing."""
        with self.standing():
            await super().shutdown_default_executor(*args)


def run_in_virtual_time(
    function: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts, debug: bool | None = None
) -> T:
    """Run a coroutine function on a new `VirtualTimeLoop` and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=debug) as runner:
        return runner.run(function(*args))
