"""Clients that share a budget: real HTTP, and Redis's script, run by Lua in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import anyio
import pytest

from ideogram_async import AdaptiveSchedule, CompletionSample, FixedInterval, IdeogramClient
from ideogram_async._limits.session import FIRST_ROOM
from ideogram_async.testing import Gateway, Query, Reply, TokenBucket
from tests.support.answers import RUNNING, body_of

pytest.importorskip("redis", reason="the extra is not installed")
pytest.importorskip("lupa", reason="it is not installed")

from benchmarks.limits.redis_twin import Twin, installed
from ideogram_async.redis import RedisLimiter

pytestmark = pytest.mark.anyio


@pytest.fixture
def twin() -> Iterator[Twin]:
    """Let limiters that are made in the test share by the script, without a server."""
    one = Twin()
    with installed(one):
        yield one


@asynccontextmanager
async def polling(gateway: Gateway, limiter: RedisLimiter, ids: int) -> AsyncIterator[set[str]]:
    """Poll so many ids that never end."""
    names = {gateway.submit(duration=9000) for _ in range(ids)}
    async with (
        IdeogramClient(gateway.url, limiter=limiter, schedule=FixedInterval(0.1)) as client,
        client.as_completed(names),
    ):
        yield names


def limiter(max_rate: float | None = None) -> RedisLimiter:
    """Make the limiter of one more member."""
    return RedisLimiter("redis://the-twin", max_rate=max_rate)


def sent(gateway: Gateway, since: float, names: set[str] | None = None) -> int:
    """Count the queries since a moment, of these ids or all."""
    return sum(
        query.at >= since and (names is None or query.request_id in names)
        for query in gateway.queries
    )


@pytest.mark.parametrize("members", [2, 8])
async def test_members_share_a_told_rate(twin: Twin, members: int) -> None:
    """They keep 100 per second together, by their pending ids, with one report for 20 queries."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.01))
        many = await stack.enter_async_context(polling(gateway, limiter(100), 60))
        few = [
            await stack.enter_async_context(polling(gateway, limiter(100), 20))
            for _ in range(members - 1)
        ]
        await asyncio.sleep(5)
        reports = twin.reports
        assert reports <= len(gateway.queries) / 20 + members  # each has said that it is there
        begun = anyio.current_time()
        await asyncio.sleep(5)
        assert sent(gateway, begun) == pytest.approx(490, rel=0.02)
        assert twin.reports - reports <= sent(gateway, begun) / 20
        part = 60 / (60 + 20 * len(few))
        of_many = sent(gateway, begun, many) / sent(gateway, begun)
        assert of_many == pytest.approx(0.1 / members + 0.9 * part, rel=0.1)


@pytest.mark.usefixtures("twin")
async def test_members_send_at_one_pace_where_no_burst_is_allowed() -> None:
    """Each uses slots of its own: a bucket of one token sees no two queries at once."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.01, limit=TokenBucket(20, 1)))
        for _ in range(8):
            await stack.enter_async_context(polling(gateway, limiter(20), 5))
        await asyncio.sleep(5)
        begun, refused = anyio.current_time(), gateway.refused
        await asyncio.sleep(10)
        assert gateway.refused == refused
        assert sent(gateway, begun) == pytest.approx(196, abs=3)


@pytest.mark.usefixtures("twin")
async def test_members_divide_the_first_room_of_a_key() -> None:
    """Before the first answer eight clients send no more ids of unknown age than one does."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.3))
        clients = [
            await stack.enter_async_context(IdeogramClient(gateway.url, limiter=limiter()))
            for _ in range(8)
        ]
        await asyncio.sleep(1)
        for client in clients:
            names = {gateway.submit(duration=9000) for _ in range(20)}
            await stack.enter_async_context(client.as_completed(names))
        await asyncio.sleep(0.25)
        assert len(gateway.queries) == FIRST_ROOM
        await asyncio.sleep(0.3)
        assert len(gateway.queries) == 3 * FIRST_ROOM


@pytest.mark.usefixtures("twin")
async def test_members_learn_at_once_from_first_completions() -> None:
    """What one client sees of how long a request took, the other knows some milliseconds later."""

    class Learner(AdaptiveSchedule):
        def learn(self, sample: CompletionSample) -> None:
            super().learn(sample)
            learned.append(anyio.current_time())

    learned: list[float] = []
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.01))
        clients = [
            await stack.enter_async_context(
                IdeogramClient(gateway.url, limiter=limiter(20), schedule=schedule)
            )
            for schedule in (Learner(), AdaptiveSchedule())
        ]
        await asyncio.sleep(1)
        names = [gateway.submit(duration=5 + place) for place in range(3)]
        async with clients[1].as_completed(names, just_submitted=True) as run:
            ended = [anyio.current_time() async for _ in run]
        await asyncio.sleep(0.1)
    assert learned == pytest.approx(ended, abs=0.05)


@pytest.mark.usefixtures("twin")
async def test_members_keep_a_limit_that_headers_show() -> None:
    """Two clients together keep what the answers' headers leave them, and nobody is refused."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.01))
        ends, left = anyio.current_time() + 60, count(599, -1)

        def answer(query: Query) -> Reply:
            headers = {"x-ratelimit-remaining": f"{max(next(left), 0)}"}
            headers["x-ratelimit-reset"] = f"{ends - anyio.current_time():.3f}"
            record = {**RUNNING, "request_id": query.request_id}
            return Reply(200, {**headers, "Content-Type": "application/json"}, body_of(record))

        gateway.on_query = answer
        limiters = [limiter() for _ in range(2)]
        for one in limiters:
            await stack.enter_async_context(polling(gateway, one, 20))
        await asyncio.sleep(5)
        begun = anyio.current_time()
        await asyncio.sleep(20)
        assert {one.source for one in limiters} == {"header"}
        assert 0.7 <= sent(gateway, begun) / (20 * 600 / 60) <= 1.02


async def test_a_refusal_stops_all(twin: Twin) -> None:
    """After one client was refused, none sends until its `Retry-After` is over; then all do."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.01))
        limiters = [limiter() for _ in range(3)]
        fleet = [await stack.enter_async_context(polling(gateway, one, 20)) for one in limiters]
        await asyncio.sleep(5)
        gateway.script(Reply(429, {"Retry-After": "30"}))
        await asyncio.sleep(1)
        (refused,) = [query for query in gateway.queries if query.status == 429]
        held, reports = refused.answered + 0.1, twin.reports
        await asyncio.sleep(28)
        assert sent(gateway, held) == 0
        assert twin.reports - reports <= 8 * 28
        await asyncio.sleep(11)
        first, second = sorted(query.at for query in gateway.queries if query.at > held)[:2]
        assert first >= refused.answered + 30
        assert second >= first + 0.01  # one probes, until it is answered
        for names in fleet:
            assert sent(gateway, held, names) > 20
        assert {one.source for one in limiters} == {"found"}


async def test_what_is_sent_while_redis_is_away_counts(twin: Twin) -> None:
    """After an outage of Redis a refusal shows the limit that was there, not a much lower one."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(latency=0.01))
        limiters = [limiter(100) for _ in range(2)]
        for one in limiters:
            await stack.enter_async_context(polling(gateway, one, 20))
        await asyncio.sleep(2)
        twin.is_away = True
        await asyncio.sleep(2)
        twin.is_away = False
        await asyncio.sleep(2)
        gateway.script(Reply(429))
        await asyncio.sleep(2)
        begun = anyio.current_time()
        await asyncio.sleep(5)
        assert sent(gateway, begun) == pytest.approx(5 * 98, rel=0.03)


async def test_without_redis_a_client_starts(caplog: pytest.LogCaptureFixture) -> None:
    """A client that has never reached Redis sends a tenth of the rate, and rests when refused."""
    one = RedisLimiter("redis://127.0.0.1:1", max_rate=400)
    async with Gateway(latency=0.0) as gateway, polling(gateway, one, 20):
        await asyncio.sleep(10)
        assert len(gateway.queries) == pytest.approx(392, rel=0.05)
        gateway.on_query = lambda _: Reply(429)
        await asyncio.sleep(0.5)
        count = len(gateway.queries)
        await asyncio.sleep(0.4)
        assert len(gateway.queries) == count
    assert caplog.text.count("Redis is away") == 1
