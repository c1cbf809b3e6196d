"""Which job is asked next: the sound ones, and apart from them those whose last query failed."""

from __future__ import annotations

import math
from collections.abc import Callable

from ideogram_async._polling.job import ANSWERED, EXPECTED, NEW, Job, Subscriber
from ideogram_async._polling.lane import Jobs, Lane
from ideogram_async._polling.lane_set import LaneSet

SOUND_IN_A_ROW = 3
"""Sound jobs that are asked before one with faults has its turn, while both are due."""

DUE_WITHIN_SECONDS = 2.0
"""Seconds to its deadline within which a released job counts as due, for a shared limiter: of 1 to
3 s the peers' test went best."""


class JobQueue:
    """All waiting jobs.

    A job with faults has no urgency: a sick id that is waited for must not delay sound ones.
    """

    def __init__(self) -> None:
        self._sound = LaneSet()
        self._troubled = LaneSet()
        self._sound_in_a_row = 0
        self.has_troubled: bool = False
        """Whether a job with faults may wait."""
        # A new job is sound.
        self.lane_of = self._sound.lane_of
        self.add_new = self._sound.add_to
        self.pop_sound = self._sound.pop
        self.next_sound_time = self._sound.next_time
        self.has_immediate = self._sound.has_immediate

    def jobs_of(self, subscriber: Subscriber) -> list[Job]:
        """Return the waiting jobs of a run."""
        return self._sound.jobs_of(subscriber) + self._troubled.jobs_of(subscriber)

    def remove(self, subscriber: Subscriber) -> list[Jobs]:
        """Remove the lanes of a run; return their jobs, removed ones among them."""
        return self._sound.remove(subscriber) + self._troubled.remove(subscriber)

    def add(self, job: Job, now: float) -> None:
        """Add a job."""
        self._set_of(job).add(job, now)

    def expect(self, job: Job, expires: float) -> None:
        """Record when the time of a job that waits here is up, for one of its subscribers."""
        self._set_of(job).expect(job, expires)

    def mark_removed(self, job: Job) -> None:
        """Record that a job which waits here is about to lose its owner."""
        self._set_of(job).mark_removed(job)

    def _set_of(self, job: Job) -> LaneSet:
        if job.fault_history is None or not job.is_troubled:  # of most: without the call
            return self._sound
        self.has_troubled = True
        return self._troubled

    def pop(
        self,
        now: float,
        *,
        immediate: bool = False,
        may_go: Callable[[Job], bool] = lambda _: True,
    ) -> Job | None:
        """Remove and return the job to ask now, or None if none is due.

        1. A sound job, where no other waits.
        2. A job with faults, where its turn has come and `may_go` allows it.
        3. A sound job.
        4. A job with faults, where no sound one is due.
        """
        if self.has_troubled and self._troubled.is_empty:
            self.has_troubled, self._sound_in_a_row = False, SOUND_IN_A_ROW
        if not self.has_troubled:
            return self._sound.pop(now, immediate=immediate)
        job = None
        if self._sound_in_a_row >= SOUND_IN_A_ROW and not immediate:
            job = self._troubled.pop(now)
            if job is not None and not may_go(job):
                job.order = now  # behind the others of its lane
                self.add(job, now)
                job = None
        if job is None:
            job = self._sound.pop(now, immediate=immediate)
            self._sound_in_a_row += 1
        else:
            self._sound_in_a_row = 0
        if job is None and not immediate:
            self._sound_in_a_row = 0
            job = self._troubled.pop(now)
        return job

    def pop_probe(self, now: float, excluded: str | None) -> Job | None:
        """Remove and return the job that shows best whether the gateway or a key works.

        1. A sound id that was answered well before: a due one, else the first that is asleep.
        2. A due one that was never asked, at a random place in the line; another sound one.
        3. The due one that failed longest ago. `excluded` goes last of all.
        """

        def rank(job: Job) -> float:
            return math.inf if job.request_id == excluded else float(ANSWERED - job.stage)

        def failed_at(job: Job) -> float:
            return math.inf if job.request_id == excluded else job.release

        return (
            self.pop_known(now, excluded, at_random=True)
            or self._sound.pop_candidate(now, rank)
            or self._pop_asleep(excluded, now)
            or self._troubled.pop_candidate(now, failed_at)
            or self._sound.pop(now)
            or self._troubled.pop(now)
        )

    def pop_known(
        self, now: float, excluded: str | None = None, *, at_random: bool = False
    ) -> Job | None:
        """Remove and return a sound id that was answered well, of those looked at.

        1. A due one whose end was sure, and has passed.
        2. The due one whose turn is first, or any, for a probe: not the same again and again.
        3. The one that is released first.
        """

        def rank(job: Job) -> float:
            if job.stage != ANSWERED or job.request_id == excluded:
                return math.inf
            if at_random:
                return 0.0
            is_over = job.precedence == EXPECTED and job.order <= now
            return -math.inf if is_over else job.order

        job = self._sound.pop_candidate(now, rank) or self._pop_asleep(excluded, now)
        if job is not None and job.stage != ANSWERED:
            self.add(job, now)
            return None
        return job

    def pop_failed(self, now: float, may_go: Callable[[Job], bool]) -> Job | None:
        """Remove and return the due job with faults that failed longest ago, of those that may."""
        return self._troubled.pop_candidate(
            now, lambda job: job.release if may_go(job) else math.inf
        )

    def pop_newcomer(self, now: float) -> Job | None:
        """Remove and return a due id that was never asked, at a random place in the line."""
        return self._sound.pop_candidate(now, lambda job: 0.0 if job.stage == NEW else math.inf)

    def next_time(self, now: float) -> float:
        """Return when a job may be due: `now`, a later time, or never (inf)."""
        when = self._sound.next_time(now)
        return when if when <= now else min(when, self._troubled.next_time(now))

    def next_probe_time(self, now: float) -> float:
        """Return when a job may be sent as a probe: a sound one may be, before its time."""
        when = self._sound.next_time(now)
        return now if when < math.inf else self._troubled.next_time(now)

    def count_due(self, now: float) -> int:
        """Return how many sound jobs may be asked now, and should be within some seconds."""
        return self._sound.count_due(now + DUE_WITHIN_SECONDS)

    def lanes(self, now: float) -> tuple[Lane, ...]:
        """Return the lanes that have ready jobs."""
        return self._sound.lanes(now) + self._troubled.lanes(now)

    def _pop_asleep(self, excluded: str | None, now: float) -> Job | None:
        """Remove and return the first sleeping job of another id than the excluded one."""
        passed: list[Job] = []
        job = self._sound.pop_asleep()
        while job is not None and job.request_id == excluded:
            passed.append(job)
            job = self._sound.pop_asleep()
        for one in passed:
            self._sound.add(one, now)
        return job
