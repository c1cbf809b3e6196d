"""What every scene plays on: a gateway on loopback, a client with default settings, and its calls.

The stage records how each id ended and when, and what ended a run early. All times are loop times,
in seconds. Every scene is bounded: what has not ended by `until` has no end, and counts as lost.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio

from ideogram_async import IdeogramClient, IdeogramError, RequestError
from ideogram_async.testing import Gateway, Query

UNTIL = 1200.0
"""Seconds after which a scene is over: the default deadline of 900 s, and room to see it passed."""


class End(NamedTuple):
    """How an id ended: when its caller had it, and with which error."""

    at: float
    error: IdeogramError | None = None


class Stage:
    """A gateway, its client, and how the ids of a scene ended."""

    def __init__(self, gateway: Gateway, client: IdeogramClient, seed: int) -> None:
        self.gateway = gateway
        self.client = client
        self.random = random.Random(seed)
        self.given: dict[str, float] = {}
        """When each id was handed in."""
        self.ends: dict[str, End] = {}
        self.stops: list[End] = []
        """What ended a call for all of its ids: a key, an address, the call's timeout."""

    # Requests at the gateway

    def submit(self, count: int, *, over: float = 30.0) -> list[str]:
        """Return new ids: a quarter is done already, the others start within `over` seconds."""
        return [self._submit(number % 4 == 0, over) for number in range(count)]

    def _submit(self, done: bool, over: float) -> str:
        queue = self.random.uniform(0.0, over)
        return self.gateway.submit(submitted=-60.0 if done else None, queue=queue)

    # Calls, each of which records how its ids end

    async def play(self, *calls: Coroutine[Any, Any, None], until: float = UNTIL) -> None:
        """Let calls go on side by side until all have ended, or the scene is over."""
        with anyio.CancelScope(deadline=until):
            async with anyio.create_task_group() as tasks:
                for call in calls:
                    tasks.start_soon(_awaited, call)

    async def run(self, ids: Iterable[str], **options: Any) -> None:
        """Poll ids in one run."""
        listed = list(ids)
        self.hand_in(listed)
        try:
            async with self.client.as_completed(listed, return_exceptions=True, **options) as run:
                async for end in run:
                    self.end(str(end.request_id), end if isinstance(end, RequestError) else None)
        except IdeogramError as error:
            self.stops.append(End(anyio.current_time(), error))

    async def wait(self, request_id: str, **options: Any) -> None:
        """Await one id."""
        self.hand_in([request_id])
        try:
            await self.client.wait(request_id, **options)
        except IdeogramError as error:
            self.end(request_id, error)
        else:
            self.end(request_id)

    async def waits(self, ids: Iterable[str], **options: Any) -> None:
        """Await ids, each in a task of its own."""
        async with anyio.create_task_group() as tasks:
            for request_id in ids:
                tasks.start_soon(_awaited, self.wait(request_id, **options))

    def hand_in(self, ids: Iterable[str]) -> None:
        """Record that ids are handed in now."""
        self.given |= dict.fromkeys(ids, anyio.current_time())

    def end(self, request_id: str, error: IdeogramError | None = None) -> None:
        """Record that an id ends now."""
        self.ends[request_id] = End(anyio.current_time(), error)

    # Figures

    def lost(self, ids: Iterable[str]) -> int:
        """Return how many ids did not end well."""
        return sum(one not in self.ends or self.ends[one].error is not None for one in ids)

    def lags(self, ids: Iterable[str]) -> dict[str, float]:
        """Return the seconds from an id's end at the gateway to when its caller had it.

        An id that was done when it was handed in counts from then. Lost ids are left out.
        """
        return {one: self.ends[one].at - self._due(one) for one in ids if not self.lost([one])}

    def _due(self, request_id: str) -> float:
        return max(self.gateway.completes_at(request_id), self.given[request_id])

    def errors(self, ids: Iterable[str]) -> dict[str, IdeogramError]:
        """Return the errors that ids ended with."""
        found = {one: self.ends[one].error for one in ids if one in self.ends}
        return {one: error for one, error in found.items() if error is not None}

    def asked(self, request_id: str, *, until: float = float("inf")) -> list[Query]:
        """Return the queries that the gateway saw for an id."""
        queries = self.gateway.queries
        return [one for one in queries if one.request_id == request_id and one.at < until]


async def _awaited(call: Coroutine[Any, Any, None]) -> None:
    await call


@asynccontextmanager
async def staged(seed: int, *, tokens: Sequence[str] = (), **settings: Any) -> AsyncIterator[Stage]:
    """Set up a gateway and a client; `tokens` are the keys that the gateway lets in."""
    random.seed(seed)
    async with (
        Gateway(seed=seed, tokens=tokens) as gateway,
        IdeogramClient(gateway.url, **settings) as client,
    ):
        yield Stage(gateway, client, seed)
