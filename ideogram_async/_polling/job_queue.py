"""Which job is asked next: a lane for each run, served in turn, the urgent lane first.

The order within a lane is that of earliest deadline first among the released jobs; without a rate
limit a job's deadline is its release, so that the first due is asked first.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from itertools import count

from ideogram_async._polling.job import Job, Subscriber
from ideogram_async._polling.lane import Jobs, Lane

_TOGETHER = 0.001
"""Seconds for which who is released may wait, while others are ready, to be woken with more."""


class JobQueue:
    """All lanes of a client."""

    def __init__(self) -> None:
        self.urgent: Lane = Lane()
        self._lanes: dict[Subscriber, Lane] = {}
        self._turns: deque[Lane] = deque()
        self._immediate_turns: deque[Lane] = deque()
        self._alarms: list[tuple[float, int, Lane]] = []
        self._tie = count()

    def lane_of(self, subscriber: Subscriber) -> Lane:
        """Return the lane of a subscriber: all calls for one id share the urgent one."""
        if subscriber.urgent:
            return self.urgent
        lane = self._lanes.get(subscriber)
        if lane is None:
            lane = self._lanes[subscriber] = Lane()
        return lane

    def remove(self, subscriber: Subscriber) -> list[Jobs]:
        """Remove the lane of a run; return its jobs, removed ones among them."""
        lane = self._lanes.pop(subscriber, None)
        return [] if lane is None else lane.clear()

    def add(self, job: Job, now: float) -> None:
        """Put a job into its owner's lane."""
        if job.owner is None:
            return
        lane = self.lane_of(job.owner)
        lane.add(job, now)
        self._attend(lane)

    def pop(self, now: float, *, immediate: bool = False) -> Job | None:
        """Take the job to ask now, of all or of the eager ones, or None if none is due."""
        if self._alarms and self._alarms[0][0] <= (now - _TOGETHER if self._turns else now):
            self._release_due(now)
        idle = self._immediate_turns
        while idle and idle[0].immediate.first == math.inf:  # served in the other turn, or left
            idle.popleft().in_immediate_turn = False
        first = self.urgent
        if first.ready.first < math.inf or first.immediate.first < math.inf:
            urgent = first.pop(immediate=immediate)
            if urgent is not None:
                return urgent
        turns = self._immediate_turns if immediate else self._turns
        while turns:
            lane = turns[0]
            job = lane.pop(immediate=immediate)
            if lane.immediate.first < math.inf or (lane.ready.first < math.inf and not immediate):
                turns.rotate(-1)
            else:
                turns.popleft()
                if immediate:
                    lane.in_immediate_turn = False
                else:
                    lane.in_turn = False
            if job is not None:
                return job
        return None

    def next_time(self, now: float) -> float:
        """Tell when a job may be due: `now`, a later time, or never (inf)."""
        if (
            self._turns
            or self.urgent.ready.first < math.inf
            or self.urgent.immediate.first < math.inf
        ):
            return now
        return self._alarms[0][0] if self._alarms else math.inf

    def has_immediate(self) -> bool:
        """Tell whether an eager job may be due."""
        return bool(self._immediate_turns) or self.urgent.immediate.first < math.inf

    def lanes(self, now: float) -> tuple[Lane, ...]:
        """Give the lanes that have ready jobs."""
        self._release_due(now)
        return self.urgent, *self._turns

    def _release_due(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            when, _, lane = heapq.heappop(self._alarms)
            if when == lane.alarm:
                lane.alarm = math.inf
            lane.release_due(now)
            self._attend(lane)
            if lane.wakes_at <= now:
                return  # more than one go's worth is released: let the ready be asked meanwhile

    def _attend(self, lane: Lane) -> None:
        """Give a lane its turn if it has ready jobs, and an alarm for the first asleep."""
        if lane is not self.urgent:
            has_immediate = lane.immediate.first < math.inf
            if not lane.in_turn and (has_immediate or lane.ready.first < math.inf):
                lane.in_turn = True
                self._turns.append(lane)
            if has_immediate and not lane.in_immediate_turn:
                lane.in_immediate_turn = True
                self._immediate_turns.append(lane)
        if lane.wakes_at < lane.alarm:
            lane.alarm = lane.wakes_at
            heapq.heappush(self._alarms, (lane.alarm, next(self._tie), lane))
