"""Who awaits which id: callers of one id share its job, and the last to leave takes it along."""

from __future__ import annotations

import math
from collections import deque
from itertools import count
from typing import Any

from ideogram_async._limits.pool import SessionPool
from ideogram_async._polling.job import Job, Subscriber, Subscription
from ideogram_async._polling.job_queue import JobQueue
from ideogram_async._polling.lane import Jobs
from ideogram_async._schedules.base import Schedule

AT_ONCE = 500
"""Jobs that a run leaves in one go: more of them would stall the loop."""


class JobRegistry:
    """The jobs of all ids, and their subscribers."""

    def __init__(self, pool: SessionPool, schedule: Schedule[Any]) -> None:
        self.job_queue: JobQueue = JobQueue()
        self.pending: int = 0
        self._pool = pool
        self._schedule = schedule
        self._jobs: dict[str, Job] = {}
        self._flying: dict[int, Job] = {}
        self._singles: dict[Subscriber, Job] = {}
        self._tie_breakers = count(1)
        self._unasked = 0
        self._subscribers: set[Subscriber] = set()
        self._leaving: deque[tuple[Subscriber, list[Jobs]]] = deque()

    def subscribe(
        self, subscriber: Subscriber, request_id: str, now: float, *, just_submitted: bool = False
    ) -> None:
        """Have an id asked for a subscriber, or let it share the queries that are under way."""
        lane = self.job_queue.lane_of(subscriber)
        tie_breaker = next(self._tie_breakers) if subscriber.urgent else 0
        if subscriber.is_one_shot:
            order = lane.in_line(now)
            job = Job(order, request_id, tie_breaker, subscriber, None, now, is_immediate=True)
            if subscriber.urgent:
                self._singles[subscriber] = job
        elif (shared := self._job_of(request_id, now)) is not None:
            self._share(shared, subscriber, now)
            return
        else:
            state, delay = self._schedule.start(now, just_submitted=just_submitted)
            release, sweep = now, self._sweep_time()
            if delay != 0:
                release = self._first_release(now, checked(delay, self._schedule))
            order, immediate = lane.in_line(release + sweep), not just_submitted
            job = Job(
                order, request_id, tie_breaker, subscriber, state, release, is_immediate=immediate
            )
            self._jobs[request_id] = job
        self.pending += 1
        self._unasked += 1
        self.job_queue.add(job, now)

    def leave(self, subscriber: Subscriber, now: float) -> list[str]:
        """Let a subscriber go, and hand back its open ids.

        None of them is asked for it any more. Where they are many, `tidy` lets go of the others.
        """
        self._subscribers.discard(subscriber)
        if subscriber.urgent:
            left = self._jobs_of(subscriber)
            for job in left:
                self._drop(job, subscriber, now)
            return [job.request_id for job in left]
        others = self._others(subscriber)
        waiting = self.job_queue.remove(subscriber)
        waiting.append(others)  # those in flight go first, and each is gone with its turn
        ids = self._ids_of(subscriber, waiting)
        self._leaving.append((subscriber, waiting))
        self.clean_up(now, max(AT_ONCE, len(self._flying)))
        return ids

    def clean_up(self, now: float, portion: int = AT_ONCE) -> bool:
        """Let go of a portion of what was left; tell whether there is more."""
        if self._leaving:
            subscriber, waiting = self._leaving[-1]
            while waiting and portion > 0:
                jobs = waiting[-1]
                taken = min(portion, len(jobs))
                portion -= taken
                for _ in range(taken):
                    job = jobs.pop()
                    if job.owner is not None:
                        self._drop(job, subscriber, now)
                if not jobs:
                    waiting.pop()
            if not waiting:
                self._leaving.pop()
        return bool(self._leaving)

    def open_ids(self, subscriber: Subscriber) -> list[str]:
        """List the ids that are asked for a subscriber and have not ended."""
        return [job.request_id for job in self._jobs_of(subscriber)]

    def mark_sent(self, job: Job, now: float) -> None:
        """Note that a query for a job goes out."""
        self._flying[id(job)] = job
        if not job.asked:
            job.asked = True
            self._unasked -= 1
        if job.shared_with is not None or (
            job.owner is not None and job.owner.deadline is not None
        ):
            job.start_clock(now)

    def _jobs_of(self, subscriber: Subscriber) -> list[Job]:
        if subscriber.urgent:  # a call for one id, in a lane that it shares with other calls
            job = self._singles.get(subscriber) or self._jobs.get(subscriber.request_id)
            return [job] if job is not None and subscriber in job.subscribers() else []
        return [*self.job_queue.lane_of(subscriber).jobs(), *self._others(subscriber)]

    def _ids_of(self, subscriber: Subscriber, waiting: list[Jobs]) -> list[str]:
        """List what a run leaves; where it is most of all, in memory's order: four times faster."""
        if not (subscriber.is_one_shot or self._subscribers or self._leaving):
            return list(self._jobs)  # it was alone
        if subscriber.is_one_shot or 2 * sum(map(len, waiting)) < len(self._jobs):
            return [job.request_id for jobs in waiting for job in jobs if job.owner is not None]
        own = [name for name, job in self._jobs.items() if job.owner is subscriber]
        return own + list(subscriber.shared_ids)

    def _others(self, subscriber: Subscriber) -> list[Job]:
        """List a run's jobs that do not wait in its lane: another's, and those in flight."""
        shared_ids = [self._jobs[request_id] for request_id in subscriber.shared_ids]
        flying = [job for job in self._flying.values() if job.owner is subscriber]
        return shared_ids + flying

    def _job_of(self, request_id: str, now: float) -> Job | None:
        """Find the job of an id that somebody awaits."""
        job = self._jobs.get(request_id)
        if job is not None and self._leaving:
            for subscriber, _ in self._leaving:
                self._drop(job, subscriber, now)
            job = self._jobs.get(request_id)
        return job

    def _share(self, job: Job, subscriber: Subscriber, now: float) -> None:
        owner = job.owner
        if owner is None or subscriber in job.subscribers():
            return
        if subscriber.wants_changes and job.record is not None:
            subscriber.changed(job.request_id, job.record)
        if subscriber.urgent and not owner.urgent:
            guest = Subscription(owner, job.expires)
            job = self._hand_over(job, Subscription(subscriber), now)
        else:
            guest = Subscription(subscriber)
        guest.subscriber.shared_ids.add(job.request_id)
        job.shared_with = [*(job.shared_with or ()), guest]

    def _hand_over(self, job: Job, to: Subscription, now: float) -> Job:
        """Give a job another owner: in its lane, unless it is in flight."""
        flying = id(job) in self._flying
        successor = job if flying else job.replace(next(self._tie_breakers))
        successor.owner, successor.expires = to.subscriber, to.expires
        to.subscriber.shared_ids.discard(job.request_id)
        if not flying:
            self._jobs[job.request_id] = successor
            self.job_queue.add(successor, now)
        return successor

    def _drop(self, job: Job, subscriber: Subscriber, now: float) -> None:
        """Let a subscriber go from a job, and the job with the last of them."""
        subscriber.shared_ids.discard(job.request_id)
        if job.owner is None:
            return
        left = [guest for guest in job.shared_with or () if guest.subscriber is not subscriber]
        if job.owner is not subscriber:
            job.shared_with = left or None
            return
        left = [guest for guest in left if guest.subscriber in self._subscribers]  # others go, too
        if left:
            heir = next((guest for guest in left if guest.subscriber.urgent), left[0])
            left.remove(heir)
            self._hand_over(job, heir, now).shared_with = left or None
        else:
            self._close(job)

    def _close(self, job: Job) -> None:
        if job.owner is not None and job.owner.urgent:
            self._singles.pop(job.owner, None)
        if self._jobs.get(job.request_id) is job:
            del self._jobs[job.request_id]
        for guest in job.shared_with or ():
            guest.subscriber.shared_ids.discard(job.request_id)
        job.owner = job.shared_with = None
        self.pending -= 1
        if not job.asked:
            self._unasked -= 1

    def _sweep_time(self) -> float:
        """Seconds in which each pending id can be asked once; 0 where no rate limits them."""
        return self.pending / self._pool.rate

    def _first_release(self, now: float, delay: float) -> float:
        """When to ask a fresh id first: sooner where many wait for a share of the rate."""
        rate = self._pool.rate
        if rate == math.inf:
            return now + delay
        return now + max(delay / 4, delay - self._unasked / rate)


def checked(delay: float, schedule: object) -> float:
    """Check the delay that a user's schedule gave."""
    if not 0 <= delay < math.inf:
        raise ValueError(f"{schedule!r} gave a delay of {delay!r}: expected finite seconds >= 0")
    return delay
