"""A worker that is fed by a queue: ids come while it polls, at most `max_pending` at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable

from ideogram_async import IdeogramClient, RequestError, SamplingRequest


async def work(
    client: IdeogramClient,
    queue: asyncio.Queue[str | None],
    deliver: Callable[[SamplingRequest | RequestError], None],
) -> None:
    """Deliver what ends, until None comes and all before it is delivered."""

    async def ids() -> AsyncIterator[str]:
        while (request_id := await queue.get()) is not None:
            yield request_id

    async for result in client.as_completed(ids(), return_exceptions=True):
        deliver(result)
