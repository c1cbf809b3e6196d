"""A client's life in a service: other loops, closing, clocks."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable
from typing import Any, cast

import anyio.to_thread
import pytest

from ideogram_async import (
    AdaptiveSchedule,
    ClientClosed,
    FixedInterval,
    IdeogramClient,
    SamplingRequest,
)
from ideogram_async.testing import HANG, Gateway, VirtualTimeLoop, run_in_virtual_time
from tests.support.calls import Call, each_call, never, scene

pytestmark = pytest.mark.anyio

# Another loop, another thread, another process


@each_call
async def test_another_thread_is_refused(call: Call) -> None:
    """Every call in another thread's loop is refused at once, and the client goes on."""
    async with scene() as (gateway, client):
        ids = never(gateway, 2)
        await client.retrieve(ids[0])

        def shared_ids() -> None:
            with pytest.raises(RuntimeError, match="another event loop"):
                asyncio.run(cast("Any", call(client, ids)))

        await anyio.to_thread.run_sync(shared_ids)
        await client.retrieve(ids[0])


async def test_closing_from_another_thread_is_refused() -> None:
    """Closing from another thread's loop is refused at once, and the client goes on."""
    async with scene() as (gateway, client):
        ids = never(gateway, 2)
        run = client.as_completed(ids)
        started = time.perf_counter()

        async def leave() -> None:
            for leaving in (client.close, run.aclose, run.__anext__):
                with pytest.raises(RuntimeError, match="another event loop"):
                    await leaving()

        await anyio.to_thread.run_sync(lambda: asyncio.run(leave()))
        assert time.perf_counter() - started < 2
        await client.retrieve(ids[0])
        assert len(run.pending) == 2
        await run.aclose()


def test_a_loop_that_has_ended() -> None:
    """After a loop that ended without closing, the next one is told so at once."""

    async def start() -> tuple[IdeogramClient, Any]:
        async with Gateway() as gateway:
            client = IdeogramClient(gateway.url)
            ids = never(gateway)
            await client.retrieve(ids[0])
            return client, client.as_completed(ids)

    async def go_on(client: IdeogramClient, run: Any) -> None:
        for call in (client.retrieve("id"), client.wait("id"), client.close(), anext(run)):
            with pytest.raises(RuntimeError, match="another event loop"):
                await call
        with pytest.raises(RuntimeError, match="another event loop"):
            client.as_completed(["id"])

    with pytest.warns(ResourceWarning):  # that it was never closed
        client, run = run_in_virtual_time(start)
        run_in_virtual_time(go_on, client, run)
        del client, run
        gc.collect()


@each_call
async def test_cancelled_engine(call: Call) -> None:
    """Where somebody cancelled all tasks of the loop, calls are refused instead of hanging."""
    async with scene() as (gateway, client):
        ids = never(gateway)
        await client.retrieve(ids[0])
        task = asyncio.create_task(cast("Any", call(client, ids)))
        await asyncio.sleep(3)
        for other in asyncio.all_tasks():
            if "ideogram_async" in other.get_name():
                other.cancel()
        with pytest.raises(ClientClosed):
            await task
        async with asyncio.timeout(1):
            with pytest.raises(ClientClosed):
                await call(client, ids)


async def test_engine_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Where a task of the client fails, against all expectation, calls end instead of hanging."""
    async with scene() as (gateway, client):
        ids = never(gateway)
        async with client.as_completed(ids) as run:
            await anyio.sleep(1)
            core = cast("Any", client)._runtime
            core.dispatcher._pool.choose = None
            with pytest.raises(ClientClosed) as caught:
                await anext(run)
        assert set(caught.value.pending) == set(ids)
        assert "a task of the client failed" in caplog.text


# Closing


async def _hang(gateway: Gateway, client: IdeogramClient) -> asyncio.Task[SamplingRequest]:
    gateway.on_query = lambda _: HANG
    task = asyncio.create_task(client.wait(gateway.submit()))
    await asyncio.sleep(3)
    return task


async def _assert_closed(task: asyncio.Task[SamplingRequest], client: IdeogramClient) -> None:
    with pytest.raises(ClientClosed):
        await task
    with pytest.raises(ClientClosed, match="make another IdeogramClient"):
        await client.retrieve("id")
    figures = client.statistics()
    assert (figures.in_flight, figures.pending) == (0, 0)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert {name for name in names if "ideogram_async" in name} == set()


@pytest.mark.parametrize("turns", range(4))
async def test_cancelled_close_closes(turns: int) -> None:
    """A close that is cancelled at any moment closes all the same, and is cancelled."""
    async with scene() as (gateway, client):
        task, loop = await _hang(gateway, client), asyncio.get_running_loop()
        core, started = client._runtime, loop.time()
        assert core is not None
        closing = asyncio.create_task(client.close())
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        was_done = closing.done()
        closing.cancel()
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled() is not was_done
        assert core._transport._connector.closed
        assert loop.time() - started < 5
        await _assert_closed(task, client)


async def test_close_twice_at_once() -> None:
    """Two closes at once under a hanging query both return in time, when all is closed."""
    async with scene() as (gateway, client):
        task, loop = await _hang(gateway, client), asyncio.get_running_loop()
        core, started = client._runtime, loop.time()
        assert core is not None

        async def close() -> None:
            await client.close()
            assert core is not None
            assert core._transport._connector.closed

        await asyncio.gather(close(), close())
        assert loop.time() - started <= 5
        await _assert_closed(task, client)


async def test_another_client_is_independent() -> None:
    """Closing one of two clients in a loop leaves the other."""
    async with scene() as (gateway, client), IdeogramClient(gateway.url) as other:
        request_id = gateway.submit(duration=10.0)
        both = [asyncio.create_task(one.wait(request_id)) for one in (client, other)]
        await asyncio.sleep(3)
        await client.close()
        assert (await both[1]).is_complete
        with pytest.raises(ClientClosed):
            await both[0]


# Clocks


async def _polled(gateway_seed: int, disturb: Callable[[], None]) -> list[tuple[float, object]]:
    async with Gateway(seed=gateway_seed) as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit() for _ in range(20)]
        asyncio.get_running_loop().call_later(6, disturb)
        async for _ in client.as_completed(ids):
            pass
        return [(query.at, query.request_id) for query in gateway.queries]


@pytest.mark.parametrize("days", [3, -3])
def test_wall_clock_jumps(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that jumps by days moves no query, by no millisecond."""

    def jump() -> None:
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + days * 86_400)

    random.seed(1)
    steady = run_in_virtual_time(_polled, 1, lambda: None)
    random.seed(1)
    assert run_in_virtual_time(_polled, 1, jump) == steady
    assert steady[-1][0] > 6


@pytest.mark.parametrize("schedule", [FixedInterval(3.0), AdaptiveSchedule()])
async def test_suspended_for_an_hour(schedule: Any) -> None:
    """After an hour's gap due polls are spread over the slots, and no id fails for its deadline."""
    loop = cast("VirtualTimeLoop", asyncio.get_running_loop())
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, max_in_flight=5, schedule=schedule) as client,
    ):
        ids = [gateway.submit(duration=40.0) for _ in range(50)]
        async with client.as_completed(ids) as completed:
            await asyncio.sleep(30)
            loop._now += 3600
            assert {request.request_id async for request in completed} == set(ids)
        assert gateway.peak_in_flight <= 5
        assert loop.time() < 3700
