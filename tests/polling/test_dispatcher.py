"""The client as a state machine: each id ends exactly once, and nothing is asked for nobody.

Engine, ledger and pool are real, in virtual time; the queries are answered by hand.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ideogram_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    Credential,
    FixedInterval,
    IdeogramClient,
    IdeogramError,
    InternalServerError,
    InvalidResponseError,
    PollingFailed,
    RateLimitError,
    RequestError,
    RequestNotFound,
    Run,
    SamplingRequest,
    WaitTimeout,
)
from ideogram_async._polling import registry
from ideogram_async._polling.attribution import KeyEvidence
from ideogram_async._polling.dispatcher import _is_told_apart
from ideogram_async._polling.job import ANSWERED, IMMEDIATE, ORDINARY, Job
from ideogram_async._polling.registry import JobRegistry
from ideogram_async._protocol.outcome import Answer, Fault, FaultKind
from ideogram_async.testing import Gateway, Reply, VirtualTimeLoop

T = TypeVar("T")

IDS = [f"id-{number}" for number in range(7)]
LIMIT = 3
KEYS = [Credential(token="one"), Credential(token="two")]
_FAULTS: dict[str, Callable[[], Fault]] = {
    "transient": lambda: Fault(FaultKind.TRANSIENT, APIConnectionError("reset")),
    "throttled": lambda: Fault(FaultKind.THROTTLED, RateLimitError("429", status=429)),
    "held": lambda: Fault(FaultKind.THROTTLED, RateLimitError("429", retry_after=20.0)),
    "unknown": lambda: Fault(FaultKind.UNKNOWN_ID, RequestNotFound("404", status=404)),
    "sick": lambda: Fault(FaultKind.TRANSIENT, InternalServerError("500", status=500)),
    "hung": lambda: Fault(FaultKind.TIMEOUT, APITimeoutError("no whole answer")),
    "no connection": lambda: Fault(FaultKind.CONNECTION, APIConnectionError("refused")),
    "our own": lambda: Fault(FaultKind.LOCAL, RequestError("it cannot be encoded")),
    "malformed": lambda: Fault(FaultKind.MALFORMED, InvalidResponseError("no list")),
    "refused": lambda: Fault(FaultKind.REFUSED, AuthenticationError("401", status=401)),
    "address": lambda: Fault(FaultKind.ADDRESS, APIStatusError("302", status=302)),
}
_OUTCOMES = ["complete"] * 4 + ["running"] * 4 + ["errored", *_FAULTS]
_WAYS = ["as_completed", "as_completed", "retrieve_many", "watch"]


class Flight:
    """A query that is under way."""

    def __init__(self, request_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self.request_id = request_id
        self.outcome: asyncio.Future[Answer | Fault] = loop.create_future()


class RunCaller:
    """A caller of a run: what it handed in, and what it has had."""

    def __init__(self, run: Run[Any], ids: set[str], *, is_one_shot: bool) -> None:
        self.run: Run[Any] = run
        self.ids = ids
        self.is_one_shot = is_one_shot
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.fetches: list[asyncio.Future[Any]] = []
        self.closing: asyncio.Future[None] | None = None
        self.left = False
        self.over = False
        """Whether the run has told its end."""

    def awaits(self, request_id: str) -> bool:
        """Tell whether an id may be asked for this caller."""
        return not self.left and not self.over and request_id in self.ids

    def collect(self) -> None:
        """Take what the waits for a next result have brought."""
        for fetch in [one for one in self.fetches if one.done()]:
            self.fetches.remove(fetch)
            if fetch.cancelled():
                continue
            error = fetch.exception()
            if error is None:
                self._take(fetch.result())
            else:
                assert isinstance(error, StopAsyncIteration | PollingFailed | IdeogramError), error
                self.over = True

    def _take(self, end: SamplingRequest | RequestError) -> None:
        if isinstance(end, RequestError):
            self.failed[str(end.request_id)] += 1
        elif self.is_one_shot or end.is_complete:
            self.done[str(end.request_id)] += 1

    def check(self) -> None:
        """Each id that was handed in is done, failed or pending: exactly one of these."""
        failed = self.failed + Counter(str(error.request_id) for error in self.run.failures)
        assert self.done + failed + Counter(self.run.pending) == Counter(self.ids)


class CallCaller:
    """A caller of `wait` or `retrieve`."""

    def __init__(self, request_id: str, call: asyncio.Future[SamplingRequest]) -> None:
        self.request_id = request_id
        self.call = call

    def awaits(self, request_id: str) -> bool:
        """Tell whether an id may be asked for this caller."""
        return request_id == self.request_id and not self.call.done()

    def check(self) -> None:
        """What came is of this id, and of the library."""
        if self.call.done() and not self.call.cancelled():
            error = self.call.exception()
            if error is None:
                assert self.call.result().request_id == self.request_id
            else:
                assert isinstance(error, IdeogramError), error
                assert error.request_id == self.request_id


class EngineMachine(RuleBasedStateMachine):
    """Runs and calls over a few ids, answered in every way, left and cancelled at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(registry, "REMOVED_AT_ONCE", 2)
        self.patch.setattr(JobRegistry.clean_up, "__defaults__", (2,))
        self.loop = VirtualTimeLoop()
        self.flights: list[Flight] = []
        self.runs: list[RunCaller] = []
        self.calls: list[CallCaller] = []
        self.wrong: list[str] = []
        self.closed = False
        self.loop.set_exception_handler(lambda _, told: self.wrong.append(str(told)))
        self.client = self._do(self._start)

    def _start(self) -> IdeogramClient:
        client = IdeogramClient(
            "http://127.0.0.1:9",
            credentials=KEYS,
            max_in_flight=LIMIT,
            schedule=FixedInterval(1.0),
        )
        client._started().dispatcher._query = self._query
        return client

    async def _query(self, _: int, request_id: str, __: object) -> Answer | Fault:
        callers: list[RunCaller | CallCaller] = [*self.runs, *self.calls]
        if not any(caller.awaits(request_id) for caller in callers):
            self.wrong.append(f"{request_id} is asked, and nobody awaits it")
        flight = Flight(request_id, self.loop)
        self.flights.append(flight)
        if len(self.flights) > LIMIT:
            self.wrong.append("more in flight than allowed")
        try:
            return await flight.outcome
        finally:
            self.flights.remove(flight)

    def _do(self, function: Callable[[], T]) -> T:
        """Call something within the loop."""

        async def call() -> T:
            return function()

        return self.loop.run_until_complete(call())

    def _task(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        return self.loop.create_task(coroutine)

    # Callers come

    @precondition(lambda self: not self.closed)
    @rule(
        way=st.sampled_from(_WAYS),
        ids=st.sets(st.sampled_from(IDS), min_size=1),
        fresh=st.booleans(),
        deadline=st.sampled_from([None, 3.0]),
        told=st.booleans(),
    )
    def begin_a_run(
        self, way: str, ids: set[str], fresh: bool, deadline: float | None, told: bool
    ) -> None:
        settings: dict[str, Any] = {"return_exceptions": told}
        if way != "retrieve_many":
            settings |= {"just_submitted": fresh, "deadline": deadline}
        is_one_shot = way == "retrieve_many"

        def begin() -> None:
            run = getattr(self.client, way)(sorted(ids), **settings)
            self.runs.append(RunCaller(run, ids, is_one_shot=is_one_shot))

        try:
            self._do(begin)
        except RateLimitError:
            assert is_one_shot  # a throttle holds for longer than it may take

    @precondition(lambda self: not self.closed)
    @rule(
        request_id=st.sampled_from(IDS),
        is_one_shot=st.booleans(),
        timeout=st.sampled_from([None, 2.0]),
        turns=st.integers(0, 3),
    )
    def begin_a_call(
        self, request_id: str, is_one_shot: bool, timeout: float | None, turns: int
    ) -> None:
        call = self.client.retrieve if is_one_shot else self.client.wait
        task = self._task(call(request_id, timeout=timeout))
        self.calls.append(CallCaller(request_id, task))
        self._turn(turns)

    # Time passes, answers come

    @rule(turns=st.integers(1, 5))
    def turns_pass(self, turns: int) -> None:
        self._turn(turns)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 6.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), kind=st.sampled_from(_OUTCOMES), turns=st.integers(0, 4))
    def answer(self, data: st.DataObject, kind: str, turns: int) -> None:
        self._answer(data.draw(st.sampled_from(self.flights)), kind)
        self._turn(turns)

    def _answer(self, flight: Flight, kind: str) -> None:
        if flight.outcome.done():
            return
        record = SamplingRequest(
            request_id=flight.request_id,
            completion_percentage=100 if kind == "complete" else 50,
            is_errored=kind == "errored",
        )
        fault = _FAULTS.get(kind)
        flight.outcome.set_result(Answer(record, None) if fault is None else fault())

    # Callers take, cancel, leave

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), turns=st.integers(0, 3))
    def fetch(self, data: st.DataObject, turns: int) -> None:
        caller = data.draw(st.sampled_from(self.runs))
        caller.fetches.append(self._task(_next([caller.run])))
        self._turn(turns)

    @precondition(lambda self: any(caller.fetches for caller in self.runs))
    @rule(data=st.data())
    def cancel_a_fetch(self, data: st.DataObject) -> None:
        fetches = [fetch for caller in self.runs for fetch in caller.fetches]
        data.draw(st.sampled_from(fetches)).cancel()
        self._turn(1)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel_a_call(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.calls)).call.cancel()
        self._turn(2)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), turns=st.integers(0, 3))
    def leave(self, data: st.DataObject, turns: int) -> None:
        caller = data.draw(st.sampled_from(self.runs))
        if caller.closing is None:
            caller.closing = self._task(caller.run.aclose())
            self._turn(1)
            caller.left = True
        self._turn(turns)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.runs))
        if not caller.fetches:
            with warnings.catch_warnings(action="ignore", category=ResourceWarning):
                del caller.run
                gc.collect(0)
            self._turn(1)
            self.runs.remove(caller)

    @precondition(lambda self: self.runs and not self.closed)
    @rule()
    def close(self) -> None:
        self.closed = True
        self.loop.run_until_complete(self.client.close())
        assert not self.flights

    def _turn(self, turns: int) -> None:
        for _ in range(turns):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    # What holds at any moment

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert self.wrong == []
        assert self.client.statistics().in_flight <= LIMIT

    @invariant()
    def each_id_ends_exactly_once(self) -> None:
        for caller in self.runs:
            caller.collect()
            caller.check()
        for call in self.calls:
            call.check()

    def teardown(self) -> None:
        """Let everybody have their ends: nobody hangs, and then nothing is asked."""
        try:
            if not self.closed:
                self._finish()
            for caller in self.runs:
                self.loop.run_until_complete(caller.run.aclose())
            self.loop.run_until_complete(self.client.close())
            self.nothing_is_wrong()
            self._turn(3)
            self.each_id_ends_exactly_once()
            assert not asyncio.all_tasks(self.loop)
        finally:
            self.loop.close()
            self.patch.undo()

    def _finish(self) -> None:
        readers: list[asyncio.Future[Any]] = [
            self._task(_read(caller)) for caller in self.runs if not caller.fetches
        ]
        readers += [fetch for caller in self.runs for fetch in caller.fetches]
        readers += [call.call for call in self.calls]
        for _ in range(4000):
            if all(reader.done() for reader in readers):
                break
            for flight in self.flights:
                self._answer(flight, "complete")
            self.loop.run_until_complete(asyncio.sleep(0.2))
        assert all(reader.done() for reader in readers)
        for caller in self.runs:
            self.loop.run_until_complete(caller.run.aclose())
        for flight in self.flights:
            self._answer(flight, "running")
        self.loop.run_until_complete(asyncio.sleep(100.0))
        assert self.flights == []
        assert self.client.statistics().pending == 0


async def _next(runs: list[Run[Any]]) -> Any:
    """Wait for a result without holding its run: tracebacks hold this frame."""
    try:
        return await anext(runs.pop())
    except StopAsyncIteration:
        raise PollingFailed("the end", [RequestError("of a run that went well")]) from None


async def _read(caller: RunCaller) -> None:
    """Take all that is left of a run."""
    while not caller.over:
        fetch = asyncio.ensure_future(_next([caller.run]))
        await asyncio.wait([fetch])
        caller.fetches.append(fetch)
        caller.collect()


EngineMachine.TestCase.settings = hypothesis_settings(stateful_step_count=40)
TestEngine: Any = EngineMachine.TestCase
TestEngine.__doc__ = "No sequence of events loses an id, ends one twice, or asks for nobody."


@pytest.mark.anyio
async def test_sick_ids_hold_a_quarter_of_the_flight() -> None:
    """While sound ids are due, those whose last query failed have two places of eight."""
    async with (
        Gateway(latency=0.2) as gateway,
        IdeogramClient(gateway.url, max_in_flight=8, schedule=FixedInterval(0.1)) as client,
    ):
        sick = {gateway.submit() for _ in range(30)}
        sound = [gateway.submit(progress="never") for _ in range(60)]
        gateway.on_query = lambda query: Reply(500, delay=2.0) if query.request_id in sick else None
        with pytest.raises(WaitTimeout):
            async for _ in client.as_completed([*sound, *sick], timeout=45):
                pass
    late = [query for query in gateway.queries if query.request_id in sick and query.at > 30]
    assert len(late) > 10
    for query in late:
        assert sum(one.at <= query.at < one.at + 2.0 for one in late) <= 2


@pytest.mark.anyio
@pytest.mark.parametrize("most", [8, 64], ids=["the flight", "the first room of the key"])
async def test_queries_that_hang_lose_their_places_to_due_ids(most: int) -> None:
    """24 ids that are never answered fill all places thrice, and cost sound ids some seconds."""
    async with Gateway() as gateway, IdeogramClient(gateway.url, max_in_flight=most) as client:
        hung = {gateway.submit() for _ in range(24)}
        sound = [gateway.submit(duration=1) for _ in range(20)]
        gateway.on_query = lambda query: Reply(delay=1e6) if query.request_id in hung else None
        done = []
        async with client.as_completed([*hung, *sound], timeout=25) as run:
            async for request in run:
                done.append(request.request_id)
                if len(done) == len(sound):
                    break
    assert sorted(done) == sorted(sound)


@pytest.mark.anyio
async def test_an_id_that_one_key_refuses_is_asked_with_the_other() -> None:
    """After the first refusal of an id by one key, its queries have the other one."""
    keys = ["key-one", "key-two"]
    told = {"Content-Type": "application/json"}, b'{"error":{"message":"not with this key"}}'
    async with (
        Gateway(tokens=keys, latency=0.05) as gateway,
        IdeogramClient(
            gateway.url,
            credentials=[Credential(token=key) for key in keys],
            schedule=FixedInterval(0.5),
        ) as client,
    ):
        ids = [gateway.submit(duration=30) for _ in range(9)]  # odd: keys take turns
        gateway.on_query = lambda query: (
            Reply(403, *told) if query.request_id == ids[0] and query.key == keys[0] else None
        )
        done = [one.request_id async for one in client.as_completed(ids)]
        assert {session.state for session in client.statistics().sessions} == {"open"}
    assert sorted(done) == sorted(ids)
    asked = [query.key for query in gateway.queries if query.request_id == ids[0]]
    assert (asked.count(keys[0]), asked.count(keys[1]) > 5) == (1, True)


@pytest.mark.anyio
async def test_a_failed_id_waits_until_its_next_fault_can_be_told_apart() -> None:
    """While sound ids are due, it goes once three others were answered since its fault."""
    async with IdeogramClient("http://127.0.0.1:9") as client:
        runtime = client._started()
        job = Job(0.0, "id", 0, None, None, 0.0, ORDINARY)
        job.history().faults = 1
        may_go, evidence = runtime.dispatcher._may_go[0], runtime.tracker.evidence
        for _ in range(3):
            assert not may_go(job)
            evidence.answered(0, 0.0, 0.0, is_known=True)
        assert may_go(job)
        job.history().good_then, job.history().key = 3, 1
        assert may_go(job), "another key's answers tell nothing"


@pytest.mark.anyio
async def test_a_refusal_in_dispute_is_settled_before_others_are_asked() -> None:
    """An id that was refused goes before due sound ones as soon as its next fault tells."""
    async with IdeogramClient("http://127.0.0.1:9") as client:
        runtime = client._started()
        queue, evidence = runtime.tracker.registry.queue, runtime.tracker.evidence.of(0)
        pop = partial(runtime.dispatcher._pop, runtime._pool.sessions[0], 0.0)
        run: Any = SimpleNamespace(urgent=True)
        sound, refused = (
            Job(0.0, name, 0, run, None, 0.0, ORDINARY, stage=ANSWERED)
            for name in ("sound", "refused")
        )
        history = refused.history()
        history.faults, history.is_charged = 1, True
        queue.add(sound, 0.0)
        queue.add(refused, 0.0)
        evidence.disputed()
        assert pop() is sound
        queue.add(sound, 0.0)
        for _ in range(3):
            evidence.answered(0.0, is_known=True)
        assert pop() is refused


@pytest.mark.anyio
async def test_where_new_ids_fail_the_next_stands_at_a_random_place() -> None:
    """A batch may begin with its sick ids: after some faults its order is not kept."""
    async with IdeogramClient("http://127.0.0.1:9") as client:
        runtime = client._started()
        queue, evidence = runtime.tracker.registry.queue, runtime.tracker.evidence.of(0)
        run: Any = SimpleNamespace(urgent=True)
        batch = [Job(float(at), f"id-{at}", 0, run, None, 0.0, ORDINARY) for at in range(300)]
        for job in batch:
            queue.add(job, 0.0)
        pop = partial(runtime.dispatcher._pop, runtime._pool.sessions[0], 0.0)
        assert [pop() for _ in range(5)] == batch[:5]
        evidence.newcomers_in_a_row = 4
        places = [batch.index(one) for _ in range(5) if (one := pop()) is not None]
        assert max(places) > 20


@pytest.mark.anyio
async def test_the_id_that_was_answered_last_tells_whether_a_hold_is_over() -> None:
    """Others that were answered well, but longer ago, may have turned sick."""
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(10.0)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(20)]
        async with client.as_completed(ids, deadline=None):
            await asyncio.sleep(5)
            gateway.on_query = lambda query: Reply(429) if query.request_id == ids[15] else None
            await asyncio.sleep(10)
    refused = next(query for query in gateway.queries if query.status == 429)
    probe = next(query for query in gateway.queries if query.at > refused.answered)
    answered = [one for one in gateway.queries if one.answered <= probe.at and one.status == 200]
    last = max(answered, key=lambda one: one.answered)
    assert probe.request_id == last.request_id


@pytest.mark.anyio
async def test_an_answer_settles_the_refusals_of_the_key_that_refused() -> None:
    """An id that one key has refused is answered with another: it was the first one's rate."""
    async with IdeogramClient("http://127.0.0.1:9", credentials=KEYS) as client:
        runtime = client._started()
        tracker, evidence = runtime.tracker, runtime.tracker.evidence
        job = Job(0.0, "id", 0, None, None, 0.0, ORDINARY, stage=ANSWERED)
        job.history().is_charged = True
        for key in range(2):
            evidence.of(key).disputed()
        tracker.registry.mark_sent(job, 0.0)
        answer = Answer(SamplingRequest(request_id="id", completion_percentage=50), None)
        tracker.handle_outcome(job, runtime._pool.sessions[1], answer, 0.0, 0.0)
        assert [evidence.of(key).disputes for key in range(2)] == [0, 1]


@pytest.mark.anyio
async def test_workers_are_no_more_than_the_flight_and_are_woken_again() -> None:
    """The only one is at work as a timer rings; then it is idle, and takes the next id."""
    async with Gateway() as gateway, IdeogramClient(gateway.url, max_in_flight=1) as client:
        dispatcher = client._started().dispatcher
        for is_first in (True, False):
            waiting = asyncio.create_task(client.wait(gateway.submit(duration=0)))
            await asyncio.sleep(0.01)
            if is_first:
                dispatcher._on_timer()
            async with asyncio.timeout(10):
                await waiting
            assert dispatcher._workers == 1
            await asyncio.sleep(10)


@pytest.mark.anyio
@pytest.mark.parametrize("is_in_doubt", [False, True])
async def test_an_immediate_id_waits_while_known_ids_are_asked_in_doubt(
    *, is_in_doubt: bool
) -> None:
    """It has no pace, as long as no limit is known; in doubt it waits for its turn."""
    async with IdeogramClient("http://127.0.0.1:9") as client:
        runtime = client._started()
        dispatcher, queue = runtime.dispatcher, runtime.tracker.registry.queue
        runtime._pool.sessions[0].sent(0.0, immediate=False)
        runtime.tracker.evidence.of(0).doubt = int(is_in_doubt)
        run: Any = SimpleNamespace(urgent=True, deadline=None)
        job = Job(0.0, "id", 0, run, None, 0.0, IMMEDIATE)
        queue.add(job, 0.0)
        assert (dispatcher._next_time(0.0) > 0.0) is is_in_doubt
        assert (dispatcher._take(0.0) is None) is is_in_doubt


@pytest.mark.anyio
async def test_a_closed_client_leaves_no_timer_and_starts_no_worker() -> None:
    """A timer of the loop would keep all of it alive until it rings."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1000.0)) as client,
    ):
        dispatcher = client._started().dispatcher
        async with client.as_completed([gateway.submit()]):
            await asyncio.sleep(10)
            dispatcher._watch_slow(10.0)
            timers = [dispatcher._alarm, dispatcher._slow_timer]
            await client.aclose()
        assert [timer is not None and timer.cancelled() for timer in timers] == [True, True]
        workers = dispatcher._workers
        dispatcher._idle.clear()
        dispatcher._on_timer()
        assert dispatcher._workers == workers


@pytest.mark.anyio
async def test_a_known_id_that_is_asked_in_doubt_goes_before_new_ones() -> None:
    """Also where new ids have failed in a row, of which one at a random place would be next."""
    async with IdeogramClient("http://127.0.0.1:9") as client:
        runtime = client._started()
        queue, evidence = runtime.tracker.registry.queue, runtime.tracker.evidence.of(0)
        run: Any = SimpleNamespace(urgent=True)
        new = Job(0.0, "new", 0, run, None, 0.0, ORDINARY)
        known = Job(1.0, "known", 0, run, None, 0.0, ORDINARY, stage=ANSWERED)
        evidence.doubt, evidence.newcomers_in_a_row = 1, 4
        for job in (new, known):
            queue.add(job, 0.0)
        pop = partial(runtime.dispatcher._pop, runtime._pool.sessions[0], 0.0)
        assert [pop(), pop()] == [known, new]


@pytest.mark.anyio
async def test_when_a_probe_may_go() -> None:
    """A sound id goes before its time, a new one at once; a hung probe has no place to keep."""
    async with IdeogramClient("http://127.0.0.1:9") as client:
        runtime = client._started()
        dispatcher, registry = runtime.dispatcher, runtime.tracker.registry
        session, run = runtime._pool.sessions[0], SimpleNamespace(urgent=True)
        job = Job(0.0, "id", 0, cast("Any", run), None, 90.0, ORDINARY, stage=ANSWERED)
        registry.queue.add(job, 0.0)
        assert (dispatcher._next_time(0.0), dispatcher._slow_allowed() > 0) == (90.0, True)
        session.failed(APIConnectionError(""), 0.0, 0.0, is_row=True, is_doubtful=False)
        assert (dispatcher._next_time(0.0), dispatcher._slow_allowed()) == (
            session.closed_until,
            0,
        )
        registry.unasked = 1
        registry.queue.add(Job(0.0, "new", 0, cast("Any", run), None, 0.0, ORDINARY), 0.0)
        assert dispatcher._next_time(0.0) == 0.0


@pytest.mark.anyio
async def test_an_immediate_id_that_a_key_refused_goes_though_no_key_is_paced() -> None:
    """Where no other key may send by its pace, the one that was chosen does."""
    async with IdeogramClient("http://127.0.0.1:9") as client:
        runtime = client._started()
        session = runtime._pool.sessions[0]
        session.sent(0.0, immediate=False)
        job = Job(0.0, "id", 0, None, None, 0.0, IMMEDIATE)
        job.history().refusals = {0: 1}
        assert runtime.dispatcher._another_key(job.history(), session, 0.0) is session


@pytest.mark.parametrize(
    ("key", "is_charged", "good", "tells"),
    [(0, True, 3, True), (0, True, 2, False), (0, False, 3, False), (1, True, 3, False)],
)
def test_which_refusal_in_dispute_is_told_apart(
    key: int, good: int, *, is_charged: bool, tells: bool
) -> None:
    """One that was charged to the rate of that key, since which others were answered."""
    job, evidence = Job(0.0, "id", 0, None, None, 0.0, ORDINARY), KeyEvidence()
    history = job.history()
    history.faults, history.key, history.is_charged = 1, key, is_charged
    for _ in range(good):
        evidence.answered(0.0, is_known=True)
    assert _is_told_apart(evidence, 0, job) is tells
