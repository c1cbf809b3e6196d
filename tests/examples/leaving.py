from ideogram_async import IdeogramClient


async def first_of(client: IdeogramClient, ids: list[str]) -> tuple[str | None, list[str]]:
    """Return the id that completes first, and those that are still open."""
    async with client.as_completed(ids) as run:
        first = await anext(run)
    return first.request_id, [*run.pending, *run.rest]
