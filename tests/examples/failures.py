from ideogram_async import IdeogramClient, PollingFailed, RequestError


async def raised_at_the_end(client: IdeogramClient, ids: list[str]) -> None:
    try:
        async for request in client.as_completed(ids):
            print("complete:", request.request_id)
    except PollingFailed as group:  # after all other requests
        for error in group.exceptions:
            print("failed:", error.request_id, error)


async def yielded(client: IdeogramClient, ids: list[str]) -> None:
    async for result in client.as_completed(ids, return_exceptions=True):
        if isinstance(result, RequestError):
            print("failed:", result.request_id, result)
        else:
            print("complete:", result.request_id)
