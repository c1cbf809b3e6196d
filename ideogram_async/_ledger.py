"""The ledger: which ids are asked, who awaits each, and what an outcome means for them.

All decisions, and no I/O: `now` is passed in, in seconds on the event loop's clock. Every id that
is entered leaves it exactly once: completed, failed, or handed back to whoever leaves early.
"""

from __future__ import annotations

import copy
import logging
import math
import random
from itertools import count
from typing import Any

from ideogram_async._agenda import Agenda
from ideogram_async._errors import (
    DeadlineExceeded,
    IdeogramError,
    RateLimitError,
    RequestError,
    RequestFailed,
)
from ideogram_async._job import Guest, Job, Subscriber
from ideogram_async._models import SamplingRequest
from ideogram_async._schedule import Observation, Schedule
from ideogram_async._sessions import Pool
from ideogram_async._wire import Answer, Fault, Verdict

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


class Ledger:
    """Every id that somebody awaits, until it ends or nobody does."""

    def __init__(self, pool: Pool, schedule: Schedule[Any]) -> None:
        self.agenda: Agenda = Agenda()
        self.pending: int = 0
        self.completed: int = 0
        self.failed: int = 0
        self._pool = pool
        self._schedule = schedule
        self._jobs: dict[str, Job] = {}
        self._flying: dict[int, Job] = {}
        self._singles: dict[Subscriber, Job] = {}
        self._twins = count(1)
        self._unasked = 0
        self._subscribers: set[Subscriber] = set()

    def enter(self, subscriber: Subscriber, now: float) -> None:
        """Take in a subscriber; raise at once where a throttle outlasts a one-shot call."""
        self._pool.reconsider(now, run=not subscriber.urgent)
        if subscriber.once and self._pool.held_until(now) > subscriber.until:
            wait = self._pool.held_until(now) - now
            raise RateLimitError(
                f"the gateway asked to wait, for {wait:.0f} s more", retry_after=wait
            )
        self._subscribers.add(subscriber)

    def subscribe(
        self, subscriber: Subscriber, request_id: str, now: float, *, just_submitted: bool = False
    ) -> None:
        """Have an id asked for a subscriber, or let it share the queries that are under way."""
        twin = next(self._twins) if subscriber.urgent else 0
        if subscriber.once:
            order = subscriber.lane.in_line(now)
            job = Job(now, request_id, twin, subscriber, None, now, order, eager=True)
            if subscriber.urgent:
                self._singles[subscriber] = job
        elif (shared := self._jobs.get(request_id)) is not None:
            self._share(shared, subscriber, now)
            return
        else:
            state, delay = self._schedule.start(now, just_submitted=just_submitted)
            release = self._first_release(now, _checked(delay, self._schedule))
            order, eager = subscriber.lane.in_line(release + self._sweep_time()), not just_submitted
            job = Job(now, request_id, twin, subscriber, state, release, order, eager=eager)
            self._jobs[request_id] = job
        self.pending += 1
        self._unasked += 1
        self.agenda.add(job, now)

    def leave(self, subscriber: Subscriber, now: float) -> list[str]:
        """Let a subscriber go, and hand back its open ids."""
        self._subscribers.discard(subscriber)
        left = self._jobs_of(subscriber)
        for job in left:
            self._drop(job, subscriber, now)
        return [job.request_id for job in left]

    def open_ids(self, subscriber: Subscriber) -> list[str]:
        """List the ids that are asked for a subscriber and have not ended."""
        return [job.request_id for job in self._jobs_of(subscriber)]

    def end_all(self, error: IdeogramError) -> None:
        """End every call: none can go on."""
        for subscriber in tuple(self._subscribers):
            subscriber.end(duplicate(error))

    def departs(self, job: Job, now: float) -> None:
        """Note that a query for a job goes out."""
        self._flying[id(job)] = job
        if not job.asked:
            self._unasked -= 1
        job.departs(now)

    def settle(self, job: Job, outcome: Answer | Fault, asked: float, now: float) -> None:
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

    def sweep(self, now: float) -> None:
        """Fail the ids whose time is up and whose last query does not get its turn."""
        for lane in self.agenda.lanes(now):
            for job in lane.overdue(now - LAST_CALL):
                self._give_up(job, now - LAST_CALL, now)

    # What an outcome means

    def _answered(
        self, job: Job, owner: Subscriber, answer: Answer, asked: float, now: float
    ) -> None:
        record = answer.record
        job.trouble = None
        if owner.once:
            self._complete(job, record)
        elif record.is_errored is True:
            job.record = record
            self._fail(job, RequestFailed("the gateway says that it failed (is_errored)"))
        else:
            late = max(asked - job.release, 0.0)
            seen = Observation(asked, now, late, record, answer.server_time)
            if record.is_complete:
                self._complete(job, record)
                self._schedule.completed(job.state, seen)
            else:
                self._running(job, seen)

    def _running(self, job: Job, seen: Observation) -> None:
        record = seen.record
        for subscriber in job.subscribers():
            if subscriber.watches and record != job.record:
                subscriber.changed(job.request_id, record)
        if len(self._jobs) <= RECORDS_KEPT:
            job.record = record
        if self._give_up(job, seen.asked, seen.answered, record):
            delay = _checked(self._schedule.next_delay(job.state, seen), self._schedule)
            self._again(job, delay, seen.answered)

    def _faulted(self, job: Job, fault: Fault, asked: float, now: float) -> None:
        error, verdict = fault.error, fault.verdict
        _log.debug("%s: %s: %s", job.request_id, verdict.name, error)
        if error.retry_after is not None:
            self._turn_away(error, now)
        if verdict is Verdict.ADDRESS:
            self.end_all(error)
        elif verdict is Verdict.REFUSED:
            self._refused(job, now)
        elif job.owner is not None and isinstance(error, RequestError):
            self._count(job, error, verdict, now)
            if self._has_failed(job, verdict):
                self._fail(job, error)
            elif self._give_up(job, asked, now):
                self._once_more(job, verdict, now)

    def _turn_away(self, error: IdeogramError, now: float) -> None:
        """End the one-shot calls that the gateway asks to wait for longer than they may take."""
        opens_at = self._pool.held_until(now)
        for subscriber in tuple(self._subscribers):
            if subscriber.once and opens_at > subscriber.until:
                ended = duplicate(error)
                ended.retry_after = opens_at - now
                subscriber.end(ended)

    def _refused(self, job: Job, now: float) -> None:
        refusal = self._pool.refusal()
        if refusal is not None:
            self.end_all(refusal)
        else:
            self._keep_place(job, now)

    def _count(self, job: Job, error: RequestError, verdict: Verdict, now: float) -> None:
        trouble = job.troubled()
        trouble.error = error
        trouble.faults += 1
        if self._pool.sick(now):
            return
        if verdict is Verdict.MALFORMED:
            trouble.malformed += 1
        elif verdict is Verdict.UNKNOWN_ID and now - trouble.unknown_at >= UNKNOWN_APART:
            trouble.unknown += 1
            trouble.unknown_at = now

    def _has_failed(self, job: Job, verdict: Verdict) -> bool:
        trouble = job.troubled()
        if job.owner is not None and job.owner.once:
            return verdict is Verdict.UNKNOWN_ID or trouble.faults >= TRIES_ONCE
        return trouble.unknown >= UNKNOWN_LIMIT or trouble.malformed >= MALFORMED_LIMIT

    def _once_more(self, job: Job, verdict: Verdict, now: float) -> None:
        faults = job.troubled().faults
        if verdict is Verdict.UNKNOWN_ID:
            self._again(job, UNKNOWN_APART / 2, now)  # it may be visible before that counts
        elif verdict is Verdict.THROTTLED and faults == 1:
            self._keep_place(job, now)  # the session waits, not the id
        else:
            ceiling = min(BACKOFF_BASE * 2.0 ** min(faults - 1, 10), BACKOFF_CAP)
            self._again(job, random.uniform(0.0, ceiling), now)  # noqa: S311 - no secret

    # Who awaits what

    def _jobs_of(self, subscriber: Subscriber) -> list[Job]:
        if subscriber.urgent:  # a call for one id, in a lane that it shares with other calls
            job = self._singles.get(subscriber) or self._jobs.get(subscriber.request_id)
            return [job] if job is not None and subscriber in job.subscribers() else []
        flying = [job for job in self._flying.values() if job.owner is subscriber]
        elsewhere = [self._jobs[request_id] for request_id in subscriber.elsewhere]
        return [*flying, *subscriber.lane.jobs(), *elsewhere]

    def _share(self, job: Job, subscriber: Subscriber, now: float) -> None:
        owner = job.owner
        if owner is None or subscriber in job.subscribers():
            return
        if subscriber.watches and job.record is not None:
            subscriber.changed(job.request_id, job.record)
        if subscriber.urgent and not owner.urgent:
            guest = Guest(owner, job.expires)
            job = self._hand_over(job, Guest(subscriber), now)
        else:
            guest = Guest(subscriber)
        guest.subscriber.elsewhere.add(job.request_id)
        job.guests = [*(job.guests or ()), guest]

    def _hand_over(self, job: Job, to: Guest, now: float) -> Job:
        """Give a job another owner: in its lane, unless it is in flight."""
        flying = id(job) in self._flying
        successor = job if flying else job.renewed(next(self._twins))
        successor.owner, successor.expires = to.subscriber, to.expires
        to.subscriber.elsewhere.discard(job.request_id)
        if not flying:
            self._jobs[job.request_id] = successor
            self.agenda.add(successor, now)
        return successor

    def _drop(self, job: Job, subscriber: Subscriber, now: float) -> None:
        """Let a subscriber go from a job, and the job with the last of them."""
        subscriber.elsewhere.discard(job.request_id)
        if job.owner is not subscriber:
            left = [guest for guest in job.guests or () if guest.subscriber is not subscriber]
            job.guests = left or None
        elif job.guests:
            heir = next((guest for guest in job.guests if guest.subscriber.urgent), job.guests[0])
            left = [guest for guest in job.guests if guest is not heir]
            self._hand_over(job, heir, now).guests = left or None
        else:
            self._close(job)

    def _close(self, job: Job) -> None:
        if job.owner is not None and job.owner.urgent:
            self._singles.pop(job.owner, None)
        if self._jobs.get(job.request_id) is job:
            del self._jobs[job.request_id]
        for guest in job.guests or ():
            guest.subscriber.elsewhere.discard(job.request_id)
        job.owner = job.guests = None
        self.pending -= 1
        if not job.asked:
            self._unasked -= 1

    # How an id ends, or goes on

    def _complete(self, job: Job, record: SamplingRequest) -> None:
        owner, guests = job.owner, job.guests
        self._close(job)
        self.completed += 1
        if owner is not None:
            owner.completed(job.request_id, record)
        for guest in guests or ():
            guest.subscriber.completed(job.request_id, record)

    def _fail(self, job: Job, error: RequestError) -> None:
        subscribers = tuple(job.subscribers())
        self._close(job)
        self.failed += 1
        for subscriber in subscribers:
            subscriber.failed(job.request_id, _about(job, error))

    def _give_up(
        self, job: Job, asked: float, now: float, record: SamplingRequest | None = None
    ) -> bool:
        """Fail the job for those whose time was up when it was asked; tell whether any is left."""
        if job.expires > asked and not job.guests:
            return True
        for subscriber in job.overdue(asked):
            error = DeadlineExceeded(f"not complete within {subscriber.deadline:g} s")
            error.__cause__ = None if job.trouble is None else job.trouble.error
            last = len(tuple(job.subscribers())) == 1
            self.failed += last
            self._drop(job, subscriber, now)
            error.request = record
            subscriber.failed(job.request_id, _about(job, error))
        return job.owner is not None

    def _again(self, job: Job, delay: float, now: float) -> None:
        job.release = max(min(now + delay, job.first_expiry()), now)
        job.order = self._order(job)
        job.eager = False
        self.agenda.add(job, now)

    def _keep_place(self, job: Job, now: float) -> None:
        job.release = now
        job.eager = False
        self.agenda.add(job, now)

    def _order(self, job: Job) -> float:
        """By when to ask: a sweep after the release, or when the job is expected to be done."""
        sweep = self._sweep_time()
        if not sweep or job.owner is None or job.owner.once:
            return job.release + sweep
        end = self._schedule.expected_end(job.state)
        if end is None:
            return job.release + sweep
        return min(job.release + EXPECTED_SWEEPS * sweep, max(end, job.release))

    def _sweep_time(self) -> float:
        """Seconds in which each pending id can be asked once; 0 where no rate limits them."""
        return self.pending / self._pool.rate

    def _first_release(self, now: float, delay: float) -> float:
        """When to ask a fresh id first: sooner where many wait for a share of the rate."""
        if not delay or self._pool.rate == math.inf:
            return now + delay
        return now + max(delay / 4, delay - self._unasked / self._pool.rate)


def duplicate(error: IdeogramError) -> Any:
    """Give each caller an error of its own: tracebacks and notes must not mix."""
    twin = copy.copy(error)
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = True
    return twin


def _about(job: Job, error: RequestError) -> RequestError:
    twin: RequestError = duplicate(error)
    twin.request_id = job.request_id
    if twin.request is None:
        twin.request = job.record
    return twin


def _checked(delay: float, schedule: object) -> float:
    if not 0 <= delay < math.inf:
        raise ValueError(f"{schedule!r} gave a delay of {delay!r}: expected finite seconds >= 0")
    return delay
