"""The lanes of all calls: each run has one, and all calls for one id share the urgent one.

Lanes are served in turn, the urgent one first. The order within a lane is that of earliest deadline
first among the released jobs; without a rate limit a job's deadline is its release.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict, deque
from collections.abc import Callable
from itertools import count, islice

from ideogram_async._polling.job import Job, Subscriber
from ideogram_async._polling.lane import Jobs, Lane

WAKE_TOGETHER_SECONDS = 0.001
"""While other jobs are ready, a released job may wait this long, so that several are woken at
once."""
URGENT_IN_A_ROW = 4
"""Urgent jobs that are asked before one of a run has its turn, while both are due."""
CANDIDATES = 32
"""Jobs that are looked at for a probe."""


class LaneSet:
    """The waiting jobs of all subscribers."""

    def __init__(self) -> None:
        self.urgent: Lane = Lane()
        self._lanes: defaultdict[Subscriber, Lane] = defaultdict(Lane)
        self._turns: deque[Lane] = deque()
        self._immediate_turns: deque[Lane] = deque()
        self._alarms: list[tuple[float, int, Lane]] = []
        self._tie = count()
        self._urgent_in_a_row = 0

    @property
    def is_empty(self) -> bool:
        """Whether no job waits here. Removed ones may count."""
        return not (self._turns or self._alarms or self.urgent.is_ready)

    def lane_of(self, subscriber: Subscriber) -> Lane:
        """Return the lane of a subscriber."""
        return self.urgent if subscriber.urgent else self._lanes[subscriber]

    def jobs_of(self, subscriber: Subscriber) -> list[Job]:
        """Return the jobs in the lane of a run."""
        lane = self._lanes.get(subscriber)
        return [] if lane is None else lane.jobs()

    def remove(self, subscriber: Subscriber) -> list[Jobs]:
        """Remove the lane of a run; return its jobs, removed ones among them."""
        lane = self._lanes.pop(subscriber, None)
        return [] if lane is None else lane.clear()

    def add(self, job: Job, now: float) -> None:
        """Add a job to its owner's lane."""
        if job.owner is not None:
            self.add_to(self.lane_of(job.owner), job, now)

    def add_to(self, lane: Lane, job: Job, now: float) -> None:
        """Add a job to a lane, its owner's: to the ready or the sleeping ones, by its release."""
        if job.release <= now:
            lane.admit(job)
        else:
            lane.asleep.add(job)
        self._attend(lane)

    def expect(self, job: Job, expires: float) -> None:
        """Record when the time of a job that waits here is up, for one of its subscribers."""
        if job.owner is not None:
            self.lane_of(job.owner).expect_by(expires)

    def mark_removed(self, job: Job) -> None:
        """Record that a job which waits here is about to lose its owner."""
        if job.owner is not None:
            lane = self.urgent if job.owner.urgent else self._lanes.get(job.owner)
            if lane is not None:
                lane.mark_removed()

    def pop(self, now: float, *, immediate: bool = False) -> Job | None:
        """Remove and return the job to ask now, of all or of the immediate ones, or None.

        1. The urgent lane goes first, unless it did so often enough, and another has its turn.
        2. The lanes of runs are served in turn.
        3. The urgent lane, where no other had a job.
        """
        if self._alarms and self._alarms[0][0] <= (
            now - WAKE_TOGETHER_SECONDS if self._turns else now
        ):
            self._release_due(now)
        idle = self._immediate_turns
        while idle and idle[0].immediate.first == math.inf:  # served in the other turn, or left
            idle.popleft().in_immediate_turn = False
        turns = self._immediate_turns if immediate else self._turns
        if self.urgent.is_ready and (self._urgent_in_a_row < URGENT_IN_A_ROW or not turns):
            job = self._pop_urgent(now, immediate=immediate)
            if job is not None:
                return job
        while turns:
            lane = turns[0]
            job = lane.pop(now, immediate=immediate)
            if lane.immediate.first < math.inf or (not immediate and lane.is_ready):
                turns.rotate(-1)
            else:
                turns.popleft()
                if immediate:
                    lane.in_immediate_turn = False
                else:
                    lane.in_turn = False
            if job is not None:
                self._urgent_in_a_row = 0
                return job
        return self._pop_urgent(now, immediate=immediate) if self.urgent.is_ready else None

    def _pop_urgent(self, now: float, *, immediate: bool) -> Job | None:
        job = self.urgent.pop(now, immediate=immediate)
        if job is not None:
            self._urgent_in_a_row += 1
        return job

    def pop_candidate(self, now: float, rank: Callable[[Job], float]) -> Job | None:
        """Remove and return a due job with the least rank, of a few that stand at random places.

        A rank of inf rules a job out. Only for probes: it looks at some tens of jobs.
        """
        self._release_due(now)
        lanes = (self.urgent, *islice(self._turns, CANDIDATES))
        best, best_rank = None, math.inf
        for lane in lanes:
            for queue in lane.queues:
                for place in _sample(len(queue)):
                    job = queue[place]
                    if job.owner is not None and rank(job) < best_rank:
                        best, best_rank = (lane, queue, place), rank(job)
        if best is None:
            return None
        lane, queue, place = best
        job = lane.pop_at(queue, place)
        if lane.in_turn and not lane.is_ready:
            lane.in_turn = False
            self._turns.remove(lane)
        return job

    def pop_asleep(self) -> Job | None:
        """Remove and return the sleeping job that is released first."""
        lanes = [self.urgent, *self._lanes.values()]
        lane = min(lanes, key=lambda one: one.asleep.first)
        return lane.pop_asleep()

    def next_time(self, now: float) -> float:
        """Return when a job may be due: `now`, a later time, or never (inf)."""
        if self._turns or self.urgent.is_ready:
            return now
        return self._alarms[0][0] if self._alarms else math.inf

    def count_due(self, by: float) -> int:
        """Return how many ready jobs should be asked by a moment."""
        return sum(lane.count_due(by) for lane in (self.urgent, *self._turns))

    def has_immediate(self) -> bool:
        """Return whether an immediate job may be due."""
        return bool(self._immediate_turns) or self.urgent.immediate.first < math.inf

    def lanes(self, now: float) -> tuple[Lane, ...]:
        """Return the lanes that have ready jobs."""
        self._release_due(now)
        return self.urgent, *self._turns

    def _release_due(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            when, _, lane = heapq.heappop(self._alarms)
            if when == lane.alarm:
                lane.alarm = math.inf
            lane.release_due(now)
            self._attend(lane)
            if lane.asleep.first <= now:
                return  # more than one go's worth is released: let the ready be asked meanwhile

    def _attend(self, lane: Lane) -> None:
        """Queue a lane for its turn if it has ready jobs, and set its alarm."""
        if lane is not self.urgent:
            if not lane.in_turn and lane.is_ready:
                lane.in_turn = True
                self._turns.append(lane)
            if not lane.in_immediate_turn and lane.immediate.first < math.inf:
                lane.in_immediate_turn = True
                self._immediate_turns.append(lane)
        if lane.asleep.first < lane.alarm:
            lane.alarm = lane.asleep.first
            heapq.heappush(self._alarms, (lane.alarm, next(self._tie), lane))


def _sample(length: int) -> list[int]:
    """Return some places of a queue, at random, all of them where they are few."""
    if length <= CANDIDATES:
        return random.sample(range(length), length)
    return [random.randrange(length) for _ in range(CANDIDATES)]  # noqa: S311 - no secret
