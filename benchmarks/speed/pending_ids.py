"""A crowd of pending ids in a process of its own: `python -m benchmarks.speed.pending_ids TASK`.

The task and what was measured are JSON. Four phases, one after the other: the ids are taken in;
each is asked once, so that all state that there will be is there; they are polled; they are left.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks._machine import close_malloc_trap, pin
from benchmarks.speed.answers import RUNNING, make_ids
from benchmarks.speed.busy_schedule import Restless
from benchmarks.speed.stalls import Heartbeat, Stall
from benchmarks.speed.stub_transport import Network, replace_transport
from ideogram_async import IdeogramClient, Observation
from ideogram_async._protocol.outcome import Answer

IN_FLIGHT = 64
_SECONDS_A_POLL = 2e-6  # less than one costs: with a sweep of so many, all are always overdue


class Task(msgspec.Struct, frozen=True):
    """What to measure."""

    who: str
    """`ours`, or `tasks`: an asyncio task an id."""
    source: str
    """`list`, `generator` or `async`."""
    count: int
    polls: int
    freeze: bool = False
    """Whether `gc.freeze()` follows the intake."""
    core: int | None = None


class Measured(msgspec.Struct, frozen=True):
    """What a crowd cost; bytes and seconds."""

    memory: float
    """Resident bytes an id, beyond the ids' own strings."""
    taken_in: float
    left: float
    poll: float
    """Microseconds of CPU time a poll."""
    stalls: dict[str, Stall]


class Progress(NamedTuple):
    """How far a crowd has come."""

    taken: Callable[[], int]
    queries: Callable[[], int]


Ids = Iterable[str] | AsyncIterator[str]
Crowd = Callable[[Ids], AbstractAsyncContextManager[Progress]]
"""Polls ids within its block, and has let go of them after it."""


@asynccontextmanager
async def ours(count: int) -> AsyncIterator[Crowd]:
    """Make the client."""
    schedule = Restless(count * _SECONDS_A_POLL)
    async with IdeogramClient(
        "http://127.0.0.1:9", max_in_flight=IN_FLIGHT, max_rate=math.inf, schedule=schedule
    ) as client:

        @asynccontextmanager
        async def crowd(ids: Ids) -> AsyncIterator[Progress]:
            async with client.as_completed(ids, max_pending=count) as run:
                first = asyncio.ensure_future(anext(run))  # starts it; none of them will complete
                await asyncio.sleep(0)
                yield Progress(lambda: run.statistics().taken, lambda: client.statistics().queries)
                first.cancel()
            await _until(lambda: client.statistics().pending == 0)

        yield crowd


@asynccontextmanager
async def tasks(count: int) -> AsyncIterator[Crowd]:
    """Have a task for each id, asleep between its polls; a semaphore bounds the flight."""
    network, schedule = Network(), Restless(count * _SECONDS_A_POLL)
    semaphore, time_ = asyncio.Semaphore(IN_FLIGHT), asyncio.get_running_loop().time

    async def poll(request_id: str) -> None:
        state, _ = schedule.start(time_(), just_submitted=False)
        while True:
            async with semaphore:
                asked = time_()
                answer = await network.query(0, request_id)
            assert isinstance(answer, Answer)
            seen = Observation(asked, time_(), 0.0, answer.record, answer.server_time)
            await asyncio.sleep(schedule.next_delay(state, seen))

    @asynccontextmanager
    async def crowd(ids: Ids) -> AsyncIterator[Progress]:
        assert isinstance(ids, Iterable)
        started = [asyncio.ensure_future(poll(request_id)) for request_id in ids]
        yield Progress(lambda: len(started), lambda: network.queries)
        for task in started:
            task.cancel()
        await asyncio.wait(started)

    yield crowd


async def measure(task: Task) -> Measured:
    """Go through the phases."""
    ids = make_ids(task.count, RUNNING)
    async with (ours if task.who == "ours" else tasks)(task.count) as crowd:
        await _phases(crowd, make_ids(1000, RUNNING, seed=1), Task("", "list", 1000, 1000))
        return await _phases(crowd, ids, task)


async def _phases(crowd: Crowd, ids: Sequence[str], task: Task) -> Measured:
    gc.collect()
    memory, heart, stalls = _resident(), Heartbeat(), {}
    begun = time.perf_counter()
    async with crowd(_source(ids, task.source)) as progress:
        await _until(lambda: progress.taken() >= len(ids))
        taken_in, stalls["taking in"] = time.perf_counter() - begun, heart.longest()
        if task.freeze:
            gc.freeze()
        before = progress.queries()
        await _until(lambda: progress.queries() >= before + len(ids))
        memory, stalls["first"] = _resident() - memory, heart.longest()
        before, cpu = progress.queries(), time.process_time()
        await _until(lambda: progress.queries() >= before + task.polls)
        poll = (time.process_time() - cpu) / (progress.queries() - before)
        stalls["polling"], begun = heart.longest(), time.perf_counter()
    left, stalls["leaving"] = time.perf_counter() - begun, heart.longest()
    heart.stop()
    return Measured(memory / len(ids), taken_in, left, poll * 1e6, stalls)


def _source(ids: Sequence[str], kind: str) -> Ids:
    if kind == "list":
        return ids
    if kind == "generator":
        return (request_id for request_id in ids)
    return _streamed(ids)


async def _streamed(ids: Sequence[str]) -> AsyncIterator[str]:
    for request_id in ids:
        yield request_id


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.002)


def _resident() -> int:
    """Give the bytes of memory that this process has resident."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure the task of the command line."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    pin(task.core)
    close_malloc_trap()
    replace_transport()
    print(msgspec.json.encode(asyncio.run(measure(task))).decode())


if __name__ == "__main__":
    main()
