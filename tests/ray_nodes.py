"""A Ray cluster on loopback, for tests and benchmarks; imported before Ray is."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray takes 127.0.0.1 for its address only where it is told that it makes no cluster …
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # … and else keeps its token in the home directory.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    # A node that is gone is missed after 1 s, in place of 15.
    "RAY_health_check_period_ms": "200",
}

MEMORY = 80 * 1024 * 1024
"""Bytes of a node's object store: about the least that Ray takes."""


@contextmanager
def nodes() -> Iterator[Any]:
    """Start one node, and connect this process to it; more can be added."""
    import ray  # noqa: PLC0415 - after its environment is set
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - as above

    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": MEMORY}
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
