"""The limiter of a client that shares its budget through Redis."""

from __future__ import annotations

from redis.asyncio import Redis

from ideogram_async._fleet.member import FleetMember
from ideogram_async.redis._link import RedisLink


class RedisLimiter(FleetMember):
    """A limiter for all clients with the same keys, in any number of processes and hosts.

    Together they keep one rate, told or found, and stop together where one is refused. Each has a
    share of the rate, by its due and its pending ids. A background task of each client reports to
    Redis: no query waits for it. While Redis is away, each client goes on with its last share. Keys
    are not sent to Redis: a keyed hash of them names the budget.

    It is for one client at a time.

    Args:
        redis: The URL of a Redis server, `redis://host:port/0`, or a `redis.asyncio.Redis`, which
            is not closed here.
        name: The beginning of the budget's name in Redis. Clients with the same keys and the same
            name share one budget.
        max_rate: Queries per second of all together. Default: None, the limit is found.

    Raises:
        ValueError: `max_rate` is not above 0.

    """

    def __init__(
        self, redis: str | Redis, *, name: str = "ideogram_async", max_rate: float | None = None
    ) -> None:
        super().__init__(lambda budget: RedisLink(redis, f"{name}:{{{budget}}}"), "Redis", max_rate)
