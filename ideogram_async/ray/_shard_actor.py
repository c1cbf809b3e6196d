"""A shard: the actor that owns one client, in a process of its own.

It knows nothing of the other shards, nor of the run: it may be lost at any moment.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator

import anyio

from ideogram_async import CompletionSample, IdeogramClient, IdeogramError, Schedule
from ideogram_async._fleet.messages import Announcement, Reply
from ideogram_async.ray._completion_samples import learn, recorded
from ideogram_async.ray._link import ShardLink
from ideogram_async.ray._shard_config import ShardConfig
from ideogram_async.ray._shard_report import Result, ShardReport, packed_errors, packed_records

RESULTS_PER_REPORT = 24
"""As bytes, so many stay below the size that Ray sends without its object store."""
RESULTS_AHEAD = 8 * RESULTS_PER_REPORT
"""Results that are taken from the client before they are reported."""
REPORT_GAP_SECONDS = 0.05
"""Time between two reports that are not full: each costs its reader 1 ms or more."""
HEARTBEAT_SECONDS = 1.0
"""Time after which there is a report without results."""


class ShardActor:
    """The actor: it is opened once, and yields reports until it is killed or its client ends."""

    def __init__(self) -> None:
        bytearray(1 << 20)  # as the command line does: asyncio's receive buffers cost less then
        self._results: deque[Result] = deque()
        self._queues: dict[bool, asyncio.Queue[list[str]]] = {}
        self._polling: set[asyncio.Task[None]] = set()
        self._reported_at = -REPORT_GAP_SECONDS
        self._ended: IdeogramError | None = None

    async def open(self, config: ShardConfig, schedule: Schedule[object]) -> None:
        """Start the client."""
        self._schedule = schedule
        self._samples = recorded(schedule)
        self._report_is_due = asyncio.Event()
        self._link = ShardLink(self._report_is_due.set)
        self._client: IdeogramClient = config.client(self._schedule, self._link)
        self._report_is_full = asyncio.Event()
        self._has_room = asyncio.Event()
        await self._client.__aenter__()

    async def add(self, ids: list[str], *, just_submitted: bool) -> None:
        """Poll these ids, too."""
        queue = self._queues.get(just_submitted)
        if queue is None:
            queue = self._queues[just_submitted] = asyncio.Queue()
            task = asyncio.create_task(self._poll(queue, just_submitted=just_submitted))
            self._polling.add(task)
        queue.put_nowait(ids)

    async def answer(self, reply: Reply) -> None:
        """Pass the run's reply to the limiter."""
        self._link.answer(reply)

    async def publish(self, news: list[Announcement]) -> None:
        """Pass to the limiter what all shards of its key should hear."""
        self._link.publish(news)

    async def learn(self, samples: list[CompletionSample]) -> None:
        """Pass the samples of other shards to the schedule."""
        learn(self._schedule, samples)

    async def reports(self) -> AsyncIterator[ShardReport]:
        """Yield a report when there is something to report, until the client's run has ended."""
        while self._ended is None or self._results:
            await self._wait_until_due()
            yield self._next_report()

    async def _poll(self, queue: asyncio.Queue[list[str]], *, just_submitted: bool) -> None:
        run = self._client.as_completed(
            _each_id(queue),
            return_exceptions=True,
            just_submitted=just_submitted,
            max_pending=sys.maxsize,
        )
        try:
            async with run:
                async for result in run:
                    while len(self._results) >= RESULTS_AHEAD:
                        self._has_room.clear()
                        await self._has_room.wait()
                    self._results.append(result)
                    self._report_is_due.set()
                    if len(self._results) >= RESULTS_PER_REPORT:
                        self._report_is_full.set()
        except IdeogramError as error:
            error.pending = ()  # the caller's process knows better
            self._ended = error
            self._report_is_due.set()

    async def _wait_until_due(self) -> None:
        """Wait for results, the limiter's report or the heartbeat, and keep reports apart."""
        with anyio.move_on_after(HEARTBEAT_SECONDS):
            await self._report_is_due.wait()
        with anyio.CancelScope(deadline=self._reported_at + REPORT_GAP_SECONDS):
            await self._report_is_full.wait()
        self._reported_at = anyio.current_time()

    def _next_report(self) -> ShardReport:
        count = min(RESULTS_PER_REPORT, len(self._results))
        results = [self._results.popleft() for _ in range(count)]
        self._has_room.set()
        if len(self._results) < RESULTS_PER_REPORT:
            self._report_is_full.clear()
        if not self._results and self._ended is None:
            self._report_is_due.clear()
        samples = list(self._samples)
        self._samples.clear()
        return ShardReport(
            packed_records(results),
            packed_errors(results),
            self._client.statistics(),
            self._link.take_report(),
            samples,
            None if self._results else self._ended,
        )


async def _each_id(queue: asyncio.Queue[list[str]]) -> AsyncIterator[str]:
    """Iterate over the ids of a queue, without an end."""
    while True:
        for request_id in await queue.get():
            yield request_id
