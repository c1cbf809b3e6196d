"""The same call on a Ray cluster: real processes, in real time, over loopback HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ideogram_async import FixedInterval, PollingFailed, RequestError
from ideogram_async.testing import Reply
from tests.elsewhere import Elsewhere
from tests.ray_nodes import nodes

ray = pytest.importorskip("ray", reason="Ray is not installed")

from ideogram_async.ray import RayRun, ray_as_completed  # noqa: E402 - where it is installed

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("ray")]

KEY = "canary-0815"


@pytest.fixture
def anyio_backend() -> str:
    """Run in real time: other processes cannot wait for a clock of ours."""
    return "asyncio"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start Ray once for all of them."""
    with nodes() as started:
        yield started


@pytest.fixture
def served(cluster: object) -> Iterator[Elsewhere]:  # noqa: ARG001 - it must be there
    """Start a gateway."""
    with Elsewhere(tokens=[KEY], latency=0.02) as gateway:
        yield gateway


def polled(served: Elsewhere, ids: Any, **settings: Any) -> RayRun[Any]:
    """Poll ids by two shards, quickly."""
    settings = {"token": KEY, "max_rate": 1000.0, "schedule": FixedInterval(0.2), **settings}
    return ray_as_completed(ids, served.url, **settings)


async def test_each_id_is_delivered_once(served: Elsewhere) -> None:
    """Two shards share the work, and every record comes once, as the gateway told it."""
    ids = [one for n in range(40) for one in served.submit(5, duration=n / 40)]
    results = []
    async with polled(served, [*ids, *ids]) as run:
        async for request in run:
            results.append(request)
    assert sorted(request.request_id for request in results) == sorted(ids)
    assert all(request.is_complete and request.responses for request in results)
    assert run.statistics().yielded == 200
    assert run.pending == ()
    sessions = run.client_statistics().sessions
    assert [session.queries > 50 for session in sessions] == [True, True]
    assert served.do(lambda gateway: gateway.peak_in_flight) <= 20


async def test_failures(served: Elsewhere) -> None:
    """An id that fails disturbs no other: raised together at the end, or told in the stream."""
    good, bad = served.submit(3, duration=0.3), served.submit(2, progress="errored", duration=0.1)
    got = []
    with pytest.raises(PollingFailed) as caught:
        async for request in polled(served, [*bad, *good]):
            got.append(request.request_id)
    assert sorted(got) == sorted(good)
    assert sorted(str(error.request_id) for error in caught.value.exceptions) == sorted(bad)
    async with polled(served, [7, *bad, *good], return_exceptions=True) as run:
        inline = [result async for result in run]
    failed = [result for result in inline if isinstance(result, RequestError)]
    assert len(inline) == 6
    assert {error.request_id for error in failed} == {None, *bad}
    assert set(run.failures) == set(failed)


async def test_the_cause_of_an_error_travels(served: Elsewhere) -> None:
    """A deadline's error tells what went wrong last, also from another process."""
    served.do(lambda gateway: setattr(gateway, "on_query", _unavailable))
    ids = served.submit(1)
    async with polled(served, ids, deadline=1.0, return_exceptions=True) as run:
        (error,) = [result async for result in run]
    assert isinstance(error.__cause__, RequestError)


def _unavailable(_: object) -> Any:
    return Reply(502)


async def test_an_endless_source_is_pulled_as_there_is_room(served: Elsewhere) -> None:
    """No more than `max_pending` ids are taken and not yet yielded, at any moment."""
    taken = yielded = most = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal taken, most
        while True:
            (one,) = await asyncio.to_thread(served.submit, 1, duration=0.1)
            taken += 1
            most = max(most, taken - yielded)
            yield one

    async with polled(served, endless(), max_pending=30) as run:
        async for _ in run:
            yielded += 1
            if yielded == 100:
                break
    assert 10 < most <= 30
