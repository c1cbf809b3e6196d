"""Which job is asked next: a lane of heaps for each run, served in turn, the urgent lane first.

The order within a lane is that of earliest deadline first among the released jobs; without a rate
limit a job's deadline is its release, so that the first due is asked first.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from itertools import count

from ideogram_async._job import Job

_AT_ONCE = 512  # jobs released in one go: a mass wake-up must not stall the loop


class Lane:
    """The waiting jobs of one run: asleep until their release, then ready by their deadline.

    The eager, which a caller asked for now, stand apart: they may go where the pace bids others
    wait.
    """

    __slots__ = (
        "__weakref__",
        "_last",
        "alarm",
        "asleep",
        "eager",
        "in_eager_turn",
        "in_turn",
        "ready",
        "soonest",
    )

    def __init__(self) -> None:
        self.asleep: list[Job] = []
        self.ready: list[Job] = []
        self.eager: list[Job] = []
        self.alarm: float = math.inf
        self.in_turn: bool = False
        self.in_eager_turn: bool = False
        self.soonest: float = math.inf
        self._last = (-math.inf, -math.inf)

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
            job.key = job.release
            heapq.heappush(self.asleep, job)

    def wake(self, now: float) -> None:
        """Move what is released to the ready."""
        asleep = self.asleep
        for _ in range(_AT_ONCE):
            if not asleep or asleep[0].key > now:
                return
            job = heapq.heappop(asleep)
            if job.owner is not None:
                self._admit(job)

    def pop(self, *, eager: bool = False) -> Job | None:
        """Take the ready job whose deadline comes first, of all or of the eager ones."""
        while self.eager or (self.ready and not eager):
            heap = self.eager
            if not eager and self.ready and (not heap or self.ready[0] < heap[0]):
                heap = self.ready
            job = heapq.heappop(heap)
            if job.owner is not None:
                return job
        return None

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
        if job.owner is not None:
            self.soonest = min(self.soonest, job.first_expiry() if job.guests else job.expires)

    def jobs(self) -> list[Job]:
        """List all that wait here."""
        return [
            job
            for heap in (self.eager, self.ready, self.asleep)
            for job in heap
            if job.owner is not None
        ]

    def clear(self) -> list[list[Job]]:
        """Have nothing wait here any more; give what did, and what is void of it, as it stands."""
        heaps = [self.asleep, self.ready, self.eager]
        self.asleep, self.ready, self.eager = [], [], []
        return heaps

    def _admit(self, job: Job) -> None:
        job.key = job.order
        heapq.heappush(self.eager if job.eager else self.ready, job)
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
        if self._alarms and self._alarms[0][0] <= now:
            self._ring(now)
        idle = self._eager_turns
        while idle and not idle[0].eager:  # all served in the other turn, or left: let go of it
            idle.popleft().in_eager_turn = False
        first = self.urgent
        if (first.eager or first.ready) and (urgent := first.pop(eager=eager)) is not None:
            return urgent
        turns = self._eager_turns if eager else self._turns
        while turns:
            lane = turns.popleft()
            job = lane.pop(eager=eager)
            if lane.eager or (lane.ready and not eager):
                turns.append(lane)
            elif eager:
                lane.in_eager_turn = False
            else:
                lane.in_turn = False
            if job is not None:
                return job
        return None

    def next_time(self, now: float) -> float:
        """Tell when a job may be due: `now`, a later time, or never (inf)."""
        if self.urgent.ready or self.urgent.eager or self._turns:
            return now
        return self._alarms[0][0] if self._alarms else math.inf

    def has_eager(self) -> bool:
        """Tell whether an eager job may be due."""
        return bool(self.urgent.eager or self._eager_turns)

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
            if lane.asleep and lane.asleep[0].key <= now:
                return  # more than one go's worth is released: let the ready be asked meanwhile

    def _attend(self, lane: Lane) -> None:
        """Give a lane its turn if it has ready jobs, and an alarm for the first asleep."""
        if lane is not self.urgent:
            if not lane.in_turn and (lane.ready or lane.eager):
                lane.in_turn = True
                self._turns.append(lane)
            if not lane.in_eager_turn and lane.eager:
                lane.in_eager_turn = True
                self._eager_turns.append(lane)
        if lane.asleep and lane.asleep[0].key < lane.alarm:
            lane.alarm = lane.asleep[0].key
            heapq.heappush(self._alarms, (lane.alarm, next(self._tie), lane))
