"""The time that one attempt may take: one timer for all that are in flight.

A timer for each costs a tenth of a query.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Calls a function with what has not been discarded by its time.

    As a rule the times come in order, and what is added is soon discarded: the timer is not set
    anew for that, but finds out when it fires.
    """

    def __init__(self, expire: Callable[[T], None]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._ends: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def add(self, key: T, when: float) -> None:
        """Expire `key` at a time of the loop."""
        self._ends[key] = when
        if when < self._timer_at:
            self._set_timer(when)

    def discard(self, key: T) -> bool:
        """Return whether `key` was there; it does not expire any more."""
        return self._ends.pop(key, None) is not None

    def __iter__(self) -> Iterator[T]:
        """Go through what is still to expire, as it is now."""
        return iter(list(self._ends))

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, when: float) -> None:
        self.close()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer_at = math.inf
        now = self._loop.time()
        for key, when in list(self._ends.items()):
            if when <= now and self.discard(key):
                self._expire(key)
        if self._ends:
            self._set_timer(min(self._ends.values()))


class SharedTimeout:
    """Cancels the task of an attempt whose time is up, and knows that it did so."""

    def __init__(self) -> None:
        self._deadlines: Deadlines[asyncio.Task[object]] = Deadlines(self._cancel)
        self._cancelled: set[asyncio.Task[object]] = set()

    def begin(self, until: float) -> asyncio.Task[object]:
        """Record that the current task begins an attempt, and return the task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt is made in a task")
        self._deadlines.add(task, until)
        return task

    def expired(self, task: asyncio.Task[object]) -> bool:
        """Return whether a cancellation of the task came from here, and from nowhere else."""
        if task not in self._cancelled:
            return False
        self._cancelled.discard(task)
        return task.uncancel() == 0

    def end(self, task: asyncio.Task[object]) -> None:
        """Record that an attempt is over."""
        if not self._deadlines.discard(task):
            self.expired(task)  # something swallowed the cancellation: it must not linger

    def close(self) -> None:
        """Stop the timer."""
        self._deadlines.close()

    def _cancel(self, task: asyncio.Task[object]) -> None:
        self._cancelled.add(task)
        task.cancel()
