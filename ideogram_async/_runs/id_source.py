"""How a run takes its ids in: an iterable whole, by slices; an async one as there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import anyio

from ideogram_async._runs.id_set import IdSet

if TYPE_CHECKING:
    from ideogram_async._runs.ids import Ids

FIRST_SLICE = 500
SLICE = 5_000
SLICE_SECONDS = 0.005
"""Ids, or seconds, after which taking in makes way for the rest of the loop."""


class IdSource:
    """One source of ids.

    `accept` takes each distinct one, `taken` is told of each portion, `finished` of the end.
    """

    def __init__(
        self,
        ids: Ids,
        *,
        max_pending: int,
        accept: Callable[[object, float], None],
        taken: Callable[[], None],
        finished: Callable[[], None],
    ) -> None:
        self.over = False
        self.error: Exception | None = None
        """What the caller's source raised, if it did."""
        self.late: list[str] = []
        """What an async source gave when it had been left."""
        self._stopped = False
        self._accept = accept
        self._taken = taken
        self._finished = finished
        self._max_pending = max_pending
        self._loop = asyncio.get_running_loop()
        self._scope = anyio.CancelScope()
        self._seen = IdSet()
        self._room: anyio.Event | None = None
        self._source: Iterator[str] | None = None
        self._async_source: AsyncIterable[str] | None = None
        if isinstance(ids, AsyncIterable):
            self._async_source = ids
        else:
            self._source = iter(ids)

    def first_slice(self) -> None:
        """Take in the first ids of an iterable at once; raises what `accept` or it raises."""
        if self._source is not None:
            self.over = not self._slice(FIRST_SLICE)
            if self.over:
                self._seen = IdSet()

    async def run(self) -> None:
        """Take in all the others."""
        try:
            with self._scope:
                if self._source is not None:
                    await self._by_slices()
                elif self._async_source is not None:
                    await self._as_there_is_room(self._async_source)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.error = RuntimeError("the source of ids was cancelled")
            self.error.__cause__ = error
        except Exception as error:  # noqa: BLE001 - the caller's source may raise anything
            self.error = error
        self.over = True
        self._finished()
        if self._source is not None:
            for _ in self._seen.clear():
                await asyncio.sleep(0)

    def stop(self) -> None:
        """Take in no more."""
        self._stopped = True
        self._scope.cancel()

    def forget(self, request_id: object) -> None:
        """Make room: the caller has had the result of this id, which may now come again."""
        if self._async_source is not None:
            self._seen.discard(request_id)
            if self._room is not None:
                self._room.set()

    def rest(self) -> list[str]:
        """List the ids that were handed in as an iterable and not yet taken in."""
        if self._source is None:
            return []
        rest: dict[str, None] = {}
        try:
            for request_id in self._source:
                rest[request_id] = None
        except Exception as error:  # noqa: BLE001 - what it has given by then is what there is
            self.error = error
        self._source = iter(tuple(rest))
        return [request_id for request_id in rest if request_id not in self._seen]

    async def _by_slices(self) -> None:
        while not self._stopped and self._slice():
            self._taken()
            await asyncio.sleep(0)
        self._taken()

    def _slice(self, most: int = SLICE) -> bool:
        """Take in one slice of an iterable; tell whether there may be more."""
        time, seen, accept = self._loop.time, self._seen, self._accept
        now = time()
        until = now + SLICE_SECONDS
        taken = 0
        for request_id in islice(self._source or (), most):
            if seen.add(request_id):
                accept(request_id, now)
            taken += 1
            now = time()
            if now >= until:
                return True
        return taken == most

    async def _as_there_is_room(self, source: AsyncIterable[str]) -> None:
        iterator, time = aiter(source), self._loop.time
        until, more = time() + SLICE_SECONDS, SLICE
        while True:
            while self._seen.count >= self._max_pending:
                self._room = anyio.Event()
                await self._room.wait()
            try:
                request_id = await anext(iterator)
            except StopAsyncIteration:
                return
            if self._stopped:  # the source went on in spite of its cancellation
                self.late.append(request_id)
                return
            now = time()
            if self._seen.add(request_id):
                self._accept(request_id, now)
            self._taken()
            more -= 1
            if now >= until or not more:  # the source may have its ids at hand, and never wait
                await asyncio.sleep(0)
                until, more = time() + SLICE_SECONDS, SLICE
