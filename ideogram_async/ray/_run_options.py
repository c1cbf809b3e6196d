"""How a run on Ray is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ideogram_async import Schedule
from ideogram_async.ray._shard_config import ClusterConfig


class RunOptions(NamedTuple):
    """How a run is to be done."""

    orders: ClusterConfig
    schedule: Schedule[Any]
    shards: int
    address: str | None
    actor_options: Mapping[str, Any]
    restarts: int
    timeout: float | None
    max_pending: int
    return_exceptions: bool
    just_submitted: bool
