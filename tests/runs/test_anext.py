"""A wait for one result of a run keeps that run going, and nothing keeps it for longer."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from ideogram_async import FixedInterval, IdeogramClient, Run, SamplingRequest
from ideogram_async.testing import Gateway
from tests.support.calls import assert_silent, never, scene

pytestmark = pytest.mark.anyio


def _of_run(run: Run[Any]) -> Awaitable[Any]:
    return anext(run)


def _of_iterator(run: Run[Any]) -> Awaitable[Any]:
    return anext(aiter(run))


def _with_default(run: Run[Any]) -> Awaitable[Any]:
    return anext(run, None)


def _by_wait_for(run: Run[Any]) -> Awaitable[Any]:
    return asyncio.wait_for(anext(run), 60)


def _by_wait_for_of_iterator(run: Run[Any]) -> Awaitable[Any]:
    return asyncio.wait_for(anext(aiter(run)), 60)


def _by_task(run: Run[Any]) -> Awaitable[Any]:
    return asyncio.create_task(run.__anext__())


WAYS = [_of_run, _of_iterator, _with_default, _by_wait_for, _by_wait_for_of_iterator, _by_task]
each_way = pytest.mark.parametrize("way", WAYS)
Way = Callable[[Run[Any]], Awaitable[Any]]


@asynccontextmanager
async def _one_soon() -> AsyncIterator[tuple[Gateway, IdeogramClient, list[str]]]:
    """Yield a client and ids, of which the first alone completes, after 3 s."""
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1.0)) as client,
    ):
        yield gateway, client, [gateway.submit(duration=3.0), *never(gateway)]


@each_way
async def test_a_wait_keeps_its_run_going(way: Way) -> None:
    """The first result of an unnamed run comes, and then the run stops without a warning."""
    async with _one_soon() as (gateway, client, ids):
        assert (await way(client.as_completed(ids))).request_id == ids[0]
        await assert_silent(gateway, client)
        assert (await way(client.watch(ids))).request_id in ids
        await assert_silent(gateway, client)
        assert (await way(client.retrieve_many(ids))).request_id in ids
        await assert_silent(gateway, client)


@each_way
async def test_a_traceback_does_not_keep_a_run_going(way: Way) -> None:
    """A run whose wait was cancelled stops, though the exception is held."""
    async with scene() as (gateway, client):
        ids = never(gateway)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(5):
                await way(client.as_completed(ids))
        assert caught.value.__cause__ is not None  # with the frame of the wait
        await assert_silent(gateway, client)


@pytest.mark.parametrize("turns", range(3))
async def test_a_task_that_was_cancelled_does_not_keep_a_run_going(turns: int) -> None:
    """A wait whose task is held has let go of its run, also if it was cancelled at once."""
    async with scene() as (gateway, client):
        task = asyncio.create_task(client.as_completed(never(gateway)).__anext__())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await assert_silent(gateway, client)


async def test_a_wait_is_looked_at_as_a_coroutine() -> None:
    """Tools see the name, the state and the stack of a task that waits for a result."""
    async with scene() as (gateway, client), client.as_completed(never(gateway)) as run:
        wait = run.__anext__()
        assert inspect.isawaitable(wait)
        assert inspect.getcoroutinestate(cast("Any", wait)) == inspect.CORO_CREATED
        task = asyncio.create_task(wait)
        await asyncio.sleep(1)
        assert inspect.getcoroutinestate(cast("Any", wait)) == inspect.CORO_SUSPENDED
        assert "ResultBuffer.next" in repr(task)
        assert task.get_stack()
        task.cancel()


async def test_a_wait_of_a_named_run() -> None:
    """A named run goes on after a wait, and warns where it is dropped unfinished."""
    async with _one_soon() as (gateway, client, ids):
        run: Run[SamplingRequest] | None = client.as_completed(ids)
        assert run is not None
        assert (await anext(run)).request_id == ids[0]
        before = len(gateway.queries)
        await asyncio.sleep(10)
        assert len(gateway.queries) > before
        with pytest.warns(ResourceWarning, match="dropped unfinished"):
            run = None
            gc.collect()
        await assert_silent(gateway, client)


async def test_the_last_of_several_waits_stops_an_unnamed_run() -> None:
    """Waits of one run that nothing else holds each have their result; the last stops it."""
    async with _one_soon() as (gateway, client, ids):
        other = gateway.submit(duration=6.0)
        run: Run[SamplingRequest] | None = client.as_completed([other, *ids])
        assert run is not None
        waits = [asyncio.ensure_future(anext(run)) for _ in range(2)]
        run = None
        done = await asyncio.gather(*waits)
        assert [request.request_id for request in done] == [ids[0], other]
        await assert_silent(gateway, client)
