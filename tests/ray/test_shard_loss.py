"""What a run on a Ray cluster loses, and goes on with: processes, nodes, keys, the caller."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from typing import Any

import pytest

from benchmarks.speed.ray_environment import OBJECT_STORE_BYTES
from ideogram_async import AuthenticationError, Credential, WaitTimeout
from tests.support.commands import Served
from tests.support.ray_nodes import KEY, shards

pytest.importorskip("ray", reason="Ray is not installed")

from ideogram_async.ray import ShardLost, _shard_proxy
from tests.support.ray_runs import polled, submit

# Processes start and end here, in real time: on a busy machine that takes its time.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150)]


@pytest.fixture
def anyio_backend() -> str:
    """Run in real time: other processes cannot wait for a clock of ours."""
    return "asyncio"


async def test_lost_shards(served: Served, cluster: Any) -> None:
    """Of two processes one is killed while it polls, then the other one's node is removed.

    By then that one has some of its 100 ids left. Both go on elsewhere, with their ids: nothing is
    lost, nothing comes twice.
    """
    node = cluster.add_node(
        num_cpus=1, object_store_memory=OBJECT_STORE_BYTES, include_log_monitor=False
    )
    one_on_each = {"scheduling_strategy": "SPREAD", "num_cpus": 1}
    ids = [one for n in range(100) for one in submit(served, 2, duration=0.5 + n / 100)]
    await asyncio.sleep(0.5)  # until the first node has heard of the other one
    got, removed = [], False
    async with polled(served, ids, actor_options=one_on_each) as run:
        async for request in run:
            got.append(request.request_id)
            if len(got) == 20:
                (stays,) = [one for one in shards() if one.node != node.node_id]
                os.kill(stays.pid, signal.SIGKILL)
            if len(got) == 60:
                assert node.node_id in {one.node for one in shards()}
                cluster.remove_node(node, allow_graceful=False)
                removed = True
    assert removed
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
