"""The same call on a Ray cluster: real processes, in real time, over loopback HTTP."""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.speed.ray_environment import OBJECT_STORE_BYTES
from ideogram_async import (
    AdaptiveSchedule,
    AuthenticationError,
    Credential,
    FixedInterval,
    InternalServerError,
    PollingFailed,
    RequestError,
    WaitTimeout,
)
from ideogram_async.testing import Reply
from tests.support.commands import Served, environment_for, start
from tests.support.ray_nodes import nodes, shards

state = pytest.importorskip("ray._private.state", reason="Ray is not installed")

from ray.util.scheduling_strategies import (  # noqa: E402 - where it is installed
    NodeAffinitySchedulingStrategy,
)

from ideogram_async.ray import (  # noqa: E402 - where it is installed
    RayRun,
    ShardLost,
    _shard_proxy,
    ray_as_completed,
)
from ideogram_async.ray._budget import divide  # noqa: E402 - as above
from ideogram_async.ray._shard_config import ClusterConfig  # noqa: E402 - as above
from tests.examples import on_ray  # noqa: E402 - as above

# Processes start and end here, in real time: on a busy machine that takes its time.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150)]

KEY = "canary-0815"
PATIENCE = 60.0
"""Seconds after which an event that must come is missed."""


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
def served(cluster: object) -> Iterator[Served]:  # noqa: ARG001 - it must be there
    """Start a gateway."""
    gateway = Served(tokens=[KEY], latency=0.02)
    yield gateway
    gateway.close()


def submit(served: Served, count: int, **details: Any) -> list[str]:
    """Submit so many requests."""
    return [served.submit(**details) for _ in range(count)]


def change(served: Served, **settings: Any) -> None:
    """Change the gateway, in its own thread."""
    served.call(lambda: vars(served.gateway).update(settings))


def polled(served: Served, ids: Any, **settings: Any) -> RayRun[Any]:
    """Poll ids by two shards, quickly."""
    settings = {"token": KEY, "max_rate": 1000.0, "schedule": FixedInterval(0.2), **settings}
    return ray_as_completed(ids, served.gateway.url, **settings)


async def test_each_id_is_delivered_once(served: Served) -> None:
    """Two shards share the work; every record comes once, and teaches the schedule once."""
    ids = [one for n in range(30) for one in submit(served, 2, duration=n / 30)]
    schedule = AdaptiveSchedule()
    async with polled(served, [*ids, *ids], schedule=schedule, just_submitted=True) as run:
        results = [request async for request in run]
    assert sorted(request.request_id for request in results) == sorted(ids)
    assert all(request.is_complete and request.responses for request in results)
    assert run.statistics().yielded == 60
    assert run.pending == ()
    sessions = run.client_statistics().sessions
    assert [session.queries >= 30 for session in sessions] == [True, True]
    assert schedule.save().bands[0].n == 62  # 2 of the prior


async def test_the_example_of_the_readme(served: Served) -> None:
    """The README's example gives each id."""
    served.call(lambda: served.gateway.accept("my-key"))
    ids = submit(served, 4, duration=0)
    finished = await on_ray.finished_on_ray(served.gateway.url, ids)
    assert sorted(map(str, finished)) == sorted(ids)


async def test_failures(served: Served) -> None:
    """An id that fails disturbs no other: raised together at the end, or told in the stream."""
    good, bad = submit(served, 3, duration=0.3), submit(served, 2, progress="errored", duration=0.1)
    got = []
    with pytest.raises(PollingFailed) as caught:
        async for request in polled(served, [*bad, *good], shards=1):
            got.append(request.request_id)
    assert sorted(got) == sorted(good)
    assert sorted(str(error.request_id) for error in caught.value.exceptions) == sorted(bad)
    (sick,) = submit(served, 1)
    served.call(lambda: served.gateway.script(Reply(502), times=math.inf, request_id=sick))

    async def source() -> AsyncIterator[Any]:
        for one in (7, sick, *bad, *good):
            yield one

    async with polled(served, source(), shards=1, return_exceptions=True, deadline=1.5) as run:
        inline = [result async for result in run]
    failed = [result for result in inline if isinstance(result, RequestError)]
    assert len(inline) == 7
    assert {error.request_id for error in failed} == {"7", sick, *bad}
    assert (run.failures, run.statistics().failed) == ((), 4)
    (late,) = [error for error in failed if error.request_id == sick]
    assert isinstance(late.__cause__, InternalServerError)  # pickling alone would lose it


async def test_an_endless_source_is_pulled_as_there_is_room(served: Served) -> None:
    """No more than `max_pending` ids are taken and not yet yielded, at any moment."""
    taken = yielded = most = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal taken, most
        while True:
            (one,) = await asyncio.to_thread(submit, served, 1, duration=0.1)
            taken += 1
            most = max(most, taken - yielded)
            yield one

    async with polled(served, endless(), shards=1, max_pending=30) as run:
        async for _ in run:
            yielded += 1
            if yielded == 100:
                break
    assert 10 < most <= 30


async def test_killed_shards(served: Served) -> None:
    """Twice a shard's process is killed while it polls: nothing is lost, nothing twice."""
    ids = [one for n in range(100) for one in submit(served, 2, duration=0.5 + n / 100)]
    killed: list[int] = []
    got = []
    async with polled(served, ids) as run:
        async for request in run:
            got.append(request.request_id)
            if len(got) in {20, 120}:
                killed.append(next(one.pid for one in shards() if one.pid not in {0, *killed}))
                os.kill(killed[-1], signal.SIGKILL)
    assert len(set(killed)) == 2
    assert sorted(got) == sorted(ids)


async def test_a_node_that_is_gone(served: Served, cluster: Any) -> None:
    """A node is removed with the shard that is on it: it goes on elsewhere, with its ids."""
    node = cluster.add_node(
        num_cpus=1, object_store_memory=OBJECT_STORE_BYTES, include_log_monitor=False
    )
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=True)
    ids = [one for n in range(50) for one in submit(served, 2, duration=0.5 + n / 50)]
    got: list[str] = []
    options = {"scheduling_strategy": there}
    async with polled(served, ids, shards=1, actor_options=options) as run:
        async for request in run:
            got.append(str(request.request_id))
            if len(got) == 20:
                assert node.node_id in {one.node for one in shards()}
                cluster.remove_node(node, allow_graceful=False)
    assert sorted(got) == sorted(ids)


async def test_a_shard_that_cannot_come_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After bounded tries the run ends, and lists the ids that are open."""
    monkeypatch.setattr(_shard_proxy, "START_SECONDS", 0.5)
    ids = submit(served, 3, duration=0.1)
    options = {"resources": {"nowhere": 1}}
    with pytest.raises(ShardLost, match="2 times in a row") as caught:
        async for _ in polled(served, ids, actor_options=options, restarts=1):
            pass
    assert sorted(caught.value.pending) == sorted(ids)
    twin = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - made here
    assert (type(twin), twin.pending) == (ShardLost, caught.value.pending)


async def test_a_timeout(served: Served) -> None:
    """It ends the run also where no shard has found a place yet, and lists the ids."""
    ids, options = submit(served, 3), {"resources": {"nowhere": 1}}
    with pytest.raises(WaitTimeout) as caught:
        async for _ in polled(served, ids, actor_options=options, timeout=0.2):
            pass
    assert sorted(caught.value.pending) == sorted(ids)


async def test_limits_hold_for_the_cluster(served: Served) -> None:
    """Over all shards the limits hold, and all wait that use a key that was refused for a while.

    As long as no answer comes, exactly `max_in_flight` queries go out. Then over any 2 s there
    are at most `max_rate` per second. When one shard is told to wait, no query comes, and then
    every id is asked for again.
    """
    ids, queries = submit(served, 40, progress="never"), served.gateway.queries
    async with polled(served, ids, max_in_flight=7, max_rate=60) as run:
        with served.held():
            await _happened(lambda: served.gateway.in_flight == 7)
            await asyncio.sleep(0.5)  # in which an eighth query might come
        released = len(queries)
        change(served, latency=0.01)
        await _happened(lambda: len(queries) >= released + 200)
        assert served.gateway.peak_in_flight == 7
        _check_rate([query.at for query in queries], 60)
        assert run.client_statistics().refused == 0

        served.call(lambda: served.gateway.script(Reply(429, {"Retry-After": "3"})))
        await _happened(lambda: any(query.status == 429 for query in queries))
        refused = next(query.answered for query in queries if query.status == 429)
        await _happened(lambda: {q.request_id for q in queries if q.at >= refused + 3} == set(ids))
    assert not [query for query in queries if refused + 1.5 < query.at < refused + 3]


def _check_rate(times: list[float], rate: float) -> None:
    """Check that there were at most so many queries per second, over any 2 s.

    There may be one more per shard, and those that were on their way while the gateway stalled.
    """
    for first, begin in enumerate(times):
        assert sum(time < begin + 2 for time in times[first:]) <= 2 * rate + 2 + 7


async def _happened(condition: Callable[[], bool]) -> None:
    """Wait until something has happened in another thread or process."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - no event of this loop
            await asyncio.sleep(0.01)


async def test_a_shard_whose_key_is_refused(served: Served) -> None:
    """It goes on with the other's; when no key is left, the run ends and lists what is open."""
    ids, never = submit(served, 30, duration=0.5), submit(served, 10, progress="never")
    keys = [Credential(token=KEY), Credential(access_token=f"{KEY}-other")]
    got = []
    with pytest.raises(AuthenticationError) as caught:
        async for request in polled(served, [*ids, *never], token=None, credentials=keys):
            got.append(request.request_id)
            if len(got) == 30:
                served.call(lambda: served.gateway.revoke(KEY))
    assert sorted(got) == sorted(ids)
    assert sorted(caught.value.pending) == sorted(never)


async def test_leaving_ends_all_polling(served: Served) -> None:
    """Break, an exception, a cancellation: no actor is left, and no query comes."""
    ids = [*submit(served, 1, duration=0), *submit(served, 50, progress="never")]
    async for _ in polled(served, ids, shards=1):
        break
    run = polled(served, ids, shards=1)
    with pytest.raises(ZeroDivisionError):
        async with run:
            async for _ in run:
                raise ZeroDivisionError
    assert sorted(run.pending) == sorted(ids[1:])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5), polled(served, ids, shards=1) as run:
            async for _ in run:
                pass
    await _happened(lambda: not shards())
    async with asyncio.timeout(5):
        before = 0
        while len(served.gateway.queries) > before:  # the last are still being read
            before = len(served.gateway.queries)
            await asyncio.sleep(1)  # five times the interval


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
