"""The ledger as a state machine: whatever happens, each id ends exactly once for each caller."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ideogram_async import (
    APIConnectionError,
    Downloads,
    FixedInterval,
    IdeogramError,
    InvalidResponseError,
    RateLimitError,
    RequestError,
    RequestNotFound,
    SamplingRequest,
    _agenda,
    _subscriptions,
)
from ideogram_async._agenda import Lane
from ideogram_async._job import Job
from ideogram_async._ledger import LAST_CALL, Ledger
from ideogram_async._sessions import Pool
from ideogram_async._settings import settle
from ideogram_async._wire import Answer, Fault, Verdict

IDS = [f"id-{number}" for number in range(6)]
_FAULTS = {
    "transient": Fault(Verdict.TRANSIENT, APIConnectionError("reset")),
    "throttled": Fault(Verdict.THROTTLED, RateLimitError("429", status=429)),
    "unknown": Fault(Verdict.UNKNOWN_ID, RequestNotFound("404", status=404)),
    "malformed": Fault(Verdict.MALFORMED, InvalidResponseError("no list", status=200)),
}


def pool() -> Pool:
    """Make a pool of one session with default settings."""
    return Pool(
        settle(
            "https://gateway.example",
            token="key",
            access_token=None,
            credentials=(),
            max_in_flight=20,
            max_rate=None,
            deadline=None,
            attempt_timeout=30,
            connect_timeout=5,
            max_body=1,
            proxy=None,
            ssl=True,
            headers=None,
            user_agent=None,
            allow_http=False,
            downloads=Downloads(),
        )
    )


class _Caller:
    """A subscriber that counts how its ids end."""

    def __init__(
        self, ledger: Ledger, *, wait: str | None, once: bool, deadline: float | None
    ) -> None:
        self.ledger = ledger
        self.lane = ledger.agenda.urgent if wait else Lane()
        self.urgent = wait is not None
        self.request_id = wait or ""
        self.once = once
        self.watches = False
        self.deadline = deadline
        self.until = math.inf
        self.elsewhere: set[str] = set()
        self.taken: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.gone = False

    def changed(self, request_id: str, record: SamplingRequest) -> None:
        raise AssertionError("nobody watches")

    def completed(self, request_id: str, record: SamplingRequest) -> None:
        assert record.request_id == request_id
        assert self.once or record.is_complete
        self.ends[request_id] += 1

    def failed(self, request_id: str, error: RequestError) -> None:
        assert error.request_id == request_id
        self.ends[request_id] += 1

    def end(self, error: IdeogramError) -> None:
        raise AssertionError("nothing here ends a run")

    def open(self) -> Counter[str]:
        return self.taken - self.ends


class LedgerMachine(RuleBasedStateMachine):
    """Runs and calls over a few ids, answered in every way, left at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.pool = pool()
        self.ledger = Ledger(self.pool, FixedInterval(1.0))
        self.callers: list[_Caller] = []
        self.flying: list[tuple[Job, float]] = []
        self.sweeping: Iterator[None] = iter(())
        self.portions = ExitStack()  # what is overdue, and what is left, goes by portions
        self.portions.enter_context(patch.object(_agenda, "_AT_ONCE", 2))
        self.portions.enter_context(patch.object(_subscriptions, "AT_ONCE", 2))

    def _enter(
        self, ids: set[str], *, wait: str | None, once: bool, deadline: float | None
    ) -> None:
        caller = _Caller(self.ledger, wait=wait, once=once, deadline=deadline)
        self.ledger.enter(caller, self.now)
        self.callers.append(caller)
        for request_id in sorted(ids):
            caller.taken[request_id] += 1
            self.ledger.subscribe(caller, request_id, self.now)

    @rule(
        ids=st.sets(st.sampled_from(IDS)),
        once=st.booleans(),
        deadline=st.sampled_from([None, 5.0, 50.0]),
    )
    def begin_a_run(self, ids: set[str], once: bool, deadline: float | None) -> None:
        self._enter(ids, wait=None, once=once, deadline=None if once else deadline)

    @rule(
        wait=st.sampled_from(IDS), once=st.booleans(), deadline=st.sampled_from([None, 5.0, 50.0])
    )
    def begin_a_call(self, wait: str, once: bool, deadline: float | None) -> None:
        self._enter({wait}, wait=wait, once=once, deadline=None if once else deadline)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def send(self) -> None:
        job = self.ledger.agenda.pop(self.now)
        if job is not None:
            assert not all(subscriber.gone for subscriber in cast("Any", job.subscribers()))
            self.ledger.departs(job, self.now)
            self.flying.append((job, self.now))

    @rule(data=st.data(), kind=st.sampled_from(["complete", "running", "errored", *_FAULTS]))
    def answer(self, data: st.DataObject, kind: str) -> None:
        if not self.flying:
            return
        job, asked = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        outcome: Answer | Fault = _FAULTS.get(kind) or Answer(
            SamplingRequest(
                request_id=job.request_id,
                completion_percentage=100 if kind == "complete" else 50,
                is_errored=kind == "errored",
            ),
            None,
        )
        self.ledger.settle(job, outcome, asked, self.now)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if not self.callers:
            return
        caller = data.draw(st.sampled_from(self.callers))
        if not caller.gone:
            handed_back = Counter(self.ledger.leave(caller, self.now))
            assert handed_back == caller.open()
            caller.gone = True
            caller.taken = Counter(caller.ends)

    @rule()
    def tidy(self) -> None:
        self.ledger.tidy(self.now, 1)

    @rule()
    def sweep(self) -> None:
        for _ in self.sweeping:
            return
        self.sweeping = self.ledger.sweep(self.now)

    @invariant()
    def each_id_ends_at_most_once_for_each_caller(self) -> None:
        for caller in self.callers:
            assert caller.ends <= caller.taken
            assert not (caller.gone and caller.elsewhere) or self.ledger._leaving

    @invariant()
    def what_is_open_is_listed(self) -> None:
        for caller in self.callers:
            if not caller.gone:
                assert Counter(self.ledger.open_ids(caller)) == caller.open()

    @invariant()
    def what_is_pending_is_asked_or_in_flight(self) -> None:
        polled = {i for c in self.callers if not c.gone and not c.once for i in c.open()}
        once = sum(c.open().total() for c in self.callers if not c.gone and c.once)
        assert self.ledger.pending == len(polled) + once + len(self._left())

    def _left(self) -> set[int]:
        """Find what nobody awaits any more, and what is let go of by and by."""
        heaps = (heap for _, heaps in self.ledger._leaving for heap in heaps)
        left = (job for heap in heaps for job in heap if job.owner is not None)
        return {id(job) for job in left if all(one.gone for one in cast("Any", job.subscribers()))}

    def teardown(self) -> None:
        """Let everything run to its end: nothing may be left open."""
        self.portions.close()
        while self.ledger.tidy(self.now, 1):
            pass
        for _ in range(2000):
            self.now += LAST_CALL / 10
            while (job := self.ledger.agenda.pop(self.now)) is not None:
                self.ledger.departs(job, self.now)
                self.flying.append((job, self.now))
            for job, asked in self.flying:
                done = SamplingRequest(request_id=job.request_id, is_completed=True)
                self.ledger.settle(job, Answer(done, None), asked, self.now)
            self.flying = []
            if not self.ledger.pending:
                break
        assert not self.ledger.pending
        assert not any(caller.open() for caller in self.callers if not caller.gone)


LedgerMachine.TestCase.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestLedger: Any = LedgerMachine.TestCase
TestLedger.__doc__ = "No sequence of events loses an id or ends one twice."


def test_what_is_asked_during_a_sweep_is_not_failed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An overdue id that goes out for the last time between two portions keeps its chance."""
    monkeypatch.setattr(_agenda, "_AT_ONCE", 1)
    ledger = Ledger(pool(), FixedInterval(1.0))
    run = _Caller(ledger, wait=None, once=False, deadline=5.0)
    for request_id in IDS[:2]:
        ledger.subscribe(run, request_id, 0.0)
    jobs = [job for _ in range(2) if (job := ledger.agenda.pop(0.0)) is not None]
    for job in jobs:
        ledger.departs(job, 0.0)
        ledger.settle(job, _FAULTS["throttled"], 0.0, 0.0)
    portions = ledger.sweep(100.0)
    next(portions)
    assert run.ends.total() == 1
    last = ledger.agenda.pop(100.0)
    assert last is not None
    ledger.departs(last, 100.0)
    assert not list(portions)[1:]
    assert run.ends.total() == 1
    done = SamplingRequest(request_id=last.request_id, is_completed=True)
    ledger.settle(last, Answer(done, None), 100.0, 100.1)
    assert ledger.completed == 1


@pytest.mark.parametrize("deadlines", [(5.0, 50.0), (50.0, 5.0)])
def test_who_shares_an_overdue_id_is_swept_at_his_own_time(deadlines: tuple[float, float]) -> None:
    """When one caller's time is up, the sweep still knows the other's."""
    ledger = Ledger(pool(), FixedInterval(1.0))
    runs = [_Caller(ledger, wait=None, once=False, deadline=deadline) for deadline in deadlines]
    for run in runs:
        ledger.enter(run, 0.0)
        ledger.subscribe(run, IDS[0], 0.0)
    job = ledger.agenda.pop(0.0)
    assert job is not None
    ledger.departs(job, 0.0)
    ledger.settle(job, _FAULTS["throttled"], 0.0, 0.0)
    for now in (4.0, 6.0, 51.0):
        list(ledger.sweep(LAST_CALL + now))
        assert [run.ends.total() for run in runs] == [deadline < now for deadline in deadlines]
