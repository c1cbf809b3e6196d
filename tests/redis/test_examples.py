"""The examples of limiters that are shared: with Redis, and with a limiter of the user's."""

from __future__ import annotations

import asyncio
import time

import pytest

from ideogram_async import IdeogramClient
from ideogram_async.testing import Gateway
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio


async def test_a_client_of_a_fleet(server: RedisServer) -> None:
    """The README's client works, and shares its rate with another one of the same key."""
    pytest.importorskip("redis", reason="the extra is not installed")
    from tests.examples import fleet  # noqa: PLC0415 - an extra

    async with Gateway(tokens=["my-key"], latency=0.0) as gateway:
        ids = [gateway.submit(duration=0) for _ in range(8)]
        async with (
            fleet.client_of_a_fleet(gateway.url, server.url) as one,
            fleet.client_of_a_fleet(gateway.url, server.url) as other,
        ):
            await asyncio.sleep(0.1)
            begun = time.monotonic()
            results = await asyncio.gather(*map(one.wait, ids[:4]), *map(other.wait, ids[4:]))
        assert [result.request_id for result in results] == ids
        assert time.monotonic() - begun > 6 / 20


async def test_a_limiter_that_is_there_already() -> None:
    """A limiter of `limits` decides when the client sends, and wakes it."""
    pytest.importorskip("limits", reason="it is not installed")
    from limits import RateLimitItemPerSecond  # noqa: PLC0415 - a user's library
    from limits.aio.storage import MemoryStorage  # noqa: PLC0415 - as above
    from limits.aio.strategies import MovingWindowRateLimiter  # noqa: PLC0415 - as above

    from tests.examples.own_limiter import LimitsLimiter  # noqa: PLC0415 - as above

    limiter = LimitsLimiter(MovingWindowRateLimiter(MemoryStorage()), RateLimitItemPerSecond(20))
    async with Gateway(latency=0.0) as gateway, IdeogramClient(gateway.url, limiter=limiter) as one:
        ids = [gateway.submit(duration=0) for _ in range(30)]
        assert len([result async for result in one.retrieve_many(ids)]) == 30
        times = [query.at for query in gateway.queries]
    assert len(times) == 30
    assert times[29] - times[0] > 0.7  # 20 go out at once, the others a second later
