"""A shard: the actor that owns one client, in a process of its own.

It knows nothing of the others, nor of whose ids it has: it can be lost at any moment.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator

import anyio

from ideogram_async import IdeogramClient, IdeogramError, Schedule
from ideogram_async.ray._completion_samples import CompletionSample, RecordingSchedule, learn
from ideogram_async.ray._id_queue import IdQueue
from ideogram_async.ray._shard_config import ShardConfig
from ideogram_async.ray._shard_report import Result, ShardReport, packed_errors, packed_records

MOST = 24
"""Results in one piece of news: as bytes they stay below what Ray sends without its store."""
KEPT = 8 * MOST
"""Results that are taken from the client before they are sent."""
GATHER = 0.05
"""Seconds between two pieces of news that are not full: each costs its reader 1 ms or more."""
LOOK = 0.05
"""Seconds between two looks at whether the gateway has refused anything."""
BEAT = 1.0
"""Seconds after which there is news without results."""


class ShardActor:
    """The actor. It is opened once, and then tells `news` until it is killed."""

    def __init__(self) -> None:
        bytearray(1 << 20)  # as the command line does: asyncio's receive buffers cost less then
        self._results: deque[Result] = deque()
        self._inboxes: dict[bool, IdQueue] = {}
        self._polling: set[asyncio.Task[None]] = set()
        self._holds: dict[int, float] = {}
        self._told: dict[int, int] = {}
        self._sent_at = -GATHER
        self._ended: IdeogramError | None = None

    async def open(self, order: ShardConfig, schedule: Schedule[object]) -> None:
        """Make the client."""
        self._schedule = RecordingSchedule(schedule)
        self._client: IdeogramClient = order.client(self._schedule)
        self._stir = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        await self._client.__aenter__()

    async def add(self, ids: list[str], *, just_submitted: bool) -> None:
        """Poll these ids, too."""
        inbox = self._inboxes.get(just_submitted)
        if inbox is None:
            inbox = self._inboxes[just_submitted] = IdQueue()
            task = asyncio.create_task(self._poll(inbox, just_submitted=just_submitted))
            self._polling.add(task)
        inbox.put(ids)

    async def hold(self, session: int, seconds: float) -> None:
        """Hold a session for what another shard was refused."""
        self._client.hold(seconds, session=session)

    async def learn(self, lessons: list[CompletionSample]) -> None:
        """Learn what another shard has seen."""
        learn(self._schedule.own, lessons)

    async def news(self) -> AsyncIterator[ShardReport]:
        """Tell what there is, as it comes, until the run has ended."""
        while self._ended is None or self._results:
            await self._something()
            yield self._gathered()

    async def _poll(self, inbox: IdQueue, *, just_submitted: bool) -> None:
        run = self._client.as_completed(
            inbox, return_exceptions=True, just_submitted=just_submitted, max_pending=sys.maxsize
        )
        try:
            async with run:
                async for result in run:
                    while len(self._results) >= KEPT:
                        self._room.clear()
                        await self._room.wait()
                    self._put(result)
        except IdeogramError as error:
            error.pending = ()  # whoever handed them in knows better
            self._ended = error
            self._stir.set()

    def _put(self, result: Result) -> None:
        self._results.append(result)
        self._stir.set()
        if len(self._results) >= MOST:
            self._full.set()

    async def _something(self) -> None:
        """Wait for news: results, a refusal, or a while without any."""
        loop = asyncio.get_running_loop()
        until = loop.time() + BEAT
        while not self._stir.is_set() and loop.time() < until:
            with anyio.move_on_after(LOOK):
                await self._stir.wait()
            self._look()
        with anyio.CancelScope(deadline=self._sent_at + GATHER):
            await self._full.wait()
        self._sent_at = loop.time()

    def _look(self) -> None:
        """See whether a session was refused since the last look, and holds."""
        for place, session in enumerate(self._client.statistics().sessions):
            if session.refused > self._told.get(place, 0) and session.held > 0:
                self._told[place] = session.refused
                self._holds[place] = session.held
                self._stir.set()

    def _gathered(self) -> ShardReport:
        taken = [self._results.popleft() for _ in range(min(MOST, len(self._results)))]
        self._room.set()
        if len(self._results) < MOST:
            self._full.clear()
        holds, self._holds = self._holds, {}
        if not self._results and self._ended is None:
            self._stir.clear()
        return ShardReport(
            packed_records(taken),
            packed_errors(taken),
            self._client.statistics(),
            holds,
            self._schedule.lessons(),
            None if self._results else self._ended,
        )
