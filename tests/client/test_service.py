"""The service of the examples, with many callers. Some close their connections early."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ideogram_async import IdeogramClient
from ideogram_async.testing import Gateway
from tests.support.asgi import App, Caller, started

pytestmark = pytest.mark.anyio

END = b"event: end\ndata:\n\n"
"""What tells a browser not to connect again."""


@asynccontextmanager
async def application(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Gateway, App]]:
    """Start the example's application, in front of a gateway."""
    from tests.examples import service  # noqa: PLC0415 - FastAPI's import is slow

    async with Gateway(tokens=["key"]) as gateway:
        monkeypatch.setenv("IDEOGRAM_BASE_URL", gateway.url)
        monkeypatch.setenv("IDEOGRAM_TOKEN", "key")
        async with started(service.app):
            yield gateway, service.app


def _pending(app: Any) -> int:
    client: IdeogramClient = app.state.client
    return client.statistics().pending


async def test_one_caller_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """One endpoint answers when the request is complete; the other tells its progress meanwhile."""
    async with application(monkeypatch) as (gateway, app):
        request_id = gateway.submit(duration=20, progress="linear", images=2)
        finished = Caller(app, f"/requests/{request_id}")
        progress = Caller(app, f"/requests/{request_id}/progress")
        await asyncio.gather(finished.task, progress.task)
        assert (finished.status, len(json.loads(finished.body)["responses"])) == (200, 2)
        assert progress.body.endswith(END)
        told = [int(float(number)) for number in re.findall(rb"data: ([\d.]+)\n\n", progress.body)]
        assert told == sorted(set(told))
        assert len(told) > 3
        assert told[-1] == 100


async def test_what_a_caller_is_told_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that failed, and one that takes too long, each give their own status."""
    async with application(monkeypatch) as (gateway, app):
        failing = Caller(app, f"/requests/{gateway.submit(duration=5, errored=True)}")
        endless = Caller(app, f"/requests/{gateway.submit(progress='never')}")
        await asyncio.gather(failing.task, endless.task)
        assert (failing.status, endless.status) == (502, 503)
        assert b"is_errored" in failing.body
        assert _pending(app) == 0


async def test_events_of_a_request_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is one event with its reason, and then the end is sent, as after a success."""
    async with application(monkeypatch) as (gateway, app):
        caller = Caller(app, f"/requests/{gateway.submit(duration=5, errored=True)}/progress")
        await caller.task
    failed = re.findall(rb"event: failed\ndata: (.*)\n\n", caller.body)
    assert "is_errored" in json.loads(*failed)
    assert caller.body.endswith(END)


async def test_40_callers_of_whom_one_leaves_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked for whom nobody awaits, and no task is left at shutdown."""
    before = asyncio.all_tasks()
    async with application(monkeypatch) as (gateway, app):
        ids = [gateway.submit(progress="never") for _ in range(20)]
        # Two for each request: the first to close leaves the other one served.
        callers = [Caller(app, f"/requests/{one}/progress") for one in ids * 2]
        await asyncio.sleep(30)
        assert _pending(app) == 20
        loop = asyncio.get_running_loop()
        left: dict[str, float] = {}
        for place, caller in enumerate(callers):
            caller.close()
            await asyncio.sleep(0.5)
            assert caller.task.done()
            assert _pending(app) == min(40 - place - 1, 20)
            if place >= 20:
                left[ids[place - 20]] = loop.time() - 0.5
            await asyncio.sleep(0.5)
        assert all(query.at <= left[str(query.request_id)] for query in gateway.queries)
        asked_late = [query for query in gateway.queries if query.at > 52]
        assert len({query.request_id for query in asked_late}) > 10
        seen = len(gateway.queries)
        await asyncio.sleep(60)
        assert len(gateway.queries) == seen
    assert asyncio.all_tasks() == before


async def test_a_caller_that_leaves_the_endpoint_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is asked any more for a caller that has closed its connection while it waited."""
    async with application(monkeypatch) as (gateway, app):
        caller = Caller(app, f"/requests/{gateway.submit(progress='never')}")
        await asyncio.sleep(10)
        caller.close()
        await caller.task
        assert (_pending(app), caller.status) == (0, 499)
        seen = len(gateway.queries)
        await asyncio.sleep(60)
        assert len(gateway.queries) == seen


async def test_shutdown_under_open_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shutdown while callers are connected leaves no task of the client, and no query."""
    before = asyncio.all_tasks()
    async with application(monkeypatch) as (gateway, app):
        ids = [gateway.submit(progress="never") for _ in range(20)]
        callers = [Caller(app, f"/requests/{one}/progress") for one in ids]
        await asyncio.sleep(10)
    await asyncio.wait([caller.task for caller in callers])
    assert asyncio.all_tasks() == before
    assert all(b"closed" in caller.body and caller.body.endswith(END) for caller in callers)
