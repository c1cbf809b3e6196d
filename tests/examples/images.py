from pathlib import Path

from ideogram_async import DownloadError, IdeogramClient


async def save_all(client: IdeogramClient, ids: list[str], directory: Path) -> None:
    async for request in client.as_completed(ids):
        try:
            print(*await client.download(request, directory))
        except DownloadError as error:
            print(error, "Saved:", *error.saved)
