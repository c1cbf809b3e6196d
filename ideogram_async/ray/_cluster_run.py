"""A run on Ray: which shard polls an id, and what the shards' reports mean for all of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio.to_thread

from ideogram_async import (
    AuthenticationError,
    ClientClosed,
    RequestError,
    Statistics,
)
from ideogram_async._fleet.messages import Report
from ideogram_async._runs.run_state import RunState, TakeIn
from ideogram_async.ray import _cluster
from ideogram_async.ray._budget import divide
from ideogram_async.ray._completion_samples import learn
from ideogram_async.ray._coordinator import Coordinator
from ideogram_async.ray._errors import ShardLost
from ideogram_async.ray._shard_config import RunOptions
from ideogram_async.ray._shard_proxy import ActorEnd, ActorLost, ShardProxy
from ideogram_async.ray._shard_report import ShardReport

_log = logging.getLogger("ideogram_async")

SAMPLES_EVERY_SECONDS = 1.0
"""Time between two deliveries of samples to the other shards."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
"""Time before an actor is replaced; it doubles while none of them delivers."""


class ClusterRun:
    """What polls the ids of a run on Ray: the shards, each id in one of them."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        config = options.config
        shares = divide(options.shards, config.keys, config.max_in_flight, config.max_rate)
        self._shards = [ShardProxy(share, options) for share in shares]
        self._refused_keys: set[int] = set()
        self._coordinators: dict[tuple[int, ...], Coordinator] = {}
        """For each key that several shards use: what they may send together."""
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # As a `RunBackend`

    def enter(self, run: RunState[Any]) -> None:
        """Begin to work for a run; nothing is started yet."""
        self._run = run

    def poll(self, request_id: str, now: float) -> None:  # noqa: ARG002 - a shard has its own clock
        """Add an id to the shard with the fewest open ones."""
        min(self._shards, key=lambda shard: len(shard.open)).add(request_id)

    def wake(self) -> None:
        """Send the ids that were added last."""
        for shard in self._shards:
            shard.wake()

    def start(self, take_in: TakeIn | None) -> None:
        """Start the shards, and beside them the intake of the other ids."""
        self.wake()
        self._task = self._run.loop.create_task(
            self._work(take_in), name="ideogram_async run on Ray"
        )

    def last_fault(self) -> None:
        """Return nothing: what a shard waits for is known to that shard."""

    def open_ids(self) -> list[str]:
        """Return the ids that no shard has delivered."""
        return [request_id for shard in self._shards for request_id in shard.open]

    def leave(self) -> list[str]:
        """Stop all shards; return the ids that were open."""
        self._stopped.set()
        return self.open_ids()

    async def aclose(self) -> None:
        """Wait until all shards are stopped."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def client_statistics(self) -> Statistics:
        """Return the sums over all clients, as they were reported last."""
        figures = [one for shard in self._shards for one in shard.statistics]
        latest = [shard.statistics[-1] for shard in self._shards if shard.statistics]
        of_run = self._run.statistics()
        return Statistics(
            queries=sum(one.queries for one in figures),
            in_flight=sum(one.in_flight for one in latest),
            pending=sum(one.pending for one in latest),
            completed=of_run.completed,
            failed=of_run.failed,
            refused=sum(one.refused for one in figures),
            sessions=tuple(session for one in latest for session in one.sessions),
        )

    # Shards

    async def _work(self, take_in: TakeIn | None) -> None:
        try:
            if not self._stopped.is_set():
                await self._connect()
            if not self._stopped.is_set():
                await self._poll_all(take_in)
        except asyncio.CancelledError:
            self._run.end(ClientClosed("the run's tasks were cancelled"))
            raise
        except Exception as error:  # noqa: BLE001 - the caller gets it, whatever it is
            self._run.end(error)

    async def _connect(self) -> None:
        try:
            await anyio.to_thread.run_sync(_cluster.connect, self._options.address)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ShardLost(f"no shard was started: there is no cluster: {reason}") from error

    async def _poll_all(self, take_in: TakeIn | None) -> None:
        async with anyio.create_task_group() as group:
            for place, shard in enumerate(self._shards):
                group.start_soon(self._poll_shard, place, shard)
            if take_in is not None:
                group.start_soon(take_in)
            group.start_soon(self._share_samples)
            await self._stopped.wait()
            group.cancel_scope.cancel()

    async def _poll_shard(self, place: int, shard: ShardProxy) -> None:
        """Have the ids of a shard polled by one actor after another, until the run ends.

        An actor's work ends in one of these ways:

        1. Its client was refused all its keys: the next actor uses the keys of another shard.
        2. Its client has ended otherwise, or its own code has raised: the run ends with that error.
        3. It was lost: after a pause the next actor gets the shard's open ids. The run ends when
           more than `restarts` in a row were lost without having delivered anything.
        """
        losses = 0
        while True:
            delivered = shard.delivered
            end = await self._poll_by_one_actor(shard)
            if self._stopped.is_set():
                return
            if isinstance(end, AuthenticationError) and self._use_other_keys(shard):
                losses = 0
                continue
            if isinstance(end, Exception):
                self._run.end(end)
                return
            losses = 1 if shard.delivered > delivered else losses + 1
            if losses > self._options.restarts:
                message = f"shard {place} was lost, {losses} times in a row: {end.reason}"
                self._run.end(ShardLost(message))
                return
            _log.warning("shard %s was lost, and is replaced: %s", place, end.reason)
            pause = FIRST_PAUSE_SECONDS * 2 ** (losses - 1)
            await anyio.sleep(min(pause, LONGEST_PAUSE_SECONDS))

    async def _poll_by_one_actor(self, shard: ShardProxy) -> ActorEnd:
        """Have one actor poll a shard's ids; return how it ended."""
        try:
            failed = await shard.start()
            if failed is not None:
                return failed
            end: ActorEnd = ActorLost("it was stopped")
            async with anyio.create_task_group() as group:
                group.start_soon(shard.send_ids)
                end = await self._read_events(shard)
                group.cancel_scope.cancel()
            return end
        finally:
            shard.kill()

    async def _read_events(self, shard: ShardProxy) -> ActorEnd:
        """Record the reports of a shard's actor until its end; return that."""
        while isinstance(event := await shard.next_event(), ShardReport):
            self._record(shard, event)
            if event.ended is not None:
                return event.ended
        return event

    def _record(self, shard: ShardProxy, report: ShardReport) -> None:
        """Record the results of a report, and let the other shards know what concerns them."""
        others = [other for other in self._shards if other is not shard]
        if report.activity is not None:
            self._coordinate(shard, report.activity)
        if report.samples:
            learn(self._options.schedule, report.samples)
            for other in others:
                other.add_samples(report.samples)
        results = self._run.results
        for result in report.results():
            request_id = str(result.request_id)
            if not shard.end(request_id):
                continue  # reported before, by an actor that was lost since
            if isinstance(result, RequestError):
                results.failed(request_id, result)
            else:
                results.completed(request_id, result)

    def _coordinate(self, shard: ShardProxy, activity: Report) -> None:
        """Answer what a limiter has reported; let the other shards of its key know."""
        keys, now = shard.share.keys, self._run.loop.time()
        fellows = [other for other in self._shards if other.share.keys == keys]
        coordinator = self._coordinators.get(keys)
        if coordinator is None:
            told = [one.share.max_rate for one in fellows if one.share.max_rate is not None]
            coordinator = Coordinator(sum(told) if told else None, now)
            self._coordinators[keys] = coordinator
        reply, news = coordinator.report(activity, now)
        shard.answer(reply)
        for fellow in fellows if news else ():
            if fellow is not shard:
                fellow.publish(news)

    async def _share_samples(self) -> None:
        while True:
            await anyio.sleep(SAMPLES_EVERY_SECONDS)
            for shard in self._shards:
                shard.send_samples()

    def _use_other_keys(self, shard: ShardProxy) -> bool:
        """Let a shard use another one's keys, since its own were refused; return whether it can.

        It keeps its own part of the limits.
        """
        self._refused_keys.update(shard.share.keys)
        for other in self._shards:
            keys, rate = other.share.keys, shard.share.max_rate
            if self._refused_keys.isdisjoint(keys):
                shard.use(shard.share._replace(keys=keys, is_shared=other.share.is_shared))
                if keys in self._coordinators and rate is not None:
                    self._coordinators[keys].add_rate(rate)
                return True
        return False
