"""Several processes with one key: `python -m benchmarks.fleet`.

Each member of a fleet is a client in a process of its own, over real HTTP, in real time; members
share their budget through a real Redis server, which this command starts (`redis-server` must be
installed). The seeds run at once, each with a gateway of its own: a fleet sends 20 queries per
second. Other work on the machine shows all the same: with `--virtual` the clients of a peers' test
are in this process, in virtual time, and the script is run by Lua (`lupa`) in place of Redis.

`alone` is one client without Redis.

- peers: 200 requests at once, of U(5, 25) s, divided evenly; 200 queries allowed in any 10 s.
  `share`: how far the worst member's queries are, in %, from its part of the pending ids.
- load, with `--virtual`: 2 and 8 members that are told 100 queries per second. Each gets 20
  requests at once, at random moments: 40 per second for all, which could use more than that rate.
  `per report`: queries for each round trip to Redis, from the 20th second to the 50th.
- bucket, with `--virtual`: 200 ids that never end, asked every second, by 8 members and by one that
  is alone; a bucket of `--burst` tokens allows 20 queries per second. `used`: accepted queries of
  120 s in % of that, after 30 s.
- faults: 4 members, 60 ids each that never end, the same limit; after 15 s one member is killed,
  or Redis is stopped for 30 s, or one member is cut off from it. `most`: queries in the busiest
  10 s, in % of the limit. `back`: seconds after the fault's end until 90 % of the rate before it is
  used again.
  `lost`: the living members' ids that were not asked again since then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import random
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from benchmarks.limits import redis_twin
from ideogram_async import FixedInterval, IdeogramClient, Limiter
from ideogram_async.redis import RedisLimiter
from ideogram_async.testing import Gateway, SlidingWindow, TokenBucket, run_in_virtual_time
from tests.support.redis_server import RedisServer, redis_server

RATE = 20.0
"""Queries per second that the gateways allow."""
PEERS = 200
STARTED_SECONDS = 1.0
"""A service runs before its work comes."""
LOAD_RATE, LOAD_REQUESTS = 100.0, 40.0
"""Queries per second that are told, and requests per second that begin."""
LOAD_AT_ONCE = 20
"""Requests that a member gets at once."""
LOAD_FROM_SECONDS, LOAD_SECONDS = 20.0, 30.0
BUCKET_FROM_SECONDS, BUCKET_SECONDS = 30.0, 120.0
IDS_OF_A_MEMBER = 60
FAULT_AT_SECONDS = 15.0
FAULT_SECONDS = 30.0
AFTER_SECONDS = 30.0
Figures = dict[str, float]


class Task(NamedTuple):
    """What one client of a member's process does."""

    gateway: str
    redis: str | None
    """None: it is blind to the others."""
    name: str
    rate: float | None
    interval: float | None = None
    """Seconds of a fixed schedule."""


# A member's process


def member(connection: Connection) -> None:
    """Do the tasks that come, and send back when each result came."""
    logging.disable(logging.WARNING)  # each refusal would be told
    asyncio.run(_work(connection))


async def _work(connection: Connection) -> None:
    connection.send("ready")
    tasks: list[Task] = await asyncio.to_thread(connection.recv)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(task)) for task in tasks]
        await asyncio.sleep(STARTED_SECONDS)
        connection.send("started")
        ids: list[list[str]] = await asyncio.to_thread(connection.recv)
        connection.send(list(await asyncio.gather(*map(_poll, clients, ids))))


def _client(task: Task) -> IdeogramClient:
    limiter: Limiter | None = None
    if task.redis is not None:
        limiter = RedisLimiter(task.redis, name=task.name, max_rate=task.rate)
    return IdeogramClient(
        task.gateway,
        token="key",  # noqa: S106 - of a gateway on loopback
        max_in_flight=50,
        max_rate=task.rate if limiter is None else None,
        limiter=limiter,
        schedule=None if task.interval is None else FixedInterval(task.interval),
    )


async def _poll(client: IdeogramClient, ids: list[str]) -> dict[str, float]:
    ended: dict[str, float] = {}
    async with client.as_completed(ids, just_submitted=True) as run:
        async for request in run:
            ended[request.request_id] = asyncio.get_running_loop().time()
    return ended


@contextlib.contextmanager
def members(count: int) -> Iterator[list[tuple[BaseProcess, Connection]]]:
    """Start so many processes; end them after the block."""
    context = multiprocessing.get_context("spawn")
    started: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process: BaseProcess = context.Process(target=member, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            started.append((process, ours))
        for _, connection in started:
            connection.recv()
        yield started
    finally:
        for process, connection in started:
            process.kill()
            process.join()
            connection.close()


# The peers' test


async def peers(seeds: Sequence[int], count: int, rate: float | None, redis: str) -> list[Figures]:
    """Run the peers' test with so many members, all seeds at once."""
    async with contextlib.AsyncExitStack() as stack:
        started = stack.enter_context(members(max(count, 1)))
        limit = (int(10 * RATE), 10)
        gateways = [
            await stack.enter_async_context(
                Gateway(latency=(0.05, 0.3), limit=SlidingWindow(*limit), seed=seed)
            )
            for seed in seeds
        ]
        connections = [connection for _, connection in started]
        await _start(
            connections,
            [
                Task(gateway.url, redis if count else None, f"{seed} {count} {rate}", rate)
                for seed, gateway in zip(seeds, gateways, strict=True)
            ],
        )
        ids: list[list[list[str]]] = [[] for _ in started]
        for seed, gateway in zip(seeds, gateways, strict=True):
            rng = random.Random(seed)
            of_fleet = [
                gateway.submit(duration=rng.uniform(5, 25), progress="linear") for _ in range(PEERS)
            ]
            for place, of_member in enumerate(ids):
                of_member.append(of_fleet[place :: len(ids)])
        for connection, of_member in zip(connections, ids, strict=True):
            connection.send(of_member)
        ended = [await asyncio.to_thread(connection.recv) for connection in connections]
        return [
            _peers_figures(gateway, [one[place] for one in ended], [one[place] for one in ids])
            for place, gateway in enumerate(gateways)
        ]


async def virtual_peers(seed: int, count: int, rate: float | None) -> Figures:
    """Run the peers' test with so many members in one process; 0: one that is alone."""
    random.seed(seed)
    rng, twin = random.Random(seed), redis_twin.Twin()
    task = Task("", "redis://twin" if count else None, "virtual", rate)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(redis_twin.installed(twin))
        gateway = await stack.enter_async_context(
            Gateway(latency=(0.05, 0.3), limit=SlidingWindow(int(10 * RATE), 10), seed=seed)
        )
        task = task._replace(gateway=gateway.url)
        members = max(count, 1)
        clients = [await stack.enter_async_context(_client(task)) for _ in range(members)]
        await asyncio.sleep(STARTED_SECONDS)
        of_fleet = [
            gateway.submit(duration=rng.uniform(5, 25), progress="linear") for _ in range(PEERS)
        ]
        ids = [of_fleet[place::members] for place in range(members)]
        ended = list(await asyncio.gather(*map(_poll, clients, ids)))
        figures = _peers_figures(gateway, ended, ids)
        return figures | {"reports": twin.reports}


async def virtual_load(seed: int, count: int) -> Figures:
    """Run so many members that get new requests again and again; count the reports."""
    random.seed(seed)
    rng, twin = random.Random(seed), redis_twin.Twin()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(redis_twin.installed(twin))
        limit = SlidingWindow(int(10 * LOAD_RATE), 10)
        gateway = await stack.enter_async_context(
            Gateway(latency=(0.05, 0.3), limit=limit, seed=seed)
        )
        task = Task(gateway.url, "redis://twin", "virtual", LOAD_RATE)
        clients = [await stack.enter_async_context(_client(task)) for _ in range(count)]

        async def serve(client: IdeogramClient) -> None:
            async with asyncio.TaskGroup() as group:
                while True:
                    await asyncio.sleep(rng.expovariate(LOAD_REQUESTS / LOAD_AT_ONCE / count))
                    ids = [
                        gateway.submit(duration=rng.uniform(5, 25), progress="linear")
                        for _ in range(LOAD_AT_ONCE)
                    ]
                    group.create_task(_poll(client, ids))

        services = [asyncio.ensure_future(serve(client)) for client in clients]
        await asyncio.sleep(LOAD_FROM_SECONDS)
        queries, reports = len(gateway.queries), twin.reports
        await asyncio.sleep(LOAD_SECONDS)
        queries, reports = len(gateway.queries) - queries, twin.reports - reports
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)
        return {"queries per second": queries / LOAD_SECONDS, "per report": queries / reports}


async def virtual_bucket(seed: int, count: int, burst: int, rate: float | None) -> Figures:
    """Have so many members keep a bucket's limit, which allows few queries at once."""
    random.seed(seed)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(redis_twin.installed(redis_twin.Twin()))
        gateway = await stack.enter_async_context(
            Gateway(latency=(0.05, 0.3), limit=TokenBucket(RATE, burst), seed=seed)
        )
        task = Task(gateway.url, "redis://twin" if count else None, "virtual", rate, 1.0)
        members = max(count, 1)
        clients = [await stack.enter_async_context(_client(task)) for _ in range(members)]
        await asyncio.sleep(STARTED_SECONDS)
        for client in clients:
            ids = [gateway.submit(duration=1e5) for _ in range(PEERS // members)]
            await stack.enter_async_context(client.as_completed(ids, deadline=None))
        await asyncio.sleep(BUCKET_FROM_SECONDS)
        queries, refused = len(gateway.queries), gateway.refused
        await asyncio.sleep(BUCKET_SECONDS)
        queries, refused = len(gateway.queries) - queries, gateway.refused - refused
        used = 100 * (queries - refused) / (RATE * BUCKET_SECONDS)
        return {"used": used, "refused": 100 * refused / queries}


async def _start(connections: Sequence[Connection], tasks: list[Task]) -> None:
    """Have each member make a client for each task, and join its fleet."""
    for connection in connections:
        connection.send(tasks)
    for connection in connections:
        await asyncio.to_thread(connection.recv)


def _peers_figures(
    gateway: Gateway, ended: list[dict[str, float]], ids: list[list[str]]
) -> Figures:
    lags = [at - gateway.completes_at(name) for one in ended for name, at in one.items()]
    by_id = Counter(query.request_id for query in gateway.queries)
    sent = [sum(by_id[name] for name in of_member) for of_member in ids]
    parts = [0.0] * len(ids)
    for query in gateway.queries:
        pending = [sum(at > query.at for at in of_member.values()) for of_member in ended]
        for place, count in enumerate(pending):
            parts[place] += count / sum(pending)
    return {
        "done": len(lags),
        "lag": statistics.fmean(lags),
        "queries": len(gateway.queries),
        "refused": 100 * gateway.refused / len(gateway.queries),
        "share": max(100 * abs(one / part - 1) for one, part in zip(sent, parts, strict=True)),
    }


# Faults


class Relay:
    """A way to Redis that can be cut: what is sent then is lost, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Open it; return the URL."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Let nothing pass."""
        self._flows.clear()

    def mend(self) -> None:
        """Let all pass that comes from now on."""
        self._flows.set()

    async def close(self) -> None:
        """Close it."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.ensure_future(self._pass_on(source, target))
            self._tasks.add(task)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if self._flows.is_set():
                    target.write(data)
                else:
                    await self._flows.wait()
        target.close()


@contextlib.asynccontextmanager
async def relay(server: RedisServer) -> AsyncIterator[tuple[Relay, str]]:
    """Open a way to a server within the block."""
    one = Relay(server.port)
    url = await one.start()
    try:
        yield one, url
    finally:
        await one.close()


async def fault(what: str, rate: float | None, server: RedisServer, count: int = 4) -> Figures:
    """Run a fleet under load; break something after a while, and mend it."""
    async with (
        Gateway(latency=(0.05, 0.3), limit=SlidingWindow(int(10 * RATE), 10)) as gateway,
        relay(server) as (way, relayed),
    ):
        with members(count) as started:
            for place, (_, connection) in enumerate(started):
                url = server.url if place else relayed
                await _start([connection], [Task(gateway.url, url, f"{what} {rate}", rate, 2.0)])
            ids = [[gateway.submit(duration=3600) for _ in range(IDS_OF_A_MEMBER)] for _ in started]
            begun = asyncio.get_running_loop().time()
            for (_, connection), of_member in zip(started, ids, strict=True):
                connection.send([of_member])
            await asyncio.sleep(FAULT_AT_SECONDS)
            broken = begun + FAULT_AT_SECONDS
            mended = broken + (0 if what == "kill" else FAULT_SECONDS)
            if what == "kill":
                started[0][0].kill()
            elif what == "stop":
                server.stop()
            else:
                way.cut()
            await asyncio.sleep(mended - broken)
            if what == "stop":
                await asyncio.to_thread(server.start)
            way.mend()
            await asyncio.sleep(AFTER_SECONDS)
        living = ids[1:] if what == "kill" else ids
        return _fault_figures(gateway, living, broken, mended)


def _fault_figures(
    gateway: Gateway, living: list[list[str]], broken: float, mended: float
) -> Figures:
    sent = [query.at for query in gateway.queries]
    ends = mended + AFTER_SECONDS
    windows = [sum(at <= one < at + 10 for one in sent) for at in sent]
    used = Counter(int(query.at - broken) for query in gateway.queries)
    before = sum(broken - 10 <= at < broken for at in sent) / 10
    back = next(
        (
            second
            for second in range(int(mended - broken), int(ends - broken) - 3)
            if sum(used[second + place] for place in range(3)) >= 0.9 * 3 * before
        ),
        int(ends - broken),
    )
    late = {query.request_id for query in gateway.queries if query.at >= mended}
    of_members = [
        sum(query.at >= ends - 10 and query.request_id in set(ids) for query in gateway.queries)
        for ids in living
    ]
    part = sum(of_members) / len(of_members)
    return {
        "most": 100 * max(windows) / (10 * RATE),
        "refused": 100 * gateway.refused / len(sent),
        "back": back - (mended - broken),
        "lost": sum(name not in late for ids in living for name in ids),
        "share": 100 * max(abs(one - part) for one in of_members) / part,
    }


# The command


def main() -> None:
    """Run the scenes, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-8", help="the first and the last (default 1-8)")
    parser.add_argument("--members", type=int, nargs="*", default=[0, 1, 2, 4, 8])
    parser.add_argument("--how", nargs="*", default=["told", "found"])
    parser.add_argument(
        "--virtual", action="store_true", help="peers, load and bucket, in virtual time"
    )
    parser.add_argument("--load", type=int, nargs="*", default=[2, 8], help="with --virtual")
    parser.add_argument("--burst", type=int, nargs="*", default=[1, 3], help="with --virtual")
    parser.add_argument("--faults", nargs="*", default=["kill", "stop", "cut"])
    arguments = parser.parse_args()
    first, last = map(int, arguments.seeds.split("-"))
    seeds = range(first, last + 1)
    if arguments.virtual:
        logging.disable(logging.WARNING)
        for how, count in itertools.product(arguments.how, arguments.members):
            rate = RATE if how == "told" else None
            runs = [run_in_virtual_time(virtual_peers, seed, count, rate) for seed in seeds]
            _print(_row("peers", how, count), runs)
        for count in arguments.load:
            loads = [run_in_virtual_time(virtual_load, seed, count) for seed in seeds]
            _print(_row("load", "told", count), loads)
        for how, burst, count in itertools.product(arguments.how, arguments.burst, (0, 8)):
            rate = RATE if how == "told" else None
            runs = [run_in_virtual_time(virtual_bucket, one, count, burst, rate) for one in seeds]
            _print(_row(f"bucket of {burst}", how, count), runs)
        return
    with redis_server() as server:
        for how in arguments.how:
            rate = RATE if how == "told" else None
            for count in arguments.members:
                runs = asyncio.run(peers(seeds, count, rate, server.url))
                _print(_row("peers", how, count), runs)
            for what in arguments.faults:
                _print(f"{what}, {how}", [asyncio.run(fault(what, rate, server))])


def _row(scene: str, how: str, count: int) -> str:
    return f"{scene}, {how}, " + (f"{count} members" if count else "alone")


def _print(name: str, runs: list[Figures]) -> None:
    cells = [
        f"{figure} {statistics.fmean(run[figure] for run in runs):.2f}"
        f" ({min(run[figure] for run in runs):.2f} to {max(run[figure] for run in runs):.2f})"
        for figure in runs[0]
    ]
    print(f"{name:24} {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
