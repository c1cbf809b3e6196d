"""The connection to Ray, of which a process has one, and the calls that start and end actors."""

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

__all__ = ["RayError", "RayTaskError", "connect", "kill", "reports", "start_actor"]

REPORTS_AHEAD = 4
"""Reports that an actor may be ahead of their reader."""
STORE_BYTES = 100 * 1024 * 1024
"""The object store of a cluster that this process starts for itself: reports are small."""


def connect(address: str | None) -> None:
    """Join a cluster, or start one for this process alone; keep a connection that is there."""
    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        own = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)


def start_actor(options: Mapping[str, Any]) -> Any:
    """Start an actor. Ray does not restart it: a new one starts with what is known by then."""
    defaults = {"scheduling_strategy": "SPREAD"}
    return ray.remote(ShardActor).options(**{**defaults, **options, "max_restarts": 0}).remote()


def reports(actor: Any) -> Any:
    """Return an actor's reports, as an async iterator of Ray's references."""
    options = {"num_returns": "streaming", "_generator_backpressure_num_objects": REPORTS_AHEAD}
    return actor.reports.options(**options).remote()


def kill(actor: Any) -> None:
    """End an actor's process at once, and so all its queries."""
    if ray.is_initialized():
        ray.kill(actor)
