"""A gateway without HTTP: a limit, a latency, faults and jobs, all on the loop's virtual clock.

It takes the transport's place (`installed`), so that the client above it is the real one. Each
query arrives, is counted by the limit, and is answered; what was accepted, refused and sent is
counted here, on the gateway's side.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
from multidict import CIMultiDict

from ideogram_async import SamplingRequest, _runtime
from ideogram_async._config import Settings
from ideogram_async._protocol.answers import read_answer
from ideogram_async._protocol.outcome import Answer, Envelope, Fault
from ideogram_async.testing import Limit, RateLimit, Reply

EPOCH = 1.7e9
"""Unix time at the start of each run, on the gateway's clock."""
REFUSED_SECONDS = 0.02
"""How long a gateway with a limit of concurrency takes to refuse."""


class FixedWindow(RateLimit):
    """At most `count` admitted queries in each window of `seconds` on the wall clock."""

    def __init__(self, count: int, seconds: float) -> None:
        super().__init__({})
        self.count, self.seconds = count, seconds
        self._used: dict[tuple[str | None, int], int] = {}

    def _admit(self, now: float, key: str | None) -> bool:
        window = (key, int(now // self.seconds))
        used = self._used.get(window, 0)
        self._used[window] = min(used + 1, self.count)
        return used < self.count

    def left(self, now: float) -> tuple[int, float]:
        """Return how many more queries this window admits, and how long it lasts."""
        used = self._used.get((None, int(now // self.seconds)), 0)
        return self.count - used, self.seconds - now % self.seconds

    def _wait(self, now: float, key: str | None) -> float:
        full = self._used.get((key, int(now // self.seconds)), 0) >= self.count
        return self.seconds - now % self.seconds if full else 0.0


class PerKey(RateLimit):
    """A limit of its own for each key."""

    def __init__(self, *limits: Limit) -> None:
        super().__init__({"by": "key"})
        self._limits = limits

    def _admit(self, now: float, key: str | None) -> bool:
        return self._limits[int(key or 0)].admit(now, None)

    def _wait(self, now: float, key: str | None) -> float:  # noqa: ARG002 - the base's
        return 0.0


class Both(RateLimit):
    """Two limits: a query that the first admits is counted by the second."""

    def __init__(self, first: Limit, second: Limit) -> None:
        super().__init__({})
        self._first, self._second = first, second

    def _admit(self, now: float, key: str | None) -> bool:
        return self._first.admit(now, key) and self._second.admit(now, key)

    def _wait(self, now: float, key: str | None) -> float:  # noqa: ARG002 - the base's
        return 0.0


class Concurrency(RateLimit):
    """At most `count` queries that are being worked on."""

    def __init__(self, count: int) -> None:
        super().__init__({})
        self.count, self.working = count, 0

    def _admit(self, now: float, key: str | None) -> bool:  # noqa: ARG002 - the base's
        return self.working < self.count

    def _wait(self, now: float, key: str | None) -> float:  # noqa: ARG002 - the base's
        return 0.0


class Seen(NamedTuple):
    """One query, as the gateway saw it."""

    at: float
    accepted: bool
    client: int
    key: int


class SimulatedJob(NamedTuple):
    """One request that takes its time, with linear progress."""

    begun: float
    ends: float


Latency = float | tuple[float, float]
"""Seconds of a round trip, constant or drawn from a span; the query arrives half-way."""


Headers = Callable[["Gateway", float], Mapping[str, str]]
"""What each answer has for headers."""


class Gateway:
    """The far end of all clients of a scene."""

    def __init__(
        self,
        *,
        seed: int,
        limit: Limit | None = None,
        latency: Latency = 0.1,
        fault: Callable[[str, float], Reply | None] = lambda _, __: None,
        headers: Headers | None = None,
    ) -> None:
        self.limit = limit
        self.latency = latency
        self.fault = fault
        self.headers = headers
        self.seen: list[Seen] = []
        self.clients = 0
        self.jobs: dict[str, SimulatedJob] = {}
        self._rng = random.Random(f"gateway {seed}")
        self._standing: dict[str, Answer] = {}

    def submit(self, duration: float) -> str:
        """Begin a job that takes so long; return its id."""
        now = asyncio.get_running_loop().time()
        request_id = f"job-{len(self.jobs)}"
        self.jobs[request_id] = SimulatedJob(now, now + duration)
        return request_id

    async def query(self, client: int, key: int, request_id: str) -> Answer | Fault:
        """Answer a query, after its round trip."""
        latency, limit, time = self.latency, self.limit, asyncio.get_running_loop().time
        if isinstance(limit, Concurrency):
            return await self._in_turn(limit, client, key, request_id)
        if isinstance(latency, tuple):
            latency = self._rng.uniform(*latency)
            await asyncio.sleep(latency / 2)
            outcome = self._outcome(client, key, request_id, time())
            await asyncio.sleep(latency / 2)
        else:  # none overtakes another: one timer is enough
            outcome = self._outcome(client, key, request_id, time() + latency / 2)
            await asyncio.sleep(latency)
        return outcome

    async def _in_turn(
        self, limit: Concurrency, client: int, key: int, request_id: str
    ) -> Answer | Fault:
        latency = self.latency
        seconds = self._rng.uniform(*latency) if isinstance(latency, tuple) else latency
        outcome = self._outcome(client, key, request_id, asyncio.get_running_loop().time())
        if isinstance(outcome, Fault):
            await asyncio.sleep(REFUSED_SECONDS)
            return outcome
        limit.working += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            limit.working -= 1
        return outcome

    def _outcome(self, client: int, key: int, request_id: str, now: float) -> Answer | Fault:
        reply = self.fault(request_id, now)
        if reply is None and self.limit is not None and not self.limit.admit(now, str(key)):
            reply = self.limit.refusal(now, str(key), EPOCH + now)
        self.seen.append(Seen(now, reply is None, client, key))
        headers = {} if self.headers is None else self.headers(self, now)
        if reply is not None:
            headers = {**headers, **dict(reply.headers)}
            return read_answer(request_id, reply.status, CIMultiDict(headers), reply.body)
        if not headers and request_id not in self.jobs:
            return self._standing.get(request_id) or self._stand(request_id)
        body = _body(self._record(request_id, now))
        return read_answer(request_id, 200, CIMultiDict(headers), body)

    def _stand(self, request_id: str) -> Answer:
        """Return the one answer for an id that never ends."""
        record = self._record(request_id, 0.0)
        answer = Answer(record, None, 200, _body(record))
        self._standing[request_id] = answer
        return answer

    def _record(self, request_id: str, now: float) -> SamplingRequest:
        job = self.jobs.get(request_id)
        if job is None:
            return SamplingRequest(
                request_id=request_id, completion_percentage=50, has_started=True
            )
        done = now >= job.ends
        share = (now - job.begun) / (job.ends - job.begun)
        return SamplingRequest(
            request_id=request_id,
            completion_percentage=100 if done else max(0, min(99, math.floor(100 * share))),
            is_completed=done,
            has_started=True,
            creation_time_float=EPOCH + job.begun,
        )


class Link:
    """What stands in a client's runtime where the transport would."""

    lane = ("plain", "the bench's own")
    """How queries are sent, and why."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._client = gateway.clients
        gateway.clients += 1

    async def query(self, index: int, request_id: str, _: object) -> Answer | Fault:
        """Ask the gateway."""
        return await self._gateway.query(self._client, index, request_id)

    async def close(self) -> None:
        """Have nothing to close."""


@contextmanager
def installed(gateway: Gateway) -> Iterator[None]:
    """Have clients that start within the block ask this gateway."""
    runtime: Any = _runtime
    former = runtime.Transport

    def link(_settings: Settings, _replayed: object) -> Link:
        return Link(gateway)

    runtime.Transport = link
    try:
        yield
    finally:
        runtime.Transport = former


_encode = msgspec.json.Encoder().encode


def _body(record: SamplingRequest) -> bytes:
    return _encode(Envelope([record]))
