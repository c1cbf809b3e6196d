"""The callers of the soak: they finish, leave, cancel, dawdle, and count how each id ends."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from ideogram_async import (
    IdeogramClient,
    IdeogramError,
    PollingFailed,
    RequestError,
    Run,
    SamplingRequest,
)

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
TIMEOUT = 6.0
"""Seconds that a run may take at most."""


class Balance(msgspec.Struct):
    """How all ids have ended."""

    handed_in: int = 0
    completed: int = 0
    failed: int = 0
    pending: int = 0
    """Listed as open where a caller left, or the run ended, early."""
    lost: int = 0
    twice: int = 0
    """Ended more than once in one call."""
    untrue: int = 0
    """Completed though the gateway has never said so."""

    @property
    def balanced(self) -> bool:
        """Whether every id has ended exactly once, and truly."""
        return not (self.lost or self.twice or self.untrue)

    def enter(
        self,
        ids: Iterable[str],
        told_done: set[str],
        *,
        done: Iterable[str | None] = (),
        failed: Iterable[str | None] = (),
        pending: Iterable[str] = (),
    ) -> None:
        """Enter the ends of the ids of one call."""
        done, failed, pending = [*done], [*failed], [*pending]
        asked: Counter[str | None] = Counter(ids)
        ended = Counter([*done, *failed, *pending])
        self.handed_in += asked.total()
        self.completed += len(done)
        self.failed += len(failed)
        self.pending += len(pending)
        self.lost += (asked - ended).total()
        self.twice += (ended - asked).total()
        self.untrue += len(set(done) - told_done)


class Callers:
    """Callers of one client, each a loop of calls until time is up."""

    def __init__(
        self, rng: random.Random, client: IdeogramClient, ends: dict[str, float], told: set[str]
    ) -> None:
        self.balance = Balance()
        self.calls: Counter[str] = Counter()
        self._rng = rng
        self._client = client
        self._ends = ends
        self._told = told
        self._names = itertools.count(rng.randrange(1000))

    async def call_until(self, until: float) -> None:
        """Make one call after another."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            kind = self._rng.choice(_KINDS)
            self.calls[kind.__name__.strip("_")] += 1
            await kind(self, self._ids(self._rng.choice((1, 5, 30, 100))))

    def _ids(self, count: int) -> list[str]:
        now, ids = asyncio.get_running_loop().time(), []
        for _ in range(count):
            digits = divmod(next(self._names), 36)
            high = divmod(digits[0], 36)
            name = "".join(_LETTERS[n % 36] for n in (high[0] // 36, high[0], high[1], digits[1]))
            self._ends[name] = now + self._rng.uniform(0.0, 2.5)
            ids.append(name)
        return ids

    async def _to_the_end(self, ids: list[str]) -> None:
        await self._finish(ids, self._client.as_completed(ids, timeout=TIMEOUT))

    async def _with_exceptions(self, ids: list[str]) -> None:
        run = self._client.as_completed(ids, timeout=TIMEOUT, return_exceptions=True)
        await self._finish(ids, run)

    async def _with_a_short_deadline(self, ids: list[str]) -> None:
        await self._finish(ids, self._client.as_completed(ids, timeout=TIMEOUT, deadline=1.0))

    async def _slowly(self, ids: list[str]) -> None:
        run = self._client.as_completed(ids, timeout=TIMEOUT)
        await self._finish(ids, run, dawdle=0.05)

    async def _finish(self, ids: list[str], run: Run[Any], dawdle: float = 0.0) -> None:
        done: list[str | None] = []
        failed: list[str | None] = []
        pending: tuple[str, ...] = ()
        try:
            async with run:
                async for end in run:
                    (failed if isinstance(end, RequestError) else done).append(end.request_id)
                    await asyncio.sleep(dawdle)
        except PollingFailed as error:
            failed = [one.request_id for one in error.exceptions]
        except IdeogramError as error:
            pending = error.pending
            failed = [one.request_id for one in run.failures]
        self.balance.enter(ids, self._told, done=done, failed=failed, pending=pending)

    async def _leave_early(self, ids: list[str]) -> None:
        done, most = [], self._rng.randrange(len(ids) + 1)
        run = self._client.as_completed(ids)
        try:
            async with asyncio.timeout(self._rng.uniform(0.0, 2.0)), run:
                async for request in run:
                    done.append(request.request_id)
                    if len(done) >= most:
                        break
        except (TimeoutError, IdeogramError):
            pass
        self._left(ids, done, run)

    async def _cancelled(self, ids: list[str]) -> None:
        run, done = self._client.as_completed(ids), []

        async def consume() -> None:
            async for request in run:
                done.append(request.request_id)  # noqa: PERF401 - they count as they come

        task = asyncio.ensure_future(consume())
        await asyncio.sleep(self._rng.uniform(0.0, 2.0))
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        await run.aclose()
        self._left(ids, done, run)

    def _left(self, ids: list[str], done: list[str | None], run: Run[SamplingRequest]) -> None:
        failed = [error.request_id for error in run.failures]
        self.balance.enter(ids, self._told, done=done, failed=failed, pending=run.pending)

    async def _wait_twice(self, ids: list[str]) -> None:
        waits = [self._client.wait(one, timeout=TIMEOUT) for one in (*ids, *ids)]
        self._each([*ids, *ids], await asyncio.gather(*waits, return_exceptions=True))

    async def _retrieve(self, ids: list[str]) -> None:
        ends = await asyncio.gather(
            *(self._client.retrieve(one, timeout=TIMEOUT) for one in ids), return_exceptions=True
        )
        self._each(ids, ends)

    def _each(self, ids: list[str], ends: Iterable[SamplingRequest | BaseException]) -> None:
        done: list[str] = []
        failed: list[str | None] = []
        pending: list[str] = []
        for request_id, end in zip(ids, ends, strict=True):
            if isinstance(end, SamplingRequest):
                (done if end.is_complete else pending).append(end.request_id or "")
            elif isinstance(end, RequestError):
                failed.append(end.request_id)
            elif isinstance(end, IdeogramError):
                pending += end.pending or [request_id]
            else:
                raise end
        self.balance.enter(ids, self._told, done=done, failed=failed, pending=pending)

    async def _watch(self, ids: list[str]) -> None:
        done: dict[str | None, None] = {}
        run = self._client.watch(ids, timeout=TIMEOUT)
        pending: tuple[str, ...] = ()
        try:
            async with run:
                async for request in run:
                    if request.is_complete:
                        done[request.request_id] = None
        except PollingFailed:
            pass
        except IdeogramError as error:
            pending = error.pending
        failed = [error.request_id for error in run.failures]
        self.balance.enter(ids, self._told, done=done, failed=failed, pending=pending)


_KINDS: list[Callable[[Callers, list[str]], Awaitable[None]]] = [
    Callers._to_the_end,  # noqa: SLF001 - its own
    Callers._with_exceptions,  # noqa: SLF001
    Callers._with_a_short_deadline,  # noqa: SLF001
    Callers._slowly,  # noqa: SLF001
    Callers._leave_early,  # noqa: SLF001
    Callers._cancelled,  # noqa: SLF001
    Callers._wait_twice,  # noqa: SLF001
    Callers._retrieve,  # noqa: SLF001
    Callers._watch,  # noqa: SLF001
]
