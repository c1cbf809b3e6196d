import pytest

from ideogram_async import IdeogramClient, RequestError
from ideogram_async.testing import Gateway, Reply


class Gallery:
    """Collects the images of finished requests."""

    def __init__(self, client: IdeogramClient) -> None:
        self.client = client
        self.images: dict[str, list[str]] = {}
        self.failed: list[str] = []

    async def fill(self, ids: list[str]) -> None:
        async for result in self.client.as_completed(ids, return_exceptions=True):
            if isinstance(result, RequestError):
                self.failed.append(result.request_id or "")
            else:
                images = [image.url for image in result.responses if image.url]
                self.images[result.request_id] = images


@pytest.mark.asyncio
@pytest.mark.ideogram_gateway(tokens=["key"])
async def test_a_gallery(ideogram_gateway: Gateway) -> None:
    slow = ideogram_gateway.submit(duration=3600, images=4)
    failing = ideogram_gateway.submit(duration=10, errored=True)
    ideogram_gateway.script(Reply(429, {"Retry-After": "30"}), times=2)
    async with IdeogramClient(ideogram_gateway.url, token="key", deadline=None) as client:
        gallery = Gallery(client)
        await gallery.fill([slow, failing])
    assert len(gallery.images[slow]) == 4
    assert gallery.failed == [failing]
    assert len(ideogram_gateway.queries) < 3600
