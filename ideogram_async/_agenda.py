"""Which job is asked next: a lane for each run, served in turn, the urgent lane first.

The order within a lane is that of earliest deadline first among the released jobs; without a rate
limit a job's deadline is its release, so that the first due is asked first.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from itertools import chain, count

from ideogram_async._calendar import Calendar
from ideogram_async._job import Job
from ideogram_async._line import Line

Jobs = deque[Job] | list[Job]
"""Jobs in no order that matters."""

_AT_ONCE = 512  # jobs released in one go: a mass wake-up must not stall the loop
_TOGETHER = 0.001
"""Seconds for which who is released may wait, while others are ready, to be woken with more."""


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
        "eager",
        "in_eager_turn",
        "in_turn",
        "ready",
        "soonest",
    )

    def __init__(self) -> None:
        self.alarm: float = math.inf
        self.in_turn: bool = False
        self.in_eager_turn: bool = False
        self.soonest: float = math.inf
        self._last = (-math.inf, -math.inf)
        self._begin()

    def _begin(self) -> None:
        self.ready: Line = Line()
        self.eager: Line = Line()
        self._asleep = Calendar()

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

    def wake(self, now: float) -> None:
        """Move what is released to the ready."""
        asleep = self._asleep
        for _ in range(_AT_ONCE):
            if asleep.first > now:
                return
            job = asleep.pop()
            if job.owner is not None:
                self._admit(job)

    def pop(self, *, eager: bool = False) -> Job | None:
        """Take the ready job whose deadline comes first, of all or of the eager ones."""
        while True:
            line = self.eager
            if not eager and self.ready.first < line.first:
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
        waiting = (*self.eager, *self.ready)
        self.soonest = math.inf
        for start in range(0, len(waiting), _AT_ONCE):
            late = []
            for job in waiting[start : start + _AT_ONCE]:
                if job.owner is not None and job.first_expiry() <= before:
                    late.append(job)
                else:
                    self.expect(job)
            yield late

    def expect(self, job: Job) -> None:
        """Remember when the time of a job that waits here is up."""
        expires = job.first_expiry() if job.guests else job.expires
        if expires < self.soonest and job.owner is not None:
            self.soonest = expires

    def jobs(self) -> list[Job]:
        """List all that wait here."""
        waiting = chain(self.eager, self.ready, self._asleep)
        return [job for job in waiting if job.owner is not None]

    def clear(self) -> list[Jobs]:
        """Have nothing wait here any more; give what did, and what is void of it, as it stands."""
        parts: list[Jobs] = [*self._asleep.parts(), *self.ready.parts(), *self.eager.parts()]
        self._begin()
        return parts

    def _admit(self, job: Job) -> None:
        (self.eager if job.eager else self.ready).add(job)
        self.expect(job)


class Agenda:
    """All lanes of a client."""

    def __init__(self) -> None:
        self.urgent: Lane = Lane()
        self._turns: deque[Lane] = deque()
        self._eager_turns: deque[Lane] = deque()
        self._alarms: list[tuple[float, int, Lane]] = []
        self._tie = count()

    def add(self, job: Job, now: float) -> None:
        """Put a job into its owner's lane."""
        if job.owner is None:
            return
        lane = job.owner.lane
        lane.add(job, now)
        self._attend(lane)

    def pop(self, now: float, *, eager: bool = False) -> Job | None:
        """Take the job to ask now, of all or of the eager ones, or None if none is due."""
        if self._alarms and self._alarms[0][0] <= (now - _TOGETHER if self._turns else now):
            self._ring(now)
        idle = self._eager_turns
        while idle and idle[0].eager.first == math.inf:  # served in the other turn, or left
            idle.popleft().in_eager_turn = False
        first = self.urgent
        if first.ready.first < math.inf or first.eager.first < math.inf:
            urgent = first.pop(eager=eager)
            if urgent is not None:
                return urgent
        turns = self._eager_turns if eager else self._turns
        while turns:
            lane = turns[0]
            job = lane.pop(eager=eager)
            if lane.eager.first < math.inf or (lane.ready.first < math.inf and not eager):
                turns.rotate(-1)
            else:
                turns.popleft()
                if eager:
                    lane.in_eager_turn = False
                else:
                    lane.in_turn = False
            if job is not None:
                return job
        return None

    def next_time(self, now: float) -> float:
        """Tell when a job may be due: `now`, a later time, or never (inf)."""
        if self._turns or self.urgent.ready.first < math.inf or self.urgent.eager.first < math.inf:
            return now
        return self._alarms[0][0] if self._alarms else math.inf

    def has_eager(self) -> bool:
        """Tell whether an eager job may be due."""
        return bool(self._eager_turns) or self.urgent.eager.first < math.inf

    def lanes(self, now: float) -> tuple[Lane, ...]:
        """Give the lanes that have ready jobs."""
        self._ring(now)
        return self.urgent, *self._turns

    def _ring(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            when, _, lane = heapq.heappop(self._alarms)
            if when == lane.alarm:
                lane.alarm = math.inf
            lane.wake(now)
            self._attend(lane)
            if lane.wakes_at <= now:
                return  # more than one go's worth is released: let the ready be asked meanwhile

    def _attend(self, lane: Lane) -> None:
        """Give a lane its turn if it has ready jobs, and an alarm for the first asleep."""
        if lane is not self.urgent:
            is_eager = lane.eager.first < math.inf
            if not lane.in_turn and (is_eager or lane.ready.first < math.inf):
                lane.in_turn = True
                self._turns.append(lane)
            if is_eager and not lane.in_eager_turn:
                lane.in_eager_turn = True
                self._eager_turns.append(lane)
        if lane.wakes_at < lane.alarm:
            lane.alarm = lane.wakes_at
            heapq.heappush(self._alarms, (lane.alarm, next(self._tie), lane))
