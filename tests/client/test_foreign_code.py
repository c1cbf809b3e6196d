"""The caller's own code around the client: timeouts, task groups, sources and schedules."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import product
from typing import Any, cast

import anyio
import pytest

from ideogram_async import (
    FixedInterval,
    IdeogramClient,
    Observation,
    PollingFailed,
    RequestError,
    SamplingRequest,
)
from ideogram_async.testing import Gateway
from tests.support.calls import CALLS, Call, as_completed, assert_silent, each_call, never, scene

pytestmark = pytest.mark.anyio

# Timeouts and task groups


async def _by_timeout(call: Awaitable[object]) -> None:
    async with asyncio.timeout(1.05):
        await call


async def _by_wait_for(call: Awaitable[object]) -> None:
    await asyncio.wait_for(call, 1.05)


async def _by_fail_after(call: Awaitable[object]) -> None:
    with anyio.fail_after(1.05):
        await call


@each_call
@pytest.mark.parametrize("timeout", [_by_timeout, _by_wait_for, _by_fail_after])
async def test_timeouts(
    call: Call, timeout: Callable[[Awaitable[object]], Awaitable[None]]
) -> None:
    """A timeout around any call passes at its time, and leaves nothing behind."""
    async with scene() as (gateway, client):
        ids, now = never(gateway), asyncio.get_running_loop().time
        started = now()
        with pytest.raises(TimeoutError):
            await timeout(call(client, ids))
        assert now() - started == pytest.approx(1.05)
        await assert_silent(gateway, client)


class _SiblingError(Exception):
    """What fails beside the calls."""


async def _fail() -> None:
    await asyncio.sleep(1.05)
    raise _SiblingError


@pytest.mark.parametrize("of_anyio", [False, True])
async def test_failing_sibling(of_anyio: bool) -> None:
    """A task that fails cancels the calls beside it in its group, and leaves nothing behind."""
    async with scene() as (gateway, client):
        ids = never(gateway)
        started = asyncio.get_running_loop().time()
        with pytest.raises(ExceptionGroup) as caught:
            if of_anyio:
                async with anyio.create_task_group() as group:
                    for call in CALLS:
                        group.start_soon(cast("Any", call), client, ids)
                    group.start_soon(_fail)
            else:
                async with asyncio.TaskGroup() as tasks:
                    for call in CALLS:
                        tasks.create_task(cast("Any", call(client, ids)))
                    tasks.create_task(_fail())
        assert [type(error) for error in caught.value.exceptions] == [_SiblingError]
        assert asyncio.get_running_loop().time() - started == pytest.approx(1.05)
        await assert_silent(gateway, client)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
async def test_cancelled_as_the_results_come(turns: int) -> None:
    """Of 100 waits cancelled as their results come, each has its result or is cancelled."""
    async with scene(max_in_flight=100) as (gateway, client):
        ids = [gateway.submit(duration=3.0) for _ in range(50)] * 2
        waits = [asyncio.create_task(client.wait(request_id)) for request_id in ids]
        await asyncio.sleep(2.9)
        loop, last = asyncio.get_running_loop(), len(gateway.queries)
        while len(gateway.queries) == last:  # noqa: ASYNC110 - any of many
            await asyncio.sleep(0.01)
        await asyncio.sleep(gateway.queries[-1].at + 0.1 - loop.time())
        async with asyncio.timeout(1):
            while not client.statistics().completed:  # noqa: ASYNC110 - within one instant
                await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        for wait in waits[::2]:
            wait.cancel()
        async with asyncio.timeout(30):
            ends = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(end) for end in ends[::2]} <= {SamplingRequest, asyncio.CancelledError}
        assert {type(end) for end in ends[1::2]} == {SamplingRequest}
        await assert_silent(gateway, client)


# The user's own code


class _SourceError(Exception):
    """What a source of ids raises."""


def _raising(gateway: Gateway) -> Iterator[str]:
    yield from never(gateway, 600)
    raise _SourceError


async def _raising_async(gateway: Gateway) -> AsyncIterator[str]:
    yield gateway.submit(duration=1.0)
    raise _SourceError


async def _cancelled(gateway: Gateway) -> AsyncIterator[str]:
    yield gateway.submit(duration=1.0)
    other = asyncio.create_task(asyncio.sleep(1))
    other.cancel()
    await other


@pytest.mark.parametrize(
    ("source", "error"), [(_raising_async, _SourceError), (_cancelled, RuntimeError)]
)
async def test_failing_source(source: Any, error: type[Exception]) -> None:
    """A source of ids that fails, or awaits what was cancelled, ends its own run alone."""
    async with scene() as (gateway, client):
        async with asyncio.timeout(60):
            with pytest.raises(error):
                await as_completed(client, source(gateway))
            await client.wait(gateway.submit(duration=1.0))
        await assert_silent(gateway, client)


async def test_failing_source_of_a_run_that_is_left() -> None:
    """A source that would fail later keeps no run from being left; its rest raises to who reads."""
    async with scene() as (gateway, client):
        run = client.as_completed(_raising(gateway))
        await run.aclose()
        rest = run.rest
        assert len(run.pending) + len([next(rest) for _ in range(600 - len(run.pending))]) == 600
        with pytest.raises(_SourceError):
            next(rest)
        await client.wait(gateway.submit(duration=1.0))
        await assert_silent(gateway, client)


class _RaisingSchedule(FixedInterval):
    """Fails for what is not complete."""

    def next_delay(self, state: Any, seen: Observation) -> float:  # noqa: ARG002 - its own
        """Raise."""
        raise _SourceError


async def test_failing_schedule() -> None:
    """A schedule that raises fails the id that it raised for, and no other."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=_RaisingSchedule(1.0)) as client,
    ):
        with pytest.raises(PollingFailed) as caught:
            await as_completed(client, never(gateway))
        assert {type(error) for error in caught.value.exceptions} == {RequestError}
        assert (await client.wait(gateway.submit(duration=0))).is_complete
        await assert_silent(gateway, client)


class _FailingSchedule(FixedInterval):
    """Fails for sick ids, at one of its methods, by what it raises or by NaN."""

    def __init__(self, place: str, failure: BaseException | float, sick: set[str]) -> None:
        super().__init__(1.0)
        self.place, self.failure, self.sick = place, failure, sick
        self.started = 0

    def fail(self, place: str, request_id: str) -> float:
        if place != self.place or request_id not in self.sick:
            return 1.0
        if isinstance(self.failure, BaseException):
            raise self.failure
        return self.failure

    def start(self, now: float, *, just_submitted: bool) -> tuple[Any, float]:  # noqa: ARG002
        self.started += 1
        request_id = f"id-{self.started - 1}"
        return request_id, self.fail("start", request_id)

    def next_delay(self, state: Any, seen: Observation) -> float:  # noqa: ARG002
        return self.fail("next_delay", state)

    def completed(self, state: Any, seen: Observation) -> None:  # noqa: ARG002
        self.fail("completed", state)

    def expected_end(self, state: Any) -> Any:
        return self.fail("expected_end", state)


@pytest.mark.parametrize(
    ("place", "failure"),
    [
        ("start", math.nan),
        ("start", asyncio.CancelledError()),
        *product(["next_delay", "expected_end"], [ValueError("mine"), asyncio.CancelledError()]),
        ("expected_end", math.nan),
    ],
)
async def test_any_failure_of_a_schedule_is_its_ids_own(
    place: str, failure: BaseException | float
) -> None:
    """Whatever a schedule raises or gives, wherever in a run, the ids fail alone, with the cause.

    Also `CancelledError`, though nobody was cancelled; also beyond the ids of the call itself.
    """
    count = 530 if place == "start" else 12
    sick = {f"id-{number}" for number in (0, 7, count - 1)}
    schedule = _FailingSchedule(place, failure, sick)
    async with (
        Gateway(latency=0.0) as gateway,
        IdeogramClient(gateway.url, schedule=schedule, max_rate=400, max_in_flight=50) as client,
    ):
        ids = [gateway.submit(request_id=f"id-{number}", duration=0) for number in range(count)]
        for request_id in sick:
            gateway.submit(request_id=request_id, duration=5)
        async with asyncio.timeout(60):
            run = client.as_completed(ids, return_exceptions=True)
            results = {result.request_id: result async for result in run}
            schedule.started = 0
            with pytest.raises(RequestError) as caught:
                await client.wait(gateway.submit(request_id="id-0", duration=5))
        assert set(results) == set(ids)
        errors = [result for result in results.values() if isinstance(result, RequestError)]
        assert {error.request_id for error in errors} == sick
        for error in (*errors, caught.value):
            assert type(error) is RequestError
            kind = ValueError if isinstance(failure, float) else type(failure)
            assert isinstance(error.__cause__, kind)
        assert (client.statistics().pending, client.statistics().failed) == (0, len(sick) + 1)


@pytest.mark.parametrize("failure", [ValueError("mine"), asyncio.CancelledError()])
async def test_a_schedule_that_fails_after_the_end(
    failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """What `completed` raises is logged; the request is complete, and the workers go on."""
    schedule = _FailingSchedule("completed", failure, {"id-0"})
    async with (
        Gateway(latency=0.0) as gateway,
        IdeogramClient(gateway.url, schedule=schedule, max_in_flight=1) as client,
    ):
        for number in range(2):
            request_id = gateway.submit(request_id=f"id-{number}", duration=2)
            async with asyncio.timeout(60):
                assert (await client.wait(request_id)).is_complete
    assert [record.message for record in caplog.records] == [
        "the schedule failed after the end of a request"
    ]
