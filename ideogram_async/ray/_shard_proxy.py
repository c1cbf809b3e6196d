"""A shard as the run sees it: its share, its open ids, and the actor that polls them now."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple, TypeAlias

import anyio

from ideogram_async import CompletionSample, Statistics
from ideogram_async._fleet.messages import Announcement, Reply
from ideogram_async.ray import _cluster
from ideogram_async.ray._budget import Share
from ideogram_async.ray._completion_samples import SAMPLES_KEPT, copied
from ideogram_async.ray._shard_config import RunOptions
from ideogram_async.ray._shard_report import ShardReport

IDS_PER_CALL = 1_000
START_SECONDS = 60.0
"""Time within which an actor must have found its place on the cluster, and be ready."""


class ActorLost(NamedTuple):
    """An actor cannot be reached any more, or could not be started: another one may do better."""

    reason: str


ActorEnd: TypeAlias = ActorLost | Exception
"""How an actor ended; an exception was raised by its own code, as another actor's code would."""


class ShardProxy:
    """One shard, polled by one actor after another.

    An id that was added is open until its end was recorded here, whatever becomes of an actor. The
    proxy calls nothing of the run: that one starts the actors, and reads one event after another.
    """

    def __init__(self, share: Share, options: RunOptions) -> None:
        self.share: Share = share
        self.open: dict[str, None] = {}
        """Its open ids, in the order in which they were added."""
        self.delivered: int = 0
        """How many of its ids have ended."""
        self.statistics: list[Statistics] = []
        """The last figures of each actor."""
        self._options = options
        self._unsent: deque[str] = deque()
        self._unsent_again: deque[str] = deque()
        self._samples: deque[CompletionSample] = deque(maxlen=SAMPLES_KEPT)
        self._has_unsent = asyncio.Event()
        self._actor: Any = None
        self._references: Any = None
        self._ready = False

    # Ids

    def add(self, request_id: str) -> None:
        """Add an id; the actor gets it after the next `wake`."""
        self.open[request_id] = None
        self._unsent.append(request_id)

    def wake(self) -> None:
        """Send the ids that were added."""
        if self._unsent:
            self._has_unsent.set()

    def end(self, request_id: str) -> bool:
        """Record that an id has ended; return whether it was open."""
        if request_id not in self.open:
            return False
        del self.open[request_id]
        self.delivered += 1
        return True

    async def send_ids(self) -> None:
        """Send ids to the actor as they are added, a batch at a time, until it is lost."""
        while True:
            again = bool(self._unsent_again)
            waiting = self._unsent_again if again else self._unsent
            batch = [waiting.popleft() for _ in range(min(IDS_PER_CALL, len(waiting)))]
            if not batch:
                self._has_unsent.clear()
                await self._has_unsent.wait()
                continue
            just_submitted = self._options.just_submitted and not again
            try:
                await self._actor.add.remote(batch, just_submitted=just_submitted)
            except _cluster.RayError:
                self.kill()  # then the next event tells that it is lost
                return

    # What other shards have seen, and may send

    def answer(self, reply: Reply) -> None:
        """Answer the last report of its limiter."""
        if self._ready:
            self._actor.answer.remote(reply)

    def publish(self, news: list[Announcement]) -> None:
        """Send its limiter what all shards of its key should hear."""
        if self._ready:
            self._actor.publish.remote(news)

    def add_samples(self, samples: list[CompletionSample]) -> None:
        """Keep the latest samples of other shards until they are sent."""
        self._samples.extend(samples)

    def send_samples(self) -> None:
        """Send the samples that were added since the last call."""
        if self._ready and self._samples:
            self._actor.learn.remote(list(self._samples))
            self._samples.clear()

    # Its actor

    async def start(self) -> ActorEnd | None:
        """Start an actor, which gets all open ids; return how it ended, if it did."""
        unsent = set(self._unsent)
        self._unsent_again = deque(one for one in self.open if one not in unsent)
        self._samples.clear()
        options = self._options
        self.statistics.append(Statistics())
        try:
            self._actor = _cluster.start_actor(options.actor_options)
            config, schedule = options.config.for_share(self.share), copied(options.schedule)
            with anyio.fail_after(START_SECONDS):
                await self._actor.open.remote(config, schedule)
            self._references = _cluster.reports(self._actor)
        except _cluster.RayError as error:
            return _end_by(error)
        except TimeoutError:
            return ActorLost(f"it found no place on the cluster within {START_SECONDS:g} s")
        self._ready = True
        return None

    async def next_event(self) -> ShardReport | ActorEnd:
        """Wait for the actor's next report, or for its end. A report says what ended its client."""
        try:
            report: ShardReport = await (await anext(self._references))
        except _cluster.RayError as error:
            return _end_by(error)
        except StopAsyncIteration:
            return ActorLost("its reports ended")
        self.statistics[-1] = report.statistics
        return report

    def use(self, share: Share) -> None:
        """Use other keys, from the next actor on."""
        self.share = share

    def kill(self) -> None:
        """End the actor, and so its queries."""
        actor, self._actor, self._ready = self._actor, None, False
        if actor is not None:
            _cluster.kill(actor)


def _end_by(error: _cluster.RayError) -> ActorEnd:
    if isinstance(error, _cluster.RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else error
    return ActorLost((str(error).splitlines() or [type(error).__name__])[0])
