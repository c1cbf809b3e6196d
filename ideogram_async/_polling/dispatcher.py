"""The workers of a client: they take due ids and send queries.

Each client has one dispatcher, started by its first call. It knows a query only as a callable. What
an outcome means is the tracker's decision, made synchronously between two queries.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from functools import partial
from itertools import islice
from statistics import median
from typing import Any, cast

import anyio

from ideogram_async._errors import APITimeoutError, ClientClosed
from ideogram_async._limits.pool import SessionPool
from ideogram_async._limits.session import KeySession
from ideogram_async._polling.attribution import FaultHistory, KeyEvidence
from ideogram_async._polling.job import IMMEDIATE, Job
from ideogram_async._polling.task_group import TaskGroup, start_later
from ideogram_async._polling.tracker import LAST_CALL_SECONDS, JobTracker
from ideogram_async._protocol.outcome import Answer, Fault, FaultKind

Query = Callable[[int, str, Context | None], Awaitable[Answer | Fault]]
"""Ask for an id in the session of that index, in a caller's context; raises nothing but
cancellation."""

Task = Callable[[], Coroutine[Any, Any, None]]

EXPIRE_EVERY_SECONDS = 5.0
"""Seconds between looks for ids whose time was up before their turn came."""
SLOW_SECONDS = 3.0
SLOW_MEDIANS = 5.0
"""A query is slow after so many seconds, and after so many times the median of the last answers."""
SLOW_LOOK_SECONDS = 0.1
"""Seconds at least between two looks for slow queries."""
SLOW_SHARE = 4
"""Slow queries hold at most one in so many places of the flight, while other ids are due."""
ANSWERS_REMEMBERED = 50
"""Answers whose median time tells what is slow."""
RANDOM_AFTER_NEWCOMERS = 4
"""First faults in a row of ids that were never answered, after which the next of them stands at a
random place in the line: a batch may begin with its sick ids."""
LOOK_AGAIN_SECONDS = 0.1
"""Seconds after which a worker looks again where something may be asked, yet nothing was found: an
id that was never asked may be due, but not be among the few that a probe is chosen of."""
MOST_TROUBLED = 4
"""Ids with faults in a row hold at most one in so many places of the flight, while others wait."""


class Dispatcher:
    """The tasks and timers of a client."""

    def __init__(
        self,
        query: Query,
        tracker: JobTracker,
        pool: SessionPool,
        *,
        max_in_flight: int,
        connect_timeout: float,
    ) -> None:
        self.stopped: bool = False
        """Whether its tasks have ended, or are about to: no more queries are sent."""
        self._query = query
        self._tracker = tracker
        self._pool = pool
        self._max_in_flight = max_in_flight
        # A worker holds a slot from its first query until it finds nothing more to ask.
        self._slots = anyio.Semaphore(max_in_flight, fast_acquire=True)
        self._idle: list[asyncio.Future[None]] = []
        self._workers = 0
        self._tasks: TaskGroup | None = None
        self._registry = tracker.registry
        self._most_troubled = max(max_in_flight // MOST_TROUBLED, 1)
        self._asked_at: dict[asyncio.Task[None], float] = {}
        self._answer_seconds: deque[float] = deque(maxlen=ANSWERS_REMEMBERED)
        # Until something was answered, what cannot connect must have time to say so.
        self._first_answer_seconds = max(SLOW_SECONDS, connect_timeout + 1)
        self._evidence = [tracker.evidence.of(one.index) for one in pool.sessions]
        self._may_go = [
            partial(self._may_go_now, evidence, key) for key, evidence in enumerate(self._evidence)
        ]
        self._cut: set[asyncio.Task[None]] = set()
        self._cuts_in_a_row = 0
        self._slow_timer: asyncio.TimerHandle | None = None
        self._early: list[tuple[Task, str, Context]] = []
        # Of its own: what goes on here outlives the call that began it, and serves others.
        self._context = Context()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._expiry_timer: asyncio.Handle
        self._loop = asyncio.get_running_loop()
        pool.subscribe(self._limiter_changed)
        self._expire_at = self._grace_until = self._loop.time()
        self._expire_later()
        self._supervisor = start_later(
            self._supervise(),
            self._loop,
            name="ideogram_async dispatcher",
            context=self._context,
        )

    def spawn(self, function: Task, name: str) -> None:
        """Run a task beside the workers, in the caller's context; it must not raise."""
        if self._tasks is None:
            self._early.append((function, name, copy_context()))
        else:
            self._tasks.create_task(function(), name=name)

    def wake(self) -> None:
        """Wake a worker if a job is due; otherwise set the timer for the next one."""
        if not self._idle and self._workers == self._max_in_flight:
            return  # all are at work, and each of them looks when it is done
        now = self._loop.time()
        when = self._next_time(now)
        if when <= now:
            self._wake_worker()
        else:
            self._set_alarm(when)

    def _limiter_changed(self) -> None:
        """Look anew: a limiter that others share may let a query go, or hold them all."""
        self._pool.update(self._loop.time())
        self.wake()

    def clean_up(self) -> None:
        """Remove what a large run has left, a portion in each turn of the loop."""
        if self._registry.clean_up(self._loop.time()) and not self.stopped:
            self._loop.call_soon(self.clean_up)

    async def close(self) -> None:
        """Stop every task."""
        self._supervisor.cancel()
        await asyncio.wait([self._supervisor])

    async def _supervise(self) -> None:
        """Hold the tasks: here, so that no scope ever spans a caller's own code."""
        try:
            # No task group of anyio: workers are started from timers, too, where it sees no task.
            async with TaskGroup() as self._tasks:
                try:
                    self._spawn_early(self._tasks)
                    self.wake()
                    await anyio.sleep_forever()
                finally:
                    self.stopped = True
        finally:
            self._expiry_timer.cancel()
            for timer in (self._alarm, self._slow_timer):
                if timer is not None:
                    timer.cancel()
            self._tracker.end_all(ClientClosed("the client's tasks have stopped"))

    def _spawn_early(self, tasks: TaskGroup) -> None:
        """Start them, in a frame of its own: the supervisor's would hold the last run for good."""
        for function, name, context in self._early:
            tasks.create_task(function(), name=name, context=context)
        self._early.clear()

    # Waking up

    def _wake_worker(self) -> None:
        while self._idle:
            idler = self._idle.pop()
            if not idler.done():
                idler.set_result(None)
                return
        if self._tasks is not None and not self.stopped and self._workers < self._max_in_flight:
            self._workers += 1
            name = f"ideogram_async worker {self._workers}"
            # Run in it, for the tasks's callback keeps the context that it was added in.
            Context().run(partial(self._tasks.create_task, self._work(), name=name))

    def _set_alarm(self, when: float) -> None:
        if when >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._wake_worker()

    def _expire_overdue(self) -> None:
        now = self._loop.time()
        if (
            now > self._expire_at + EXPIRE_EVERY_SECONDS
        ):  # the process was suspended: nothing had a turn
            self._grace_until = now + LAST_CALL_SECONDS
        if now >= self._grace_until:
            self._expire_by_portions(self._tracker.expire_overdue(now))
        else:
            self._expire_later()

    def _expire_by_portions(self, portions: Iterator[None]) -> None:
        """Sweep a portion in each turn of the loop."""
        for _ in portions:
            self._expiry_timer = self._loop.call_soon(self._expire_by_portions, portions)
            return
        self._expire_later()

    def _expire_later(self) -> None:
        self._expire_at = self._loop.time() + EXPIRE_EVERY_SECONDS
        self._expiry_timer = self._loop.call_at(
            self._expire_at, self._expire_overdue, context=self._context
        )

    # Asking

    async def _work(self) -> None:
        pool, tracker, time = self._pool, self._tracker, self._loop.time
        asked_at = self._asked_at
        task = cast("asyncio.Task[None]", asyncio.current_task())
        while True:
            async with self._slots:
                now = time()
                while (taken := self._take(now)) is not None:
                    job, session = taken
                    asked = asked_at[task] = now
                    owner = job.owner
                    context = None if owner is None else owner.context
                    if self._slow_timer is None and (
                        len(asked_at) == self._max_in_flight or session.probing
                    ):
                        self._watch_slow(now)
                    try:
                        outcome = await self._query(session.index, job.request_id, context)
                    except asyncio.CancelledError:
                        outcome = self._cut_off(task, job, asked)
                    finally:
                        del asked_at[task]
                        session.returned()
                    now = time()
                    if isinstance(outcome, Answer):
                        self._answer_seconds.append(now - asked)
                        self._cuts_in_a_row = 0
                    if pool.hooks is not None:
                        pool.hooks.answered(session.index, outcome, job.request_id, asked, now)
                    tracker.handle_outcome(job, session, outcome, asked, now)
                    # Not held until the next answer: they may be large.
                    del taken, job, outcome, owner, context
            idler = self._loop.create_future()
            self._idle.append(idler)
            await idler

    def _take(self, now: float) -> tuple[Job, KeySession] | None:
        """Return what may be asked now, or set the timer for when something may.

        1. A session may send any job. If it probes, it sends the job that shows most.
        2. The pace lets immediate jobs alone go.
        3. No job is due, but a session that probes may send one before its time.
        4. All sessions are closed, but an id that was never asked may be a probe of its own.
        """
        queue, pool = self._registry.queue, self._pool
        session, job, is_newcomer = pool.choose(now, immediate=False), None, False
        if session is not None:
            job = self._pop(session, now)
        elif queue.has_immediate() and not self._tracker.evidence.is_in_doubt:
            session = pool.choose(now, immediate=True)
            if session is not None:
                job = self._pop(session, now, immediate=True)
        if job is None and pool.is_probing:
            session = pool.choose_probing(now)
            job = None if session is None else self._pop(session, now)
        if job is None and self._registry.unasked:
            session = pool.choose_for_newcomer(now)
            job = None if session is None else queue.pop_newcomer(now)
            is_newcomer = job is not None
        if session is None or job is None:
            when = self._next_time(now)
            self._set_alarm(when if when > now else now + LOOK_AGAIN_SECONDS)
            return None
        if is_newcomer:
            pool.sent_newcomer(session, now)
        else:
            if job.fault_history is not None:
                session = self._another_key(job.fault_history, session, now)
            pool.sent(session, now, immediate=job.precedence == IMMEDIATE)
        self._registry.mark_sent(job, now)
        if self._idle or self._workers < self._max_in_flight:  # else each looks when it is done
            when = queue.next_time(now)
            if when <= now:
                self._wake_worker()  # one wakes the next, so that none wakes in vain
            else:
                self._set_alarm(when)  # the worker of the only due job may be away for long
        return job, session

    def _pop(self, session: KeySession, now: float, *, immediate: bool = False) -> Job | None:
        queue = self._registry.queue
        if session.probing:
            suspicion = session.suspicion
            job = self._registry.pop_answered_last() if suspicion is None else None
            if job is not None:
                return job
            return queue.pop_probe(now, None if suspicion is None else suspicion.request_id)
        evidence, job = self._evidence[session.index], None
        if evidence.doubt:
            job = queue.pop_known(now)
        elif evidence.disputes:  # its next query tells whose fault it was
            job = queue.pop_failed(now, partial(_is_told_apart, evidence, session.index))
        if job is None and evidence.newcomers_in_a_row >= RANDOM_AFTER_NEWCOMERS:
            job = queue.pop_newcomer(now)
        if job is not None:
            return job
        if not queue.has_troubled:  # of most queries: `queue.pop` without its call
            return queue.pop_sound(now, immediate=immediate)
        return queue.pop(now, immediate=immediate, may_go=self._may_go[session.index])

    def _may_go_now(self, evidence: KeyEvidence, key: int, job: Job) -> bool:
        """Return whether a job with faults may be asked while sound ones are due.

        Such jobs hold few places of the flight, and the next fault of each must be told apart from
        others' faults.
        """
        if len(self._registry.troubled_in_flight) >= self._most_troubled:
            return False
        history = job.fault_history
        return history is None or history.key != key or evidence.tells_apart(history)

    def _another_key(self, history: FaultHistory, session: KeySession, now: float) -> KeySession:
        """Return the session for an id that some keys have refused: another one where it can be."""
        if history.refusals is None:
            return session
        return self._pool.choose_other(history.refusals, now) or session

    def _next_time(self, now: float) -> float:
        """Return when something is due and may be asked, or never (inf)."""
        queue, pool = self._registry.queue, self._pool
        when = queue.next_time(now)
        probe_at = math.inf
        if pool.is_probing:
            probe_at = max(queue.next_probe_time(now), pool.next_probe_at(now), now)
            if self._registry.unasked:
                newcomer_at = max(queue.next_sound_time(now), pool.newcomer_at(), now)
                probe_at = min(probe_at, newcomer_at)
        if when == math.inf:
            return probe_at
        opens_at = pool.opens_at(now, immediate=False)
        if opens_at == math.inf and self._slow_timer is None and self._asked_at:
            self._watch_slow(now)  # each key has as many queries in flight as it may
        if when < opens_at:
            pool.wait(self._registry.pending)
            if queue.has_immediate() and not self._tracker.evidence.is_in_doubt:
                opens_at = min(opens_at, pool.opens_at(now, immediate=True))
        return min(max(when, opens_at), probe_at)

    # Slow queries

    def _watch_slow(self, now: float) -> None:
        """Set the timer for when more queries will be slow than may be.

        It is set for `SLOW_SECONDS` from now at the latest: what is slow changes with the first
        answer.
        """
        first = islice(self._asked_at.values(), self._slow_allowed(), None)
        when = max(next(first, now) + self._slow_seconds(), now + SLOW_LOOK_SECONDS)
        when = min(when, now + SLOW_SECONDS)
        self._slow_timer = self._loop.call_at(when, self._cut_slow, context=self._context)

    def _slow_allowed(self) -> int:
        """Return how many queries may be slow: none where a probe needs the place."""
        return 0 if self._pool.is_probing else max(self._flight() // SLOW_SHARE, 1)

    def _flight(self) -> int:
        """Return how many queries may be in flight: at first, few with each key."""
        return max(min(self._max_in_flight, self._pool.room), 1)

    def _cut_slow(self) -> None:
        """Cut the oldest slow queries off while other ids are due and wait for their places."""
        self._slow_timer = None
        now = self._loop.time()
        limit = self._slow_seconds()
        slow = [task for task, asked in self._asked_at.items() if now - asked >= limit]
        is_probing = self._pool.is_probing
        is_full = len(self._asked_at) >= self._flight()
        queue = self._registry.queue
        when = queue.next_probe_time(now) if is_probing else queue.next_time(now)
        if when <= now and (is_full or is_probing):
            for task in slow[: max(len(slow) - self._slow_allowed(), 0)]:
                self._cut.add(task)
                task.cancel()
        if self._asked_at and (is_full or is_probing):
            self._watch_slow(now)

    def _slow_seconds(self) -> float:
        """Return the seconds after which a query is slow: longer after each that was cut off.

        Where no answer ever came, a gateway that takes its time must still get to answer.
        """
        seconds = self._first_answer_seconds
        if self._answer_seconds:
            seconds = max(SLOW_SECONDS, SLOW_MEDIANS * median(self._answer_seconds))
        return seconds * 2.0 ** min(self._cuts_in_a_row // self._flight(), 10)

    def _cut_off(self, task: asyncio.Task[None], job: Job, asked: float) -> Fault:
        """Return the fault of a query that was cut off; raise any other cancellation."""
        if task not in self._cut:
            raise  # noqa: PLE0704 - called while a cancellation is handled
        self._cut.discard(task)
        if task.uncancel():
            raise  # noqa: PLE0704 - as above
        self._cuts_in_a_row += 1
        seconds = self._loop.time() - asked
        error = APITimeoutError(
            f"no answer within {seconds:.1f} s, and other ids were due", request_id=job.request_id
        )
        return Fault(FaultKind.TIMEOUT, error)


def _is_told_apart(evidence: KeyEvidence, key: int, job: Job) -> bool:
    """Return whether a job's refusal was charged to the rate, and its next will be its own."""
    history = job.fault_history
    if history is None or history.key != key or not history.is_charged:
        return False
    return evidence.tells_apart(history)
