"""What Ray costs, and what it gives: `python -m benchmarks.cluster --ids 20000`.

All ids are complete at the first query, so that each run sends the same number of queries. Two
servers answer, each in a process of its own: the server of the other speed benchmarks (in C, where
there is a compiler), which limits no client, and the loopback gateway, which records how the limits
were kept. They and Ray's own processes share the machine's cores with the shards: with few cores
the figures show what Ray costs, and not what it can give. The rows are measured in turn, and the
table has the medians. Needs Ray.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import benchmarks.speed.ray_environment  # noqa: F401 - before Ray
from benchmarks._gateway import gateway_process
from benchmarks._report import argument_parser
from benchmarks.speed.answers import COMPLETE, make_ids
from benchmarks.speed.server import serving
from ideogram_async import IdeogramClient, SamplingRequest
from ideogram_async.testing import Gateway

IN_FLIGHT = 64
MAX_RATE = 500.0
LATENCY_SECONDS = 0.01
KILLS = 3
WINDOW_SECONDS = 10.0

OnResult = Callable[[SamplingRequest], None]
Poll = Callable[[list[str], str, OnResult], Awaitable[None]]
"""Polls ids at an address, and calls a function with each result."""


class ObservedTraffic(NamedTuple):
    """What the gateway has seen since the ids were submitted."""

    queries: int
    peak_in_flight: int
    most_in_window: int


class Figures(NamedTuple):
    """The figures of one run, or the medians of several."""

    first: float
    """Seconds from the call to its first result."""
    throughput: float
    """Ids per second, from the first result on."""
    cpu: float
    """Seconds of the calling process's CPU time per 1,000 ids."""
    traffic: ObservedTraffic | None


class Target(NamedTuple):
    """A server that answers."""

    url: str
    submit: Callable[[int], list[str]]
    """Returns the ids of so many requests that are complete."""
    traffic: Callable[[], ObservedTraffic | None]
    """Returns what was seen since the last `submit`; None where nothing is recorded."""


def _submit_anew(gateway: Gateway, count: int) -> list[str]:
    gateway.queries.clear()
    gateway.submissions.clear()
    gateway.peak_in_flight = 0
    return [gateway.submit(duration=0) for _ in range(count)]


def _traffic(gateway: Gateway) -> ObservedTraffic:
    times = [query.at for query in gateway.queries]
    return ObservedTraffic(len(times), gateway.peak_in_flight, _most_in_window(times))


def _most_in_window(times: list[float]) -> int:
    """Return the number of queries in the window of `WINDOW_SECONDS` that has the most of them."""
    most, within = 0, deque[float]()
    for time_ in times:
        within.append(time_)
        while within[0] <= time_ - WINDOW_SECONDS:
            within.popleft()
        most = max(most, len(within))
    return most


async def one_process(ids: list[str], url: str, on_result: OnResult) -> None:
    """Poll with one client in this process."""
    async with IdeogramClient(url, max_in_flight=IN_FLIGHT, max_rate=math.inf) as client:
        async for request in client.as_completed(ids):
            on_result(request)


def sharded(shards: int, *, rate: float = math.inf, kills: int = 0) -> Poll:
    """Return a function that polls with shards, and kills one a few times, evenly over the run."""
    from ideogram_async.ray import ray_as_completed  # noqa: PLC0415 - where Ray is installed

    async def poll(ids: list[str], url: str, on_result: OnResult) -> None:
        kill_at = {len(ids) * n // (kills + 1) for n in range(1, kills + 1)}
        run = ray_as_completed(ids, url, shards=shards, max_in_flight=IN_FLIGHT, max_rate=rate)
        async with run:
            async for request in run:
                on_result(request)
                if run.statistics().yielded in kill_at:
                    kill_one()

    return poll


def kill_one() -> None:
    """Kill a shard's process."""
    from ray._private.state import actors  # noqa: PLC0415 - where Ray is installed

    alive = [one["Pid"] for one in actors().values() if one["State"] == "ALIVE" and one["Pid"]]
    if alive:
        os.kill(alive[0], signal.SIGKILL)


async def measure(poll: Poll, target: Target, count: int) -> Figures:
    """Poll so many ids, and check that each result came once."""
    ids = target.submit(count)
    got: list[str] = []
    times: list[float] = []

    def on_result(request: SamplingRequest) -> None:
        if not got:
            times.append(time.perf_counter())
        got.append(str(request.request_id))

    begin, cpu = time.perf_counter(), time.process_time()
    await poll(ids, target.url, on_result)
    end = time.perf_counter()
    assert sorted(got) == sorted(ids)
    used = 1000 * (time.process_time() - cpu) / count
    return Figures(times[0] - begin, count / (end - times[0]), used, target.traffic())


def medians(runs: list[Figures]) -> Figures:
    """Return the median of each figure, and the highest of each that the gateway has seen."""
    first, throughput, cpu, seen = zip(*runs, strict=True)
    traffic = [one for one in seen if one is not None]
    highest = ObservedTraffic(*map(max, zip(*traffic, strict=True))) if traffic else None
    median = statistics.median
    return Figures(median(first), median(throughput), median(cpu), highest)


async def measure_all(
    count: int, repeats: int, server: Target, gateway: Target
) -> dict[str, dict[str, Figures]]:
    """Measure every row, in turn, and return the rows by who answers."""
    scaling: dict[str, Poll] = {
        "one process, no Ray": one_process,
        "1 shard": sharded(1),
        "2 shards": sharded(2),
    }
    faults: dict[str, Poll] = {
        f"2 shards, one is killed {KILLS} times": sharded(2, kills=KILLS),
        f"2 shards, `max_rate={MAX_RATE:g}`": sharded(2, rate=MAX_RATE),
    }
    plan = [("server", server, scaling), ("gateway", gateway, scaling | faults)]
    runs: dict[str, dict[str, list[Figures]]] = {
        who: {name: [] for name in rows} for who, _, rows in plan
    }
    await measure(sharded(1), gateway, 10)  # starts Ray
    for _ in range(repeats):
        for who, target, rows in plan:
            for name, poll in rows.items():
                runs[who][name].append(await measure(poll, target, count))
    return {
        who: {name: medians(figures) for name, figures in rows.items()}
        for who, rows in runs.items()
    }


def result_lines(tables: dict[str, dict[str, Figures]]) -> Iterator[str]:
    """Yield a row each, its throughput also as a ratio to one process and the same server."""
    head = "| | answers | first result | ids per second | of one process | caller's CPU, 1,000 ids "
    yield f"{head}| queries | most in flight | most in {WINDOW_SECONDS:g} s |\n|---{8 * '|---'}|"
    for who, rows in tables.items():
        base = next(iter(rows.values())).throughput
        for name, row in rows.items():
            seen = ["", "", ""] if row.traffic is None else [f"{one:,}" for one in row.traffic]
            yield (
                f"| {name} | {who} | {row.first:.1f} s | {row.throughput:,.0f} "
                f"| {row.throughput / base:.2f} | {row.cpu:.2f} s | {' | '.join(seen)} |"
            )


def main() -> None:
    """Start Ray and both servers, and print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--ids", type=int, default=20_000, help="ids per run (default 20,000)")
    parser.add_argument("--repeats", type=int, default=3, help="runs per row (default 3)")
    arguments = parser.parse_args()
    logging.getLogger("ideogram_async").setLevel(logging.ERROR)
    try:
        with gateway_process(latency=LATENCY_SECONDS) as gateway, serving() as server:
            targets = (
                Target(server.base_url, lambda count: make_ids(count, COMPLETE), lambda: None),
                Target(
                    gateway.url,
                    lambda count: gateway.call(_submit_anew, count),
                    lambda: gateway.call(_traffic),
                ),
            )
            tables = asyncio.run(measure_all(arguments.ids, arguments.repeats, *targets))
        print(*result_lines(tables), sep="\n")
    finally:
        import ray  # noqa: PLC0415 - after its environment is set

        ray.shutdown()


if __name__ == "__main__":
    main()
