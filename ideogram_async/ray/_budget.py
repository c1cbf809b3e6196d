"""One budget for the cluster: the keys that each shard uses, and its share of the limits."""

from __future__ import annotations

import math
from typing import NamedTuple


class Share(NamedTuple):
    """What one shard may use."""

    keys: tuple[int, ...]
    """Its keys, by their places."""
    max_in_flight: int
    max_rate: float | None
    """Its part of the told rate. Shards that share a key have the sum of theirs in common."""
    is_shared: bool
    """Whether other shards use its key, too."""


def divide(shards: int, keys: int, max_in_flight: int, max_rate: float | None) -> list[Share]:
    """Return a share for each shard; shards that use the same key divide its part of the limits.

    The shares add up to the limits exactly, so that the limits hold for the cluster at any instant.
    """
    if max_in_flight < shards:
        raise ValueError(
            f"max_in_flight is {max_in_flight} for {shards} shards: expected one for each, or more"
        )
    users = [tuple(range(shard, keys, shards)) or (shard % keys,) for shard in range(shards)]
    using = [sum(key in used for used in users) for key in range(keys)]
    weights = [sum(1 / using[key] for key in used) / keys for used in users]
    flights = _whole(weights, max_in_flight)
    return [
        Share(
            used,
            flight,
            None if max_rate is None else max_rate * weight,
            is_shared=using[used[0]] > 1,
        )
        for used, flight, weight in zip(users, flights, weights, strict=True)
    ]


def _whole(weights: list[float], total: int) -> list[int]:
    """Return whole parts of a total, each at least 1, as near to the weights as possible."""
    free = total - len(weights)
    parts = [1 + math.floor(free * weight) for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda place: parts[place] - free * weights[place])
    for place in by_rest[: total - sum(parts)]:
        parts[place] += 1
    return parts
