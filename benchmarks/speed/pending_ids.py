"""Many pending ids in a process of their own: `python -m benchmarks.speed.pending_ids TASK`.

Four phases, one after another:

1. The ids are taken in.
2. Each id is asked once, after which all state of the run exists.
3. The ids are polled.
4. The run is left.
"""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

import msgspec

from benchmarks._machine import pin, raise_mmap_threshold, resident_bytes
from benchmarks.speed.answers import RUNNING, make_ids
from benchmarks.speed.busy_schedule import BusySchedule
from benchmarks.speed.child import read_task, write_line
from benchmarks.speed.stalls import Heartbeat, Stall
from benchmarks.speed.stub_transport import StubTransport, replace_transport
from ideogram_async import IdeogramClient, Observation
from ideogram_async._protocol.outcome import Answer

IN_FLIGHT = 64
SWEEP_SECONDS_PER_ID = 2e-6
"""Less than the cost of a poll, so that all ids are always overdue."""


class PendingTask(msgspec.Struct, frozen=True):
    """What to measure."""

    who: str
    """`ours`, or `tasks`: an asyncio task per id."""
    source: str
    """`list`, `generator` or `async`."""
    count: int
    polls: int
    """The polls that are timed."""
    freeze: bool = False
    """Whether `gc.freeze()` follows the intake."""
    core: int | None = None


class PendingCost(msgspec.Struct, frozen=True):
    """What the ids cost."""

    memory: float
    """Resident bytes per id, without the ids' own strings."""
    taken_in: float
    """Seconds."""
    left: float
    """Seconds."""
    poll: float
    """Microseconds of CPU time per poll."""
    stalls: dict[str, Stall]
    """The longest stall of each phase."""


class Progress(NamedTuple):
    """How many ids were taken in, and how many queries were sent."""

    taken: Callable[[], int]
    queries: Callable[[], int]


Ids = Iterable[str] | AsyncIterator[str]
Poll = Callable[[Ids], AbstractAsyncContextManager[Progress]]
"""Polls ids within its block, and has released them after it."""


@asynccontextmanager
async def ours(count: int) -> AsyncIterator[Poll]:
    """Yield the function that polls with a client."""
    schedule = BusySchedule(count * SWEEP_SECONDS_PER_ID)
    async with IdeogramClient(
        "http://127.0.0.1:9", max_in_flight=IN_FLIGHT, max_rate=math.inf, schedule=schedule
    ) as client:

        @asynccontextmanager
        async def poll(ids: Ids) -> AsyncIterator[Progress]:
            async with client.as_completed(ids, max_pending=count) as run:
                first = asyncio.ensure_future(anext(run))  # starts the run; no id will complete
                await asyncio.sleep(0)
                yield Progress(lambda: run.statistics().taken, lambda: client.statistics().queries)
                first.cancel()
            await _until(lambda: client.statistics().pending == 0)

        yield poll


@asynccontextmanager
async def tasks(count: int) -> AsyncIterator[Poll]:
    """Yield the function that polls with a task per id; a semaphore bounds what is in flight."""
    transport, schedule = StubTransport(), BusySchedule(count * SWEEP_SECONDS_PER_ID)
    semaphore, time_ = asyncio.Semaphore(IN_FLIGHT), asyncio.get_running_loop().time

    async def poll_one(request_id: str) -> None:
        state, _ = schedule.start(time_(), just_submitted=False)
        while True:
            async with semaphore:
                asked = time_()
                answer = await transport.query(0, request_id, None)
            assert isinstance(answer, Answer)
            seen = Observation(asked, time_(), 0.0, answer.record, answer.server_time)
            await asyncio.sleep(schedule.next_delay(state, seen))

    @asynccontextmanager
    async def poll(ids: Ids) -> AsyncIterator[Progress]:
        assert isinstance(ids, Iterable)
        started = [asyncio.ensure_future(poll_one(request_id)) for request_id in ids]
        yield Progress(lambda: len(started), lambda: transport.queries)
        for task in started:
            task.cancel()
        await asyncio.wait(started)

    yield poll


async def measure(task: PendingTask) -> PendingCost:
    """Go through the phases, after a warm-up with 1,000 ids."""
    ids = make_ids(task.count, RUNNING)
    async with (ours if task.who == "ours" else tasks)(task.count) as poll:
        await _phases(poll, make_ids(1000, RUNNING, seed=1), PendingTask("", "list", 1000, 1000))
        return await _phases(poll, ids, task)


async def _phases(poll_ids: Poll, ids: Sequence[str], task: PendingTask) -> PendingCost:
    gc.collect()
    memory, heart, stalls = resident_bytes(), Heartbeat(), {}
    begun = time.perf_counter()
    async with poll_ids(_source(ids, task.source)) as progress:
        await _until(lambda: progress.taken() >= len(ids))
        taken_in, stalls["taking in"] = time.perf_counter() - begun, heart.longest()
        if task.freeze:
            gc.freeze()
        before = progress.queries()
        await _until(lambda: progress.queries() >= before + len(ids))
        memory, stalls["first"] = resident_bytes() - memory, heart.longest()
        before, cpu = progress.queries(), time.process_time()
        await _until(lambda: progress.queries() >= before + task.polls)
        poll = (time.process_time() - cpu) / (progress.queries() - before)
        stalls["polling"], begun = heart.longest(), time.perf_counter()
    left, stalls["leaving"] = time.perf_counter() - begun, heart.longest()
    heart.stop()
    return PendingCost(memory / len(ids), taken_in, left, poll * 1e6, stalls)


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
    while not condition():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.002)


def main() -> None:
    """Measure the task of the command line."""
    task = read_task(PendingTask)
    pin(task.core)
    raise_mmap_threshold()
    replace_transport()
    write_line(asyncio.run(measure(task)))


if __name__ == "__main__":
    main()
