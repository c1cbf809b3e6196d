"""The callers of the soak: they finish, leave, cancel or read slowly, and count how ids end."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterable
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
TIMEOUT_SECONDS = 6.0
"""The timeout of a call."""


class Balance(msgspec.Struct):
    """How the ids of all calls have ended."""

    handed_in: int = 0
    completed: int = 0
    failed: int = 0
    pending: int = 0
    """Listed as pending where a caller left, or the run ended, early."""
    lost: int = 0
    repeated: int = 0
    """Ended more than once in one call."""
    false: int = 0
    """Completed, though no answer has said so."""

    @property
    def balanced(self) -> bool:
        """Whether every id has ended exactly once, and as the answers said."""
        return not (self.lost or self.repeated or self.false)

    def record(
        self,
        ids: Iterable[str],
        shown_complete: set[str],
        *,
        done: Iterable[str | None] = (),
        failed: Iterable[str | None] = (),
        pending: Iterable[str] = (),
    ) -> None:
        """Add the ids of one call."""
        done, failed, pending = [*done], [*failed], [*pending]
        asked: Counter[str | None] = Counter(ids)
        ended = Counter([*done, *failed, *pending])
        self.handed_in += asked.total()
        self.completed += len(done)
        self.failed += len(failed)
        self.pending += len(pending)
        self.lost += (asked - ended).total()
        self.repeated += (ended - asked).total()
        self.false += len(set(done) - shown_complete)


class Callers:
    """Callers of one client, each of which makes calls until the time is over."""

    def __init__(
        self,
        rng: random.Random,
        client: IdeogramClient,
        completes_at: dict[str, float],
        shown_complete: set[str],
    ) -> None:
        self.balance = Balance()
        self.calls: Counter[str] = Counter()
        self._rng = rng
        self._client = client
        self._completes_at = completes_at
        self._shown_complete = shown_complete
        self._names = itertools.count(rng.randrange(1000))

    async def call_until(self, until: float) -> None:
        """Make one call after another, until a time of the event loop."""
        loop = asyncio.get_running_loop()
        calls = [
            *(self._to_the_end, self._with_exceptions, self._with_a_short_deadline, self._slowly),
            *(self._leave_early, self._cancelled, self._wait_twice, self._retrieve, self._watch),
        ]
        while loop.time() < until:
            call = self._rng.choice(calls)
            self.calls[call.__name__.strip("_")] += 1
            await call(self._ids(self._rng.choice((1, 5, 30, 100))))

    def _ids(self, count: int) -> list[str]:
        now, ids = asyncio.get_running_loop().time(), []
        for _ in range(count):
            digits = divmod(next(self._names), 36)
            high = divmod(digits[0], 36)
            name = "".join(_LETTERS[n % 36] for n in (high[0] // 36, high[0], high[1], digits[1]))
            self._completes_at[name] = now + self._rng.uniform(0.0, 2.5)
            ids.append(name)
        return ids

    async def _to_the_end(self, ids: list[str]) -> None:
        await self._finish(ids, self._client.as_completed(ids, timeout=TIMEOUT_SECONDS))

    async def _with_exceptions(self, ids: list[str]) -> None:
        run = self._client.as_completed(ids, timeout=TIMEOUT_SECONDS, return_exceptions=True)
        await self._finish(ids, run)

    async def _with_a_short_deadline(self, ids: list[str]) -> None:
        await self._finish(ids, self._client.as_completed(ids, timeout=TIMEOUT_SECONDS, deadline=1))

    async def _slowly(self, ids: list[str]) -> None:
        run = self._client.as_completed(ids, timeout=TIMEOUT_SECONDS)
        await self._finish(ids, run, pause=0.05)

    async def _finish(self, ids: list[str], run: Run[Any], pause: float = 0.0) -> None:
        done: list[str | None] = []
        failed: list[str | None] = []
        pending: tuple[str, ...] = ()
        try:
            async with run:
                async for end in run:
                    (failed if isinstance(end, RequestError) else done).append(end.request_id)
                    await asyncio.sleep(pause)
        except PollingFailed as error:
            failed = [one.request_id for one in error.exceptions]
        except IdeogramError as error:
            pending = error.pending
            failed += [one.request_id for one in run.failures]  # those that were not yielded
        self.balance.record(ids, self._shown_complete, done=done, failed=failed, pending=pending)

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

    def _left(self, ids: list[str], done: list[str], run: Run[SamplingRequest]) -> None:
        failed = [error.request_id for error in run.failures]
        pending = [*run.pending, *run.rest]  # on a slow machine not all was taken in
        self.balance.record(ids, self._shown_complete, done=done, failed=failed, pending=pending)

    async def _wait_twice(self, ids: list[str]) -> None:
        waits = [self._client.wait(one, timeout=TIMEOUT_SECONDS) for one in (*ids, *ids)]
        self._each([*ids, *ids], await asyncio.gather(*waits, return_exceptions=True))

    async def _retrieve(self, ids: list[str]) -> None:
        ends = await asyncio.gather(
            *(self._client.retrieve(one, timeout=TIMEOUT_SECONDS) for one in ids),
            return_exceptions=True,
        )
        self._each(ids, ends)

    def _each(self, ids: list[str], ends: Iterable[SamplingRequest | BaseException]) -> None:
        done: list[str] = []
        failed: list[str | None] = []
        pending: list[str] = []
        for request_id, end in zip(ids, ends, strict=True):
            if isinstance(end, SamplingRequest):
                (done if end.is_complete else pending).append(end.request_id)
            elif isinstance(end, RequestError):
                failed.append(end.request_id)
            elif isinstance(end, IdeogramError):
                pending += end.pending or [request_id]
            else:
                raise end
        self.balance.record(ids, self._shown_complete, done=done, failed=failed, pending=pending)

    async def _watch(self, ids: list[str]) -> None:
        done: dict[str, None] = {}
        run = self._client.watch(ids, timeout=TIMEOUT_SECONDS)
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
        self.balance.record(ids, self._shown_complete, done=done, failed=failed, pending=pending)
