"""The connection to Ray, of which a process has one, and the options of actors."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:  # the extra is not installed
    raise ImportError("needs Ray: pip install 'ideogram-async[ray]'") from error

from ideogram_async.ray._shard_actor import ShardActor

__all__ = ["RayError", "RayTaskError", "actor", "connect", "kill"]

AHEAD = 4
"""Pieces of news that a shard may be ahead of who reads them."""
STORE = 100 * 1024 * 1024
"""Bytes of the object store of a cluster of one's own: what shards send is small."""


def connect(address: str | None) -> None:
    """Join a cluster, or start one of this process alone, where there is none yet."""
    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    alone = {"include_dashboard": False, "object_store_memory": STORE} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **alone)


def actor(options: Mapping[str, Any]) -> Any:
    """Start an actor. Ray never restarts it: a new one is told what is known by then."""
    defaults = {"scheduling_strategy": "SPREAD"}
    return ray.remote(ShardActor).options(**{**defaults, **options, "max_restarts": 0}).remote()


def news(actor: Any) -> Any:
    """Read an actor's news, as a stream."""
    call = actor.news.options(num_returns="streaming", _generator_backpressure_num_objects=AHEAD)
    return call.remote()


def kill(actor: Any) -> None:
    """End an actor's process at once, and all its queries."""
    if ray.is_initialized():
        ray.kill(actor)
