"""How shards share the limit of their key: their limiters, coordinated as a run does, without Ray.

Clients in one process and virtual time stand for the shards; what they report takes 20 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async._fleet.member import FleetMember
from ideogram_async.testing import Gateway, Reply, SlidingWindow

pytest.importorskip("ray", reason="Ray is not installed")

from ideogram_async.ray._coordinator import Coordinator
from ideogram_async.ray._link import ShardLink

pytestmark = pytest.mark.anyio

WAY_SECONDS = 0.02


class Shards:
    """The limiters of some shards, and what coordinates them."""

    def __init__(self, max_rate: float | None = None) -> None:
        self._max_rate = max_rate
        self._coordinator = Coordinator(max_rate, anyio.current_time())
        self._links: list[ShardLink] = []

    def limiter(self) -> FleetMember:
        """Make the limiter of one more shard."""
        link = ShardLink(lambda: self._pass_on_soon(link))
        self._links.append(link)
        return FleetMember(lambda _: link, "the run", self._max_rate)

    def _pass_on_soon(self, link: ShardLink) -> None:
        asyncio.get_running_loop().call_later(WAY_SECONDS, self._pass_on, link)

    def _pass_on(self, link: ShardLink) -> None:
        report = link.take_report()
        assert report is not None
        reply, news = self._coordinator.report(report, anyio.current_time())
        link.answer(reply)
        for other in self._links:
            if other is not link:
                other.publish(news)


@asynccontextmanager
async def polling(
    gateway: Gateway, shards: Shards, counts: Sequence[int]
) -> AsyncIterator[list[tuple[IdeogramClient, set[str]]]]:
    """Poll so many ids that never end, each number by a shard of its own."""
    async with AsyncExitStack() as stack:
        started = []
        for count in counts:
            ids = {gateway.submit(duration=9000) for _ in range(count)}
            client = IdeogramClient(
                gateway.url, limiter=shards.limiter(), schedule=FixedInterval(0.1)
            )
            await stack.enter_async_context(client)
            await stack.enter_async_context(client.as_completed(ids))
            started.append((client, ids))
        yield started


def sent(gateway: Gateway, since: float, ids: set[str] | None = None) -> int:
    """Count the queries since a moment, of these ids or all."""
    return sum(
        query.at >= since and (ids is None or query.request_id in ids) for query in gateway.queries
    )


async def test_a_told_rate_is_shared_by_demand() -> None:
    """Two shards keep 100 per second together, by their pending ids; what one leaves, one takes."""
    async with (
        Gateway(latency=0.01) as gateway,
        polling(gateway, Shards(max_rate=100), [20, 60]) as (few, many),
    ):
        await asyncio.sleep(2)
        begun = anyio.current_time()
        await asyncio.sleep(10)
        counts = [sent(gateway, begun, ids) for _, ids in (few, many)]
        assert sum(counts) == pytest.approx(980, rel=0.02)
        assert counts[0] / sum(counts) == pytest.approx(0.05 + 0.9 * 0.25, rel=0.1)
        await few[0].close()
        await asyncio.sleep(6)
        begun = anyio.current_time()
        await asyncio.sleep(5)
        assert sent(gateway, begun, many[1]) == pytest.approx(490, rel=0.02)


async def test_a_rate_is_found_together() -> None:
    """Four shards find one limit as one client does, and divide it by their pending ids."""
    async with (
        Gateway(latency=(0.05, 0.3), limit=SlidingWindow(200, 10), seed=1) as gateway,
        polling(gateway, Shards(), [20, 20, 20, 60]) as shards,
    ):
        await asyncio.sleep(30)
        begun = anyio.current_time()
        refused = gateway.refused
        await asyncio.sleep(30)
        counts = [sent(gateway, begun, ids) for _, ids in shards]
        # Of 24 seeds: 0.82 to 0.95. A probe that is refused just before the window opens costs 5 s,
        # and those are taken for a lower limit at first.
        assert sum(counts) >= 0.8 * 20 * 30
        assert gateway.refused - refused <= 0.04 * sum(counts)
        assert counts[3] / sum(counts) == pytest.approx(0.025 + 0.9 * 0.5, rel=0.1)
        assert {client.statistics().sessions[0].limit_source for client, _ in shards} == {"found"}


async def test_a_retry_after_holds_all_shards_at_once() -> None:
    """One shard is told to wait: none sends before that is over; one tries then, and all go on."""
    async with (
        Gateway(latency=0.01) as gateway,
        polling(gateway, Shards(), [20, 20, 20]) as shards,
    ):
        await asyncio.sleep(5)
        gateway.script(Reply(429, {"Retry-After": "30"}))
        await asyncio.sleep(1)
        (refused,) = [query for query in gateway.queries if query.status == 429]
        held = refused.answered + 3 * WAY_SECONDS
        await asyncio.sleep(28)
        assert sent(gateway, held) == 0
        await asyncio.sleep(11)
        later = sorted(query.at for query in gateway.queries if query.at > held)
        assert later[0] >= refused.answered + 30
        assert later[1] >= later[0] + 0.01  # alone, until it is answered
        for _, ids in shards:
            assert sent(gateway, held, ids) > 20


async def test_a_probe_is_not_waited_for_for_ever() -> None:
    """The shard that was to try after a hold is lost: another one tries 5 s later."""
    now = 100.0
    coordinator = Coordinator(None, now)
    limiters = [FleetMember(lambda _: ShardLink(lambda: None), "the run", None) for _ in range(2)]

    def exchange(limiter: FleetMember, now: float) -> None:
        limiter.wait(10)
        limiter._take(coordinator.report(limiter._report(now), now)[0], now)

    for step in range(3):
        for limiter in limiters:
            exchange(limiter, now + step)
    limiters[0].refused(now + 2, 10.0, now + 2.1)
    for at in (102.2, 113.5):
        exchange(limiters[0], at)
    assert limiters[0].opens_at(113.5) <= 113.5
    for at, opens in ((113.6, False), (118.0, False), (118.6, True)):
        exchange(limiters[1], at)
        assert (limiters[1].opens_at(at) <= at) is opens
