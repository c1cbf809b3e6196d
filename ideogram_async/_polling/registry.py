"""Which call awaits which id: calls that await one id share its job, until the last of them leaves.

All decisions, and no I/O: `now` is passed in, in seconds on the event loop's clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from ideogram_async._limits.pool import SessionPool
from ideogram_async._polling.job import (
    ANSWERED,
    ASKED,
    IMMEDIATE,
    NEW,
    ORDINARY,
    Job,
    Subscriber,
    expiry_from,
)
from ideogram_async._polling.job_queue import JobQueue
from ideogram_async._polling.lane import Jobs
from ideogram_async._schedules.base import Schedule

REMOVED_AT_ONCE = 500
"""Jobs of a run that are removed in one go: more of them would stall the event loop."""
SOONEST_SHARE = 1 / 8
"""Of its first delay, that a fresh id is left alone where many wait for a share of the rate."""

REFUSED_TO_THE_END = 3
"""Refusals in a row of an id that left without a good answer, from which they may be its own."""
ANSWERED_LAST = 16
"""Ids that were answered well last: the first of them shows best whether a hold is over."""


class JobRegistry:
    """The jobs of all ids, and their subscribers."""

    def __init__(self, pool: SessionPool, schedule: Schedule[Any]) -> None:
        self.queue: JobQueue = JobQueue()
        self.pending: int = 0
        """Ids that are asked for somebody."""
        self.known: int = 0
        """Ids that were answered well, and go on."""
        self.answered_last: deque[str] = deque(maxlen=ANSWERED_LAST)
        """The ids that were answered well last, and go on."""
        self.unasked: int = 0
        """Ids that were never asked."""
        self.failing: int = 0
        """Ids with faults in a row."""
        self.troubled_in_flight: set[int] = set()
        """The jobs in flight, by `id`, of ids with faults in a row."""
        self.keys_in_question: set[int] = set()
        """Keys whose rate was charged with the refusals of an id that left without an answer."""
        self.subscribers: set[Subscriber] = set()
        self._pool = pool
        self._schedule = schedule
        self._jobs: dict[str, Job] = {}
        self._flying: dict[int, Job] = {}
        self._singles: dict[Subscriber, Job] = {}
        self._tie_breakers = count(1)
        self._leaving: deque[tuple[Subscriber, list[Jobs]]] = deque()

    def __len__(self) -> int:
        """Return how many ids are polled."""
        return len(self._jobs)

    def subscribe(
        self, subscriber: Subscriber, request_id: str, now: float, *, just_submitted: bool = False
    ) -> None:
        """Add an id for a subscriber, or let it share the queries that are under way."""
        lane = self.queue.lane_of(subscriber)
        tie_breaker = next(self._tie_breakers) if subscriber.urgent else 0
        if subscriber.is_one_shot:
            order = lane.in_line(now)
            job = Job(order, request_id, tie_breaker, subscriber, None, now, IMMEDIATE)
            if subscriber.urgent:
                self._singles[subscriber] = job
        elif request_id in self._jobs and (shared := self._job_of(request_id, now)) is not None:
            self._share(shared, subscriber, now)
            return
        else:
            state, delay = self._schedule.start(now, just_submitted=just_submitted)
            release = now if delay == 0 else now + checked_delay(delay, self._schedule)
            order, rate = release, self._pool.rate
            if rate < math.inf:
                release, order = self._first_turn(now, delay, rate)
            order = lane.in_line(order)
            precedence = ORDINARY if just_submitted else IMMEDIATE
            job = Job(order, request_id, tie_breaker, subscriber, state, release, precedence)
            self._jobs[request_id] = job
        self.pending += 1
        self.unasked += 1
        self.queue.add_new(lane, job, now)

    def leave(self, subscriber: Subscriber, now: float) -> list[str]:
        """Remove a subscriber, and return its open ids.

        None of them is asked for it any more. Where they are many, `clean_up` removes the rest.
        """
        self.subscribers.discard(subscriber)
        if subscriber.urgent:
            left = self.jobs_of(subscriber)
            for job in left:
                self.drop(job, subscriber, now)
            return [job.request_id for job in left]
        others = self._others(subscriber)
        waiting = self.queue.remove(subscriber)
        waiting.append(others)  # those in flight are removed first, and each with its turn
        ids = self._ids_of(subscriber, waiting)
        self._leaving.append((subscriber, waiting))
        self.clean_up(now, max(REMOVED_AT_ONCE, len(self._flying)))
        return ids

    def clean_up(self, now: float, portion: int = REMOVED_AT_ONCE) -> bool:
        """Remove a portion of what runs have left; return whether there is more."""
        if self._leaving:
            subscriber, waiting = self._leaving[-1]
            while waiting and portion > 0:
                jobs = waiting[-1]
                taken = min(portion, len(jobs))
                portion -= taken
                for _ in range(taken):
                    job = jobs.pop()
                    if job.owner is not None:
                        self.drop(job, subscriber, now)
                if not jobs:
                    waiting.pop()
            if not waiting:
                self._leaving.pop()
        return bool(self._leaving)

    def open_ids(self, subscriber: Subscriber) -> list[str]:
        """Return the ids that are asked for a subscriber and have not ended."""
        return [job.request_id for job in self.jobs_of(subscriber)]

    def one_shots(self) -> Iterator[Job]:
        """Return the jobs of calls that ask once."""
        for subscriber in tuple(self.subscribers):
            if subscriber.is_one_shot:
                yield from self.jobs_of(subscriber)

    def mark_sent(self, job: Job, now: float) -> None:
        """Record that a query for a job goes out."""
        self._flying[id(job)] = job
        if job.stage == NEW:
            job.stage = ASKED
            self.unasked -= 1
            job.start_clock(now)
        if job.fault_history is not None and job.fault_history.faults:
            self.troubled_in_flight.add(id(job))

    def mark_unsent(self, job: Job) -> None:
        """Record that no query for a job has reached the gateway: its clock has not started."""
        if job.stage == ASKED and job.owner is not None:
            job.stage = NEW
            self.unasked += 1
            job.stop_clock()

    def mark_answered(self, job: Job) -> None:
        """Record the first good answer for a job that somebody awaits."""
        job.stage = ANSWERED
        self.known += 1

    def pop_answered_last(self) -> Job | None:
        """Remove and return, from where it waits, the job that was answered well last."""
        for request_id in reversed(self.answered_last):
            job = self._jobs.get(request_id)
            if job is not None and not job.is_troubled and not self.is_flying(job):
                return self._take_out(job)
        return None

    def mark_returned(self, job: Job) -> None:
        """Record that no query for a job is in flight any more: its outcome was handled."""
        del self._flying[id(job)]
        if self.troubled_in_flight:
            self.troubled_in_flight.discard(id(job))

    def mark_failing(self) -> None:
        """Record that an id has its first fault in a row."""
        self.failing += 1

    def mark_sound(self) -> None:
        """Record that an id that had faults in a row is answered."""
        self.failing -= 1

    def is_flying(self, job: Job) -> bool:
        """Return whether a query for a job is in flight."""
        return id(job) in self._flying

    def drop(self, job: Job, subscriber: Subscriber, now: float) -> None:
        """Remove a subscriber from a job, and the job with the last of them."""
        subscriber.shared_ids.discard(job.request_id)
        if job.owner is None:
            return
        shared = job.shared_with or {}
        if job.owner is not subscriber:
            shared.pop(subscriber, None)
            job.shared_with = shared or None  # an empty dict for each of many ids would take memory
            return
        heir = self._heir(shared)
        if heir is None:
            self.close(job)
            job.clear()
        else:
            expires = shared.pop(heir)
            job.shared_with = shared or None
            self._hand_over(job, heir, expires, now)

    def _heir(self, shared: Iterable[Subscriber]) -> Subscriber | None:
        """Return who is to own a job that its owner leaves: a call for one id, if there is one."""
        staying = (one for one in shared if one in self.subscribers)  # others leave, too
        first = next(staying, None)
        if first is None or first.urgent:
            return first
        return next((one for one in staying if one.urgent), first)

    def close(self, job: Job) -> None:
        """Remove a job: its id has ended, or nobody awaits it any more."""
        if job.owner is not None:
            if job.owner.urgent:
                self._singles.pop(job.owner, None)
            if id(job) not in self._flying:
                self.queue.mark_removed(job)
        if self._jobs.get(job.request_id) is job:
            del self._jobs[job.request_id]
        job.owner = None
        if job.shared_with:
            for one in job.shared_with:
                one.shared_ids.discard(job.request_id)
            job.shared_with = None
        self.pending -= 1
        if job.stage == NEW:
            self.unasked -= 1
        elif job.stage == ANSWERED:
            self.known -= 1
        history = job.fault_history
        if history is not None and history.faults:
            self.failing -= 1
            job.fault_history = None
            is_spent = history.is_charged and history.faults >= REFUSED_TO_THE_END
            if is_spent and job.stage == ASKED:
                self.keys_in_question.add(history.key)

    def sweep_seconds(self) -> float:
        """Return the seconds in which each pending id can be asked once; 0 without a rate limit."""
        return self.pending / self._pool.rate

    def jobs_of(self, subscriber: Subscriber) -> list[Job]:
        """Return the jobs of a subscriber that have not ended."""
        if subscriber.urgent:  # a call for one id, in a lane that it shares with other calls
            job = self._singles.get(subscriber) or self._jobs.get(subscriber.request_id)
            return [job] if job is not None and job.is_awaited_by(subscriber) else []
        return [*self.queue.jobs_of(subscriber), *self._others(subscriber)]

    def _ids_of(self, subscriber: Subscriber, waiting: list[Jobs]) -> list[str]:
        """Return the ids that a run leaves; where they are most of all, in the order of memory.

        That is four times as fast.
        """
        if not (subscriber.is_one_shot or self.subscribers or self._leaving):
            return list(self._jobs)  # it was alone
        if subscriber.is_one_shot or 2 * sum(map(len, waiting)) < len(self._jobs):
            return [job.request_id for jobs in waiting for job in jobs if job.owner is not None]
        own = [name for name, job in self._jobs.items() if job.owner is subscriber]
        return own + list(subscriber.shared_ids)

    def _others(self, subscriber: Subscriber) -> list[Job]:
        """Return a run's jobs that do not wait in its lane: another's, and those in flight."""
        shared = [self._jobs[request_id] for request_id in subscriber.shared_ids]
        flying = [job for job in self._flying.values() if job.owner is subscriber]
        return shared + flying

    def _job_of(self, request_id: str, now: float) -> Job | None:
        """Return the job of an id that somebody awaits."""
        job = self._jobs.get(request_id)
        if job is not None and self._leaving:
            for subscriber, _ in self._leaving:
                self.drop(job, subscriber, now)
            job = self._jobs.get(request_id)
        return job

    def _share(self, job: Job, subscriber: Subscriber, now: float) -> None:
        """Let a subscriber share a job; its clock starts now, unless the id was never asked."""
        owner = job.owner
        if owner is None or job.is_awaited_by(subscriber):
            return
        if subscriber.wants_changes:
            record = job.record
            if record is None:
                job.last_seen = None  # so that the next answer is a change, whatever it says
            else:
                subscriber.changed(job.request_id, record)
        expires = math.inf if job.stage == NEW else expiry_from(subscriber, now)
        job.shared_with = job.shared_with or {}
        if subscriber.urgent and not owner.urgent:
            job.shared_with[owner] = job.expires
            owner.shared_ids.add(job.request_id)
            self._hand_over(job, subscriber, expires, now)
            return
        job.shared_with[subscriber] = expires
        subscriber.shared_ids.add(job.request_id)
        if self.is_flying(job):
            return
        if expires < job.release:
            self._move(job, owner, job.expires, max(expires, now), now)
        else:
            self.queue.expect(job, expires)

    def _hand_over(self, job: Job, to: Subscriber, expires: float, now: float) -> None:
        """Hand a job to an owner: it moves to that one's lane, unless it is in flight or there."""
        to.shared_ids.discard(job.request_id)
        is_there = to.urgent and job.owner is not None and job.owner.urgent
        if is_there or self.is_flying(job):
            job.owner, job.expires = to, expires
        else:
            self._move(job, to, expires, max(expires, now), now)

    def _move(self, job: Job, to: Subscriber, expires: float, latest: float, now: float) -> None:
        """Put a successor of a waiting job into an owner's lane, released by a moment at latest."""
        successor = self._take_out(job)
        successor.owner, successor.expires = to, expires
        if latest < successor.release:
            successor.release = successor.order = latest
        self.queue.add(successor, now)

    def _take_out(self, job: Job) -> Job:
        """Mark a job as removed from the lane that it waits in, and return its successor."""
        self.queue.mark_removed(job)
        successor = self._jobs[job.request_id] = job.replace(next(self._tie_breakers))
        return successor

    def _first_turn(self, now: float, delay: float, rate: float) -> tuple[float, float]:
        """Return when a new id may be asked first, and by when it should be, at a limited rate.

        1. It is fresh, and many wait for a share of the rate: it may be sooner than the delay.
        2. Beside ids that were asked before, which are in line a sweep after theirs: so is it.
        3. In a batch of which none was asked: a sweep from now, however late its release.
        """
        wait = max(SOONEST_SHARE * delay, delay - self.unasked / rate) if delay else 0.0
        asked_share = 1 - (self.unasked + 1) / (self.pending + 1)
        return now + wait, now + self.pending / rate + wait * asked_share


def checked_delay(delay: float, schedule: object) -> float:
    """Return the delay that a user's schedule gave; raise where it is none."""
    if not 0 <= delay < math.inf:
        raise ValueError(f"{schedule!r} gave a delay of {delay!r}: expected finite seconds >= 0")
    return delay
