"""Clients that share a budget: real HTTP, a real Redis server, real time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest

pytest.importorskip("redis", reason="the extra is not installed")

from redis.asyncio import Redis

from ideogram_async import AdaptiveSchedule, FixedInterval, IdeogramClient
from ideogram_async.redis import RedisLimiter
from ideogram_async.redis._link import RedisLink
from ideogram_async.testing import Gateway, Query, Reply
from tests.support.answers import RUNNING, body_of
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio
KEY = "a-key-of-this-test"


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


def sent(gateway: Gateway, since: float, names: set[str] | None = None) -> int:
    """Count the queries since a moment, of these ids or all."""
    return sum(
        query.at >= since and (names is None or query.request_id in names)
        for query in gateway.queries
    )


async def test_members_share_a_told_rate(server: RedisServer) -> None:
    """Two clients keep 100 per second together, by their pending ids; one report is for 20."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.0))
        limiters = [RedisLimiter(server.url, name="told", max_rate=100) for _ in range(2)]
        few = await stack.enter_async_context(polling(gateway, limiters[0], 20))
        many = await stack.enter_async_context(polling(gateway, limiters[1], 60))
        await asyncio.sleep(0.6)
        begun = time.monotonic()
        async with Redis.from_url(server.url) as redis:
            before: Any = await redis.info("commandstats")
            await asyncio.sleep(1.2)
            after: Any = await redis.info("commandstats")
        counts = [sent(gateway, begun, names) for names in (few, many)]
    assert 0.9 * 120 <= sum(counts) <= 1.05 * 120
    assert counts[0] / sum(counts) == pytest.approx(0.05 + 0.9 * 0.25, rel=0.2)
    reports = after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"]
    assert reports <= 1.2 * 100 / 20 + 2  # of both together one for 20 queries; more ids were due


async def test_members_keep_a_limit_that_headers_show(server: RedisServer) -> None:
    """Two clients together keep what the answers' headers leave them, and nobody is refused."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.0))
        ends, left = time.monotonic() + 6, count(59, -1)

        def answer(query: Query) -> Reply:
            headers = {"x-ratelimit-remaining": f"{max(next(left), 0)}"}
            headers["x-ratelimit-reset"] = f"{ends - time.monotonic():.3f}"
            record = {**RUNNING, "request_id": query.request_id}
            return Reply(200, {**headers, "Content-Type": "application/json"}, body_of(record))

        gateway.on_query = answer
        limiters = [RedisLimiter(server.url, name="announced") for _ in range(2)]
        for limiter in limiters:
            await stack.enter_async_context(polling(gateway, limiter, 20))
        await asyncio.sleep(1.2)
        begun = time.monotonic()
        await asyncio.sleep(1.5)
        assert {limiter.source for limiter in limiters} == {"header"}
        assert 0 < sent(gateway, begun) <= 1.3 * 60 / 6 * 1.5


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
        await asyncio.sleep(1.0)
        first, second = (schedule.save() for schedule in schedules)
        assert first == second != AdaptiveSchedule().save()
    assert all(schedule.on_sample is None for schedule in schedules)


async def test_a_refusal_stops_all(server: RedisServer) -> None:
    """After one client was refused, none sends until its `Retry-After` is over; then all do."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.0))
        limiters = [RedisLimiter(server.url, name="refused") for _ in range(3)]
        fleet = [
            await stack.enter_async_context(polling(gateway, limiter, 20)) for limiter in limiters
        ]
        await asyncio.sleep(0.5)
        refused_at: list[float] = []

        def refuse(_: object) -> Reply | None:
            if refused_at:
                return None
            refused_at.append(time.monotonic())
            return Reply(429, {"Retry-After": "1"})

        gateway.on_query = refuse
        await asyncio.sleep(1.9)
        (at,) = refused_at
        assert sent(gateway, at + 0.3) - sent(gateway, at + 0.95) == 0
        for names in fleet:
            assert sent(gateway, at + 1, names) > 3
        assert {limiter.source for limiter in limiters} == {"found"}


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
        await asyncio.sleep(0.6)
        rates = [limiter.rate for limiter in limiters]
        own_server.stop()
        await asyncio.sleep(0.3)
        assert [limiter.rate for limiter in limiters] == rates
        begun = time.monotonic()
        await asyncio.sleep(0.6)
        assert 0.8 * 36 <= sent(gateway, begun) <= 1.1 * 36
        assert caplog.text.count("Redis is away") == 2
        own_server.start()
        await asyncio.sleep(0.8)
        assert caplog.text.count("Redis is back") == 2
        assert sum(limiter.rate for limiter in limiters) <= 60


async def test_without_redis_a_client_starts(caplog: pytest.LogCaptureFixture) -> None:
    """A client that has never reached Redis sends a tenth of the rate, and rests when refused."""
    limiter = RedisLimiter("redis://127.0.0.1:1", max_rate=400)
    async with Gateway(latency=0.0) as gateway, polling(gateway, limiter, 20):
        await asyncio.sleep(0.5)
        assert 14 <= len(gateway.queries) <= 21
        gateway.on_query = lambda _: Reply(429)
        await asyncio.sleep(0.5)
        count = len(gateway.queries)
        await asyncio.sleep(0.3)
        assert len(gateway.queries) == count
    assert caplog.text.count("Redis is away") == 1


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
            await asyncio.sleep(0.4)
        await asyncio.sleep(0.05)
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
            await asyncio.sleep(0.05)
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
    running = asyncio.create_task(RedisLimiter(server.url, max_rate=10).run("a-budget"))
    await asyncio.sleep(0.1)
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
        await asyncio.sleep(0.1)
        running.cancel()
        await leaving.wait()
        running.cancel()
        await asyncio.wait([running], timeout=5)
        limiter.subscribe(lambda: None)
