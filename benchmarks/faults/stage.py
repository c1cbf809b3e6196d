"""What every scene plays on: a gateway on loopback, a client with default settings, and its calls.

The stage records how each id ended and when, what ended a call early, and what was logged. All
times are loop times, in seconds; each scene begins at 0. Every scene is bounded: what has not
ended by `until` has no end, and counts as lost.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio

from ideogram_async import IdeogramClient, IdeogramError, RequestError, Run
from ideogram_async.testing import Gateway

DEADLINE = 900.0
"""The default deadline of an id, in seconds."""
UNTIL = 1200.0
"""Seconds after which a scene is over: the default deadline, and room to see it passed."""

_logger = logging.getLogger("ideogram_async")


class End(NamedTuple):
    """How an id ended: when its caller had it, and with which error."""

    at: float
    error: IdeogramError | None = None


class Logged(NamedTuple):
    """A line of the log."""

    at: float
    words: str
    level: int = logging.WARNING


class Stage:
    """A gateway, its client, and how the ids of a scene ended; all is drawn from the seed."""

    def __init__(self, gateway: Gateway, client: IdeogramClient, seed: int) -> None:
        random.seed(seed)
        self.seed = seed
        self.gateway = gateway
        self.client = client
        self.random = random.Random(seed)
        self.given: dict[str, float] = {}
        """When each id was handed in."""
        self.ends: dict[str, End] = {}
        self.stops: list[End] = []
        """What ended a run for all of its ids: a key, an address, the call's timeout."""
        self.log: list[Logged] = []

    # Requests at the gateway

    def submit(self, count: int, *, over: float = 30.0) -> list[str]:
        """Return new ids: a quarter is done already, the others start within `over` seconds."""
        return [self._submit(over, done=number % 4 == 0) for number in range(count)]

    def _submit(self, over: float, *, done: bool) -> str:
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
        await self._take(self.client.as_completed(listed, return_exceptions=True, **options))

    async def retrieve_many(self, ids: Iterable[str], **options: Any) -> None:
        """Ask once for each id."""
        listed = list(ids)
        self.hand_in(listed)
        await self._take(self.client.retrieve_many(listed, return_exceptions=True, **options))

    async def wait(self, request_id: str, **options: Any) -> None:
        """Await one id."""
        self.hand_in([request_id])
        await self._record(request_id, self.client.wait(request_id, **options))

    async def retrieve_each(self, ids: Iterable[str], **options: Any) -> None:
        """Ask once for one id after another."""
        for request_id in ids:
            self.hand_in([request_id])
            await self._record(request_id, self.client.retrieve(request_id, **options))

    async def waits(self, ids: Iterable[str], **options: Any) -> None:
        """Await ids, each in a task of its own."""
        async with anyio.create_task_group() as tasks:
            for request_id in ids:
                tasks.start_soon(_awaited, self.wait(request_id, **options))

    async def _take(self, run: Run[Any]) -> None:
        try:
            async with run:
                async for end in run:
                    self.end(str(end.request_id), end if isinstance(end, RequestError) else None)
        except IdeogramError as error:
            self.stops.append(End(anyio.current_time(), error))

    async def _record(self, request_id: str, call: Coroutine[Any, Any, object]) -> None:
        try:
            await call
        except IdeogramError as error:
            self.end(request_id, error)
        else:
            self.end(request_id)

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

    def unended(self) -> int:
        """Return how many ids neither ended nor were listed as pending."""
        pending = {one for stop in self.stops if stop.error for one in stop.error.pending}
        return len(self.given.keys() - self.ends.keys() - pending)

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

    def last_end(self) -> float:
        """Return when the last id or run ended."""
        return max((end.at for end in [*self.ends.values(), *self.stops]), default=0.0)

    def times_asked(self, *, until: float = DEADLINE) -> Counter[str | None]:
        """Return how often the gateway saw a query for each id."""
        return Counter(one.request_id for one in self.gateway.queries if one.at < until)

    def warnings(self) -> list[str]:
        """Return what was logged as a warning, or worse."""
        return [one.words for one in self.log if one.level >= logging.WARNING]


class _Recorder(logging.Handler):
    """Keeps the log of a scene."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def emit(self, record: logging.LogRecord) -> None:
        line = Logged(anyio.current_time(), record.getMessage(), record.levelno)
        self._stage.log.append(line)


observers: list[Callable[[Stage], None]] = []
"""What is called with each stage at the end of its scene."""


async def _awaited(call: Coroutine[Any, Any, None]) -> None:
    await call


@asynccontextmanager
async def staged(
    seed: int, *, base_url: str | None = None, limit: Any = None, **settings: Any
) -> AsyncIterator[Stage]:
    """Set up a gateway, and a client of it or of another address."""
    async with (
        Gateway(seed=seed, limit=limit) as gateway,
        IdeogramClient(base_url or gateway.url, **settings) as client,
    ):
        stage = Stage(gateway, client, seed)
        recorder = _Recorder(stage)
        _logger.addHandler(recorder)
        try:
            yield stage
        finally:
            _logger.removeHandler(recorder)
            for observer in observers:
                observer(stage)


def keys(count: int) -> Sequence[str]:
    """Return the names of keys."""
    return [f"key-{number}" for number in range(count)]
