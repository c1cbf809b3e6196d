"""What Ray gives, and what it costs: `python -m benchmarks.cluster --ids 20000`.

All ids are complete when they are asked, so that the number of queries is the same for all. Who
answers has a process of its own: the loopback gateway, which sees what the limits are kept to, and
for the first rows the server of the other benchmarks (in C, where there is a compiler), which is
not what limits. It and Ray's own processes share the machine's cores with the shards: with few
cores the figures are what this costs, and not what it can give. Each row is measured in turn, and
again; the table has the medians. Needs Ray.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import benchmarks.speed.ray_environment  # noqa: F401 - before Ray
from benchmarks._gateway_process import ObservedTraffic, Served, gateway_process
from benchmarks.speed.answers import COMPLETE, make_ids
from benchmarks.speed.server import serving
from ideogram_async import IdeogramClient, SamplingRequest

IN_FLIGHT = 64
RATE = 500.0
LATENCY = 0.01
KILLS = 3

Take = Callable[[SamplingRequest], None]
Poll = Callable[[list[str], str, Take], Awaitable[None]]


class Figures(NamedTuple):
    """One run's: seconds from the call to its first result, and ids a second from there on."""

    first: float
    throughput: float
    cpu: float
    """Seconds of the calling process's CPU for 1,000 ids."""
    seen: ObservedTraffic | None


async def alone(ids: list[str], url: str, take: Take) -> None:
    """Poll with one client in this process."""
    async with IdeogramClient(url, max_in_flight=IN_FLIGHT, max_rate=math.inf) as client:
        async for request in client.as_completed(ids):
            take(request)


def sharded(shards: int, *, rate: float = math.inf, kills: int = 0) -> Poll:
    """Poll with shards; kill one a few times, evenly over the run."""
    from ideogram_async.ray import ray_as_completed  # noqa: PLC0415 - where Ray is installed

    async def poll(ids: list[str], url: str, take: Take) -> None:
        at = {len(ids) * n // (kills + 1) for n in range(1, kills + 1)}
        run = ray_as_completed(ids, url, shards=shards, max_in_flight=IN_FLIGHT, max_rate=rate)
        async with run:
            async for request in run:
                take(request)
                if run.statistics().yielded in at:
                    kill_one()

    return poll


def kill_one() -> None:
    """Kill a shard's process."""
    from ray._private.state import actors  # noqa: PLC0415 - where Ray is installed

    alive = [one["Pid"] for one in actors().values() if one["State"] == "ALIVE" and one["Pid"]]
    if alive:
        os.kill(alive[0], signal.SIGKILL)


class Swift:
    """A server that is not what limits; it counts nothing."""

    def __init__(self, url: str) -> None:
        self.url = url

    def submit(self, count: int) -> list[str]:
        """Make ids of requests that are complete."""
        return make_ids(count, COMPLETE)

    def seen(self) -> None:
        """Tell nothing."""


async def measure(poll: Poll, served: Served | Swift, count: int) -> Figures:
    """Poll so many ids, and check that each came once."""
    ids = served.submit(count)
    got: list[str] = []
    times: list[float] = []

    def take(request: SamplingRequest) -> None:
        if not got:
            times.append(time.perf_counter())
        got.append(str(request.request_id))

    begin, cpu = time.perf_counter(), time.process_time()
    await poll(ids, served.url, take)
    end = time.perf_counter()
    assert sorted(got) == sorted(ids)
    used = 1000 * (time.process_time() - cpu) / count
    return Figures(times[0] - begin, count / (end - times[0]), used, served.seen())


def medians(runs: list[Figures]) -> Figures:
    """Give each figure's median, and the highest that the gateway saw."""
    first, throughput, cpu, seen = zip(*runs, strict=True)
    told = [one for one in seen if one is not None]
    highest = (
        ObservedTraffic(*(max(values) for values in zip(*told, strict=True))) if told else None
    )
    median = statistics.median
    return Figures(median(first), median(throughput), median(cpu), highest)


async def table(
    count: int, repeats: int, served: Served, swift: Swift
) -> dict[str, dict[str, Figures]]:
    """Measure every row, in turn, by who answers."""
    scaling: dict[str, Poll] = {
        "one process, no Ray": alone,
        "1 shard": sharded(1),
        "2 shards": sharded(2),
    }
    faults: dict[str, Poll] = {
        f"2 shards, {KILLS} times one is killed": sharded(2, kills=KILLS),
        f"2 shards, told {RATE:g} a second": sharded(2, rate=RATE),
    }
    plan: list[tuple[str, Served | Swift, dict[str, Poll]]] = [
        ("server", swift, scaling),
        ("gateway", served, scaling | faults),
    ]
    runs: dict[str, dict[str, list[Figures]]] = {
        who: {name: [] for name in rows} for who, _, rows in plan
    }
    await measure(sharded(1), served, 10)  # starts Ray
    for _ in range(repeats):
        for who, server, rows in plan:
            for name, poll in rows.items():
                runs[who][name].append(await measure(poll, server, count))
    return {
        who: {name: medians(figures) for name, figures in rows.items()}
        for who, rows in runs.items()
    }


def report(tables: dict[str, dict[str, Figures]]) -> None:
    """Print a row each, with ratios to the first of those whom the same server answered."""
    heads = "| | answers | first result | ids a second | of one process | caller's CPU, 1,000 ids "
    print(f"{heads}| queries | most in flight | most in 10 s |\n|---{8 * '|---'}|")
    for who, rows in tables.items():
        base = next(iter(rows.values())).throughput
        for name, row in rows.items():
            seen = ["", "", ""] if row.seen is None else [f"{one:,}" for one in row.seen]
            print(
                f"| {name} | {who} | {row.first:.1f} s | {row.throughput:,.0f} "
                f"| {row.throughput / base:.2f} | {row.cpu:.2f} s | {' | '.join(seen)} |"
            )


def main() -> None:
    """Start Ray and the gateway, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=20_000, help="ids in each run (default 20,000)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each row (default 3)")
    arguments = parser.parse_args()
    logging.getLogger("ideogram_async").setLevel(logging.ERROR)
    try:
        with (
            tempfile.TemporaryDirectory() as directory,
            gateway_process(latency=LATENCY) as served,
            serving(Path(directory), tls=False, core=None) as server,
        ):
            swift = Swift(server.base_url)
            report(asyncio.run(table(arguments.ids, arguments.repeats, served, swift)))
    finally:
        import ray  # noqa: PLC0415 - after its environment is set

        ray.shutdown()


if __name__ == "__main__":
    main()
