"""The images of finished requests, saved beside the polling, with a page that shows them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ideogram_async import (
    DownloadError,
    Downloads,
    IdeogramClient,
    RequestError,
    SamplingRequest,
)
from ideogram_async._validation import is_loopback
from ideogram_async.cli._console import Console, counted
from ideogram_async.cli._contact_sheet import NAME, ContactSheet
from ideogram_async.cli._exit_codes import Code, CommandError
from ideogram_async.cli._options import QualityName

NO_IMAGES = "complete, without images: it was moderated, probably"
WORKERS = 16
"""Requests whose images are being saved or waited for; the client bounds the downloads."""


def check_directory(directory: Path | None) -> None:
    """Raise `CommandError` if the directory is a file."""
    if directory is not None and directory.exists() and not directory.is_dir():
        raise CommandError(
            f"{directory} is a file: --download takes a directory for the images", Code.USAGE
        )


class ImageSaver:
    """Takes finished requests at any speed: what waits for its turn is a record each.

    `async with saver`: leaving the block well waits for all images, leaving it by an error stops.
    """

    def __init__(
        self,
        client: IdeogramClient,
        directory: Path,
        quality: QualityName,
        *,
        console: Console,
        former: Iterable[SamplingRequest] = (),
        order: Iterable[str] = (),
    ) -> None:
        self.saved = 0
        """Images in the directory."""
        self.expected = 0
        """Images of all requests so far."""
        self.failures = 0
        """Requests of which an image could not be saved."""
        self.waiting = 0
        """Requests whose images are not all there yet."""
        self._client = client
        self._loopback_client: IdeogramClient | None = None
        self._directory = directory
        self._quality: QualityName = quality
        self._console = console
        self._former = iter(former)
        self._queue: deque[SamplingRequest] = deque()
        self._more = asyncio.Event()
        self._ended = False
        self._sheet = ContactSheet(directory, base_url=client.base_url, order=order)
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, request: SamplingRequest) -> None:
        """Save the images of a request when its turn comes."""
        self._count(request)
        self._queue.append(request)
        self._more.set()

    def add_failure(self, error: RequestError, reason: str) -> None:
        """Show on the page that a request has failed, and why."""
        self._sheet.add(error.request, error.request_id or "", (), reason)

    def describe(self) -> str:
        """Return the figures in words."""
        words = f"{counted(self.saved, 'image', 'images')} saved"
        if self.waiting:
            words += f", those of {counted(self.waiting, 'request', 'requests')} to come"
        return f"{words}, those of {self.failures:,} not" if self.failures else words

    @property
    def page(self) -> Path:
        """The page that shows the images."""
        return self._directory / NAME

    def _count(self, request: SamplingRequest) -> None:
        self.waiting += 1
        self.expected += len(request.responses)

    async def __aenter__(self) -> Self:
        workers = [self._work() for _ in range(WORKERS)]
        self._tasks = [asyncio.create_task(one) for one in (*workers, self._sheet.keep())]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        *workers, keeper = self._tasks
        try:
            if kind is None:
                self._ended = True
                self._more.set()
                await asyncio.gather(*workers)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*workers, keeper, return_exceptions=True)
            if self._loopback_client is not None:
                await self._loopback_client.close()
            self._finish()

    def _finish(self) -> None:
        try:
            self._sheet.finish()
        except OSError as error:
            self._console.say_failed(f"{self.page} could not be written: {error.strerror}")

    def _client_for(self, request: SamplingRequest) -> IdeogramClient:
        """Return the client that loads a request's images.

        A gateway on this machine whose records name images of its own, as that of `serve`, is let
        in. No other address of this machine is, and no gateway from elsewhere may name one.
        """
        base_url = self._client.base_url
        assets_url = f"{base_url}/assets"
        named = (image.image_url or "" for image in request.responses)
        if not is_loopback(urlsplit(base_url).hostname or "") or not any(
            url.startswith(f"{assets_url}/") for url in named
        ):
            return self._client
        if self._loopback_client is None:
            downloads = Downloads(assets_url=assets_url, allow_loopback=True)
            self._loopback_client = IdeogramClient(base_url, downloads=downloads)
        return self._loopback_client

    async def _work(self) -> None:
        while (request := await self._next()) is not None:
            reason = "" if request.responses else NO_IMAGES
            try:
                client = self._client_for(request)
                paths = await client.download(request, self._directory, quality=self._quality)
            except DownloadError as error:
                self.failures += 1
                self._console.say_failed(f"{error} (of request {error.request_id!r})")
                paths, reason = error.saved, str(error)
            self.waiting -= 1
            self.saved += len(paths)
            self._sheet.add(request, request.request_id or "", paths, reason)

    async def _next(self) -> SamplingRequest | None:
        """Return a new request if there is one, then one of earlier calls; None at the end."""
        while not self._queue:
            former = next(self._former, None)
            if former is not None:
                self._count(former)
                return former
            if self._ended:
                return None
            self._more.clear()
            await self._more.wait()
        return self._queue.popleft()
