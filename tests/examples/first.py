import asyncio
import sys

from ideogram_async import IdeogramClient


async def main(ids: list[str]) -> None:
    async with IdeogramClient() as client:  # IDEOGRAM_BASE_URL, IDEOGRAM_TOKEN
        async for request in client.as_completed(ids):
            print(request.request_id, [image.url for image in request.responses])


asyncio.run(main(sys.stdin.read().split()))
