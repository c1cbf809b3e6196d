"""Runs on a Ray cluster, against a gateway in a thread; imported where Ray is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ideogram_async import FixedInterval
from ideogram_async.ray import RayRun, ray_as_completed
from tests.support.commands import Served
from tests.support.ray_nodes import KEY

PATIENCE_SECONDS = 60.0
"""Seconds after which an event that must come is missed."""


def submit(served: Served, count: int, **details: Any) -> list[str]:
    """Submit so many requests."""
    return [served.submit(**details) for _ in range(count)]


def polled(served: Served, ids: Any, **settings: Any) -> RayRun[Any]:
    """Poll ids by two shards, quickly."""
    settings = {"token": KEY, "max_rate": 1000.0, "schedule": FixedInterval(0.2), **settings}
    return ray_as_completed(ids, served.gateway.url, **settings)


async def happened(condition: Callable[[], bool]) -> None:
    """Wait until something has happened in another thread or process."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - no event of this loop
            await asyncio.sleep(0.01)
