"""A Ray cluster on loopback; imported before Ray is."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from benchmarks.speed.ray_environment import OBJECT_STORE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "canary-0815"
"""The key of the gateway in these tests."""

# Seconds that Ray waits for its own server to start: on a busy machine its 20 are too few.
os.environ |= {"RAY_gcs_server_port_wait_time_s": "60"}


@contextmanager
def nodes() -> Iterator[Any]:
    """Start one node, and connect this process to it; more can be added."""
    import ray  # noqa: PLC0415 - after its environment is set
    from ray._private.node import Node  # noqa: PLC0415 - as above
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - as above

    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    head |= {"include_log_monitor": False, "no_monitor": True}  # processes that no test needs
    with mock.patch.object(Node, "start_api_server"):  # starts one without a dashboard, too
        cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


class Process(NamedTuple):
    """Where a living actor is."""

    pid: int
    """0 as long as it has none."""
    node: str


def shards() -> list[Process]:
    """List the actors that have not ended."""
    from ray._private.state import actors  # noqa: PLC0415 - as above

    return [
        Process(actor["Pid"], actor["Address"]["NodeID"])
        for actor in actors().values()
        if actor["State"] != "DEAD"
    ]
