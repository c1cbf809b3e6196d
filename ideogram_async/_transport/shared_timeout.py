"""The time that one attempt may take: one timer for all that are in flight.

A timer for each costs a tenth of a query. All may take the same time, so they end in the order in
which they began, and the timer is set to the end of the first.
"""

from __future__ import annotations

import asyncio


class SharedTimeout:
    """Cancels the task of an attempt whose time is up, and knows that it did so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._ends: dict[asyncio.Task[object], float] = {}
        self._cancelled: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[object]:
        """Record that the current task begins an attempt, and return the task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt is made in a task")
        when = self._loop.time() + self._seconds
        self._ends[task] = when
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._on_timer)
        return task

    def expired(self, task: asyncio.Task[object]) -> bool:
        """Return whether a cancellation of the task came from here, and from nowhere else."""
        if task not in self._cancelled:
            return False
        self._cancelled.discard(task)
        return task.uncancel() == 0

    def end(self, task: asyncio.Task[object]) -> None:
        """Record that an attempt is over."""
        if self._ends.pop(task, None) is None:
            self.expired(task)  # something swallowed the cancellation: it must not linger

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        """Cancel the attempts that are overdue, and set the timer to the end of the next one."""
        self._timer = None
        now = self._loop.time()
        while self._ends:
            task, when = next(iter(self._ends.items()))
            if when > now:
                self._timer = self._loop.call_at(when, self._on_timer)
                return
            del self._ends[task]
            self._cancelled.add(task)
            task.cancel()
