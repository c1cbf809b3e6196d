"""What the pool makes of a gateway's limits: `python -m benchmarks.pacing [--seeds N]`.

Each row is the whole client against the loopback gateway over real HTTP in virtual time, with a
fixed interval as its schedule, so that the pace alone is seen. The gateway's limits are exact and
nobody else uses them; real ones are neither. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import anyio

from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async.testing import (
    AtRandom,
    Gateway,
    LeakyBucket,
    Limit,
    Query,
    SlidingWindow,
    TokenBucket,
    run_in_virtual_time,
)

UNTIL = 1e9


class Goal(NamedTuple):
    """One figure of a scenario, and what is asked of it."""

    name: str
    figure: float
    at_most: float
    unit: str = "%"

    @property
    def holds(self) -> bool:
        """Whether the figure is as asked; figures to be reached are given as negative."""
        return self.figure <= self.at_most


Scenario = Callable[[int], Coroutine[Any, Any, list[Goal]]]


def span(gateway: Gateway, since: float, until: float) -> list[Query]:
    """List the queries of a span, in seconds from the first query on."""
    begun = gateway.queries[0].at
    return [query for query in gateway.queries if since <= query.at - begun < until]


def refused(gateway: Gateway, since: float = 0.0, until: float = UNTIL) -> float:
    """Give the percentage of the queries of a span that were refused."""
    statuses = [query.status for query in span(gateway, since, until)]
    return 100 * sum(status in {429, 503} for status in statuses) / max(len(statuses), 1)


def answered(gateway: Gateway, since: float, until: float) -> float:
    """Give the queries a second that were let through in a span."""
    good = sum(query.status == 200 for query in span(gateway, since, until))
    return good / (until - since)


async def polled(
    limit: Limit | None,
    *,
    ids: int,
    seconds: float,
    seed: int,
    interval: float = 2.0,
    latency: float = 0.1,
    events: Callable[[Gateway], Coroutine[Any, Any, None]] | None = None,
    **settings: Any,
) -> Gateway:
    """Poll ids that never end for so long, and give the gateway that saw it."""
    random.seed(seed)
    gateway = Gateway(latency=latency, limit=limit, seed=seed)
    async with (
        gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(interval), **settings) as client,
        anyio.create_task_group() as tasks,
    ):
        listed = [gateway.submit(progress="never") for _ in range(ids)]
        async with client.as_completed(listed, deadline=None):
            if events is not None:
                tasks.start_soon(events, gateway)
            await anyio.sleep(seconds)
    return gateway


async def bucket(seed: int) -> list[Goal]:
    """400 ids, a bucket of 20 queries a second, 50 in flight."""
    gateway = await polled(TokenBucket(20, 20), ids=400, seconds=120, seed=seed, max_in_flight=50)
    return [
        Goal("refused after 20 s", refused(gateway, 20), 1.0),
        Goal("used of the limit", -100 * answered(gateway, 20, 120) / 20, -85.0),
    ]


async def nginx(seed: int) -> list[Goal]:
    """200 ids at once, nginx limit_req: 5 a second, burst 10, 503."""
    gateway = await polled(LeakyBucket(5, 10), ids=200, seconds=300, seed=seed, max_in_flight=50)
    return [
        Goal("refused", refused(gateway), 4.0),
        Goal("used of the limit", -100 * answered(gateway, 20, 300) / 5, -85.0),
    ]


async def by_address(seed: int) -> list[Goal]:
    """200 ids, 180 queries in any 180 s, an empty 429."""
    gateway = await polled(
        SlidingWindow(180, 180), ids=200, seconds=1800, seed=seed, max_in_flight=50
    )
    return [
        Goal("refused", refused(gateway), 7.0),
        Goal("used of the limit", -100 * answered(gateway, 180, 1800), -80.0),
    ]


async def by_address_told(seed: int) -> list[Goal]:
    """The same, told 1 a second."""
    gateway = await polled(
        SlidingWindow(180, 180), ids=200, seconds=1800, seed=seed, max_in_flight=50, max_rate=1
    )
    return [
        Goal("refused", refused(gateway), 0.0),
        Goal("used of the limit", -100 * answered(gateway, 0, 1800), -98.0),
    ]


async def window_told(seed: int) -> list[Goal]:
    """400 ids, 200 queries in any 10 s, told 20 a second."""
    gateway = await polled(
        SlidingWindow(200, 10), ids=400, seconds=300, seed=seed, max_in_flight=50, max_rate=20
    )
    return [
        Goal("refused", refused(gateway), 0.1),
        Goal("used of the limit", -100 * answered(gateway, 0, 300) / 20, -99.0),
    ]


async def moving(seed: int) -> list[Goal]:
    """400 ids, a bucket whose limit moves 20 → 60 → 20 queries a second."""

    async def move(gateway: Gateway) -> None:
        await anyio.sleep(40)
        gateway.limit = TokenBucket(60, 60)
        await anyio.sleep(60)
        gateway.limit = TokenBucket(20, 20)

    gateway = await polled(
        TokenBucket(20, 20), ids=400, seconds=160, seed=seed, max_in_flight=50, events=move
    )
    reached = next(
        (t for t in range(1, 60) if answered(gateway, 39.0 + t, 41.0 + t) >= 0.85 * 60), 99
    )
    return [
        Goal("until 85 % of 60/s", float(reached), 35.0, "s"),
        Goal("refused after the fall", refused(gateway, 120, 160), 1.5),
    ]


async def saturated(seed: int) -> list[Goal]:
    """400 ids, 3 % of all answers 429 at random, no limit."""
    rates = []
    for limit in (AtRandom(0.03, seed=seed), None):
        gateway = await polled(limit, ids=400, seconds=60, seed=seed, max_in_flight=50)
        rates.append(answered(gateway, 0, 60))
    return [Goal("throughput kept", -100 * rates[0] / rates[1], -60.0)]


async def unlimited(seed: int) -> list[Goal]:
    """5,000 ids, no limit, 50 in flight, 100 ms."""
    gateway = await polled(None, ids=5000, seconds=10, seed=seed, max_in_flight=50)
    rates = [answered(gateway, t, t + 1.0) for t in range(9)]
    return [
        Goal("rate in the 5th second", -rates[4], -450.0, "/s"),
        Goal("least rate after it", -min(rates[5:]), -450.0, "/s"),
    ]


async def shared_by_keys(seed: int) -> list[Goal]:
    """400 ids, one bucket of 20 a second for three keys together."""
    gateway = await polled(
        TokenBucket(20, 20),
        ids=400,
        seconds=120,
        seed=seed,
        max_in_flight=50,
        credentials=three_keys(),
    )
    return [
        Goal("refused after 20 s", refused(gateway, 20), 1.0),
        Goal("used of the limit", -100 * answered(gateway, 20, 120) / 20, -85.0),
    ]


def three_keys() -> list[Any]:
    """Make three credentials."""
    from ideogram_async import Credential  # noqa: PLC0415 - of this scenario alone

    return [Credential(token=f"key-{number}") for number in range(3)]


SCENARIOS: tuple[Scenario, ...] = (
    bucket,
    nginx,
    by_address,
    by_address_told,
    window_told,
    moving,
    saturated,
    unlimited,
    shared_by_keys,
)


def main() -> None:
    """Run every scenario and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N (default 3)")
    parser.add_argument("--only", help="run one scenario")
    arguments = parser.parse_args()
    for scenario in SCENARIOS:
        if arguments.only in {None, scenario.__name__}:
            report(scenario, range(1, arguments.seeds + 1))


def report(scenario: Scenario, seeds: range) -> None:
    """Print a scenario's figures: the median over the seeds, and the worst."""
    print((scenario.__doc__ or "").strip())
    runs = [run_in_virtual_time(scenario, seed) for seed in seeds]
    for goals in zip(*runs, strict=True):
        name, _, limit, unit = goals[0]
        figures = [goal.figure for goal in goals]
        reach = "at least" if limit < 0 else "at most"
        kind = "holds" if all(goal.holds for goal in goals) else "FAILS"
        print(
            f"  {name:24} {abs(statistics.median(figures)):8.2f} {unit:3}"
            f" worst {abs(max(figures)):8.2f}   asked {reach} {abs(limit):g} {unit:3} {kind}"
        )


if __name__ == "__main__":
    main()
