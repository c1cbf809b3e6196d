"""The options of a run on Ray, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ideogram_async import Schedule
from ideogram_async.ray._shard_config import ClusterConfig


class RunOptions(NamedTuple):
    """How the shards of a run are started, and what they are told."""

    config: ClusterConfig
    schedule: Schedule[Any]
    shards: int
    address: str | None
    actor_options: Mapping[str, Any]
    restarts: int
    just_submitted: bool
