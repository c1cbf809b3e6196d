"""The scenes of the bench: what the gateway is, what is asked of it, and what is measured.

Figures, by name: `refused` % of the queries sent after the warm-up, `overall` % of all queries,
`used` % of the lesser of limit and demand, `least` the least client's share in % of the largest's,
`lag` mean seconds from a request's completion to its result, `lost` sound ids that ended otherwise
or not at all, `back` seconds until 90 % of the former throughput is there again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.limits.gateway import (
    Both,
    Concurrency,
    FixedWindow,
    Gateway,
    Headers,
    Latency,
    PerKey,
    installed,
)
from ideogram_async import Credential, FixedInterval, IdeogramClient, RequestError
from ideogram_async.testing import (
    AtRandom,
    Limit,
    Reply,
    SlidingWindow,
    TokenBucket,
)

MEASURED_SECONDS = 600.0
"""Seconds that are measured after the warm-up."""
WARM_UP_SECONDS = 30.0
"""Seconds of warm-up, and as many queries at the limit, if that is longer."""
GIVEN_UP_SECONDS = 3000.0
"""Seconds after which the sound ids that have not ended are lost."""
WORKING_SECONDS = (5.0, 25.0)
"""Seconds that a job takes, where jobs end."""
ROUND_TRIP_SECONDS = (0.05, 0.3)
"""The latency of the scenes that measure a lag."""

Figures = dict[str, float]
Run = Callable[[int], Coroutine[Any, Any, Figures]]


class Told(NamedTuple):
    """What the oracle is told of a scene."""

    rates: Sequence[float] = (float("inf"),)
    """Queries per second of each key, for one client."""
    in_flight: int | None = None


class Scene(NamedTuple):
    """One row of the table."""

    name: str
    run: Run
    goals: Mapping[str, float]
    """The figures of the row, and what is asked of each; `used` and `least` must be reached."""
    told: Told | None = None
    """None: there is nothing to tell that would help."""


SETTINGS: dict[str, Any] = {}
"""More settings for every client: the oracle's."""


def client(*, keys: int = 1, in_flight: int = 50, **settings: Any) -> IdeogramClient:
    """Make a client of the gateway that is installed."""
    settings = {"max_in_flight": in_flight, **settings, **SETTINGS}
    credentials = [Credential(token=f"key-{number}") for number in range(keys)]
    return IdeogramClient("http://127.0.0.1:9", credentials=credentials, **settings)


class Span(NamedTuple):
    """What the gateway counted in a span of time."""

    sent: int
    accepted: int
    seconds: float
    by_client: Counter[int]

    @property
    def refused(self) -> float:
        """The percentage of the queries that were refused."""
        return 100 * (self.sent - self.accepted) / max(self.sent, 1)

    @property
    def rate(self) -> float:
        """Queries per second that were accepted."""
        return self.accepted / self.seconds


def span(gateway: Gateway, since: float, until: float) -> Span:
    """Count the queries of a span."""
    seen = [query for query in gateway.seen if since <= query.at < until]
    accepted = [query for query in seen if query.accepted]
    by_client = Counter(query.client for query in accepted)
    return Span(len(seen), len(accepted), until - since, by_client)


# Ids that never end


class Load(NamedTuple):
    """Ids that never end, asked for at a fixed interval."""

    ids: int
    """For each client."""
    interval: float = 2.0
    clients: int = 1
    keys: int = 1
    in_flight: int = 50


@contextlib.asynccontextmanager
async def polling(gateway: Gateway, load: Load, seed: int) -> AsyncIterator[None]:
    """Poll from all clients within the block; they begin one after another, within 5 s."""
    rng = random.Random(f"clients {seed}")
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(installed(gateway))
        for number in range(load.clients):
            if number:
                await asyncio.sleep(rng.uniform(0, 5 / load.clients))
            one = client(
                keys=load.keys, in_flight=load.in_flight, schedule=FixedInterval(load.interval)
            )
            await stack.enter_async_context(one)
            ids = [f"id-{number}-{place}" for place in range(load.ids)]
            await stack.enter_async_context(one.as_completed(ids, deadline=None))
        yield


def steady(
    make: Callable[[int], Limit | None],
    rate: float,
    load: Load,
    *,
    latency: Latency = 0.1,
    seconds: float = MEASURED_SECONDS,
    headers: Headers | None = None,
) -> Run:
    """Make a run of a limit and a load, both the same all the time."""

    async def run(seed: int) -> Figures:
        random.seed(seed)
        gateway = Gateway(seed=seed, limit=make(seed), latency=latency, headers=headers)
        since = max(WARM_UP_SECONDS, 30 / rate)
        until = since + seconds
        async with polling(gateway, load, seed):
            await asyncio.sleep(until - asyncio.get_running_loop().time())
        trip = sum(latency) / 2 if isinstance(latency, tuple) else latency
        demand = load.clients * load.ids / (load.interval + trip)
        measured, whole = span(gateway, since, until), span(gateway, 0, until)
        shares = [measured.by_client[number] for number in range(load.clients)]
        return {
            "refused": measured.refused,
            "overall": whole.refused,
            "used": 100 * measured.rate / min(rate, demand),
            "least": 100 * min(shares) / max(*shares, 1) if load.clients > 1 else 100.0,
        }

    return run


def bucket(rate: float, burst: float, **style: Any) -> Callable[[int], Limit]:
    """Make buckets of so many tokens a second."""
    return lambda _seed: TokenBucket(rate, burst, **style)


def buckets(*rates: float) -> Callable[[int], Limit]:
    """Make a bucket for each key, of so many tokens a second."""
    return lambda _seed: PerKey(*(TokenBucket(rate, rate) for rate in rates))


def window(count: int, seconds: float, **style: Any) -> Callable[[int], Limit]:
    """Make sliding windows."""
    return lambda _seed: SlidingWindow(count, seconds, **style)


def concurrency(count: int) -> Callable[[int], Limit]:
    """Make limits of the queries that are being worked on."""
    return lambda _seed: Concurrency(count)


def chance(share: float, **style: Any) -> Callable[[int], Limit]:
    """Make refusals that have nothing to do with the rate."""
    return lambda seed: AtRandom(share, seed, **style)


def chance_on_bucket(share: float, rate: float) -> Callable[[int], Limit]:
    """Make such refusals before a bucket."""
    return lambda seed: Both(AtRandom(share, seed), TokenBucket(rate, rate))


def window_headers(gateway: Gateway, now: float) -> Mapping[str, str]:
    """Return what the gateway's own fixed window says of itself."""
    limit = gateway.limit
    assert isinstance(limit, FixedWindow)
    remaining, reset = limit.left(now)
    return {"X-RateLimit-Remaining": str(remaining), "X-RateLimit-Reset": f"{math.ceil(reset)}"}


def foreign_headers(_gateway: Gateway, now: float) -> Mapping[str, str]:
    """Return what a relay copies from its upstream, which counts other queries: 1 a second."""
    return {"X-RateLimit-Remaining": str(int(60 - now % 60)), "X-RateLimit-Reset": "1m0s"}


# What happens once


async def idle(seed: int) -> Figures:
    """Learn a bucket of 20 a second, ask nothing for 8 h, then ask as much as is allowed."""
    random.seed(seed)
    gateway = Gateway(seed=seed, limit=TokenBucket(20, 20))
    ids = [f"id-{place}" for place in range(400)]
    loop = asyncio.get_running_loop()
    with installed(gateway):
        async with client(schedule=FixedInterval(2.0)) as one:
            async with one.as_completed(ids, deadline=None):
                await asyncio.sleep(120)
            await asyncio.sleep(8 * 3600)
            begun = loop.time()
            async with one.as_completed(ids, deadline=None):
                await asyncio.sleep(60)
    measured = span(gateway, begun, begun + 60)
    return {
        "count": measured.sent - measured.accepted,
        "used": 100 * measured.accepted / (60 * 20 + 20),
    }


async def burst(seed: int) -> Figures:
    """Refuse one query of a stream of 20 a second; later 500 requests are submitted at once."""
    with_one, without = await _burst(seed, refused=True), await _burst(seed, refused=False)
    return {"lag": with_one, "over": with_one - without}


async def _burst(seed: int, *, refused: bool) -> float:
    random.seed(seed)
    rng = random.Random(f"burst {seed}")
    loop = asyncio.get_running_loop()
    began, left = loop.time(), [refused]

    def fault(_request_id: str, now: float) -> Reply | None:
        return Reply(429) if now >= began + 60 and left and left.pop() else None

    gateway = Gateway(seed=seed, latency=ROUND_TRIP_SECONDS, fault=fault)

    async def stream() -> AsyncIterator[str]:
        for _ in range(4 * 150):  # each is asked some five times
            yield gateway.submit(rng.uniform(*WORKING_SECONDS))
            await asyncio.sleep(rng.expovariate(4))

    with installed(gateway):
        async with client() as one, one.as_completed(stream(), just_submitted=True):
            await asyncio.sleep(90)
            ids = [gateway.submit(rng.uniform(*WORKING_SECONDS)) for _ in range(500)]
            return statistics.fmean((await _lags(gateway, one, ids)).values())


def outage(seconds: float) -> Run:
    """Answer 503 to everything for so long, at 300 queries a second."""

    async def run(seed: int) -> Figures:
        random.seed(seed)
        loop = asyncio.get_running_loop()
        ends = loop.time() + 60 + seconds

        def fault(_request_id: str, now: float) -> Reply | None:
            return Reply(503) if ends - seconds <= now < ends else None

        gateway = Gateway(seed=seed, fault=fault)
        async with polling(gateway, Load(630), seed):
            await asyncio.sleep(60 + seconds + 150)
        before = span(gateway, ends - seconds - 10, ends - seconds).rate
        return {"back": _back(gateway, ends, 0.9 * before, 150)}

    return run


async def moving(seed: int) -> Figures:
    """Let a bucket go from 20 a second to 2, for 300 to 400 s, and back to 20.

    The rate grows faster, the longer it was not cut: the time since the last cut must be any.
    """
    random.seed(seed)
    seconds = random.Random(f"moving {seed}").uniform(300, 400)
    gateway = Gateway(seed=seed, limit=TokenBucket(20, 20))
    async with polling(gateway, Load(400), seed):
        await asyncio.sleep(120)
        gateway.limit = TokenBucket(2, 2)
        await asyncio.sleep(seconds)
        gateway.limit = TokenBucket(20, 20)
        await asyncio.sleep(200)
    low = span(gateway, 150, 120 + seconds)
    return {
        "refused": low.refused,
        "used": 100 * low.rate / 2,
        "back": _back(gateway, 120 + seconds, 18, 200, seconds=5),
    }


async def unlimited(seed: int) -> Figures:
    """Set no limit; 200 ids want 570 queries a second."""
    random.seed(seed)
    gateway = Gateway(seed=seed)
    async with polling(gateway, Load(200, interval=0.25, in_flight=100), seed):
        await asyncio.sleep(60)
    return {"back": _back(gateway, 0.5, 500, 59)}


def _back(gateway: Gateway, since: float, rate: float, most: float, seconds: float = 1.0) -> float:
    """Return when so many queries a second are accepted again, in seconds since a moment."""
    for step in range(int(2 * (most - seconds))):
        at = since + step / 2
        if span(gateway, at, at + seconds).rate >= rate:
            return step / 2
    return most


# Jobs that end


async def _lags(gateway: Gateway, one: IdeogramClient, ids: Any) -> dict[str, float]:
    """Return the lag of each id of a call that ends well."""
    lags: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    run = one.as_completed(ids, just_submitted=True, return_exceptions=True)
    async with run:
        async for result in run:
            if not isinstance(result, RequestError):
                name = str(result.request_id)
                lags[name] = loop.time() - gateway.jobs[name].ends
    return lags


def peers(clients: int) -> Run:
    """Submit 200 requests at once, of as many clients, under a window of 200 in 10 s."""

    async def run(seed: int) -> Figures:
        random.seed(seed)
        rng = random.Random(f"peers {seed}")
        limit = SlidingWindow(200, 10)
        gateway = Gateway(seed=seed, limit=limit, latency=ROUND_TRIP_SECONDS)
        lags: dict[str, float] = {}
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(installed(gateway))
            ones = [await stack.enter_async_context(client()) for _ in range(clients)]
            ids = [gateway.submit(rng.uniform(*WORKING_SECONDS)) for _ in range(200)]
            calls = [_lags(gateway, one, ids[i::clients]) for i, one in enumerate(ones)]
            for found in await asyncio.gather(*calls):
                lags |= found
        whole = span(gateway, 0, GIVEN_UP_SECONDS)
        return {"lag": statistics.fmean(lags.values()), "overall": whole.refused}

    return run


class Poison(NamedTuple):
    """Ids that are always answered by a fault, and the sound ones beside them."""

    bad: int
    sound: int
    reply: Reply
    bad_first: bool = False


def poisoned(poison: Poison) -> Run:
    """Submit sound ids and bad ones at once; only the sound ones are measured."""

    async def run(seed: int) -> Figures:
        random.seed(seed)
        rng = random.Random(f"poison {seed}")
        gateway = Gateway(seed=seed, latency=ROUND_TRIP_SECONDS, fault=_bad(poison.reply))
        sound = [gateway.submit(rng.uniform(*WORKING_SECONDS)) for _ in range(poison.sound)]
        ids = [f"bad-{place}" for place in range(poison.bad)] + sound
        if not poison.bad_first:
            rng.shuffle(ids)
        with installed(gateway):
            async with client() as one:
                return await _sound(gateway, one, ids, poison.sound)

    return run


async def sick_waits(seed: int) -> Figures:
    """Wait for two ids that are always answered 503, beside 20 sound ones, without a deadline."""
    random.seed(seed)
    rng = random.Random(f"waits {seed}")
    gateway = Gateway(seed=seed, latency=ROUND_TRIP_SECONDS, fault=_bad(Reply(503)))
    with installed(gateway):
        async with client(deadline=None) as one:
            waits = [asyncio.ensure_future(one.wait(f"bad-{place}")) for place in range(2)]
            await asyncio.sleep(0)
            sound = [gateway.submit(rng.uniform(*WORKING_SECONDS)) for _ in range(20)]
            figures = await _sound(gateway, one, sound, 20)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
    return figures


def models_down(share: float, reply: Reply) -> Run:
    """Submit 2 requests a second for 300 s, of which a share is never answered well."""

    async def run(seed: int) -> Figures:
        random.seed(seed)
        rng = random.Random(f"models {seed}")
        gateway = Gateway(seed=seed, latency=ROUND_TRIP_SECONDS, fault=_bad(reply))
        bad = [rng.random() < share for _ in range(600)]

        async def submitted() -> AsyncIterator[str]:
            for place, is_bad in enumerate(bad):
                await asyncio.sleep(rng.expovariate(2))
                duration = rng.uniform(*WORKING_SECONDS)
                yield f"bad-{place}" if is_bad else gateway.submit(duration)

        with installed(gateway):
            async with client() as one:
                return await _sound(gateway, one, submitted(), bad.count(False))

    return run


def _bad(reply: Reply) -> Callable[[str, float], Reply | None]:
    return lambda request_id, _now: reply if request_id.startswith("bad") else None


async def _sound(gateway: Gateway, one: IdeogramClient, ids: Any, sound: int) -> Figures:
    """Measure the sound ids, so many; those that do not end well in time are lost."""
    lags: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    run = one.as_completed(ids, just_submitted=True, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GIVEN_UP_SECONDS), run:
            async for result in run:
                if not isinstance(result, RequestError):
                    name = str(result.request_id)
                    lags[name] = loop.time() - gateway.jobs[name].ends
                if len(lags) == sound:
                    break
    mean = statistics.fmean(lags.values()) if lags else GIVEN_UP_SECONDS
    return {"lag": mean, "lost": sound - len(lags)}
