"""The connection to Redis: a report and its reply, and the news."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ideogram_async._fleet.messages import Announcement, Reply, Report
from ideogram_async.redis._script import SCRIPT

ANSWER_SECONDS = 1.0
"""Seconds that Redis has for an answer."""
LISTEN_SECONDS = 10.0
"""Seconds for which the channel is read at once; what a user's client is set to does not count."""

_encode = msgspec.json.Encoder().encode
_read_reply = msgspec.json.Decoder(Reply).decode
_read_announcement = msgspec.json.Decoder(Announcement).decode


class RedisLink:
    """One member's connections, in one event loop."""

    def __init__(self, redis: str | Redis, key: str) -> None:
        self._is_own = isinstance(redis, str)
        if isinstance(redis, str):
            # Whoever calls tries again; and no reply must be waited for twice.
            redis = Redis.from_url(redis, retry=Retry(NoBackoff(), 0))
        self._redis = redis
        self._key = key
        self._script = redis.register_script(SCRIPT)

    async def send(self, report: Report) -> Reply:
        """Send a report; return what Redis makes of it."""
        return _read_reply(await self._run(report))

    async def leave(self, report: Report) -> None:
        """Send the last report, and close what is one's own."""
        try:
            await self._run(report)
        finally:
            if self._is_own:
                await self._redis.aclose()

    async def listen(self, hear: Callable[[Announcement, float], None]) -> None:
        """Pass on what is published, and when it came, until cancelled."""
        time = asyncio.get_running_loop().time
        with _errors_of_redis():
            async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(self._key)
                while True:
                    message = await channel.get_message(timeout=LISTEN_SECONDS)
                    if message is not None:
                        hear(_read_announcement(message["data"]), time())

    async def _run(self, report: Report) -> str | bytes:
        with _errors_of_redis():
            async with asyncio.timeout(ANSWER_SECONDS):
                text: str | bytes = await self._script(keys=[self._key], args=[_encode(report)])
                return text


@contextmanager
def _errors_of_redis() -> Iterator[None]:
    """Raise Redis's errors as the system's are: a `ConnectionError`, with the same words."""
    try:
        yield
    except RedisError as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
