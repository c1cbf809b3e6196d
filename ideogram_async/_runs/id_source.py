"""How a run takes in its ids: an iterable whole, by slices; an async one as there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import suppress
from itertools import islice

import anyio

from ideogram_async._runs.id_set import IdSet
from ideogram_async._runs.ids import Ids, check_id

IDS_AT_THE_CALL = 500
"""The call itself takes in so many, so that it raises where one of them is bad."""
IDS_PER_SLICE = 5_000
SLICE_SECONDS = 0.005
"""After so many ids, or so long, the rest of the loop has a turn."""


class IdSource:
    """The caller's ids: each is checked, and each distinct one is accepted once.

    `accept` is called with each new id and the loop's time, `refuse` with each object that is no
    id and the error that says why, and `accepted` after each portion.
    """

    def __init__(
        self,
        ids: Ids,
        *,
        max_pending: int,
        accept: Callable[[str, float], None],
        refuse: Callable[[object, Exception], None],
        accepted: Callable[[], None],
    ) -> None:
        self.taken: int = 0
        """How many were accepted or refused."""
        self.over: bool = False
        self.error: Exception | None = None
        """What the caller's source raised, if it did."""
        self.late: list[str] = []
        """Ids that the async source yielded after the run was closed."""
        self.left: asyncio.Event = asyncio.Event()
        """Whether nothing of the caller's source runs."""
        self.left.set()
        self._stopped = False
        self._accept = accept
        self._refuse = refuse
        self._accepted = accepted
        self._max_pending = max_pending
        self._loop = asyncio.get_running_loop()
        self._scope = anyio.CancelScope()
        self._seen = IdSet()
        self._room = asyncio.Event()
        self._async_source = ids if isinstance(ids, AsyncIterable) else None
        self.rest: Iterator[str] = iter(() if isinstance(ids, AsyncIterable) else ids)
        """The caller's iterable from where it was left; empty for an async source."""

    def take_at_once(self) -> None:
        """Accept the first ids of an iterable; raise what `refuse` or the iterable raises."""
        if self._async_source is None:
            self.over = not self._take_slice(IDS_AT_THE_CALL)
            if self.over:
                self._seen = IdSet()

    async def run(self) -> None:
        """Accept the other ids, until the source is over, or `stop` was called."""
        self.left.clear()
        try:
            with self._scope:
                if self._async_source is None:
                    await self._take_by_slices()
                else:
                    await self._take_as_there_is_room(self._async_source)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.error = RuntimeError("the source of ids was cancelled")
            self.error.__cause__ = error
        except Exception as error:  # noqa: BLE001 - the caller's source may raise anything
            self.error = error
        finally:
            self.left.set()
        self.over = True

    async def forget(self) -> None:
        """Free the memory of an iterable's ids, a portion in each turn of the loop."""
        if self._async_source is None:
            for _ in self._seen.clear():
                await asyncio.sleep(0)

    def stop(self) -> None:
        """Accept no more ids."""
        self._stopped = True
        self._scope.cancel()

    def occupy(self, key: object) -> None:
        """Let a result that stands for no id take up room until it is released."""
        if self._async_source is not None:
            self._seen.add(key)

    def release(self, request_id: object) -> None:
        """Make room: the id has ended, the caller has had all of it, and it may come again."""
        self._seen.discard(request_id)
        self._room.set()

    async def _take_by_slices(self) -> None:
        while not self._stopped and self._take_slice():
            self._accepted()
            await asyncio.sleep(0)
        self._accepted()

    def _take_slice(self, most: int = IDS_PER_SLICE) -> bool:
        """Accept the ids of one slice of an iterable; return whether there may be more."""
        time, take = self._loop.time, self._take
        now = time()
        until = now + SLICE_SECONDS
        pulled = 0
        for request_id in islice(self.rest, most):
            take(request_id, now)
            pulled += 1
            now = time()
            if now >= until:
                return True
        return pulled == most

    async def _take_as_there_is_room(self, source: AsyncIterable[str]) -> None:
        if self._stopped:
            return
        iterator, time = aiter(source), self._loop.time
        until, more = time() + SLICE_SECONDS, IDS_PER_SLICE
        while True:
            while len(self._seen) >= self._max_pending:
                self._room.clear()
                await self._room.wait()
            try:
                request_id = await anext(iterator)
            except StopAsyncIteration:
                return
            if self._stopped:  # the source went on in spite of its cancellation
                with suppress(TypeError, ValueError):
                    self.late.append(check_id(request_id))
                return
            now = time()
            self._take(request_id, now)
            self._accepted()
            more -= 1
            if now >= until or not more:  # the source may have its ids at hand, and never wait
                await asyncio.sleep(0)
                until, more = time() + SLICE_SECONDS, IDS_PER_SLICE

    def _take(self, request_id: object, now: float) -> None:
        try:
            checked = check_id(request_id)
        except (TypeError, ValueError) as error:
            self.taken += 1
            self._refuse(request_id, error)
            return
        if self._seen.add(checked):
            self.taken += 1
            self._accept(checked, now)
