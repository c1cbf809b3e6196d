"""Random faults of the whole matrix at load, in real time: is every id accounted for, all flat?

Ends with 1 if an id is lost, ends twice or is completed untruly, if more queries than allowed are
in flight, if anything raises what it should not, or if descriptors, tasks or memory grow.

There are two gateways. One meets single queries with faults; over the other whole storms come: it
is gone, silent, refuses every key, redirects, tells of limits. Callers come and go in rounds, and
figures are taken between two rounds, when nobody awaits anything. The gateways, in the same
process, are of bare sockets; their own lists are emptied after each round.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.soak.callers import Callers
from benchmarks.soak.weather import Weather
from ideogram_async import Credential, FixedInterval, IdeogramClient
from tests.support.raw_server import RawServer

CALLERS = 12
LIMIT = 32
ROUNDS = 12
"""Rounds that a soak has at least, so that growth is told from noise."""
ALLOWED = {"descriptors": 4.0, "tasks": 4.0, "blocks": 4000.0, "MiB": 5.0}
"""By how much the median of the last third may exceed that of the middle one."""


class Sample(msgspec.Struct):
    """Figures at a quiet moment."""

    seconds: float
    queries: int
    connections: int
    descriptors: int
    """Files open beside both ends of each connection."""
    tasks: int
    """Tasks beside the gateway's for each connection."""
    blocks: int
    """Blocks of memory that Python has allocated."""
    mib: float
    """Resident memory."""

    def __str__(self) -> str:
        return (
            f"{self.seconds:8.1f} {self.queries:10,d} {self.connections:12d}"
            f" {self.descriptors:12d} {self.tasks:6d} {self.blocks:10,d} {self.mib:8.1f}"
        )


class Site:
    """A gateway, a client of it, and the client's callers."""

    def __init__(
        self, seed: int, server: RawServer, client: IdeogramClient, *, stormy: bool
    ) -> None:
        rng = random.Random(f"{seed} {stormy}")
        self.client = client
        self.server = server
        self.stormy = stormy
        self.weather = Weather(rng, server, stormy=stormy)
        self.weather.client = client
        self.callers = Callers(rng, client, server.ends, self.weather.told_done)


class Soak:
    """Two sites under load, and what is seen of them."""

    def __init__(self, sites: list[Site]) -> None:
        self.sites = sites
        self.samples: list[Sample] = []
        self.troubles: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._loop.set_exception_handler(self._trouble)

    async def run(self, minutes: float) -> None:
        """Have one round after another, and take a sample after each."""
        span, until = 60 * minutes / ROUNDS, self._started + 60 * minutes
        storms = [asyncio.create_task(s.weather.change()) for s in self.sites if s.stormy]
        while self._loop.time() < until or len(self.samples) < ROUNDS:
            await self._round(min(span, 20.0))
            self.samples.append(await self._sample())
            print(self.samples[-1], flush=True)
        for storm in storms:
            storm.cancel()
        await asyncio.wait(storms)
        self.troubles += [f"{s.exception()!r}" for s in storms if not s.cancelled()]

    async def _round(self, seconds: float) -> None:
        until = self._loop.time() + seconds
        async with asyncio.TaskGroup() as tasks:
            for site in self.sites * CALLERS:
                tasks.create_task(site.callers.call_until(until))

    async def _sample(self) -> Sample:
        await asyncio.sleep(0.1)
        for site in self.sites:
            site.weather.forget()
        gc.collect()
        figures = [site.client.statistics() for site in self.sites]
        if pending := sum(one.pending for one in figures):
            self.troubles.append(f"{pending} ids are polled that nobody awaits")
        kept = [len(site.server.open) for site in self.sites]
        if max(kept) > LIMIT:
            self.troubles.append(f"{max(kept)} connections are kept, where {LIMIT} are allowed")
        files = os.listdir("/proc/self/fd")  # noqa: PTH208 - names alone are counted
        return Sample(
            seconds=self._loop.time() - self._started,
            queries=sum(one.queries for one in figures),
            connections=sum(kept),
            descriptors=len(files) - 2 * sum(kept),
            tasks=len(asyncio.all_tasks()) - sum(kept),
            blocks=sys.getallocatedblocks(),
            mib=_resident(),
        )

    def _trouble(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.troubles.append(f"{context['message']}: {context.get('exception')!r}")

    def growth(self) -> dict[str, float]:
        """Tell by how much each figure has grown from the middle third to the last."""
        third = len(self.samples) // 3
        middle, last = self.samples[third : 2 * third], self.samples[2 * third :]
        names = {"descriptors": "descriptors", "tasks": "tasks", "blocks": "blocks", "MiB": "mib"}
        return {name: _median(last, key) - _median(middle, key) for name, key in names.items()}


def _median(samples: list[Sample], name: str) -> float:
    return float(statistics.median(getattr(sample, name) for sample in samples))


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    size: int = resource.getpagesize()
    return pages * size / 2**20


@asynccontextmanager
async def _site(seed: int, *, stormy: bool) -> AsyncIterator[Site]:
    keys = [Credential(token="soak-1"), Credential(access_token="soak-2")]  # noqa: S106 - made up
    async with (
        RawServer() as server,
        IdeogramClient(
            server.url,
            credentials=keys,
            max_in_flight=LIMIT,
            max_rate=math.inf,
            attempt_timeout=1.0,
            connect_timeout=1.0,
            schedule=FixedInterval(0.2),
        ) as client,
    ):
        yield Site(seed, server, client, stormy=stormy)


async def soak(minutes: float, seed: int) -> bool:
    """Run, report, and tell whether every promise was kept."""
    print(f"seed {seed}")
    print(
        f" seconds    queries  connections  descriptors  tasks     blocks      MiB    (seed {seed})"
    )
    async with _site(seed, stormy=False) as calm, _site(seed, stormy=True) as stormy:
        run = Soak([calm, stormy])
        await run.run(minutes)
        return report(run)


def report(run: Soak) -> bool:
    """Print what came of it."""
    growth, balanced, limited = run.growth(), True, True
    for site in run.sites:
        balance, fired = site.callers.balance, site.weather.fired
        print("stormy:" if site.stormy else "calm:  ", _listed(msgspec.structs.asdict(balance)))
        print(f"        {fired.total():,d} faults of {len(fired)} kinds,", end=" ")
        print(f"{site.weather.most_in_flight} of {LIMIT} in flight at most")
        print(f"        calls: {_listed(site.callers.calls)}")
        balanced = balanced and balance.balanced
        limited = limited and site.weather.most_in_flight <= LIMIT
    for fault_history in sorted(set(run.troubles)):
        print("trouble:", fault_history)
    grown = [name for name, value in growth.items() if value > ALLOWED[name]]
    print("growth: ", ", ".join(f"{name} {value:+.1f}" for name, value in growth.items()))
    print(
        "balanced" if balanced else "NOT BALANCED", "and flat" if not grown else f"GROWN: {grown}"
    )
    return balanced and limited and not grown and not run.troubles


def _listed(figures: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {figure:,d}" for name, figure in figures.items())


def main() -> None:
    """Read how long, and end with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    sys.exit(not asyncio.run(soak(arguments.minutes, arguments.seed)))


if __name__ == "__main__":
    main()
