"""One budget of queries for all processes with the same key, kept in Redis.

Needs `pip install 'ideogram-async[redis]'`. A client takes a `RedisLimiter` as its `limiter`.
"""

from ideogram_async.redis._limiter import RedisLimiter

__all__ = ["RedisLimiter"]
