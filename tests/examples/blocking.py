import asyncio

from ideogram_async import IdeogramClient, SamplingRequest


def finished(ids: list[str]) -> list[SamplingRequest]:
    async def poll() -> list[SamplingRequest]:
        async with IdeogramClient() as client:
            return [request async for request in client.as_completed(ids)]

    return asyncio.run(poll())
