"""The time that one attempt may take: one timer for all that are in flight.

A timer for each costs a tenth of a query. All may take the same time, so they end in the order in
which they began, and the first of them tells when to look again.
"""

from __future__ import annotations

import asyncio


class Attempts:
    """Cancels the task of an attempt whose time is up, and knows that it did."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._ends: dict[asyncio.Task[object], float] = {}
        self._cancelled: dict[asyncio.Task[object], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[object]:
        """Note that the current task begins an attempt; give the task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt is made in a task")
        when = self._loop.time() + self._seconds
        self._ends[task] = when
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._look)
        return task

    def end(self, task: asyncio.Task[object]) -> bool:
        """Note that an attempt is over; tell whether it was cancelled for its time alone."""
        self._ends.pop(task, None)
        before = self._cancelled.pop(task, None) if self._cancelled else None
        return before is not None and task.uncancel() <= before

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Cancel what is overdue, and come again when the next one is."""
        self._timer = None
        now = self._loop.time()
        while self._ends:
            task, when = next(iter(self._ends.items()))
            if when > now:
                self._timer = self._loop.call_at(when, self._look)
                return
            del self._ends[task]
            self._cancelled[task] = task.cancelling()
            task.cancel()
