"""Callers that share an id: when its time is up for each of them, and what they leave behind."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ideogram_async import DeadlineExceeded, FixedInterval, IdeogramClient
from ideogram_async._limits.pool import SessionPool
from ideogram_async._polling.lane import REMOVED_KEPT
from ideogram_async._polling.registry import JobRegistry
from ideogram_async.testing import Gateway
from tests.support.calls import never
from tests.support.settings import settled

pytestmark = pytest.mark.anyio
SELDOM = FixedInterval(500.0)


def _client(gateway: Gateway) -> IdeogramClient:
    return IdeogramClient(gateway.url, schedule=SELDOM, deadline=None)


async def _collect(run: Any) -> list[Any]:
    return [result async for result in run]


@pytest.mark.parametrize("is_wait", [True, False])
async def test_who_joins_has_a_deadline_of_its_own(is_wait: bool) -> None:
    """The time of a call begins with it where the id is polled already; the query comes forward."""
    async with Gateway(latency=0.1) as gateway, _client(gateway) as client:
        (request_id,) = never(gateway, 1)
        async with client.as_completed([request_id]) as run:
            await asyncio.sleep(100)
            before, started = len(gateway.queries), asyncio.get_running_loop().time()
            if is_wait:
                with pytest.raises(DeadlineExceeded) as caught:
                    await client.wait(request_id, deadline=5)
                error = caught.value
            else:
                many = client.as_completed([request_id], deadline=5, return_exceptions=True)
                (error,) = await _collect(many)
            assert isinstance(error, DeadlineExceeded)
            assert error.request is not None
            assert asyncio.get_running_loop().time() - started == pytest.approx(5.1)
            assert len(gateway.queries) == before + 1
            assert run.pending == (request_id,)


async def test_who_joins_an_id_that_was_never_asked_waits_for_its_first_query() -> None:
    """A deadline does not count the time in line, whoever joined there."""
    async with Gateway(latency=0.1) as gateway, _client(gateway) as client:
        ids = never(gateway, 1)
        async with client.as_completed(ids, just_submitted=True), asyncio.timeout(506):
            with pytest.raises(DeadlineExceeded):
                await client.wait(ids[0], deadline=5)
            assert asyncio.get_running_loop().time() == pytest.approx(505.1)


async def test_cancelled_waits_leave_next_to_nothing() -> None:
    """What was cancelled does not stay in the queue until it would have been due."""
    async with Gateway(latency=0.0) as gateway, _client(gateway) as client:
        waits = [asyncio.ensure_future(client.wait(one)) for one in never(gateway, 600)]
        kept = asyncio.ensure_future(client.wait(gateway.submit(duration=5)))
        await asyncio.sleep(1)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        assert client._runtime is not None
        queue = client._runtime.tracker.registry.queue
        assert len([*queue._sound.urgent.asleep]) <= REMOVED_KEPT + 2
        assert (await kept).is_complete


class _Wait:
    """A call for one id."""

    urgent = True
    request_id = "id"
    is_one_shot = False
    wants_changes = False
    deadline = 900.0
    times_out_at = 0.0

    def __init__(self) -> None:
        self.shared_ids: set[str] = set()


def _cpu_seconds(count: int) -> float:
    """Return what it costs to let so many calls await one id, and leave."""
    registry = JobRegistry(SessionPool(settled(token="key")), SELDOM)
    calls: list[Any] = [_Wait() for _ in range(count)]
    began = time.process_time()
    for call in calls:
        registry.subscribers.add(call)
        registry.subscribe(call, "id", 0.0)
    for call in calls:
        assert registry.leave(call, 1.0) == ["id"]
    return time.process_time() - began


def test_many_waits_for_one_id_cost_no_square() -> None:
    """Eight times as many callers of one id cost some eight times as much, not 64 times."""
    cost = min(_cpu_seconds(4_000) for _ in range(3))
    assert cost < 24 * min(_cpu_seconds(500) for _ in range(5))


def test_a_batch_is_in_line_from_its_submission_on() -> None:
    """Under a rate, ids of which none was asked are in line a sweep from now, not their release.

    Beside ids that were asked, a new one is in line some sweep after its release, as they are.
    """
    registry = JobRegistry(SessionPool(settled(token="key", max_rate=10.0)), SELDOM)
    run: Any = _Wait()
    run.urgent = False
    registry.subscribers.add(run)
    for i in range(20):
        registry.subscribe(run, str(i), 0.0, just_submitted=True)
    batch = registry.queue.jobs_of(run)
    assert [job.order for job in batch] == pytest.approx([i / 10 for i in range(20)], abs=0.12)
    assert all(job.release > 60 for job in batch)
    registry.unasked = 0
    registry.subscribe(run, "late", 100.0, just_submitted=True)
    late = next(job for job in registry.queue.jobs_of(run) if job.request_id == "late")
    assert late.order == pytest.approx(102 + 500 * 20 / 21, abs=0.5)
