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


class Lane:
    """The waiting jobs of one run: asleep until their release, then ready by their deadline.

    The eager, which a caller asked for now, stand apart: they may go where the pace bids others
    wait.
    """

    __slots__ = (
        "__weakref__",
        "_asleep",
        "_last",
        "alarm",
        "immediate",
        "in_immediate_turn",
        "in_turn",
        "ready",
        "soonest",
    )

    def __init__(self) -> None:
        self.alarm: float = math.inf
        self.in_turn: bool = False
        self.in_immediate_turn: bool = False
        self.soonest: float = math.inf
        self._last = (-math.inf, -math.inf)
        self._begin()

    def _begin(self) -> None:
        self.ready: ReadyQueue = ReadyQueue()
        self.immediate: ReadyQueue = ReadyQueue()
        self._asleep = CalendarQueue()

    @property
    def wakes_at(self) -> float:
        """When the first of the asleep is released, inf where there is none."""
        return self._asleep.first

    def in_line(self, release: float) -> float:
        """Give a new job its rank: those that are released together are asked as they came."""
        latest, rank = self._last
        rank = math.nextafter(rank, math.inf) if release == latest else release
        self._last = release, rank
        return rank

    def add(self, job: Job, now: float) -> None:
        """Put a job where its release says."""
        if job.release <= now:
            self._admit(job)
        else:
            self._asleep.add(job)

    def release_due(self, now: float) -> None:
        """Move what is released to the ready."""
        asleep = self._asleep
        for _ in range(RELEASED_AT_ONCE):
            if asleep.first > now:
                return
            job = asleep.pop()
            if job.owner is not None:
                self._admit(job)

    def pop(self, *, immediate: bool = False) -> Job | None:
        """Take the ready job whose deadline comes first, of all or of the eager ones."""
        while True:
            line = self.immediate
            if not immediate and self.ready.first < line.first:
                line = self.ready
            if line.first == math.inf:
                return None
            job = line.pop()
            if job.owner is not None:
                return job

    def overdue(self, before: float) -> Iterator[list[Job]]:
        """List the ready jobs that somebody's time was up for before a moment, by portions.

        Whoever takes them tells by `expect` of those that still wait.
        """
        if self.soonest > before:
            return
        waiting = (*self.immediate, *self.ready)
        self.soonest = math.inf
        for start in range(0, len(waiting), RELEASED_AT_ONCE):
            late = []
            for job in waiting[start : start + RELEASED_AT_ONCE]:
                if job.owner is not None and job.first_expiry() <= before:
                    late.append(job)
                else:
                    self.expect(job)
            yield late

    def expect(self, job: Job) -> None:
        """Remember when the time of a job that waits here is up."""
        expires = job.first_expiry() if job.shared_with else job.expires
        if expires < self.soonest and job.owner is not None:
            self.soonest = expires

    def jobs(self) -> list[Job]:
        """List all that wait here."""
        waiting = chain(self.immediate, self.ready, self._asleep)
        return [job for job in waiting if job.owner is not None]

    def clear(self) -> list[Jobs]:
        """Have nothing wait here any more; give what did, and what is void of it, as it stands."""
        parts: list[Jobs] = [*self._asleep.parts(), *self.ready.parts(), *self.immediate.parts()]
        self._begin()
        return parts

    def _admit(self, job: Job) -> None:
        (self.immediate if job.is_immediate else self.ready).add(job)
        self.expect(job)
