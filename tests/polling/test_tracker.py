"""The ledger as a state machine: whatever happens, each id ends exactly once for each caller."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from contextvars import copy_context
from itertools import count, pairwise
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ideogram_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    Credential,
    FixedInterval,
    IdeogramError,
    InternalServerError,
    InvalidResponseError,
    Observation,
    RateLimitError,
    RequestError,
    RequestNotFound,
    SamplingRequest,
)
from ideogram_async._limits.pool import SessionPool
from ideogram_async._polling import lane, registry
from ideogram_async._polling import tracker as tracker_module
from ideogram_async._polling.job import (
    ANSWERED,
    ASKED,
    EXPECTED,
    IMMEDIATE,
    NEW,
    ORDINARY,
    Job,
)
from ideogram_async._polling.lane import RELEASED_AT_ONCE
from ideogram_async._polling.tracker import LAST_CALL_SECONDS, JobTracker
from ideogram_async._protocol.headers import Allowance
from ideogram_async._protocol.outcome import Answer, Fault, FaultKind
from tests.support.settings import settled

IDS = [f"id-{number}" for number in range(6)]
_FAULTS = {
    "transient": Fault(FaultKind.TRANSIENT, APIConnectionError("reset")),
    "throttled": Fault(FaultKind.THROTTLED, RateLimitError("429", status=429)),
    "unknown": Fault(FaultKind.UNKNOWN_ID, RequestNotFound("404", status=404)),
    "sick": Fault(FaultKind.TRANSIENT, InternalServerError("500", status=500)),
    "hung": Fault(FaultKind.TIMEOUT, APITimeoutError("no whole answer")),
    "no connection": Fault(FaultKind.CONNECTION, APIConnectionError("refused")),
    "no descriptors": Fault(FaultKind.EXHAUSTED, APIConnectionError("EMFILE")),
    "our own": Fault(FaultKind.LOCAL, RequestError("it cannot be encoded")),
    "stray verdict": Fault(FaultKind.REFUSED, AuthenticationError("401", status=401)),
    "malformed": Fault(FaultKind.MALFORMED, InvalidResponseError("no list", status=200)),
}


def pool() -> SessionPool:
    """Make a pool of one session with default settings."""
    return SessionPool(settled(token="key"))


class _Caller:
    """A subscriber that counts how its ids end."""

    def __init__(
        self, tracker: JobTracker, *, wait: str | None, is_one_shot: bool, deadline: float | None
    ) -> None:
        self.tracker = tracker
        self.urgent = wait is not None
        self.request_id = wait or ""
        self.is_one_shot = is_one_shot
        self.wants_changes = False
        self.deadline = deadline
        self.times_out_at = math.inf
        self.shared_ids: set[str] = set()
        self.context = copy_context()
        self.taken: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.errors: dict[str, RequestError] = {}
        self.changes: list[tuple[str, float | None]] = []
        self.gone = False

    def changed(self, request_id: str, record: SamplingRequest) -> None:
        assert self.wants_changes
        self.changes.append((request_id, record.completion_percentage))

    def completed(self, request_id: str, record: SamplingRequest) -> None:
        assert record.request_id == request_id
        assert self.is_one_shot or record.is_complete
        self.ends[request_id] += 1

    def failed(self, request_id: str, error: RequestError) -> None:
        assert error.request_id == request_id
        self.errors[request_id] = error
        self.ends[request_id] += 1

    def end(self, error: IdeogramError) -> None:
        self.ends += self.open()
        self.tracker.leave(self, 0.0)
        self.gone = True

    def open(self) -> Counter[str]:
        return self.taken - self.ends


class LedgerMachine(RuleBasedStateMachine):
    """Runs and calls over a few ids, answered in every way, left at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.pool = pool()
        self.session = self.pool.sessions[0]
        self.tracker = JobTracker(self.pool, FixedInterval(1.0))
        self.callers: list[_Caller] = []
        self.flying: list[tuple[Job, float]] = []
        self.sweeping: Iterator[None] = iter(())
        self.portions = ExitStack()  # what is overdue, and what is left, goes by portions
        self.portions.enter_context(patch.object(lane, "RELEASED_AT_ONCE", 2))
        self.portions.enter_context(patch.object(registry, "REMOVED_AT_ONCE", 2))

    def _enter(
        self, ids: set[str], *, wait: str | None, is_one_shot: bool, deadline: float | None
    ) -> None:
        caller = _Caller(self.tracker, wait=wait, is_one_shot=is_one_shot, deadline=deadline)
        self.tracker.enter(caller, self.now)
        self.callers.append(caller)
        for request_id in sorted(ids):
            caller.taken[request_id] += 1
            self.tracker.subscribe(caller, request_id, self.now)

    @rule(
        ids=st.sets(st.sampled_from(IDS)),
        is_one_shot=st.booleans(),
        deadline=st.sampled_from([None, 5.0, 50.0]),
    )
    def begin_a_run(self, ids: set[str], is_one_shot: bool, deadline: float | None) -> None:
        self._enter(
            ids, wait=None, is_one_shot=is_one_shot, deadline=None if is_one_shot else deadline
        )

    @rule(
        wait=st.sampled_from(IDS),
        is_one_shot=st.booleans(),
        deadline=st.sampled_from([None, 5.0, 50.0]),
    )
    def begin_a_call(self, wait: str, is_one_shot: bool, deadline: float | None) -> None:
        self._enter(
            {wait}, wait=wait, is_one_shot=is_one_shot, deadline=None if is_one_shot else deadline
        )

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def send(self) -> None:
        job = self.tracker.registry.queue.pop(self.now)
        if job is not None:
            assert not all(subscriber.gone for subscriber in cast("Any", job.subscribers()))
            self.tracker.registry.mark_sent(job, self.now)
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
        self.tracker.handle_outcome(job, self.session, outcome, asked, self.now)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if not self.callers:
            return
        caller = data.draw(st.sampled_from(self.callers))
        if not caller.gone:
            handed_back = Counter(self.tracker.leave(caller, self.now))
            assert handed_back == caller.open()
            caller.gone = True
            caller.taken = Counter(caller.ends)

    @rule()
    def clean_up(self) -> None:
        self.tracker.registry.clean_up(self.now, 1)

    @rule()
    def sweep(self) -> None:
        for _ in self.sweeping:
            return
        self.sweeping = self.tracker.expire_overdue(self.now)

    @invariant()
    def each_id_ends_at_most_once_for_each_caller(self) -> None:
        for caller in self.callers:
            assert caller.ends <= caller.taken
            assert not (caller.gone and caller.shared_ids) or self.tracker.registry._leaving

    @invariant()
    def what_is_open_is_listed(self) -> None:
        for caller in self.callers:
            if not caller.gone:
                assert Counter(self.tracker.open_ids(caller)) == caller.open()

    @invariant()
    def what_is_pending_is_asked_or_in_flight(self) -> None:
        polled = {i for c in self.callers if not c.gone and not c.is_one_shot for i in c.open()}
        is_one_shot = sum(c.open().total() for c in self.callers if not c.gone and c.is_one_shot)
        assert self.tracker.registry.pending == len(polled) + is_one_shot + len(self._left())

    def _left(self) -> set[int]:
        """Find what nobody awaits any more, and what is let go of by and by."""
        heaps = (heap for _, heaps in self.tracker.registry._leaving for heap in heaps)
        left = (job for heap in heaps for job in heap if job.owner is not None)
        return {id(job) for job in left if all(one.gone for one in cast("Any", job.subscribers()))}

    def teardown(self) -> None:
        """Let everything run to its end: nothing may be left open."""
        self.portions.close()
        while self.tracker.registry.clean_up(self.now, 1):
            pass
        for _ in range(2000):
            self.now += LAST_CALL_SECONDS / 10
            while (job := self.tracker.registry.queue.pop(self.now)) is not None:
                self.tracker.registry.mark_sent(job, self.now)
                self.flying.append((job, self.now))
            for job, asked in self.flying:
                done = SamplingRequest(request_id=job.request_id, is_completed=True)
                self.tracker.handle_outcome(job, self.session, Answer(done, None), asked, self.now)
            self.flying = []
            if not self.tracker.registry.pending:
                break
        assert not self.tracker.registry.pending
        assert not any(caller.open() for caller in self.callers if not caller.gone)


LedgerMachine.TestCase.settings = hypothesis_settings(stateful_step_count=40)
TestLedger: Any = LedgerMachine.TestCase
TestLedger.__doc__ = "No sequence of events loses an id or ends one twice."


def test_what_is_asked_during_a_sweep_is_not_failed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An overdue id that goes out for the last time between two portions keeps its chance."""
    sessions = pool()
    tracker = JobTracker(sessions, FixedInterval(1.0))
    run = _Caller(tracker, wait=None, is_one_shot=False, deadline=5.0)
    for request_id in IDS[:2]:
        tracker.subscribe(run, request_id, 0.0)
    jobs = [job for _ in range(2) if (job := tracker.registry.queue.pop(0.0)) is not None]
    for job in jobs:
        tracker.registry.mark_sent(job, 0.0)
        tracker.handle_outcome(job, sessions.sessions[0], _FAULTS["throttled"], 0.0, 0.0)
    tracker.registry.queue.lanes(100.0)  # both are ready
    monkeypatch.setattr(lane, "RELEASED_AT_ONCE", 1)
    portions = tracker.expire_overdue(100.0)
    next(portions)
    assert run.ends.total() == 1
    last = tracker.registry.queue.pop(100.0)
    assert last is not None
    tracker.registry.mark_sent(last, 100.0)
    assert list(portions)
    assert run.ends.total() == 1
    done = SamplingRequest(request_id=last.request_id, is_completed=True)
    tracker.handle_outcome(last, sessions.sessions[0], Answer(done, None), 100.0, 100.1)
    assert tracker.completed == 1


def test_a_known_ids_refusal_is_in_dispute_until_it_is_answered() -> None:
    """From the first one on: it may have turned sick, or there is a limit."""
    sessions = pool()
    tracker = JobTracker(sessions, FixedInterval(1.0))
    run = _Caller(tracker, wait=None, is_one_shot=False, deadline=None)
    tracker.subscribe(run, IDS[0], 0.0)
    running = Answer(SamplingRequest(request_id=IDS[0], completion_percentage=50), None)
    for now, outcome, disputes in (
        (0.0, running, 0),
        (2.0, _FAULTS["throttled"], 1),
        (4.0, running, 0),
    ):
        job = tracker.registry.queue.pop(now)
        assert job is not None
        tracker.registry.mark_sent(job, now)
        tracker.handle_outcome(job, sessions.sessions[0], outcome, now, now + 0.1)
        assert tracker.evidence.of(0).disputes == disputes


def test_a_cut_stays_until_all_whose_refusals_made_it_are_sick() -> None:
    """Of two refused ids one is refused again, as its own fault: the other may show a limit."""
    sessions = pool()
    session, tracker = sessions.sessions[0], JobTracker(sessions, FixedInterval(1.0))
    run = _Caller(tracker, wait=None, is_one_shot=False, deadline=None)
    for request_id in IDS[:3]:
        tracker.subscribe(run, request_id, 0.0)
    jobs = [job for _ in range(3) if (job := tracker.registry.queue.pop(0.0)) is not None]
    moments = count(1.0)

    def ask(job: Job, *, is_refused: bool = False) -> float:
        now, known = next(moments), SamplingRequest(request_id=job.request_id)
        outcome = _FAULTS["throttled"] if is_refused else Answer(known, None)
        tracker.registry.mark_sent(job, now)
        session.sent(now, immediate=False)
        tracker.handle_outcome(job, session, outcome, now, now + 0.1)
        return session.limiter.rate

    sound, *sick = jobs
    before = [ask(job) for job in jobs][-1]
    for job in sick:
        ask(job, is_refused=True)
    cut = [ask(sound) for _ in range(4)][-1]
    assert cut < 0.9 * before
    assert ask(sick[0], is_refused=True) <= cut
    assert ask(sick[1], is_refused=True) == before


@pytest.mark.parametrize(
    ("stage", "faults", "is_charged", "is_in_question"),
    [
        (ASKED, 3, True, True),
        (ANSWERED, 3, True, False),
        (ASKED, 2, True, False),
        (ASKED, 3, False, False),
    ],
)
def test_an_id_that_was_refused_until_it_left(
    stage: int, faults: int, is_charged: bool, is_in_question: bool
) -> None:
    """Its refusals may be its own, if it was never answered: the next answer of that key tells."""
    sessions = SessionPool(settled(credentials=[Credential(token=f"key-{n}") for n in range(2)]))
    tracker = JobTracker(sessions, FixedInterval(1.0))
    callers = [
        _Caller(tracker, wait=name, is_one_shot=False, deadline=None) for name in ("sick", "sound")
    ]
    for caller in callers:
        tracker.subscribe(caller, caller.request_id, 0.0)
    sick, sound = (tracker.registry.queue.pop(0.0) for _ in callers)
    assert sick is not None
    assert sound is not None
    history = sick.history()
    sick.stage, history.faults, history.is_charged, history.key = stage, faults, is_charged, 1
    tracker.leave(callers[0], 30.0)
    assert tracker.registry.keys_in_question == ({1} if is_in_question else set())
    answer = Answer(SamplingRequest(request_id="sound", completion_percentage=50), None)
    for key, settled_one in ((0, False), (1, True)):
        tracker.registry.mark_sent(sound, 31.0)
        tracker.handle_outcome(sound, sessions.sessions[key], answer, 31.0, 31.1)
        assert tracker.registry.keys_in_question == (
            {1} if is_in_question and not settled_one else set()
        )


@pytest.mark.parametrize("deadlines", [(5.0, 50.0), (50.0, 5.0)])
def test_who_shares_an_overdue_id_is_swept_at_his_own_time(deadlines: tuple[float, float]) -> None:
    """When one caller's time is up, the sweep still knows the other's."""
    sessions = pool()
    tracker = JobTracker(sessions, FixedInterval(1.0))
    runs = [
        _Caller(tracker, wait=None, is_one_shot=False, deadline=deadline) for deadline in deadlines
    ]
    for run in runs:
        tracker.enter(run, 0.0)
        tracker.subscribe(run, IDS[0], 0.0)
    job = tracker.registry.queue.pop(0.0)
    assert job is not None
    tracker.registry.mark_sent(job, 0.0)
    tracker.handle_outcome(job, sessions.sessions[0], _FAULTS["throttled"], 0.0, 0.0)
    for now in (4.0, 6.0, 51.0):
        list(tracker.expire_overdue(LAST_CALL_SECONDS + now))
        assert [run.ends.total() for run in runs] == [deadline < now for deadline in deadlines]


class Polled:
    """A tracker, and ids of which each may be asked at any moment, and answered by hand."""

    def __init__(
        self,
        *,
        keys: int = 1,
        max_faults: int | None = None,
        schedule: FixedInterval | None = None,
        **settings: Any,
    ) -> None:
        credentials = [Credential(token=f"key-{number}") for number in range(keys)]
        self.pool = SessionPool(settled(credentials=credentials, **settings))
        schedule = schedule or FixedInterval(1.0)
        self.tracker = JobTracker(self.pool, schedule, max_faults=max_faults)
        self.jobs: dict[str, Job] = {}

    def caller(
        self,
        *,
        is_one_shot: bool = False,
        times_out_at: float = math.inf,
        deadline: float | None = None,
    ) -> _Caller:
        """Make a caller; it has not entered yet."""
        caller = _Caller(self.tracker, wait=None, is_one_shot=is_one_shot, deadline=deadline)
        caller.times_out_at = times_out_at
        return caller

    def enter(self, caller: _Caller, *ids: str) -> _Caller:
        """Have a caller await ids."""
        self.tracker.enter(caller, 0.0)
        for request_id in ids:
            caller.taken[request_id] += 1
            self.tracker.subscribe(caller, request_id, 0.0)
        while (job := self.tracker.registry.queue.pop(0.0)) is not None:
            self.jobs[job.request_id] = job
        return caller

    def ask(
        self,
        request_id: str,
        outcome: str | Answer | Fault,
        now: float,
        *,
        asked: float = -1,
        key: int = 0,
    ) -> Job:
        """Let a query come to an outcome: "good" is an answer of a request that runs."""
        job, asked = self.jobs[request_id], now if asked < 0 else asked
        answer = Answer(SamplingRequest(request_id=request_id, completion_percentage=50), None)
        result = _FAULTS.get(outcome, answer) if isinstance(outcome, str) else outcome
        self.tracker.registry.mark_sent(job, asked)
        self.pool.sent(self.pool.sessions[key], asked, immediate=False)
        self.tracker.handle_outcome(job, self.pool.sessions[key], result, asked, now)
        return job


def test_a_hold_ends_calls_that_ask_once_alone() -> None:
    """A run, or a wait, with a timeout of its own waits for that."""
    polled, held = Polled(), RateLimitError("429", status=429, retry_after=60.0)
    run = polled.enter(polled.caller(times_out_at=9.0), "run")
    call = polled.enter(polled.caller(is_one_shot=True, times_out_at=9.0), "call")
    long_one = polled.enter(polled.caller(is_one_shot=True, times_out_at=99.0), "long one")
    polled.ask("run", "good", 1.0)
    polled.ask("run", Fault(FaultKind.THROTTLED, held), 2.0)
    assert (run.gone, call.gone, long_one.gone) == (False, True, False)
    polled.enter(polled.caller(times_out_at=9.0))
    with pytest.raises(RateLimitError, match="s more"):
        polled.enter(polled.caller(is_one_shot=True, times_out_at=9.0))


def test_a_known_ids_refusal_is_in_dispute_where_it_holds_the_key() -> None:
    """Of two that were sent together one holds it; a new id's refusal is in no dispute."""
    polled = Polled()
    polled.enter(polled.caller(), "one", "two", "new")
    of_key = polled.tracker.evidence.of(0)
    for name, outcome, now, disputes in (
        ("one", "good", 1.0, 0),
        ("two", "good", 1.0, 0),
        ("one", "throttled", 2.0, 1),
        ("two", "throttled", 2.0, 1),
        ("one", "good", 9.0, 0),
        ("new", "throttled", 10.0, 0),
    ):
        polled.ask(name, outcome, now, asked=now - 0.5 if name != "two" else 0.5)
        assert of_key.disputes == disputes
    assert polled.jobs["new"].history().is_charged, "it was the rate's all the same"


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        ("malformed", 1),
        ("transient", 3),
        (Fault(FaultKind.MALFORMED, InvalidResponseError("another id's"), is_misplaced=True), 3),
        ("no descriptors", math.inf),
    ],
)
def test_how_often_a_call_that_asks_once_tries(fault: str | Fault, tries: float) -> None:
    """It ends at the first word of the gateway on the id; its own process's fault ends nothing."""
    polled = Polled()
    call = polled.enter(polled.caller(is_one_shot=True), "call")
    for number in range(1, 5):
        if not call.ends:
            polled.ask("call", fault, float(number))
        assert bool(call.ends) is (number >= tries)


def test_an_id_that_cannot_be_sent_fails_alone() -> None:
    """Our own error is nobody else's: the id fails at once."""
    polled = Polled()
    run = polled.enter(polled.caller(), "odd", "sound")
    polled.ask("odd", "our own", 1.0)
    assert run.ends == Counter({"odd": 1})
    assert polled.pool.fault is None


def test_what_a_call_waits_for() -> None:
    """It is the fault of its own ids, or of all where no key can be used."""
    polled = Polled()
    other = polled.enter(polled.caller(), "other")
    run = polled.enter(polled.caller(), "sound", "sick", "also sound")
    for name, outcome in (("sound", "good"), ("sick", "sick"), ("also sound", "good")):
        polled.ask(name, outcome, 1.0)
    assert polled.tracker.last_fault(other) is None
    assert str(polled.tracker.last_fault(run)) == "500"
    for number in range(5):
        polled.ask("sick", "no connection", 2.0 + number)
    assert str(polled.tracker.last_fault(other)) == "refused"


def test_a_refusal_that_comes_after_another_key_took_over() -> None:
    """A query was under way as its key went out of use: its refusal is not its id's own."""
    polled = Polled(keys=2)
    polled.enter(polled.caller(), "one", "two", "late")
    for name in ("one", "two"):
        polled.ask(name, "stray verdict", 1.0)
    assert polled.pool.sessions[0].refusal is not None
    assert polled.ask("late", "stray verdict", 2.0, asked=0.5).history().refusals is None


def test_an_id_that_its_key_refuses_while_others_are_answered() -> None:
    """An id is queried again 1 s after its first refusal, and 5 s after each later one.

    It fails at its third refusal. A refusal that comes within the 5 s is not counted: a key may be
    refused for a while.
    """
    polled = Polled()
    run = polled.enter(polled.caller(), "sick", "sound")
    for now, delay, refusals in ((1.0, 1.0, 1), (2.0, 5.0, 1), (7.0, 5.0, 2)):
        job = polled.ask("sick", "stray verdict", now)
        assert job.history().refusals == {0: refusals}
        assert job.release == now + delay
        polled.ask("sound", "good", now + 0.5)
    polled.ask("sick", "stray verdict", 12.0)
    assert run.ends == Counter({"sick": 1})


def test_an_id_that_one_key_of_two_refuses() -> None:
    """The other key is tried at once; one that is out of use is not waited for."""
    polled = Polled(keys=2)
    run = polled.enter(polled.caller(), "sick", "sound", "one", "two")
    assert polled.ask("sick", "stray verdict", 1.0).release == 1.0
    polled.ask("sound", "good", 1.5)
    assert polled.ask("sick", "stray verdict", 2.0, key=1).history().refusals == {0: 1, 1: 1}
    polled.ask("sick", "good", 2.5, key=1)
    assert polled.jobs["sick"].history().refusals == {0: 1}, "the answer clears that key alone"
    for name in ("one", "two"):
        polled.ask(name, "stray verdict", 3.0, key=1)
    for now in (7.0, 12.0):
        assert not run.ends
        polled.ask("sick", "stray verdict", now)
        polled.ask("sound", "good", now + 0.5)
    assert run.ends == Counter({"sick": 1})


def test_ids_with_faults_are_counted() -> None:
    """From the first fault in a row to the next good answer, while somebody awaits the id."""
    polled = Polled()
    run = polled.enter(polled.caller(), "one", "two")
    registry = polled.tracker.registry
    for name, outcome, failing in (
        ("one", "no connection", 0),
        ("one", "good", 0),
        ("one", "sick", 1),
        ("one", "sick", 1),
        ("two", "sick", 2),
        ("one", "good", 1),
    ):
        polled.ask(name, outcome, 1.0)
        assert registry.failing == failing
    for outcome in ("sick", "good"):
        for name in ("one", "two"):
            registry.mark_sent(polled.jobs[name], 2.0)
        if not run.gone:
            polled.tracker.leave(run, 2.0)
            run.gone = True
        for name in ("one", "two"):
            polled.ask(name, outcome, 3.0)
        assert registry.failing == 0


@pytest.mark.parametrize(
    ("before", "outcome", "is_new"),
    [
        ("no connection", "hung", True),
        ("no connection", "sick", False),
        ("good", "hung", False),
        ("good", "no connection", True),
    ],
)
def test_the_clock_of_an_id_that_the_gateway_has_not_seen(
    before: str, outcome: str, is_new: bool
) -> None:
    """It has not started: no connection was made, or a query hung where nothing ever answered."""
    polled = Polled()
    polled.enter(polled.caller(), "other", "id")
    polled.ask("other", before, 1.0)
    assert (polled.ask("id", outcome, 2.0).stage == NEW) is is_new


def test_which_faults_are_counted_for_a_key() -> None:
    """The first in a row of an id, where it is charged to the rate or the gateway."""
    polled = Polled()
    polled.enter(polled.caller(), "one", "two")
    of_key = polled.tracker.evidence.of(0)
    for name, outcome, counted in (
        ("one", "good", 0),
        ("one", "sick", 1),
        ("one", "sick", 1),
        ("two", "unknown", 1),
        ("one", "good", 1),
        ("one", "throttled", 2),
        ("one", "unknown", 2),
    ):
        polled.ask(name, outcome, 1.0)
        assert of_key.counted == counted
    assert polled.jobs["one"].history().is_charged, "an unknown id acquits no rate"


@pytest.mark.parametrize(
    ("outcome", "apart", "times"),
    [("unknown", 5.0, 3), ("unknown", 2.0, 7), ("malformed", 2.0, 5), ("sick", 2.0, math.inf)],
)
def test_how_many_faults_end_an_id(outcome: str, apart: float, times: float) -> None:
    """Words that it is unknown count 5 s apart; a 5xx ends it at its deadline, or `max_faults`."""
    for max_faults in (None, 8):
        polled = Polled(max_faults=max_faults)
        run = polled.enter(polled.caller(), "sound", "sick")
        for number in range(1, 9):
            polled.ask("sound", "good", number * apart)
            if not run.ends:
                polled.ask("sick", outcome, number * apart)
            ended_at = min(times, max_faults or math.inf)
            assert bool(run.ends) is (number >= ended_at)


def test_faults_without_a_connection_are_in_no_row() -> None:
    """The gateway has not seen the id: it is asked again soon, however often."""
    polled = Polled(max_faults=2)
    run = polled.enter(polled.caller(), "id")
    for number in range(9):
        job = polled.ask("id", "no connection", float(number))
        assert job.history().faults == 0
        assert 0.5 <= job.release - number <= 1.0
    assert not run.ends


def test_an_outage_ends_calls_that_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By portions, between which a call may leave; what is in flight may still be answered."""
    monkeypatch.setattr(tracker_module, "REMOVED_AT_ONCE", 1)
    polled, down = Polled(), APIConnectionError("refused")
    call = polled.enter(polled.caller(is_one_shot=True), "flying", "waiting")
    leaving = polled.enter(polled.caller(is_one_shot=True), "one", "two")
    registry, session = polled.tracker.registry, polled.pool.sessions[0]
    registry.mark_sent(polled.jobs["flying"], 0.0)
    for name in ("waiting", "one", "two"):
        registry.queue.add(polled.jobs[name], 0.0)
    for now in (0.0, 6.0, 12.0, 21.0):
        list(polled.tracker.expire_overdue(now))
        assert not call.ends
        session.failed(down, now, now, is_row=True, is_doubtful=False)
    for _ in polled.tracker.expire_overdue(22.0):
        if leaving.ends and not leaving.gone:
            leaving.end(down)
    assert call.ends == Counter(["waiting"])
    assert polled.tracker.failed == 2


@pytest.mark.parametrize("kept", [0, 100_000])
def test_a_deadline_error_holds_the_last_record(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that just came, or the last one where bodies are kept."""
    monkeypatch.setattr(tracker_module, "BODIES_KEPT", kept)
    polled = Polled()
    run = polled.enter(polled.caller(deadline=5.0), "answered", "swept")
    for now in (0.0, 6.0):
        polled.ask("answered", "good", now)
    polled.ask("swept", "good", 1.0)
    list(polled.tracker.expire_overdue(LAST_CALL_SECONDS + 7.0))
    records = {name: error.request for name, error in run.errors.items()}
    assert [name for name in ("answered", "swept") if records[name]] == list(run.errors)[: 1 + kept]


@pytest.mark.parametrize(("before", "seconds"), [("good", 10.0), ("no connection", 5.0)])
def test_an_address_in_doubt_is_looked_at_again_soon(before: str, seconds: float) -> None:
    """Where it has never worked the run may end; else it is an outage, looked at less often."""
    polled, page = Polled(), APIStatusError("405", status=405)
    polled.enter(polled.caller(), "id")
    polled.ask("id", before, 0.0)
    session, moments = polled.pool.sessions[0], count(1)
    while not session.probing:
        polled.ask("id", Fault(FaultKind.DOUBTFUL_ADDRESS, page), next(moments))
    probed_at = session.closed_until
    polled.ask("id", Fault(FaultKind.DOUBTFUL_ADDRESS, page), probed_at)
    assert seconds <= session.closed_until - probed_at <= 1.1 * seconds


def test_what_a_deadline_error_says() -> None:
    """The id's own last fault; where it was never asked, what all wait for; else no more."""
    polled = Polled()
    run = polled.enter(polled.caller(deadline=5.0), "unseen", "slow", "unasked")
    polled.tracker.registry.queue.add(polled.jobs["unasked"], 0.0)
    polled.ask("unseen", "no connection", 6.0)
    assert run.ends["unseen"], "no sweep sees what is in flight"
    polled.ask("slow", "good", 7.0)
    polled.ask("slow", "good", 13.0)
    list(polled.tracker.expire_overdue(19.0))
    assert {name: str(error.args[0]) for name, error in run.errors.items()} == {
        "unseen": "not complete within 5 s; the last fault: refused",
        "slow": "not complete within 5 s",
        "unasked": "not complete within 5 s, and was never asked: its turn did not come",
    }


class Hasty(FixedInterval):
    """A schedule that expects every request to end at once, and keeps what it is told."""

    def __init__(self, *, is_sure: bool = False) -> None:
        super().__init__(1.0)
        self.late: list[float] = []
        self._is_sure = is_sure

    def next_delay(self, state: Any, seen: Observation) -> float:
        """Record how many seconds late the query was."""
        self.late.append(seen.late)
        return super().next_delay(state, seen)

    def expected_end(self, state: Any) -> Any:
        """Expect it to have ended."""
        return 0.0

    def is_sure(self, state: Any) -> bool:
        """Return whether that is sure."""
        return self._is_sure


def test_a_schedule_is_asked_nothing_about_an_id_that_has_ended() -> None:
    """Its time was up as the answer came."""
    schedule = Hasty()
    polled = Polled(schedule=schedule)
    polled.enter(polled.caller(deadline=5.0), "id")
    for now in (0.0, 6.0):
        polled.ask("id", "good", now)
    assert len(schedule.late) == 1


@pytest.mark.parametrize("is_sure", [False, True])
def test_who_goes_first_at_a_limited_rate(*, is_sure: bool) -> None:
    """An id whose end is sure goes before others; an immediate one that was refused waits."""
    polled = Polled(schedule=Hasty(is_sure=is_sure), max_rate=10.0)
    polled.enter(polled.caller(), "id")
    job = polled.ask("id", "good", 0.0)
    assert job.precedence == (EXPECTED if is_sure else ORDINARY)
    job.precedence = IMMEDIATE
    assert polled.ask("id", "throttled", 1.0).precedence == ORDINARY


@pytest.mark.parametrize(
    ("is_one_shot", "times_out_at", "retry_after", "ends"),
    [
        (True, 9.0, 60.0, True),
        (False, 9.0, 60.0, False),
        (True, 99.0, 60.0, False),
        (True, 1.1, None, False),
    ],
)
def test_an_ids_own_retry_after_that_outlasts_a_call(
    times_out_at: float, retry_after: float | None, *, is_one_shot: bool, ends: bool
) -> None:
    """A call that asks once ends at once; a run, or a wait, ends by its own timeout."""
    polled = Polled()
    call = polled.enter(polled.caller(is_one_shot=is_one_shot, times_out_at=times_out_at), "id")
    error = InternalServerError("500", status=500, retry_after=retry_after)
    polled.ask("id", Fault(FaultKind.TRANSIENT, error), 1.0)
    assert bool(call.ends) is ends


def test_what_an_answer_says_of_the_limit_is_heeded() -> None:
    """Also where it is a fault: 10 queries in 20 s are one each 2 s."""
    polled = Polled()
    polled.enter(polled.caller(), "id")
    error = InternalServerError("500", status=500)
    polled.ask("id", Fault(FaultKind.TRANSIENT, error, allowance=Allowance(10, 20.0)), 1.0)
    figures = polled.pool.statistics(1.0)[0]
    assert (figures.limit_source, figures.rate) == ("header", 0.5)


def test_a_schedule_is_told_how_late_a_query_went_out() -> None:
    """One that was sent before its time was not late."""
    schedule = Hasty()
    polled = Polled(schedule=schedule)
    polled.enter(polled.caller(), "id")
    for asked in (0.0, 0.5, 4.0):  # due at 0, 1 and 1.5
        polled.ask("id", "good", asked)
    assert schedule.late == [0.0, 0.0, 2.5]


def test_an_id_that_was_asked_has_its_last_query_before_it_ends() -> None:
    """One that was never asked ends once it was due for its deadline, and nothing was answered."""
    polled = Polled()
    run = polled.enter(polled.caller(deadline=5.0), "asked", "unasked")
    polled.tracker.registry.queue.add(polled.jobs["unasked"], 0.0)
    polled.ask("asked", "good", 1.0)
    for now, ended in ((4.0, []), (12.0, ["unasked"]), (37.0, ["unasked", "asked"])):
        list(polled.tracker.expire_overdue(now))
        assert list(run.ends) == ended


def test_the_sweep_of_ids_that_were_never_asked_is_done_by_portions() -> None:
    """No step ends more than one portion; while answers are good, no id is looked at."""
    polled, ids = Polled(), [str(number) for number in range(2 * RELEASED_AT_ONCE + 1)]
    run = polled.enter(polled.caller(deadline=5.0), "asked", *ids)
    for request_id in ids:
        polled.tracker.registry.queue.add(polled.jobs[request_id], 0.0)
    polled.ask("asked", "good", 1.0)
    assert not list(polled.tracker.expire_overdue(5.9))
    ended = [len(run.ends) for _ in polled.tracker.expire_overdue(6.0)]
    assert max(after - before for before, after in pairwise(ended)) <= RELEASED_AT_ONCE
    assert sorted(run.ends) == sorted(ids)


@pytest.mark.parametrize("kind", [FaultKind.LOCAL, FaultKind.ADDRESS])
def test_a_probe_that_tells_nothing_of_the_gateway_is_over(kind: FaultKind) -> None:
    """Another one may go, for an id that may be sent, or a later call."""
    polled = Polled()
    run = polled.enter(polled.caller(), "id")
    session, down = polled.pool.sessions[0], APIConnectionError("reset")
    session.failed(down, 1.0, 1.0, is_row=True, is_doubtful=False)
    for _ in range(2):
        probe_at = session.closed_until
        assert probe_at < math.inf
        polled.ask("id", Fault(kind, APIStatusError("302", status=302)), probe_at)
        assert run.ends


def test_a_caller_that_shares_an_id_sees_its_changes() -> None:
    """The job is another's, who wants none."""
    polled = Polled()
    polled.enter(polled.caller(), "id")
    watching = polled.caller()
    watching.wants_changes = True
    polled.enter(watching, "id")
    for now in (1.0, 2.0):
        polled.ask("id", "good", now)
    assert watching.changes == [("id", 50)]


def test_a_good_answer_may_ask_to_wait() -> None:
    """It holds that id alone."""
    polled = Polled()
    polled.enter(polled.caller(), "id")
    running = SamplingRequest(request_id="id", completion_percentage=50)
    assert polled.ask("id", Answer(running, None, retry_after=30.0), 1.0).release == 31.0
    assert polled.pool.sessions[0].state == "open"


def test_a_known_id_may_be_called_unknown_for_a_minute() -> None:
    """However often, and though others are answered."""
    polled = Polled()
    run = polled.enter(polled.caller(), "sound", "id")
    polled.ask("id", "good", 1.0)
    for now in (10.0, 20.0, 30.0, 65.0, 71.0):
        assert not run.ends
        polled.ask("id", "unknown", now)
        polled.ask("sound", "good", now)
    assert run.ends == Counter(["id"])


def test_an_id_that_is_refused_again_backs_off() -> None:
    """At its first refusal it keeps its place, for the key waits."""
    polled = Polled()
    polled.enter(polled.caller(), "id")
    polled.ask("id", "good", 0.0)
    assert polled.ask("id", "throttled", 1.0).release == 1.0
    assert polled.ask("id", "throttled", 8.0).release > 8.0
