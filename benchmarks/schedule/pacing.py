"""How the client keeps to a gateway's limits: `python -m benchmarks.pacing [--seeds N]`.

In each row the whole client polls the loopback gateway, over real HTTP in virtual time. Its
schedule is a fixed interval, so that the figures depend on the rate limiter alone. The gateway's
limits are exact, and nobody else uses them; those of real gateways are neither. Seeds are fixed.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from benchmarks._report import Goal, argument_parser, goal
from ideogram_async import Credential, FixedInterval, IdeogramClient
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

Scenario = Callable[[int], Coroutine[Any, Any, list[Goal]]]


def span(gateway: Gateway, since: float, until: float) -> list[Query]:
    """Return the queries of a span, in seconds from the first query on."""
    first = gateway.queries[0].at
    return [query for query in gateway.queries if since <= query.at - first < until]


def refused(gateway: Gateway, since: float = 0.0, until: float = math.inf) -> float:
    """Return the percentage of a span's queries that were refused."""
    statuses = [query.status for query in span(gateway, since, until)]
    return 100 * sum(status in {429, 503} for status in statuses) / max(len(statuses), 1)


def answered(gateway: Gateway, since: float, until: float) -> float:
    """Return the queries per second that were answered in a span."""
    accepted = sum(query.status == 200 for query in span(gateway, since, until))
    return accepted / (until - since)


def few_refused(what: str, figure: float, limit: float) -> Goal:
    """Return the goal for a percentage of refused queries."""
    return goal(what, figure, limit, unit="%")


def limit_used(gateway: Gateway, since: float, until: float, rate: float, limit: float) -> Goal:
    """Return the goal for the answered queries per second of a span, as a percentage of a rate."""
    figure = 100 * answered(gateway, since, until) / rate
    return goal("used of the limit", figure, limit, at_least=True, unit="%")


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
    """Poll ids that never complete for so many seconds, and return the gateway."""
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
    """400 ids, a bucket of 20 queries per second, 50 in flight."""
    gateway = await polled(TokenBucket(20, 20), ids=400, seconds=120, seed=seed, max_in_flight=50)
    return [
        few_refused("refused after 20 s", refused(gateway, 20), 1.0),
        limit_used(gateway, 20, 120, rate=20, limit=85.0),
    ]


async def nginx(seed: int) -> list[Goal]:
    """200 ids at once, nginx limit_req: 5 per second, burst 10, 503."""
    gateway = await polled(LeakyBucket(5, 10), ids=200, seconds=300, seed=seed, max_in_flight=50)
    return [
        few_refused("refused", refused(gateway), 4.0),
        limit_used(gateway, 20, 300, rate=5, limit=85.0),
    ]


async def by_address(seed: int) -> list[Goal]:
    """200 ids, 180 queries in any 180 s, an empty 429."""
    gateway = await polled(
        SlidingWindow(180, 180), ids=200, seconds=1800, seed=seed, max_in_flight=50
    )
    return [
        few_refused("refused", refused(gateway), 7.0),
        limit_used(gateway, 180, 1800, rate=1, limit=80.0),
    ]


async def by_address_with_max_rate(seed: int) -> list[Goal]:
    """The same, with `max_rate=1`."""
    gateway = await polled(
        SlidingWindow(180, 180), ids=200, seconds=1800, seed=seed, max_in_flight=50, max_rate=1
    )
    return [
        few_refused("refused", refused(gateway), 0.0),
        limit_used(gateway, 0, 1800, rate=1, limit=98.0),
    ]


async def window_with_max_rate(seed: int) -> list[Goal]:
    """400 ids, 200 queries in any 10 s, with `max_rate=20`."""
    gateway = await polled(
        SlidingWindow(200, 10), ids=400, seconds=300, seed=seed, max_in_flight=50, max_rate=20
    )
    return [
        few_refused("refused", refused(gateway), 0.1),
        limit_used(gateway, 0, 300, rate=20, limit=99.0),
    ]


async def moving(seed: int) -> list[Goal]:
    """400 ids, a bucket whose limit moves 20 → 60 → 20 queries per second."""

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
        goal("until 85 % of 60/s", float(reached), 35.0, unit="s"),
        few_refused("refused after the fall", refused(gateway, 120, 160), 1.5),
    ]


async def saturated(seed: int, seconds: float = 60) -> list[Goal]:
    """400 ids, 3 % of all answers are 429 at random, no limit."""
    rates = []
    for limit in (AtRandom(0.03, seed=seed), None):
        gateway = await polled(limit, ids=400, seconds=seconds, seed=seed, max_in_flight=50)
        rates.append(answered(gateway, 0, seconds))
    kept = 100 * rates[0] / rates[1]
    return [goal("throughput kept", kept, 60.0, at_least=True, unit="%")]


async def unlimited(seed: int) -> list[Goal]:
    """5,000 ids, no limit, 50 in flight, 100 ms."""
    gateway = await polled(None, ids=5000, seconds=10, seed=seed, max_in_flight=50)
    rates = [answered(gateway, t, t + 1.0) for t in range(9)]
    return [
        goal("rate in the 5th second", rates[4], 450.0, at_least=True, unit="/s"),
        goal("least rate after it", min(rates[5:]), 450.0, at_least=True, unit="/s"),
    ]


async def shared_by_keys(seed: int) -> list[Goal]:
    """400 ids, one bucket of 20 per second for three keys together."""
    gateway = await polled(
        TokenBucket(20, 20),
        ids=400,
        seconds=120,
        seed=seed,
        max_in_flight=50,
        credentials=[Credential(token=f"key-{number}") for number in range(3)],
    )
    return [
        few_refused("refused after 20 s", refused(gateway, 20), 1.0),
        limit_used(gateway, 20, 120, rate=20, limit=85.0),
    ]


SCENARIOS: tuple[Scenario, ...] = (
    bucket,
    nginx,
    by_address,
    by_address_with_max_rate,
    window_with_max_rate,
    moving,
    saturated,
    unlimited,
    shared_by_keys,
)


def main() -> None:
    """Run every scenario and print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N (default 3)")
    parser.add_argument("--only", help="run one scenario")
    arguments = parser.parse_args()
    for scenario in SCENARIOS:
        if arguments.only in {None, scenario.__name__}:
            print_scenario(scenario, range(1, arguments.seeds + 1))


def print_scenario(scenario: Scenario, seeds: range) -> None:
    """Run a scenario, and print each figure: its median over the seeds, and the worst."""
    print((scenario.__doc__ or "").strip())
    runs = [run_in_virtual_time(scenario, seed) for seed in seeds]
    for goals in zip(*runs, strict=True):
        first, figures = goals[0], [goal.figure for goal in goals]
        worst, relation = (min, "at least") if first.at_least else (max, "at most")
        verdict = "holds" if all(goal.holds for goal in goals) else "FAILS"
        print(
            f"  {first.what:24} {statistics.median(figures):8.2f} {first.unit:3}"
            f" worst {worst(figures):8.2f}   goal: {relation} {first.limit:g} {first.unit:3}"
            f" {verdict}"
        )


if __name__ == "__main__":
    main()
