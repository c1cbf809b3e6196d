"""The engine: workers that pull due ids and ask.

One a client, started by its first call. It knows a query only as a callable; what an outcome means
is the ledger's to say, synchronously, between two queries.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from functools import partial
from typing import Any

import anyio

from ideogram_async._errors import ClientClosed
from ideogram_async._limits.pool import SessionPool
from ideogram_async._limits.session import KeySession
from ideogram_async._polling.job import Job
from ideogram_async._polling.task_group import TaskGroup
from ideogram_async._polling.tracker import LAST_CALL, JobTracker
from ideogram_async._protocol.outcome import Answer, Fault

Query = Callable[[int, str], Awaitable[Answer | Fault]]
"""Ask for an id in the session of that index; raises nothing but cancellation."""

Task = Callable[[], Coroutine[Any, Any, None]]

EXPIRE_EVERY_SECONDS = 5.0
"""Seconds between looks for ids whose time was up before their turn came."""


class Dispatcher:
    """The tasks and timers of a client."""

    def __init__(
        self, query: Query, tracker: JobTracker, pool: SessionPool, *, max_in_flight: int
    ) -> None:
        self.stopped: bool = False
        """Whether its tasks have ended, or are about to: nothing more is asked."""
        self._query = query
        self._tracker = tracker
        self._pool = pool
        self._max_in_flight = max_in_flight
        # A worker holds a slot from its first query until it finds nothing more to ask.
        self._slots = anyio.Semaphore(max_in_flight, fast_acquire=True)
        self._idle: list[asyncio.Future[None]] = []
        self._workers = 0
        self._crew: TaskGroup | None = None
        self._early: list[tuple[Task, str, Context]] = []
        # Of its own: what goes on here outlives the call that began it, and serves others.
        self._context = Context()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._expiry_timer: asyncio.Handle
        self._loop = asyncio.get_running_loop()
        self._expire_at = self._grace_until = self._loop.time()
        self._expire_later()
        self._supervisor = self._loop.create_task(
            self._supervise(), name="ideogram_async engine", context=self._context
        )

    def spawn(self, function: Task, name: str) -> None:
        """Run a task beside the workers, in the caller's context; it must not raise."""
        if self._crew is None:
            self._early.append((function, name, copy_context()))
        else:
            self._crew.create_task(function(), name=name)

    def wake(self) -> None:
        """See to it that what is due is asked, now or when its time comes."""
        if not self._idle and self._workers == self._max_in_flight:
            return  # all are at work, and each of them looks when it is done
        now = self._loop.time()
        when = self._next_time(now)
        if when <= now:
            self._wake_worker()
        else:
            self._set_alarm(when)

    def clean_up(self) -> None:
        """Let go of what a large run has left, a portion in each turn of the loop."""
        if self._tracker.clean_up(self._loop.time()) and not self.stopped:
            self._loop.call_soon(self.clean_up)

    def abandon(self) -> None:
        """Stop without waiting."""
        self._supervisor.cancel()

    async def close(self) -> None:
        """Stop every task."""
        self._supervisor.cancel()
        await asyncio.wait([self._supervisor])

    async def _supervise(self) -> None:
        """Hold the tasks: here, so that no scope ever spans a caller's own code."""
        try:
            # No task group of anyio: workers are started from timers, too, where it sees no task.
            async with TaskGroup() as self._crew:
                self._spawn_early(self._crew)
                self.wake()
                try:
                    await anyio.sleep_forever()
                finally:
                    self.stopped = True
        finally:
            self.stopped = True
            self._expiry_timer.cancel()
            if self._alarm is not None:
                self._alarm.cancel()
            self._tracker.end_all(ClientClosed("the client's engine has stopped"))

    def _spawn_early(self, crew: TaskGroup) -> None:
        for function, name, context in self._early:
            crew.create_task(function(), name=name, context=context)
        self._early.clear()

    # Waking up

    def _wake_worker(self) -> None:
        while self._idle:
            idler = self._idle.pop()
            if not idler.done():
                idler.set_result(None)
                return
        if self._crew is not None and not self.stopped and self._workers < self._max_in_flight:
            self._workers += 1
            name = f"ideogram_async worker {self._workers}"
            # Run in it, for the crew's callback keeps the context that it was added in.
            Context().run(partial(self._crew.create_task, self._work(), name=name))

    def _set_alarm(self, when: float) -> None:
        if when >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._wake_worker()

    def _expire_overdue(self) -> None:
        now = self._loop.time()
        if (
            now > self._expire_at + EXPIRE_EVERY_SECONDS
        ):  # the process was suspended: nothing had a turn
            self._grace_until = now + LAST_CALL
        if now >= self._grace_until:
            self._expire_by_portions(self._tracker.expire_overdue(now))
        else:
            self._expire_later()

    def _expire_by_portions(self, portions: Iterator[None]) -> None:
        """Sweep a portion in each turn of the loop."""
        for _ in portions:
            self._expiry_timer = self._loop.call_soon(self._expire_by_portions, portions)
            return
        self._expire_later()

    def _expire_later(self) -> None:
        self._expire_at = self._loop.time() + EXPIRE_EVERY_SECONDS
        self._expiry_timer = self._loop.call_at(
            self._expire_at, self._expire_overdue, context=self._context
        )

    # Asking

    async def _work(self) -> None:
        pool, tracker, time = self._pool, self._tracker, self._loop.time
        while True:
            async with self._slots:
                now = time()
                while (taken := self._take(now)) is not None:
                    job, session = taken
                    asked = now
                    pool.sent(session, asked, immediate=job.is_immediate)
                    tracker.mark_sent(job, asked)
                    try:
                        outcome = await self._query(session.index, job.request_id)
                    finally:
                        session.in_flight -= 1
                    now = time()
                    pool.note(session, outcome, job.request_id, asked, now)
                    tracker.handle_outcome(job, outcome, asked, now)
                    del taken, job, outcome  # not held until the next answer: they may be large
            idler = self._loop.create_future()
            self._idle.append(idler)
            await idler

    def _take(self, now: float) -> tuple[Job, KeySession] | None:
        """Pull what may be asked now, or set the alarm for when something may."""
        job_queue, pool = self._tracker.job_queue, self._pool
        session = pool.choose(now, immediate=False)
        if session is not None:
            job = job_queue.pop(now)
        else:
            session = pool.choose(now, immediate=True) if job_queue.has_immediate() else None
            job = None if session is None else job_queue.pop(now, immediate=True)
        if session is None or job is None:
            self._set_alarm(self._next_time(now))
            return None
        when = job_queue.next_time(now)
        if when <= now:
            if self._idle or self._workers < self._max_in_flight:
                self._wake_worker()  # one wakes the next, so that none wakes in vain
        elif when < self._alarm_at:
            self._set_alarm(when)  # who took the only due job may be away for long
        return job, session

    def _next_time(self, now: float) -> float:
        """When something is due and may be asked, or never (inf)."""
        job_queue, pool = self._tracker.job_queue, self._pool
        when = job_queue.next_time(now)
        if when == math.inf:
            return when
        opens_at = pool.opens_at(now, immediate=False)
        if when < opens_at:
            pool.wait(self._tracker.pending)
            if job_queue.has_immediate():
                opens_at = min(opens_at, pool.opens_at(now, immediate=True))
        return max(when, opens_at)
