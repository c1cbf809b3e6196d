"""Jobs that are asleep until their release (a calendar queue: Brown 1988)."""

from __future__ import annotations

import heapq
import math
from bisect import insort_left
from collections.abc import Iterator
from operator import attrgetter

from ideogram_async._polling.job import Job

BUCKET_SECONDS = 0.125
"""Seconds whose jobs are sorted together: some thousands of jobs, where many are polled."""

_release = attrgetter("release")


def _sooner(job: Job) -> float:
    return -job.release


class CalendarQueue:
    """The job whose `release` is least comes first.

    Jobs are kept in buckets of time, unsorted until a bucket is the current one. A heap of all jobs
    costs several times as much: each of its steps looks at jobs that lie anywhere in memory.
    """

    def __init__(self) -> None:
        self.first: float = math.inf
        """The `release` of the first, inf where there is none."""
        self._current_number = -math.inf
        self._current: list[Job] = []  # the latest first
        self._buckets: dict[float, list[Job]] = {}  # each begins with its soonest
        self._bucket_numbers: list[float] = []

    def __iter__(self) -> Iterator[Job]:
        yield from self._current
        for jobs in self._buckets.values():
            yield from jobs

    def __len__(self) -> int:
        return len(self._current) + sum(map(len, self._buckets.values()))

    def parts(self) -> tuple[list[Job], ...]:
        """Return what it is made of, to be taken apart."""
        return self._current, *self._buckets.values()

    def add(self, job: Job) -> None:
        """Add a job at the place that its release says."""
        release = job.release
        number = release // BUCKET_SECONDS
        if number <= self._current_number:
            insort_left(self._current, job, key=_sooner)
        elif (jobs := self._buckets.get(number)) is None:
            self._buckets[number] = [job]
            heapq.heappush(self._bucket_numbers, number)
        else:
            jobs.append(job)
            if release < jobs[0].release:
                jobs[0], jobs[-1] = job, jobs[0]
        self.first = min(self.first, release)

    def pop(self) -> Job:
        """Remove and return the first."""
        jobs = self._current
        if not jobs:
            self._current_number = heapq.heappop(self._bucket_numbers)
            jobs = self._current = self._buckets.pop(self._current_number)
            jobs.sort(key=_release)
            jobs.reverse()
        job = jobs.pop()
        if jobs:
            self.first = jobs[-1].release
        elif self._bucket_numbers:
            self.first = self._buckets[self._bucket_numbers[0]][0].release
        else:
            self.first = math.inf
        return job
