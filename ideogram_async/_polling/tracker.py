"""What an outcome means for the id that was asked: complete, failed, or asked again.

All decisions, and no I/O: `now` is passed in, in seconds on the event loop's clock. Every id that
is entered leaves exactly once: completed, failed, or handed back to the call that leaves early.
"""

from __future__ import annotations

import asyncio
import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ideogram_async._errors import (
    DeadlineExceeded,
    IdeogramError,
    PermissionDeniedError,
    RateLimitError,
    RequestError,
    RequestFailed,
)
from ideogram_async._limits.pool import SessionPool
from ideogram_async._limits.session import KeySession
from ideogram_async._logging import logger
from ideogram_async._models import SamplingRequest
from ideogram_async._polling.attribution import (
    Evidence,
    FaultHistory,
    Scope,
    attribute,
    is_passing,
)
from ideogram_async._polling.job import ANSWERED, EXPECTED, IMMEDIATE, ORDINARY, Job, Subscriber
from ideogram_async._polling.registry import REMOVED_AT_ONCE, JobRegistry, checked_delay
from ideogram_async._protocol.outcome import Answer, Fault, FaultKind
from ideogram_async._schedules.base import Observation, Schedule

ONE_SHOT_TRIES = 3
"""Queries of a one-shot call for an id whose faults may pass."""
UNKNOWN_LIMIT = 3
UNKNOWN_APART_SECONDS = 5.0
"""Answers in a row that the gateway does not know an id, so far apart (a new task may not be
visible yet), after which it fails."""
MALFORMED_LIMIT = 5
"""Malformed answers in a row after which an id fails."""
REFUSALS_OF_AN_ID = 3
REFUSALS_APART_SECONDS = 5.0
"""Refusals of one id by every usable key, so far apart, after which it fails alone."""
FIRST_REFUSAL_SECONDS = 1.0
"""Seconds after which an id is asked again that a key has refused for the first time."""
BACKOFF_BASE_SECONDS = 0.5
BACKOFF_CAP_SECONDS = 30.0
"""An id whose faults are its own is asked again after half to all of 0.5 s · 2ⁿ, at most 30 s."""
RECONNECT_SECONDS = (0.5, 1.0)
"""Seconds, drawn for each id, after which it is asked again where no connection was made."""
EXPECTED_SWEEPS = 1.75
"""Sweeps of all ids that one whose end is expected may be left alone, where a rate limits them."""
LAST_CALL_SECONDS = 30.0
"""Seconds that an id whose time is up may wait for its last query."""
BODIES_KEPT = 100_000
"""Pending ids up to which each keeps its last body. Beyond it memory goes first: an id that is
watched keeps a digest of its last record, and others nothing."""
FAILING_AT = 3
"""Faults of an id in a row at which the hooks are told."""

_FOREIGN = (Exception, asyncio.CancelledError)
"""What a user's schedule may raise. No cancellation of a worker arrives while it decides."""
_UNREAD = frozenset({FaultKind.UNKNOWN_ID, FaultKind.MALFORMED})
"""Faults that an answer of a working gateway may be: its key and rate are not in doubt."""
_DOUBTFUL = frozenset({FaultKind.DOUBTFUL_ADDRESS, FaultKind.UNKNOWN_HOST})
"""Faults that end a run where they last: they are looked at again soon."""
_UNCONNECTED = frozenset({FaultKind.CONNECTION, FaultKind.UNKNOWN_HOST, FaultKind.EXHAUSTED})


class _Failure(NamedTuple):
    """A query without a good answer, and what is known of its id."""

    job: Job
    session: KeySession
    fault: Fault
    history: FaultHistory
    is_known: bool
    """Whether the id was ever answered well."""
    asked: float
    now: float


class JobTracker:
    """Every id that somebody awaits, until it ends or nobody does."""

    def __init__(
        self, pool: SessionPool, schedule: Schedule[Any], *, max_faults: int | None = None
    ) -> None:
        self.completed: int = 0
        self.failed: int = 0
        self.registry: JobRegistry = JobRegistry(pool, schedule)
        self.evidence: Evidence = Evidence(len(pool.sessions))
        self.leave = self.registry.leave
        self.open_ids = self.registry.open_ids
        self._pool = pool
        self._schedule = schedule
        self._is_sure: Callable[[Any], bool] | None = getattr(schedule, "is_sure", None)
        self._max_faults = max_faults

    def enter(self, subscriber: Subscriber, now: float) -> None:
        """Add a subscriber; raise at once where a hold outlasts a one-shot call."""
        self._pool.reconsider(now, run=not subscriber.urgent)
        held_until = self._pool.held_until(now)
        if subscriber.is_one_shot and held_until > subscriber.times_out_at:
            raise _held(held_until - now, subscriber)
        self.registry.subscribers.add(subscriber)

    def subscribe(
        self, subscriber: Subscriber, request_id: str, now: float, *, just_submitted: bool = False
    ) -> None:
        """Add an id for a subscriber; where the user's schedule fails, the id does."""
        try:
            self.registry.subscribe(subscriber, request_id, now, just_submitted=just_submitted)
        except _FOREIGN as error:
            self.failed += 1
            failure = _unexpected(error, request_id)
            subscriber.failed(request_id, failure)
            if self._pool.hooks is not None:
                self._pool.hooks.failed(request_id, copied(failure))

    def end_all(self, error: IdeogramError) -> None:
        """End every call: none can go on."""
        for subscriber in tuple(self.registry.subscribers):
            subscriber.end(copied(error))

    def last_fault(self, subscriber: Subscriber) -> RequestError | None:
        """Return what the ids of a subscriber wait for: a fault of all, or of one of them."""
        own = (job.last_fault for job in self.registry.jobs_of(subscriber))
        return self._pool.fault or next((fault for fault in own if fault is not None), None)

    def handle_outcome(
        self, job: Job, session: KeySession, outcome: Answer | Fault, asked: float, now: float
    ) -> None:
        """Decide what an outcome means for the job that it answers, and for its session."""
        try:
            if outcome.allowance is not None:
                session.announced(outcome.allowance, now)
            if isinstance(outcome, Fault):
                self._faulted(job, session, outcome, asked, now)
            else:
                is_known = job.stage == ANSWERED
                self.evidence.answered(session.index, asked, now, is_known=is_known)
                session.answered(asked, now)
                if job.fault_history is not None:
                    self._clear_faults(job, job.fault_history, session)
                if session.index in self.registry.keys_in_question:
                    # An id left that this key was charged with, and this one is answered.
                    # Each refusal came after a longer hold than the one before.
                    self.registry.keys_in_question.remove(session.index)
                    session.acquitted(now)
                if job.owner is not None:
                    self._answered(job, job.owner, outcome, asked, now)
        except _FOREIGN as error:
            if job.owner is None:
                logger.exception("the schedule failed after the end of a request")
            else:
                self._fail(job, _unexpected(error, job.request_id))
        finally:
            self.registry.mark_returned(job)

    def expire_overdue(self, now: float) -> Iterator[None]:
        """Fail the ids whose time is up and whose last query does not get its turn, by portions."""
        for lane in self.registry.queue.lanes(now):
            for late in lane.overdue(now - LAST_CALL_SECONDS):
                for job in late:
                    if not self.registry.is_flying(job) and self._give_up(
                        job, now - LAST_CALL_SECONDS, now
                    ):
                        lane.expect(job)
                yield
        yield from self._expire_unasked(now)
        yield from self._fail_one_shots(now)

    def _expire_unasked(self, now: float) -> Iterator[None]:
        """Fail ids that were never asked, and due for long while nothing was answered well."""
        registry, silent = self.registry, now - self.evidence.last_good_at
        deadlines = (one.deadline for one in registry.subscribers if one.deadline is not None)
        if not registry.unasked or silent < min(deadlines, default=math.inf):
            return
        for lane in registry.queue.lanes(now):
            for portion in lane.ready_portions():
                for job in portion:
                    if self._is_spent_unasked(job, now):
                        job.expires = now
                        self._give_up(job, now, now)
                yield

    def _is_spent_unasked(self, job: Job, now: float) -> bool:
        """Return whether an id was never asked, and due for its deadline in a silent gateway."""
        owner, history = job.owner, job.fault_history
        if owner is None or job.stage or owner.deadline is None:
            return False
        due = job.release if history is None else history.due
        return now - max(due, self.evidence.last_good_at) >= owner.deadline

    # A good answer

    def _answered(
        self, job: Job, owner: Subscriber, answer: Answer, asked: float, now: float
    ) -> None:
        record = answer.record
        if owner.is_one_shot:
            self._complete(job, record)
        elif record.is_errored is True:
            job.last_seen = answer.kept()
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
        record, is_watched = seen.record, owner.wants_changes or bool(job.shared_with)
        if job.stage != ANSWERED:
            self.registry.mark_answered(job)
        if is_watched and job.differs(answer):
            for subscriber in job.subscribers():
                if subscriber.wants_changes:
                    subscriber.changed(job.request_id, record)
        if len(self.registry) <= BODIES_KEPT:
            job.last_seen = answer.kept()
        else:
            job.last_seen = answer.digest() if is_watched else None
        self.registry.answered_last.append(job.request_id)
        if self._give_up(job, seen.asked, seen.answered, record):
            delay = checked_delay(self._schedule.next_delay(job.state, seen), self._schedule)
            if answer.retry_after is not None:
                delay = max(delay, answer.retry_after)
            self._reschedule(job, delay, seen.answered)

    def _clear_faults(self, job: Job, history: FaultHistory, session: KeySession) -> None:
        if history.is_charged:
            self._pool.sessions[history.key].confirmed()
            self.evidence.of(history.key).confirmed()
        if job.is_troubled and job.owner is not None:
            self.registry.mark_sound()
        refused = history.refusals or {}
        others = {key: times for key, times in refused.items() if key != session.index}
        # The other keys that have refused it are not tried again.
        job.fault_history = FaultHistory(refusals=others) if others else None

    # A fault

    def _faulted(
        self, job: Job, session: KeySession, fault: Fault, asked: float, now: float
    ) -> None:
        """Charge a fault to whoever it is, then decide how its id goes on.

        1. Our own error: the id fails.
        2. The address is wrong: every call ends.
        3. The key is refused: another id checks it, see `_refused`.
        4. The rate, the gateway, the id, or nobody: the id is asked again, unless it has failed.
        """
        history = job.history()
        history.error = fault.error
        history.tries += 1
        is_unseen = fault.kind is FaultKind.TIMEOUT and not self.evidence.has_answered
        if is_unseen or fault.kind in _UNCONNECTED:
            self.registry.mark_unsent(job)  # for all that is known the gateway never saw it
        history.since = min(history.since, now)
        failure = _Failure(job, session, fault, history, job.stage == ANSWERED, asked, now)
        self.evidence.failed(fault.kind, job.request_id, now)
        scope = attribute(
            fault,
            history,
            self.evidence,
            session.index,
            asked,
            is_known=failure.is_known,
            is_alone=self.registry.pending <= 1,
            has_known=self.registry.known > 0,
        )
        logger.debug("%s: %s, %s", job.request_id, scope.value, fault.error)
        if scope is Scope.LOCAL or scope is Scope.ADDRESS:
            session.neutral(asked, now)
        if scope is Scope.ADDRESS:
            self.end_all(self._pool.wrong_address(fault))
        elif scope is Scope.KEY:
            self._refused(failure)
        elif scope is not Scope.LOCAL:
            self._charge(scope, failure)
            self._count(failure)
            if job.owner is not None:
                self._go_on(scope, failure)
        elif job.owner is not None:
            self._fail(job, fault.error)

    def _charge(self, scope: Scope, failure: _Failure) -> None:
        """Let the session know of a fault."""
        session, fault, asked, now = failure.session, failure.fault, failure.asked, failure.now
        if scope in {Scope.LIMIT, Scope.GATEWAY} and not failure.history.faults:
            self.evidence.of(session.index).count_fault()
        if scope is Scope.LIMIT:
            if not failure.history.is_charged:
                failure.history.is_charged = True
                self.evidence.of(session.index).charged()
            is_known = failure.is_known
            holds = self._pool.throttled(session, fault.error, asked, now, is_known=is_known)
            if holds and is_known:
                self.evidence.of(session.index).disputed()
            self._end_one_shots(now)
        elif scope is Scope.GATEWAY:
            is_first = not failure.is_known and not failure.history.faults
            session.failed(
                fault.error,
                asked,
                now,
                is_row=is_first and fault.kind not in _UNCONNECTED,
                is_doubtful=fault.kind in _DOUBTFUL and not self.evidence.has_answered,
            )
        else:
            session.neutral(
                asked,
                now,
                accepted=fault.kind in _UNREAD,
                refused=fault.kind is FaultKind.THROTTLED,
            )
            if fault.kind is FaultKind.THROTTLED:
                self._acquit(failure)

    def _acquit(self, failure: _Failure) -> None:
        """Let the rate be what it was where an id's own refusals were charged to it."""
        history, evidence = failure.history, self.evidence.of(failure.session.index)
        is_proven = evidence.refuses_only_new
        if history.is_charged:
            history.is_charged = False
            is_proven |= evidence.acquitted()
        if is_proven:
            failure.session.acquitted(failure.now)

    def _count(self, failure: _Failure) -> None:
        """Count a fault in the id's row, after it was charged."""
        history, kind, now = failure.history, failure.fault.kind, failure.now
        if kind in _UNCONNECTED:
            return
        history.faults += 1
        history.key = failure.session.index
        evidence = self.evidence.of(history.key)
        history.good_then, history.counted_then = evidence.good, evidence.counted
        if kind is FaultKind.MALFORMED:
            history.malformed += 1
        elif kind is FaultKind.UNKNOWN_ID and now - history.unknown_at >= UNKNOWN_APART_SECONDS:
            history.unknown += 1
            history.unknown_at = now
        if failure.job.owner is not None:
            if history.faults == 1:
                self.registry.mark_failing()
            if history.faults == FAILING_AT and self._pool.hooks is not None:
                error = _about(failure.job, failure.fault.error)
                self._pool.hooks.failing(failure.job.request_id, history.faults, error)

    def _go_on(self, scope: Scope, failure: _Failure) -> None:
        job, asked, now = failure.job, failure.asked, failure.now
        if self._is_spent_unasked(job, now):  # the sweep does not see what is in flight
            job.expires = asked
        if self._has_failed(failure):
            self._fail(job, failure.fault.error)
        elif self._give_up(job, asked, now):
            self._retry(scope, failure)

    def _has_failed(self, failure: _Failure) -> bool:
        """Return whether the id has failed.

        1. A one-shot call: at the first answer that says so, or at the third try.
        2. Too many faults for the caller.
        3. "Unknown" or "malformed", often enough, and not in a way that may pass.
        """
        owner, fault, history = failure.job.owner, failure.fault, failure.history
        if owner is not None and owner.is_one_shot:
            says_so = fault.kind in _UNREAD and not fault.is_misplaced
            is_spent = history.tries >= ONE_SHOT_TRIES and fault.kind is not FaultKind.EXHAUSTED
            return says_so or is_spent
        if self._max_faults is not None and history.faults >= self._max_faults:
            return True
        often = history.unknown >= UNKNOWN_LIMIT or history.malformed >= MALFORMED_LIMIT
        return often and not is_passing(
            history,
            self.evidence,
            failure.now,
            is_known=failure.is_known,
            is_alone=self.registry.pending <= 1,
        )

    def _retry(self, scope: Scope, failure: _Failure) -> None:
        """Ask an id again after a fault.

        1. Its first refusal that was charged to the rate: it keeps its place, the key waits.
        2. Its own `Retry-After` outlasts a call that asks once: the id fails at once.
        3. Any other: later, see `_delay`.
        """
        job, now = failure.job, failure.now
        if scope is Scope.LIMIT and failure.history.faults == 1:
            self._requeue(job, now)
            return
        delay, owner = _delay(scope, failure), job.owner
        is_late = owner is not None and owner.is_one_shot and now + delay > owner.times_out_at
        if is_late and failure.fault.error.retry_after is not None:
            self._fail(job, failure.fault.error)
        else:
            self._reschedule(job, delay, now)

    # A refused key

    def _refused(self, failure: _Failure) -> None:
        """Handle a refusal of the key.

        1. The key is out of use, and so are all others: every call ends.
        2. The key is out of use, now or since the query was sent: the id is asked with another one.
        3. Another id will check the key. If it is answered the refusal is this id's own: it fails
           once every usable key has refused it often enough.
        """
        job, session, now = failure.job, failure.session, failure.now
        error, alone = failure.fault.error, self.registry.pending <= 1
        if session.refused_key(job.request_id, error, failure.asked, now, alone=alone):
            refusal = self._pool.refusal(now)
            if refusal is not None:
                self.end_all(refusal)
            else:
                self._requeue(job, now)
        elif session.refusal is not None:
            self._requeue(job, now)
        elif job.owner is not None:
            self._refused_alone(failure)

    def _refused_alone(self, failure: _Failure) -> None:
        job, history, key, now = failure.job, failure.history, failure.session.index, failure.now
        refusals = history.refusals = history.refusals or {}
        is_first = key not in refusals
        if is_first or now - history.refused_at >= REFUSALS_APART_SECONDS:
            refusals[key] = refusals.get(key, 0) + 1
            history.refused_at = now
        usable = [one.index for one in self._pool.sessions if one.refusal is None]
        if all(refusals.get(one, 0) >= REFUSALS_OF_AN_ID for one in usable):
            # Every key refuses this id, while others are answered.
            words = (
                f"every key is refused for this id alone, the last: {failure.fault.error.args[0]}"
            )
            self._fail(job, PermissionDeniedError(words, status=failure.fault.error.status))
        elif self._give_up(job, failure.asked, now):
            delay = FIRST_REFUSAL_SECONDS if is_first else REFUSALS_APART_SECONDS
            if any(one not in refusals for one in usable):
                delay = 0.0
            self._reschedule(job, delay, now)

    # One-shot calls

    def _end_one_shots(self, now: float) -> None:
        """End the one-shot calls that the gateway asks to wait for longer than they may take."""
        opens_at = self._pool.held_until(now)
        for subscriber in tuple(self.registry.subscribers):
            if subscriber.is_one_shot and opens_at > subscriber.times_out_at:
                subscriber.end(_held(opens_at - now, subscriber))

    def _fail_one_shots(self, now: float) -> Iterator[None]:
        """Fail the ids of one-shot calls where the gateway has been down for long enough."""
        fault = self._pool.fault if self._pool.is_outage(now) else None
        for place, job in enumerate(self.registry.one_shots() if fault is not None else ()):
            if fault is not None and job.owner is not None and not self.registry.is_flying(job):
                self._fail(job, fault)
            if place % REMOVED_AT_ONCE == 0:
                yield

    # How an id ends, or goes on

    def _complete(self, job: Job, record: SamplingRequest) -> None:
        owner, others = job.owner, job.shared_with
        self.registry.close(job)
        self.completed += 1
        if owner is not None:
            owner.completed(job.request_id, record)
        for one in others or ():
            one.completed(job.request_id, record)

    def _fail(self, job: Job, error: RequestError) -> None:
        subscribers = tuple(job.subscribers())
        self.registry.close(job)
        self.failed += 1
        for subscriber in subscribers:
            subscriber.failed(job.request_id, _about(job, error))
        if self._pool.hooks is not None and not subscribers[0].is_one_shot:
            self._pool.hooks.failed(job.request_id, _about(job, error))

    def _give_up(
        self, job: Job, asked: float, now: float, record: SamplingRequest | None = None
    ) -> bool:
        """Fail the job for those whose time was up; return whether it goes on for anybody."""
        if job.expires > asked and not job.shared_with:
            return True
        for subscriber in job.overdue(asked):
            error = self._deadline_error(job, subscriber)
            error.request = record or job.record
            last = not job.shared_with
            self.failed += last
            self.registry.drop(job, subscriber, now)
            subscriber.failed(job.request_id, _about(job, error))
            if self._pool.hooks is not None and last:
                self._pool.hooks.failed(job.request_id, _about(job, error))
        return job.owner is not None

    def _deadline_error(self, job: Job, subscriber: Subscriber) -> DeadlineExceeded:
        fault = job.last_fault
        words = ""
        if fault is None and not job.stage:
            fault = self._pool.fault
            why = "its turn did not come" if fault is None else fault.args[0]
            words = f", and was never asked: {why}"
        elif fault is not None:
            words = f"; the last fault: {fault.args[0]}"
        error = DeadlineExceeded(f"not complete within {subscriber.deadline:g} s{words}")
        error.__cause__ = fault
        return error

    def _reschedule(self, job: Job, delay: float, now: float) -> None:
        release, expires = now + delay, job.first_expiry() if job.shared_with else job.expires
        job.release = release if release < expires else max(expires, now)
        self._set_order(job)
        self.registry.queue.add(job, now)

    def _requeue(self, job: Job, now: float) -> None:
        """Let a job keep its place."""
        job.release = now
        if job.precedence == IMMEDIATE:
            job.precedence = ORDINARY
        self.registry.queue.add(job, now)

    def _set_order(self, job: Job) -> None:
        """Set by when to ask, and whether the end is sure.

        1. Nothing limits the rate: at the release.
        2. A sweep of all ids after it.
        3. Its end is expected: when it may be done, after some sweeps at latest.
        """
        sweep = self.registry.sweep_seconds()
        job.precedence = ORDINARY
        job.order = job.release  # the same object: 32 bytes less for each of a million
        if not sweep:
            return
        end = None
        if job.owner is not None and not job.owner.is_one_shot:
            end = self._schedule.expected_end(job.state)
        if end is None:
            job.order += sweep
            return
        if math.isnan(end):
            raise ValueError(f"{self._schedule!r} gave an expected end of {end!r}")
        job.order = min(job.release + EXPECTED_SWEEPS * sweep, max(end, job.release))
        if self._is_sure is not None and self._is_sure(job.state):
            job.precedence = EXPECTED


def _delay(scope: Scope, failure: _Failure) -> float:
    """Return the seconds until an id is asked again after a fault.

    1. No connection was made: soon, for the gateway's health decides when.
    2. It is unknown: no sooner than it may be visible, before that counts.
    3. Its own: later each time; no sooner than the gateway asked for.
    """
    kind, wait = failure.fault.kind, failure.fault.error.retry_after
    if kind in _UNCONNECTED:
        return random.uniform(*RECONNECT_SECONDS)  # noqa: S311 - no secret
    ceiling = BACKOFF_BASE_SECONDS * 2.0 ** min(failure.history.faults - 1, 10)
    delay = min(ceiling, BACKOFF_CAP_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    if kind is FaultKind.UNKNOWN_ID:
        delay = max(delay, UNKNOWN_APART_SECONDS / 2)
    if wait is not None and scope is not Scope.LIMIT:
        delay = max(delay, wait * random.uniform(1.0, 1.1))  # noqa: S311 - no secret
    return delay


def copied(error: IdeogramError) -> Any:
    """Return a copy of an error: each caller gets its own, so that tracebacks do not mix."""
    twin = copy.copy(error)
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = True
    return twin


def _unexpected(error: BaseException, request_id: str) -> RequestError:
    """Return the error of an id for which the user's schedule failed."""
    words = f"unexpected {type(error).__name__}: {error}".removesuffix(": ")
    failure = RequestError(words, request_id=request_id)
    failure.__cause__ = error
    return failure


def _about(job: Job, error: RequestError) -> RequestError:
    twin: RequestError = copied(error)
    twin.request_id = job.request_id
    if twin.request is None:
        twin.request = job.record
    return twin


def _held(wait: float, subscriber: Subscriber) -> RateLimitError:
    return RateLimitError(
        f"the gateway asked to wait, for {wait:.0f} s more",
        request_id=subscriber.request_id or None,
        retry_after=wait,
    )
