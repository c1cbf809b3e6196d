"""`asyncio.gather` and `asyncio.sleep` against this library: `python -m benchmarks.gather`.

300 requests are submitted at once, and take 5 to 25 s each; the gateway allows 20 queries per
second. All rows poll over real HTTP in virtual time. The loop is what is written first: a task per
id that asks, and sleeps 2 s, also after a refusal. Its second row asks for at most 20 ids at once.
What favours the library: the limit. Without one, a loop costs queries alone. Seeds are fixed.
The last line is how long a call for one id takes beside many that are polled.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, NamedTuple

import aiohttp

from benchmarks._report import argument_parser
from ideogram_async import IdeogramClient
from ideogram_async.testing import PATH, Gateway, TokenBucket, run_in_virtual_time

REQUESTS = 300
QUERIES_PER_SECOND = 20
SLEEP_SECONDS = 2.0


class Outcome(NamedTuple):
    """What one run cost, and how late its results came."""

    queries: float
    refused: float
    lag: float
    """Mean seconds from a request's completion to its result."""


Poll = Callable[[Gateway, list[str], list[float]], Coroutine[Any, Any, None]]


async def gather(
    gateway: Gateway,
    ids: list[str],
    lags: list[float],
    at_once: AbstractAsyncContextManager[Any] | None = None,
) -> None:
    """Poll with a task per id, which sleeps between its queries."""
    loop = asyncio.get_running_loop()

    async def poll(session: aiohttp.ClientSession, request_id: str) -> None:
        while True:
            async with (
                at_once or nullcontext(),
                session.post(PATH, json={"request_id": request_id}) as response,
            ):
                if response.ok:
                    (record,) = (await response.json())["sampling_requests"]
                    if record["is_completed"]:
                        lags.append(loop.time() - gateway.completes_at(request_id))
                        return
            await asyncio.sleep(SLEEP_SECONDS)

    async with aiohttp.ClientSession(gateway.url) as session:
        await asyncio.gather(*(poll(session, request_id) for request_id in ids))


async def gather_few(gateway: Gateway, ids: list[str], lags: list[float]) -> None:
    """Do the same with at most 20 queries in flight."""
    await gather(gateway, ids, lags, asyncio.Semaphore(20))


async def library(gateway: Gateway, ids: list[str], lags: list[float]) -> None:
    """Poll with a client that is not told the limit."""
    loop = asyncio.get_running_loop()
    async with IdeogramClient(gateway.url) as client:
        lags += [
            loop.time() - gateway.completes_at(str(request.request_id))
            async for request in client.as_completed(ids, just_submitted=True)
        ]


ROWS: dict[str, Poll] = {
    "`gather`, `sleep(2)`": gather,
    "the same, 20 in flight": gather_few,
    "this library": library,
}


async def run(poll: Poll, seed: int, count: int) -> Outcome:
    """Submit the requests, and poll them until all are complete."""
    random.seed(seed)
    rng = random.Random(seed)
    lags: list[float] = []
    limit = TokenBucket(QUERIES_PER_SECOND, QUERIES_PER_SECOND)
    async with Gateway(latency=(0.05, 0.3), limit=limit, seed=seed) as gateway:
        ids = [gateway.submit(duration=rng.uniform(5, 25)) for _ in range(count)]
        await poll(gateway, ids, lags)
        assert len(lags) == count
        return Outcome(len(gateway.queries), gateway.refused, statistics.fmean(lags))


async def longest_wait(background: int) -> float:
    """Poll ids that never end; return the seconds of the longest `wait` for one that is complete.

    The gateway answers within 0.1 s and has no limit.
    """
    loop, waits = asyncio.get_running_loop(), []
    async with Gateway(latency=0.1) as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit(progress="never") for _ in range(background)]
        async with client.as_completed(ids):
            for _ in range(10):
                await asyncio.sleep(2.0)
                began = loop.time()
                await client.wait(gateway.submit(duration=0))
                waits.append(loop.time() - began)
    return max(waits)


def main(arguments: list[str] | None = None) -> None:
    """Run each row with each seed, and print the means as a table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 1 to N (default 5)")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests (default 300)")
    parser.add_argument("--background", type=int, default=20_000, help="(default 20,000)")
    options = parser.parse_args(arguments)
    print("| who polls | queries | refused | mean lag |\n|---|---|---|---|")
    for name, poll in ROWS.items():
        outcomes = [
            run_in_virtual_time(run, poll, seed, options.requests)
            for seed in range(1, options.seeds + 1)
        ]
        queries, refused, lag = map(statistics.fmean, zip(*outcomes, strict=True))
        print(f"| {name} | {queries:,.0f} | {refused:,.0f} | {lag:.1f} s |")
    longest = run_in_virtual_time(longest_wait, options.background)
    print(f"\nlongest `wait` beside {options.background:,} polled ids: {longest:.1f} s")


if __name__ == "__main__":
    main()
