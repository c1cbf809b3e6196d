"""The waiting jobs of one subscriber: asleep until their release, then ready by their deadline."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import chain

from ideogram_async._polling.calendar_queue import CalendarQueue
from ideogram_async._polling.job import Job
from ideogram_async._polling.ready_queue import ReadyQueue

Jobs = deque[Job] | list[Job]
"""Jobs in no order that matters."""

RELEASED_AT_ONCE = 512
"""Jobs that are released in one go: more of them would stall the event loop."""


REMOVED_KEPT = 100
"""Removed jobs that a lane may hold, whatever its length."""
LONGEST_REBUILT = 50_000
"""Jobs of a lane up to which removed ones are taken out of it: a longer one would stall the loop
for more than some tens of milliseconds."""


class Lane:
    """The waiting jobs of one run, or of all calls for one id.

    Immediate jobs, which a caller asked for now, stand apart: they may be sent before the pace
    allows others. So do those whose end is sure: once it has passed, they go before all others.
    """

    def __init__(self) -> None:
        self.alarm: float = math.inf
        self.in_turn: bool = False
        self.in_immediate_turn: bool = False
        self.soonest: float = math.inf
        """When the time of the first ready job is up, for one of its subscribers."""
        self._last = (-math.inf, -math.inf)
        self._begin()

    def _begin(self) -> None:
        self.ready: ReadyQueue = ReadyQueue()
        self.expected: ReadyQueue = ReadyQueue()
        self.immediate: ReadyQueue = ReadyQueue()
        self.queues: tuple[ReadyQueue, ...] = (self.ready, self.expected, self.immediate)
        """The jobs that may be asked now, by precedence."""
        self.is_ready: bool = False
        """Whether there is any of them."""
        self.asleep: CalendarQueue = CalendarQueue()
        """Those that are released later."""
        self._removed, self._rebuild_at = 0, REMOVED_KEPT

    def __len__(self) -> int:
        """Return how many jobs stand here, removed ones among them."""
        return sum(map(len, self.queues)) + len(self.asleep)

    def in_line(self, release: float) -> float:
        """Return the rank of a new job: those of one release are asked in the order they came."""
        latest, rank = self._last
        rank = math.nextafter(rank, math.inf) if release == latest else release
        self._last = release, rank
        return rank

    def admit(self, job: Job) -> None:
        """Add a job to the ready ones."""
        self.queues[job.precedence].add(job)
        self.is_ready = True
        if job.expires < self.soonest or job.shared_with:
            self.expect(job)

    def release_due(self, now: float) -> None:
        """Move released jobs to the ready ones."""
        asleep = self.asleep
        for _ in range(RELEASED_AT_ONCE):
            if asleep.first > now:
                return
            job = asleep.pop()
            if job.owner is not None:
                self.admit(job)

    def pop(self, now: float, *, immediate: bool = False) -> Job | None:
        """Remove and return a ready job, of all or the immediate.

        1. The end of one was sure, and has passed: the first of these, before all others.
        2. The one whose deadline comes first.
        """
        while True:
            queue = self.immediate
            if not immediate:
                if self.ready.first < queue.first:
                    queue = self.ready
                end = self.expected.first
                if end <= now or end < queue.first:
                    queue = self.expected
            if queue.first == math.inf:
                return None
            job = queue.pop()
            if queue.first == math.inf:
                self._look()
            if job.owner is not None:
                return job

    def pop_at(self, queue: ReadyQueue, place: int) -> Job:
        """Remove and return the job at a place of one of its queues."""
        job = queue.pop_at(place)
        self._look()
        return job

    def _look(self) -> None:
        """See whether a job may be asked now."""
        self.is_ready = any(one.first < math.inf for one in self.queues)

    def pop_asleep(self) -> Job | None:
        """Remove and return the sleeping job that is released first."""
        while self.asleep.first < math.inf:
            job = self.asleep.pop()
            if job.owner is not None:
                return job
        return None

    def overdue(self, before: float) -> Iterator[list[Job]]:
        """Yield the ready jobs whose time was up for somebody before a moment, by portions.

        The caller passes those that go on waiting to `expect`.
        """
        if self.soonest > before:
            return
        self.soonest = math.inf
        for portion in self.ready_portions():
            late = []
            for job in portion:
                if job.owner is not None and job.first_expiry() <= before:
                    late.append(job)
                else:
                    self.expect(job)
            yield late

    def expect(self, job: Job) -> None:
        """Record when the time of a job that waits here is up."""
        if job.owner is not None:
            self.expect_by(job.first_expiry())

    def expect_by(self, expires: float) -> None:
        """Record that the time of a job is up at a moment."""
        self.soonest = min(self.soonest, expires)

    def count_due(self, by: float) -> int:
        """Return how many ready jobs should be asked by a moment."""
        due = self.ready.count_due(by) + self.expected.count_due(by)
        return due + len(self.immediate)

    def jobs(self) -> list[Job]:
        """Return all jobs that wait here."""
        waiting = chain(*self.queues, self.asleep)
        return [job for job in waiting if job.owner is not None]

    def ready_portions(self) -> Iterator[tuple[Job, ...]]:
        """Yield the jobs that may be asked now, removed ones among them, by portions.

        Those that come or go between two portions make no difference to them.
        """
        waiting = tuple(chain(*self.queues))
        for start in range(0, len(waiting), RELEASED_AT_ONCE):
            yield waiting[start : start + RELEASED_AT_ONCE]

    def mark_removed(self) -> None:
        """Record that a job here is about to lose its owner; take such out where they are many.

        Each is dropped when it comes up, but that may be in an hour.
        """
        self._removed += 1
        if self._removed <= self._rebuild_at:
            return
        waiting = len(self)
        if waiting <= min(2 * self._removed, LONGEST_REBUILT):
            self._rebuild()
        else:
            self._rebuild_at = max(self._removed + REMOVED_KEPT, waiting // 2)

    def _rebuild(self) -> None:
        ready = [job for job in chain(*self.queues) if job.owner is not None]
        asleep = [job for job in self.asleep if job.owner is not None]
        self._begin()
        for job in ready:
            self.admit(job)
        for job in asleep:
            self.asleep.add(job)

    def clear(self) -> list[Jobs]:
        """Remove all jobs; return them, removed ones among them."""
        parts: list[Jobs] = [*self.asleep.parts()]
        for queue in self.queues:
            parts += queue.parts()
        self._begin()
        return parts
