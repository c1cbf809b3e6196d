"""A shard as seen from the run: its share, its ids, and the actors that hold it in turn."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from ideogram_async import Statistics
from ideogram_async.ray import _cluster
from ideogram_async.ray._completion_samples import MOST, copied
from ideogram_async.ray._errors import ShardLost

if TYPE_CHECKING:
    from ideogram_async import IdeogramError
    from ideogram_async.ray._budget import Share
    from ideogram_async.ray._completion_samples import CompletionSample
    from ideogram_async.ray._run_options import RunOptions
    from ideogram_async.ray._shard_report import Result, ShardReport

_log = logging.getLogger("ideogram_async")

BATCH = 1_000
"""Ids in one call."""
STARTS_WITHIN = 60.0
"""Seconds in which an actor must have found its place, and be ready."""
PAUSE, PAUSE_CAP = 0.2, 5.0
"""Seconds before an actor is replaced, doubled while none delivers."""


class RunEvents(Protocol):
    """What a shard tells its run."""

    options: RunOptions

    @property
    def stopped(self) -> bool:
        """Whether no shard is needed any more."""
        ...

    def deliver(self, shard: ShardProxy, result: Result) -> None:
        """Record the end of an id."""

    def spread(self, shard: ShardProxy, key: int, seconds: float) -> None:
        """Hold all shards that use a key."""

    def teach(self, shard: ShardProxy, lessons: list[CompletionSample]) -> None:
        """Teach all other shards."""

    def shard_ended(self, shard: ShardProxy, error: IdeogramError) -> None:
        """Record that the client of a shard has ended."""

    def end(self, error: Exception) -> None:
        """End the run."""


class ShardProxy:
    """One shard. What it was handed and has not delivered is its own, whatever befalls an actor."""

    def __init__(self, place: int, share: Share, run: RunEvents) -> None:
        self.share: Share = share
        self.open: dict[str, None] = {}
        """The ids that are its, in the order in which they came."""
        self.delivered: int = 0
        """How many of its ids have ended."""
        self.figures: list[Statistics] = []
        """The last of each actor."""
        self._place = place
        self._run = run
        self._new: list[str] = []
        self._again: list[str] = []
        self._lessons: deque[CompletionSample] = deque(maxlen=MOST)
        self._more = asyncio.Event()
        self._actor: Any = None
        self._ready = False
        self._moved = False

    def give(self, request_id: str) -> None:
        """Hand it an id."""
        self.open[request_id] = None
        self._new.append(request_id)
        self._more.set()

    def hold(self, key: int, seconds: float) -> None:
        """Let it hold a key's session, if it uses that key."""
        if self._ready and key in self.share.keys:
            self._actor.hold.remote(self.share.keys.index(key), seconds)

    def teach(self, lessons: list[CompletionSample]) -> None:
        """Let it learn, a little later: the latest of all that it is taught meanwhile."""
        self._lessons.extend(lessons)

    def tell_lessons(self) -> None:
        """Let it learn what it was taught since this was called last."""
        if self._ready and self._lessons:
            self._actor.learn.remote(list(self._lessons))
            self._lessons.clear()

    def move(self, share: Share) -> None:
        """Go on with other keys, by another actor."""
        self.share, self._moved = share, True

    def kill(self) -> None:
        """End its actor, and so its queries."""
        actor, self._actor, self._ready = self._actor, None, False
        if actor is not None:
            _cluster.kill(actor)

    async def work(self) -> None:
        """Have its ids polled, by one actor after another, until it is cancelled."""
        failed = 0
        while True:
            before = self.delivered
            reason = await self._one_actor()
            if self._run.stopped:
                return
            if self._moved:
                failed, self._moved = 0, False
                continue
            failed = 1 if self.delivered > before else failed + 1
            if failed > self._run.options.restarts:
                lost = f"shard {self._place} was lost, {failed} times in a row: {reason}"
                self._run.end(ShardLost(lost))
                return
            _log.warning("shard %s was lost, and is replaced: %s", self._place, reason)
            await anyio.sleep(min(PAUSE * 2 ** (failed - 1), PAUSE_CAP))

    async def _one_actor(self) -> str:
        """Work with one actor, as long as it lives; give what became of it."""
        new = set(self._new)
        self._again = [request_id for request_id in self.open if request_id not in new]
        self._more.set()
        self._lessons.clear()
        self.figures.append(Statistics())
        plan, reason = self._run.options, "it has ended"
        try:
            self._actor = actor = _cluster.actor(plan.actor_options)
            with anyio.fail_after(STARTS_WITHIN):
                await actor.open.remote(plan.orders.order(self.share), copied(plan.schedule))
            self._ready = True
            async with anyio.create_task_group() as group:
                group.start_soon(self._send, actor)
                reason = await self._receive(actor)
                group.cancel_scope.cancel()
        except _cluster.RayError as error:
            reason = self._lost(error)
        except TimeoutError:
            reason = f"it found no place on the cluster within {STARTS_WITHIN:g} s"
        finally:
            self.kill()
        return reason

    async def _send(self, actor: Any) -> None:
        """Hand ids over as they come, a batch at a time."""
        while True:
            await self._more.wait()
            again = bool(self._again)
            waiting = self._again if again else self._new
            batch = waiting[:BATCH]
            del waiting[:BATCH]
            if not batch:
                self._more.clear()
                continue
            fresh = self._run.options.just_submitted and not again
            try:
                await actor.add.remote(batch, just_submitted=fresh)
            except _cluster.RayError:
                self.kill()  # whoever reads its news is told the rest
                return

    async def _receive(self, actor: Any) -> str:
        """Take its news, until it is lost or has ended."""
        try:
            async for reference in _cluster.news(actor):
                news: ShardReport = await reference
                self._take(news)
                if news.ended is not None:
                    return str(news.ended)
        except _cluster.RayError as error:
            return self._lost(error)
        return "its news ended"

    def _take(self, news: ShardReport) -> None:
        self.figures[-1] = news.statistics
        for place, seconds in news.holds.items():
            self._run.spread(self, self.share.keys[place], seconds)
        if news.lessons:
            self._run.teach(self, news.lessons)
        for result in news.results():
            self._run.deliver(self, result)
        if news.ended is not None:
            self._run.shard_ended(self, news.ended)

    def _lost(self, error: _cluster.RayError) -> str:
        """Say why an actor is lost. What it raised itself another one would raise, too."""
        if isinstance(error, _cluster.RayTaskError):
            self._run.end(error.cause if isinstance(error.cause, Exception) else error)
        return (str(error).splitlines() or [type(error).__name__])[0]
