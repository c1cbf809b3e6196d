from ideogram_async import IdeogramClient
from ideogram_async.redis import RedisLimiter


def client_of_a_fleet(base_url: str, redis_url: str) -> IdeogramClient:
    """Make a client that shares 20 queries per second with all that have its key."""
    limiter = RedisLimiter(redis_url, max_rate=20)  # without max_rate they find the limit together
    return IdeogramClient(base_url, token="my-key", limiter=limiter)
