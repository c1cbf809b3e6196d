"""Jobs that are asleep until their release."""

from __future__ import annotations

import heapq
import math
from bisect import insort_left
from collections.abc import Iterator
from operator import attrgetter

from ideogram_async._polling.job import Job

DAY = 0.125
"""Seconds whose jobs are sorted together: some thousands of them, where many are polled."""

_release = attrgetter("release")


def _sooner(job: Job) -> float:
    return -job.release


class CalendarQueue:
    """The job whose `release` is least comes first.

    Jobs are kept by days, unsorted until theirs comes. A heap of them all costs several times as
    much, for each step of it looks at jobs that lie anywhere in memory.
    """

    __slots__ = ("_dates", "_days", "_today", "_todays", "first")

    def __init__(self) -> None:
        self.first: float = math.inf
        """The `release` of the first, inf where there is none."""
        self._today = -math.inf
        self._todays: list[Job] = []  # the latest first
        self._days: dict[float, list[Job]] = {}  # each begins with its soonest
        self._dates: list[float] = []

    def __iter__(self) -> Iterator[Job]:
        yield from self._todays
        for jobs in self._days.values():
            yield from jobs

    def parts(self) -> tuple[list[Job], ...]:
        """Give what it is made of, to be taken apart."""
        return self._todays, *self._days.values()

    def add(self, job: Job) -> None:
        """Put a job where its release says."""
        release = job.release
        date = release // DAY
        if date <= self._today:
            insort_left(self._todays, job, key=_sooner)
        elif (jobs := self._days.get(date)) is None:
            self._days[date] = [job]
            heapq.heappush(self._dates, date)
        else:
            jobs.append(job)
            if release < jobs[0].release:
                jobs[0], jobs[-1] = job, jobs[0]
        self.first = min(self.first, release)

    def pop(self) -> Job:
        """Take the first."""
        jobs = self._todays
        if not jobs:
            self._today = heapq.heappop(self._dates)
            jobs = self._todays = self._days.pop(self._today)
            jobs.sort(key=_release)
            jobs.reverse()
        job = jobs.pop()
        if jobs:
            self.first = jobs[-1].release
        else:
            self.first = self._days[self._dates[0]][0].release if self._dates else math.inf
        return job
