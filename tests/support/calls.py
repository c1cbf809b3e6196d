"""Every call that polls, over ids that never end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ideogram_async import (
    FixedInterval,
    IdeogramClient,
)
from ideogram_async.testing import Gateway

Call = Callable[[IdeogramClient, list[str]], Awaitable[object]]


@asynccontextmanager
async def scene(**settings: Any) -> AsyncIterator[tuple[Gateway, IdeogramClient]]:
    """Give a gateway and a client that asks each second."""
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1.0), **settings) as client,
    ):
        yield gateway, client


def never(gateway: Gateway, count: int = 30) -> list[str]:
    """Submit requests that never end."""
    return [gateway.submit(progress="never") for _ in range(count)]


async def assert_silent(gateway: Gateway, client: IdeogramClient) -> None:
    """Nothing is pending, and nothing is asked any more."""
    gc.collect()
    await asyncio.sleep(0.2)
    assert client.statistics().pending == 0
    before = len(gateway.queries)
    await asyncio.sleep(60)
    assert len(gateway.queries) == before
    assert client.statistics().in_flight == 0


async def retrieve(client: IdeogramClient, ids: list[str]) -> None:
    """Ask for one id for ever."""
    while True:
        await client.retrieve(ids[0])


async def retrieve_many(client: IdeogramClient, ids: list[str]) -> None:
    """Ask for all ids for ever."""
    while True:
        async for _ in client.retrieve_many(ids):
            pass


async def wait(client: IdeogramClient, ids: list[str]) -> None:
    """Wait for one id."""
    await client.wait(ids[0])


async def as_completed(client: IdeogramClient, ids: list[str]) -> None:
    """Go through the results."""
    async for _ in client.as_completed(ids):
        pass


async def watch(client: IdeogramClient, ids: list[str]) -> None:
    """Go through the changes."""
    async with client.watch(ids) as changes:
        async for _ in changes:
            pass


CALLS: list[Call] = [retrieve, retrieve_many, wait, as_completed, watch]
each_call = pytest.mark.parametrize("call", CALLS)
