"""Random faults of the whole fault matrix at load, in real time: `python -m benchmarks.soak`.

Exits with 1

1. if an id is lost, ends twice, or is completed though no answer has said so,
2. if more queries than allowed are in flight,
3. if anything raises an unexpected exception,
4. if descriptors, tasks or memory grow.

There are two gateways. One answers single queries with faults. The other also has outages, which
all queries meet: it is gone or silent, refuses every key, or redirects; and it refuses queries for
a limit. Callers come and go in rounds, and the figures are read between two rounds, when nobody
awaits anything. The gateways run in the same process, on bare sockets; their own records are
cleared after each round.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import math
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from benchmarks._machine import resident_bytes
from benchmarks._report import argument_parser
from benchmarks.soak.callers import Callers
from benchmarks.soak.faulty_gateway import FaultyGateway
from ideogram_async import Credential, FixedInterval, IdeogramClient
from tests.support.raw_server import RawServer

CALLERS_PER_CLIENT = 12
MAX_IN_FLIGHT = 32
MIN_ROUNDS = 12
"""With fewer rounds, growth cannot be separated from noise."""
GROWTH_LIMITS = {"descriptors": 4.0, "tasks": 4.0, "blocks": 4000.0, "MiB": 5.0}
"""By how much the median of the last third of the samples may exceed that of the middle third."""


class Sample(msgspec.Struct):
    """Figures between two rounds."""

    seconds: float
    queries: int
    connections: int
    descriptors: int
    """Open files, without both ends of each connection."""
    tasks: int
    """Tasks, without the gateway's for each connection."""
    blocks: int
    """Memory blocks that Python has allocated."""
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
        self, seed: int, server: RawServer, client: IdeogramClient, *, outages: bool
    ) -> None:
        rng = random.Random(f"{seed} {outages}")
        self.client = client
        self.server = server
        self.outages = outages
        self.gateway = FaultyGateway(rng, server, outages=outages)
        self.gateway.client = client
        self.callers = Callers(rng, client, server.ends, self.gateway.shown_complete)


class Soak:
    """Two sites under load, and what was observed."""

    def __init__(self, sites: list[Site]) -> None:
        self.sites = sites
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._loop.set_exception_handler(self._on_exception)

    async def run(self, minutes: float) -> None:
        """Run one round after another, and read a sample after each."""
        span, until = 60 * minutes / MIN_ROUNDS, self._started + 60 * minutes
        outages = [asyncio.create_task(s.gateway.have_outages()) for s in self.sites if s.outages]
        while self._loop.time() < until or len(self.samples) < MIN_ROUNDS:
            await self._round(min(span, 20.0))
            self.samples.append(await self._sample())
            print(self.samples[-1], flush=True)
        for outage in outages:
            outage.cancel()
        await asyncio.wait(outages)
        self.problems += [f"{one.exception()!r}" for one in outages if not one.cancelled()]

    async def _round(self, seconds: float) -> None:
        until = self._loop.time() + seconds
        async with asyncio.TaskGroup() as tasks:
            for site in self.sites * CALLERS_PER_CLIENT:
                tasks.create_task(site.callers.call_until(until))

    async def _sample(self) -> Sample:
        await asyncio.sleep(0.1)
        for site in self.sites:
            site.gateway.forget()
        gc.collect()
        figures = [site.client.statistics() for site in self.sites]
        if pending := sum(one.pending for one in figures):
            self.problems.append(f"{pending} ids are polled, and nobody awaits them")
        kept = [len(site.server.open) for site in self.sites]
        if max(kept) > MAX_IN_FLIGHT:
            self.problems.append(f"{max(kept)} connections are kept, and {MAX_IN_FLIGHT} allowed")
        files = os.listdir("/proc/self/fd")  # noqa: PTH208 - names alone are counted
        return Sample(
            seconds=self._loop.time() - self._started,
            queries=sum(one.queries for one in figures),
            connections=sum(kept),
            descriptors=len(files) - 2 * sum(kept),
            tasks=len(asyncio.all_tasks()) - sum(kept),
            blocks=sys.getallocatedblocks(),
            mib=resident_bytes() / 2**20,
        )

    def _on_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.problems.append(f"{context['message']}: {context.get('exception')!r}")

    def growth(self) -> dict[str, float]:
        """Return by how much each figure has grown from the middle third to the last."""
        third = len(self.samples) // 3
        middle, last = self.samples[third : 2 * third], self.samples[2 * third :]
        names = {"descriptors": "descriptors", "tasks": "tasks", "blocks": "blocks", "MiB": "mib"}
        return {name: _median(last, key) - _median(middle, key) for name, key in names.items()}


def _median(samples: list[Sample], name: str) -> float:
    return float(statistics.median(getattr(sample, name) for sample in samples))


@asynccontextmanager
async def _site(seed: int, *, outages: bool) -> AsyncIterator[Site]:
    keys = [Credential(token="soak-1"), Credential(access_token="soak-2")]  # noqa: S106 - made up
    async with (
        RawServer() as server,
        IdeogramClient(
            server.url,
            credentials=keys,
            max_in_flight=MAX_IN_FLIGHT,
            max_rate=math.inf,
            attempt_timeout=1.0,
            connect_timeout=1.0,
            schedule=FixedInterval(0.2),
        ) as client,
    ):
        yield Site(seed, server, client, outages=outages)


async def soak(minutes: float, seed: int) -> bool:
    """Run, print the figures, and return whether every promise was kept."""
    print(f"seed {seed}")
    print(
        f" seconds    queries  connections  descriptors  tasks     blocks      MiB    (seed {seed})"
    )
    async with _site(seed, outages=False) as plain, _site(seed, outages=True) as with_outages:
        run = Soak([plain, with_outages])
        await run.run(minutes)
        return report(run)


def report(run: Soak) -> bool:
    """Print the figures, and return whether every promise was kept."""
    growth, balanced, limited = run.growth(), True, True
    for site in run.sites:
        balance, faults = site.callers.balance, site.gateway.faults
        print("outages:" if site.outages else "plain:  ", _listed(msgspec.structs.asdict(balance)))
        print(f"        {faults.total():,d} faults of {len(faults)} kinds,", end=" ")
        print(f"{site.gateway.most_in_flight} of {MAX_IN_FLIGHT} in flight at most")
        print(f"        calls: {_listed(site.callers.calls)}")
        balanced = balanced and balance.balanced
        limited = limited and site.gateway.most_in_flight <= MAX_IN_FLIGHT
    for problem in sorted(set(run.problems)):
        print("problem:", problem)
    grown = [name for name, value in growth.items() if value > GROWTH_LIMITS[name]]
    print("growth: ", ", ".join(f"{name} {value:+.1f}" for name, value in growth.items()))
    print(
        "balanced" if balanced else "NOT BALANCED", "and flat" if not grown else f"GROWN: {grown}"
    )
    return balanced and limited and not grown and not run.problems


def _listed(figures: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {figure:,d}" for name, figure in figures.items())


def main() -> None:
    """Run for so many minutes, and exit with 1 if a promise was broken."""
    parser = argument_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    loop = importlib.import_module("uvloop" if arguments.uvloop else "asyncio")
    with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
        sys.exit(not runner.run(soak(arguments.minutes, arguments.seed)))


if __name__ == "__main__":
    main()
