"""The ids of a shard, as its client takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self


class IdQueue:
    """An endless async source of ids."""

    def __init__(self) -> None:
        self._ids: deque[str] = deque()
        self._added = asyncio.Event()

    def put(self, ids: list[str]) -> None:
        """Add ids."""
        self._ids.extend(ids)
        self._added.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._ids:
            self._added.clear()
            await self._added.wait()
        return self._ids.popleft()
