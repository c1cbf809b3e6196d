"""Clients that share a budget: real HTTP, a real Redis server, real time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("redis", reason="the extra is not installed")

from redis.asyncio import Redis

from ideogram_async import AdaptiveSchedule, FixedInterval, IdeogramClient
from ideogram_async._limits.told_rate import MADE_UP_SECONDS
from ideogram_async.redis import RedisLimiter
from ideogram_async.redis._link import RedisLink
from ideogram_async.testing import Gateway, Reply
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio
KEY = "a-key-of-this-test"
PATIENCE_SECONDS = 30.0
"""Seconds after which an event that must come is missed."""
UNREAD = 10
"""Queries that the gateway may not have read yet, as this process stood still, when it counts."""


@asynccontextmanager
async def polling(
    gateway: Gateway, limiter: RedisLimiter, ids: int, interval: float = 0.1
) -> AsyncIterator[set[str]]:
    """Poll so many ids that never end."""
    names = {gateway.submit(duration=900) for _ in range(ids)}
    async with (
        IdeogramClient(
            gateway.url, token=KEY, limiter=limiter, schedule=FixedInterval(interval)
        ) as client,
        client.as_completed(names),
    ):
        yield names


async def happened(condition: Callable[[], bool]) -> None:
    """Wait until something has happened, however busy the machine is."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.005)


async def test_members_learn_together(server: RedisServer) -> None:
    """What the completions of one client teach reaches the schedule of the other."""
    schedules = [AdaptiveSchedule() for _ in range(2)]
    async with Gateway(latency=0.0) as gateway, AsyncExitStack() as stack:
        one, _ = [
            await stack.enter_async_context(
                IdeogramClient(
                    gateway.url,
                    token=KEY,
                    schedule=schedule,
                    limiter=RedisLimiter(server.url, name="learn", max_rate=100),
                )
            )
            for schedule in schedules
        ]
        ids = [gateway.submit(duration=0.1) for _ in range(3)]
        assert len([_ async for _ in one.as_completed(ids, just_submitted=True)]) == 3
        assert schedules[0].save() != AdaptiveSchedule().save()
        await happened(lambda: schedules[0].save() == schedules[1].save())
    assert all(schedule.on_sample is None for schedule in schedules)


async def test_a_refusal_stops_all(server: RedisServer) -> None:
    """After one client was refused, all are held for its `Retry-After`; then all go on."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.0))
        limiters = [RedisLimiter(server.url, name="refused") for _ in range(3)]
        fleet = [
            await stack.enter_async_context(polling(gateway, limiter, 5)) for limiter in limiters
        ]
        await happened(lambda: len({query.request_id for query in gateway.queries}) == 15)
        gateway.script(Reply(429, {"Retry-After": "1"}))
        await happened(lambda: all(limiter.is_probing for limiter in limiters))
        (refused,) = [query for query in gateway.queries if query.status == 429]
        assert min(limiter.held_until for limiter in limiters) > refused.answered + 0.9
        held = len(gateway.queries)
        await happened(lambda: all(_sent(gateway, names, held) for names in fleet))
        assert gateway.queries[held].at > refused.answered + 0.9
        assert {limiter.source for limiter in limiters} == {"found"}


def _sent(gateway: Gateway, names: set[str], begin: int = 0) -> int:
    """Count the queries of these ids, from the one at a place on."""
    return sum(query.request_id in names for query in gateway.queries[begin:])


async def test_without_redis_each_goes_on(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """While Redis is away each keeps its last share, and says so once; then they share again."""
    caplog.set_level(logging.INFO, "ideogram_async")
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.0))
        limiters = [RedisLimiter(own_server.url, max_rate=60) for _ in range(2)]
        for limiter in limiters:
            await stack.enter_async_context(polling(gateway, limiter, 20))
        await happened(lambda: all(25 < limiter.rate < 35 for limiter in limiters))
        own_server.stop()
        await happened(lambda: caplog.text.count("Redis is away") == 2)
        rates = [limiter.rate for limiter in limiters]
        assert all(10 < rate < 50 for rate in rates)  # shares move a little with the due ids
        begun, before = time.monotonic(), len(gateway.queries)
        await happened(lambda: len(gateway.queries) >= before + 60)
        most = sum(rates) * (time.monotonic() - begun + 2 * MADE_UP_SECONDS) + 2
        assert len(gateway.queries) - before <= most + UNREAD
        assert [limiter.rate for limiter in limiters] == rates
        own_server.start()
        await happened(lambda: caplog.text.count("Redis is back") == 2)
        assert caplog.text.count("Redis is away") == 2
        await happened(lambda: sum(limiter.rate for limiter in limiters) <= 60)


async def test_no_key_reaches_redis(server: RedisServer) -> None:
    """In all that is sent to Redis there is no key, nor an id; clients of another key are apart."""
    commands: list[str] = []
    async with (
        Gateway(latency=0.0) as gateway,
        Redis.from_url(server.url) as redis,
        redis.monitor() as monitor,
    ):
        watcher = asyncio.create_task(_record(monitor, commands))
        limiter = RedisLimiter(redis, name="secret")
        async with polling(gateway, limiter, 5) as names:
            await happened(lambda: len(gateway.queries) > 5 and len(commands) > 5)
        await happened(lambda: any("leaves" in command for command in commands))
        watcher.cancel()
        (key,) = [name async for name in redis.scan_iter("secret:*")]
    text = "\n".join(commands)
    assert key.decode() in text
    assert not any(secret in text for secret in (KEY, gateway.url, *names))


async def _record(monitor: Any, commands: list[str]) -> None:
    async for command in monitor.listen():
        commands.append(str(command))


async def test_a_limiter_is_for_one_client(server: RedisServer) -> None:
    """A second client with a limiter that is in use is refused; after the first one it is free."""
    limiter = RedisLimiter(server.url, max_rate=10)
    async with Gateway() as gateway:
        async with IdeogramClient(gateway.url, limiter=limiter):
            await happened(lambda: limiter._is_running)
            with pytest.raises(RuntimeError, match="belongs to another client"):
                await IdeogramClient(gateway.url, limiter=limiter).__aenter__()
        async with IdeogramClient(gateway.url, limiter=limiter):
            pass


@pytest.mark.parametrize("rate", [0, -1, "20"])
def test_a_rate_is_above_zero(rate: Any) -> None:
    """A wrong rate is refused at construction."""
    with pytest.raises((TypeError, ValueError), match="max_rate"):
        RedisLimiter("redis://127.0.0.1:1", max_rate=rate)


async def test_redis_fails_as_the_client_closes(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that comes together with the cancellation does not hide it: the limiter ends."""

    async def listen(*_: object) -> None:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            raise ConnectionResetError from None

    monkeypatch.setattr(RedisLink, "listen", listen)
    limiter = RedisLimiter(server.url, max_rate=10)
    running = asyncio.create_task(limiter.run("a-budget"))
    await happened(lambda: limiter.rate != 9.8)  # a reply has come
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()


async def test_a_farewell_that_is_cut_off(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second cancellation while it takes leave of Redis: the limiter is free all the same."""
    leaving = asyncio.Event()

    async def leave(*_: object) -> None:
        leaving.set()
        await asyncio.sleep(1e6)

    monkeypatch.setattr(RedisLink, "leave", leave)
    async with Redis.from_url(server.url) as redis:
        limiter = RedisLimiter(redis, max_rate=10)
        running = asyncio.create_task(limiter.run("a-budget"))
        await asyncio.sleep(0)
        running.cancel()
        await leaving.wait()
        running.cancel()
        await asyncio.wait([running], timeout=5)
        limiter.subscribe(lambda: None)
