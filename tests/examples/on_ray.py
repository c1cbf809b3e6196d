from ideogram_async.ray import ray_as_completed


async def finished_on_ray(base_url: str, ids: list[str]) -> list[str | None]:
    """Poll by shards, each an actor with its own client; return the ids as they complete."""
    run = ray_as_completed(ids, base_url, token="my-key", shards=2, max_in_flight=200)
    async with run:
        return [request.request_id async for request in run]
