"""The same call on a Ray cluster: real processes, in real time, over loopback HTTP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ideogram_async import (
    AdaptiveSchedule,
    FixedInterval,
    InternalServerError,
    PollingFailed,
    RequestError,
)
from ideogram_async.testing import Reply
from tests.support.commands import Served, environment_for, start
from tests.support.ray_nodes import KEY, shards

state = pytest.importorskip("ray._private.state", reason="Ray is not installed")

from ideogram_async.ray import RayRun, ray_as_completed  # noqa: E402 - where it is installed
from ideogram_async.ray._budget import divide  # noqa: E402 - as above
from ideogram_async.ray._shard_config import ClusterConfig  # noqa: E402 - as above
from tests.examples import on_ray  # noqa: E402 - as above
from tests.support.ray_runs import happened, polled, submit  # noqa: E402 - as above

# Processes start and end here, in real time: on a busy machine that takes its time.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150)]


@pytest.fixture
def anyio_backend() -> str:
    """Run in real time: other processes cannot wait for a clock of ours."""
    return "asyncio"


def change(served: Served, **settings: Any) -> None:
    """Change the gateway, in its own thread."""
    served.call(lambda: vars(served.gateway).update(settings))


async def test_each_id_is_delivered_once(served: Served) -> None:
    """Two shards share the work; every record comes once, and teaches the schedule once.

    Ids that fail disturb no other, and are raised together at the end.
    """
    ids = [one for n in range(30) for one in submit(served, 2, duration=n / 30)]
    bad = submit(served, 2, progress="errored", duration=0.1)
    schedule, results = AdaptiveSchedule(), []
    every = [*ids, *bad, *ids]
    async with polled(served, every, schedule=schedule, just_submitted=True) as run:
        with pytest.raises(PollingFailed) as caught:
            async for request in run:
                results.append(request)
    assert sorted(request.request_id for request in results) == sorted(ids)
    assert all(request.is_complete and request.responses for request in results)
    assert sorted(str(error.request_id) for error in caught.value.exceptions) == sorted(bad)
    assert run.statistics().yielded == 60
    assert run.pending == ()
    sessions = run.client_statistics().sessions
    assert [session.queries >= 30 for session in sessions] == [True, True]
    assert schedule.save().bands[0].n == 62  # 2 of the prior


async def test_the_example_of_the_readme(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's example gives each id, here by one shard, which costs half as much."""

    def by_one(*arguments: Any, **settings: Any) -> RayRun[Any]:
        return ray_as_completed(*arguments, **{**settings, "shards": 1})

    monkeypatch.setattr(on_ray, "ray_as_completed", by_one)
    served.call(lambda: served.gateway.accept("my-key"))
    ids = submit(served, 4, duration=0)
    finished = await on_ray.finished_on_ray(served.gateway.url, ids)
    assert sorted(map(str, finished)) == sorted(ids)


async def test_an_endless_source_is_pulled_as_there_is_room(served: Served) -> None:
    """No more than `max_pending` ids are taken and not yet yielded, at any moment.

    With `return_exceptions` an id's failure is one of the results, with its cause. When its
    caller has left by an exception of its own, no actor is left.
    """
    (sick,), bad = submit(served, 1), submit(served, 2, progress="errored", duration=0.1)
    served.call(lambda: served.gateway.script(Reply(502), times=math.inf, request_id=sick))
    taken = most = 0
    results: list[Any] = []
    failed: dict[object, RequestError] = {}

    async def endless() -> AsyncIterator[Any]:
        nonlocal taken, most
        first: list[Any] = [7, sick, *bad]
        while True:
            one = first.pop() if first else await asyncio.to_thread(served.submit, duration=0.1)
            taken += 1
            most = max(most, taken - len(results))
            yield one

    settings = {"shards": 1, "max_pending": 30, "return_exceptions": True, "deadline": 1.5}
    run = polled(served, endless(), **settings)
    with pytest.raises(ZeroDivisionError):
        async with run:
            async for result in run:
                results.append(result)
                if isinstance(result, RequestError):
                    failed[result.request_id] = result
                if len(results) >= 100 and len(failed) == 4:
                    raise ZeroDivisionError
    assert failed.keys() == {"7", sick, *bad}
    assert isinstance(failed[sick].__cause__, InternalServerError)  # pickling alone would lose it
    assert (run.failures, run.statistics().failed) == ((), 4)
    assert 10 < most <= 30
    await happened(lambda: not shards())


async def test_limits_hold_for_the_cluster_until_it_is_left(served: Served) -> None:
    """Over all shards the limits hold, and all wait that use a key that was refused for a while.

    A cancellation ends all of that: no actor is left, no query comes, and what is open is listed.
    """
    ids, queries = submit(served, 40, progress="never"), served.gateway.queries
    every = [*submit(served, 1, duration=0), *ids]
    settings = {"max_in_flight": 7, "max_rate": 200, "schedule": FixedInterval(0.1)}
    run = polled(served, every, **settings)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as leaving, run:
            await _check_limits(served, run, set(ids))
            leaving.reschedule(asyncio.get_running_loop().time() + 0.3)
            async for _ in run:
                pass
    assert sorted(run.pending) == sorted(ids)
    await happened(lambda: not shards())
    async with asyncio.timeout(5):
        before = 0
        while len(queries) > before:  # the last are still being read
            before = len(queries)
            await asyncio.sleep(0.5)  # five times the interval


async def _check_limits(served: Served, run: RayRun[Any], ids: set[str]) -> None:
    """As long as no answer comes, exactly `max_in_flight` queries go out.

    Then over any second there are at most `max_rate`. When one shard is told to wait, no
    query comes, and then every id is asked for again.
    """
    queries = served.gateway.queries
    with served.held():
        await happened(lambda: served.gateway.in_flight == 7)
        await asyncio.sleep(0.3)  # in which an eighth query might come
    released = len(queries)
    change(served, latency=0.01)
    await happened(lambda: len(queries) >= released + 250)
    assert served.gateway.peak_in_flight == 7
    _check_rate([query.at for query in queries], 200)
    assert run.client_statistics().refused == 0

    served.call(lambda: served.gateway.script(Reply(429, {"Retry-After": "2"})))
    await happened(lambda: any(query.status == 429 for query in queries))
    refused = next(query.answered for query in queries if query.status == 429)
    await happened(lambda: {q.request_id for q in queries if q.at >= refused + 2} == ids)
    assert not [query for query in queries if refused + 1 < query.at < refused + 2]


def _check_rate(times: list[float], rate: float) -> None:
    """Check that there were at most so many queries over any second.

    There may be one more per shard, and those that were on their way while the gateway stalled.
    """
    for first, begin in enumerate(times):
        assert sum(time < begin + 1 for time in times[first:]) <= rate + 2 + 7


def test_keys_are_shown_nowhere(cluster: Any) -> None:
    """After all of that no log of Ray's, and nothing that it tells of actors, holds the key."""
    session = Path(cluster.head_node.get_session_dir_path())
    logs = [path.read_bytes() for path in session.rglob("*") if path.is_file()]
    assert any(b"Shard" in log for log in logs)
    assert not [log for log in logs if KEY.encode() in log]
    assert KEY not in repr(state.actors())
    config = ClusterConfig("http://127.0.0.1", {"token": KEY, "headers": {"X": KEY}})
    (share,) = divide(1, 1, 20, None)
    assert KEY not in repr((config, config.for_share(share)))


def test_watch_on_ray(cluster: Any, served: Served) -> None:
    """`watch --ray ADDRESS` prints the same lines, and nothing of Ray's between them."""
    done = submit(served, 3, duration=0)
    (failed,) = submit(served, 1, duration=0, progress="errored")
    environment = environment_for(served) | {"IDEOGRAM_TOKEN": KEY, "PYTHONWARNINGS": "default"}
    arguments = ("watch", "--ray", cluster.address, "--shards", "1", "--", failed, *done)
    with start(served, *arguments, env=environment) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    records = [msgspec.json.decode(line) for line in output.splitlines()]
    assert sorted(record["request_id"] for record in records) == sorted(done)
    assert f"failed: request '{failed}'" in errors.decode()
    assert "3 of 4 complete, 1 failed, 4 queries" in errors.decode()
