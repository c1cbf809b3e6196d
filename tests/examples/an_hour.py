from ideogram_async import IdeogramClient
from ideogram_async.testing import Gateway, run_in_virtual_time


async def an_hour_of_polling() -> None:
    async with Gateway(tokens=["key"]) as gateway:
        request_id = gateway.submit(duration=3600)
        async with IdeogramClient(gateway.url, token="key", deadline=None) as client:
            request = await client.wait(request_id)
    assert request.is_complete


def test_an_hour_of_polling() -> None:
    run_in_virtual_time(an_hour_of_polling)
