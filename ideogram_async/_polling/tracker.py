"""The ledger: which ids are asked, who awaits each, and what an outcome means for them.

All decisions, and no I/O: `now` is passed in, in seconds on the event loop's clock. Every id that
is entered leaves it exactly once: completed, failed, or handed back to whoever leaves early.
"""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Iterator
from typing import Any

from ideogram_async._errors import (
    DeadlineExceeded,
    IdeogramError,
    RateLimitError,
    RequestError,
    RequestFailed,
)
from ideogram_async._limits.pool import SessionPool
from ideogram_async._models import SamplingRequest
from ideogram_async._polling.job import Job, Subscriber
from ideogram_async._polling.registry import JobRegistry, checked
from ideogram_async._protocol.outcome import Answer, Fault, FaultKind
from ideogram_async._schedules.base import Observation, Schedule

_log = logging.getLogger("ideogram_async")

TRIES_ONCE = 3
"""Queries of a one-shot call for an id whose faults are transient."""
UNKNOWN_LIMIT = 3
"""Answers in a row that the gateway does not know an id, …"""
UNKNOWN_APART = 5.0
"""… these seconds apart (a new task may not be visible yet), after which it fails."""
MALFORMED_LIMIT = 5
"""Malformed answers in a row after which an id fails."""
BACKOFF_BASE = 0.5
BACKOFF_CAP = 20.0
"""Seconds: full jitter under 0.5 · 2ⁿ, at most 20."""
EXPECTED_SWEEPS = 1.75
"""Sweeps of all ids that one whose end is expected may be left alone, where a rate limits them."""
LAST_CALL = 30.0
"""Seconds that an id whose time is up may wait for its last query."""
RECORDS_KEPT = 100_000
"""Pending ids up to which each keeps its last record: beyond it, memory goes first."""


class JobTracker(JobRegistry):
    """Every id that somebody awaits, until it ends or nobody does."""

    def __init__(self, pool: SessionPool, schedule: Schedule[Any]) -> None:
        super().__init__(pool, schedule)
        self.completed: int = 0
        self.failed: int = 0

    def enter(self, subscriber: Subscriber, now: float) -> None:
        """Take in a subscriber; raise at once where a throttle outlasts a one-shot call."""
        self._pool.reconsider(now, run=not subscriber.urgent)
        if subscriber.is_one_shot and self._pool.held_until(now) > subscriber.times_out_at:
            wait = self._pool.held_until(now) - now
            raise RateLimitError(
                f"the gateway asked to wait, for {wait:.0f} s more",
                request_id=subscriber.request_id or None,
                retry_after=wait,
            )
        self._subscribers.add(subscriber)

    def end_all(self, error: IdeogramError) -> None:
        """End every call: none can go on."""
        for subscriber in tuple(self._subscribers):
            subscriber.end(copied(error))

    def handle_outcome(self, job: Job, outcome: Answer | Fault, asked: float, now: float) -> None:
        """Decide what an outcome means for the job that it answers."""
        try:
            if isinstance(outcome, Fault):
                self._faulted(job, outcome, asked, now)
            elif job.owner is not None:
                self._answered(job, job.owner, outcome, asked, now)
        except Exception as error:  # noqa: BLE001 - a user's schedule may raise anything
            failure = RequestError(f"unexpected {type(error).__name__}: {error}")
            failure.__cause__ = error
            if job.owner is None:
                _log.exception("the schedule failed after the end of a request")
            else:
                self._fail(job, failure)
        finally:
            del self._flying[id(job)]

    def expire_overdue(self, now: float) -> Iterator[None]:
        """Fail the ids whose time is up and whose last query does not get its turn, by portions."""
        for lane in self.job_queue.lanes(now):
            for late in lane.overdue(now - LAST_CALL):
                for job in late:
                    if id(job) not in self._flying and self._give_up(job, now - LAST_CALL, now):
                        lane.expect(job)
                yield

    # What an outcome means

    def _answered(
        self, job: Job, owner: Subscriber, answer: Answer, asked: float, now: float
    ) -> None:
        record = answer.record
        job.fault_history = None
        if owner.is_one_shot:
            self._complete(job, record)
        elif record.is_errored is True:
            job.last_body = answer.kept()
            self._fail(job, RequestFailed("the gateway says that it failed (is_errored)"))
        else:
            late = asked - job.release
            seen = Observation(asked, now, late if late > 0 else 0.0, record, answer.server_time)
            if record.is_complete:
                self._complete(job, record)
                if self._pool.hooks is not None:
                    self._pool.hooks.completed(job.request_id, answer)
                self._schedule.completed(job.state, seen)
            else:
                self._running(job, owner, seen, answer)

    def _running(self, job: Job, owner: Subscriber, seen: Observation, answer: Answer) -> None:
        record = seen.record
        if (owner.wants_changes or job.shared_with) and record != job.record:
            for subscriber in job.subscribers():
                if subscriber.wants_changes:
                    subscriber.changed(job.request_id, record)
        if len(self._jobs) <= RECORDS_KEPT:
            job.last_body = answer.kept()
        if self._give_up(job, seen.asked, seen.answered, record):
            delay = checked(self._schedule.next_delay(job.state, seen), self._schedule)
            self._reschedule(job, delay, seen.answered)

    def _faulted(self, job: Job, fault: Fault, asked: float, now: float) -> None:
        error, kind = fault.error, fault.kind
        _log.debug("%s: %s: %s", job.request_id, kind.name, error)
        if error.retry_after is not None:
            self._end_one_shots(error, now)
        if kind is FaultKind.ADDRESS:
            self.end_all(error)
        elif kind is FaultKind.REFUSED:
            self._refused(job, now)
        elif job.owner is not None and isinstance(error, RequestError):
            self._count(job, error, kind, now)
            if self._has_failed(job, kind):
                self._fail(job, error)
            elif self._give_up(job, asked, now):
                self._retry(job, kind, now)

    def _end_one_shots(self, error: IdeogramError, now: float) -> None:
        """End the one-shot calls that the gateway asks to wait for longer than they may take."""
        opens_at = self._pool.held_until(now)
        for subscriber in tuple(self._subscribers):
            if subscriber.is_one_shot and opens_at > subscriber.times_out_at:
                ended = copied(error)
                ended.retry_after = opens_at - now
                subscriber.end(ended)

    def _refused(self, job: Job, now: float) -> None:
        refusal = self._pool.refusal()
        if refusal is not None:
            self.end_all(refusal)
        else:
            self._requeue(job, now)

    def _count(self, job: Job, error: RequestError, kind: FaultKind, now: float) -> None:
        fault_history = job.history()
        fault_history.error = error
        fault_history.faults += 1
        if self._pool.sick(now):
            return
        if kind is FaultKind.MALFORMED:
            fault_history.malformed += 1
        elif kind is FaultKind.UNKNOWN_ID and now - fault_history.unknown_at >= UNKNOWN_APART:
            fault_history.unknown += 1
            fault_history.unknown_at = now

    def _has_failed(self, job: Job, kind: FaultKind) -> bool:
        fault_history = job.history()
        if job.owner is not None and job.owner.is_one_shot:
            return kind is FaultKind.UNKNOWN_ID or fault_history.faults >= TRIES_ONCE
        return fault_history.unknown >= UNKNOWN_LIMIT or fault_history.malformed >= MALFORMED_LIMIT

    def _retry(self, job: Job, kind: FaultKind, now: float) -> None:
        faults = job.history().faults
        if kind is FaultKind.UNKNOWN_ID:
            self._reschedule(job, UNKNOWN_APART / 2, now)  # it may be visible before that counts
        elif kind is FaultKind.THROTTLED and faults == 1:
            self._requeue(job, now)  # the session waits, not the id
        else:
            ceiling = min(BACKOFF_BASE * 2.0 ** min(faults - 1, 10), BACKOFF_CAP)
            self._reschedule(job, random.uniform(0.0, ceiling), now)  # noqa: S311 - no secret

    # How an id ends, or goes on

    def _complete(self, job: Job, record: SamplingRequest) -> None:
        owner, shared_with = job.owner, job.shared_with
        self._close(job)
        self.completed += 1
        if owner is not None:
            owner.completed(job.request_id, record)
        for guest in shared_with or ():
            guest.subscriber.completed(job.request_id, record)

    def _fail(self, job: Job, error: RequestError) -> None:
        subscribers = tuple(job.subscribers())
        self._close(job)
        self.failed += 1
        for subscriber in subscribers:
            subscriber.failed(job.request_id, _about(job, error))
        if self._pool.hooks is not None and not subscribers[0].is_one_shot:
            self._pool.hooks.failed(job.request_id, _about(job, error))

    def _give_up(
        self, job: Job, asked: float, now: float, record: SamplingRequest | None = None
    ) -> bool:
        """Fail the job for those whose time was up when it was asked; tell whether any is left."""
        if job.expires > asked and not job.shared_with:
            return True
        for subscriber in job.overdue(asked):
            error = DeadlineExceeded(f"not complete within {subscriber.deadline:g} s")
            error.__cause__ = None if job.fault_history is None else job.fault_history.error
            last = len(tuple(job.subscribers())) == 1
            self.failed += last
            self._drop(job, subscriber, now)
            error.request = record
            subscriber.failed(job.request_id, _about(job, error))
            if self._pool.hooks is not None and last:
                self._pool.hooks.failed(job.request_id, _about(job, error))
        return job.owner is not None

    def _reschedule(self, job: Job, delay: float, now: float) -> None:
        release, expires = now + delay, job.first_expiry() if job.shared_with else job.expires
        job.release = release if release < expires else max(expires, now)
        job.order = self._order(job)
        job.is_immediate = False
        self.job_queue.add(job, now)

    def _requeue(self, job: Job, now: float) -> None:
        job.release = now
        job.is_immediate = False
        self.job_queue.add(job, now)

    def _order(self, job: Job) -> float:
        """By when to ask: a sweep after the release, or when the job is expected to be done."""
        sweep = self._sweep_time()
        if not sweep:
            return job.release  # the same object: 32 bytes less for each of a million
        if job.owner is None or job.owner.is_one_shot:
            return job.release + sweep
        end = self._schedule.expected_end(job.state)
        if end is None:
            return job.release + sweep
        return min(job.release + EXPECTED_SWEEPS * sweep, max(end, job.release))


def copied(error: IdeogramError) -> Any:
    """Give each caller an error of its own: tracebacks and notes must not mix."""
    tie_breaker = copy.copy(error)
    tie_breaker.__cause__ = error.__cause__
    tie_breaker.__suppress_context__ = True
    return tie_breaker


def _about(job: Job, error: RequestError) -> RequestError:
    tie_breaker: RequestError = copied(error)
    tie_breaker.request_id = job.request_id
    if tie_breaker.request is None:
        tie_breaker.request = job.record
    return tie_breaker
