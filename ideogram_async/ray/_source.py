"""The caller's ids, on their way to the shards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from itertools import islice

Ids = Iterable[str] | AsyncIterable[str]

SLICE = 2_000
"""Ids of an iterable after which taking in makes way for the rest of the loop."""


def check(ids: object) -> None:
    """Refuse what is no source of ids."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable | AsyncIterable):
        raise TypeError(
            f"ids is a {type(ids).__name__}: expected an iterable or async iterable of str"
        )


class Source:
    """Hands out each id: an iterable's once, an async one's as there is room."""

    def __init__(self, ids: Ids, max_pending: int, accept: Callable[[object], None]) -> None:
        self.over = False
        self.error: Exception | None = None
        """What the caller's source raised."""
        self._ids = ids
        self._iterator: Iterator[str] | None = None
        if not isinstance(ids, AsyncIterable):
            self._iterator = iter(ids)
        self._max_pending = max_pending
        self._accept = accept
        self._known: set[object] = set()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Take in all ids."""
        try:
            if isinstance(self._ids, AsyncIterable):
                await self._as_there_is_room(self._ids)
            else:
                await self._by_slices()
        except Exception as error:  # noqa: BLE001 - the caller's source may raise anything
            self.error = error
        self.over = True

    def forget(self, request_id: object) -> None:
        """Make room: the caller has had this id's end, and may hand it in again."""
        if self._iterator is None:
            self._known.discard(request_id)
            self._room.set()

    def rest(self) -> list[str]:
        """List what an iterable has not handed out yet."""
        if self._iterator is None:
            return []
        left: list[str] = []
        try:
            left.extend(self._iterator)
        except Exception as error:  # noqa: BLE001 - as above; what it gave is what there is
            self.error = error
        self._iterator = iter(left)
        return [request_id for request_id in dict.fromkeys(left) if request_id not in self._known]

    async def _by_slices(self) -> None:
        more = True
        while more:
            more = False
            for request_id in islice(self._iterator or (), SLICE):
                self._take(request_id)
                more = True
            await asyncio.sleep(0)

    async def _as_there_is_room(self, source: AsyncIterable[str]) -> None:
        iterator = aiter(source)
        while True:
            while len(self._known) >= self._max_pending:
                self._room.clear()
                await self._room.wait()
            try:
                request_id = await anext(iterator)
            except StopAsyncIteration:
                return
            self._take(request_id)

    def _take(self, request_id: object) -> None:
        if request_id not in self._known:
            self._known.add(request_id)
            self._accept(request_id)
