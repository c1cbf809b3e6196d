"""Loops that run a new task at once, within the call that creates it (Python 3.12 and later)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async.testing import Gateway

EAGER: Any = getattr(asyncio, "eager_task_factory", None)
WORKERS = 200
NESTED = 80
"""Frames that a call may nest here: a few for each worker would be more."""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(EAGER is None, reason="this version of Python starts no task eagerly"),
]


@pytest.fixture
def _few_frames() -> Iterator[None]:
    """Let calls nest less deep than workers that wake each other would."""
    usual, depth = sys.getrecursionlimit(), len([*_frames()])
    sys.setrecursionlimit(depth + NESTED)
    yield
    sys.setrecursionlimit(usual)


def _frames() -> Iterator[Any]:
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back  # type: ignore[assignment]


@pytest.mark.usefixtures("_few_frames")
async def test_a_worker_never_runs_within_the_call_that_wakes_it() -> None:
    """Workers that wake each other do not nest: as many as may be in flight start one by one."""
    asyncio.get_running_loop().set_task_factory(EAGER)
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, max_in_flight=WORKERS, schedule=FixedInterval(1.0)) as client,
    ):
        ids = [gateway.submit(duration=3) for _ in range(WORKERS + 50)]

        async def source() -> AsyncIterator[str]:
            for request_id in ids:
                yield request_id

        runs = client.as_completed(ids), client.watch(source())
        waits = [asyncio.create_task(client.wait(request_id)) for request_id in ids]
        for run in runs:
            assert {result.request_id async for result in run if result.is_complete} == set(ids)
        assert {result.request_id for result in await asyncio.gather(*waits)} == set(ids)
        assert gateway.peak_in_flight > WORKERS / 2


async def test_a_source_is_not_read_within_the_call() -> None:
    """An async source is first asked for an id after the call that takes it has returned."""
    asyncio.get_running_loop().set_task_factory(EAGER)
    asked = False

    async def source() -> AsyncIterator[str]:
        nonlocal asked
        asked = True
        yield gateway.submit(duration=1)

    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        await client.retrieve(gateway.submit(duration=0))
        run = client.as_completed(source())
        assert not asked
        assert len([result async for result in run]) == 1
