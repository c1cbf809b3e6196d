"""The images of finished requests, saved beside the polling, with a page that shows them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from ideogram_async import DownloadError, IdeogramClient, SamplingRequest
from ideogram_async.cli._contact_sheet import NAME, ContactSheet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ideogram_async.cli._options import QualityName

WORKERS = 16
"""Requests whose images are being saved or waited for; the client bounds the downloads."""


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
        complain: Callable[[str], object],
        former: Iterable[SamplingRequest] = (),
    ) -> None:
        self.saved = 0
        """Images in the directory."""
        self.failures = 0
        """Requests of which an image could not be saved."""
        self.waiting = 0
        """Requests whose images are not all there yet."""
        self._client = client
        self._directory = directory
        self._quality: QualityName = quality
        self._complain = complain
        self._former = iter(former)
        self._queue: deque[SamplingRequest] = deque()
        self._more = asyncio.Event()
        self._ended = False
        self._sheet = ContactSheet(directory)
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, request: SamplingRequest) -> None:
        """Save the images of a request when its turn comes."""
        self.waiting += 1
        self._queue.append(request)
        self._more.set()

    def describe(self) -> str:
        """Return the figures in words."""
        told = f", {self.saved} images saved"
        if self.waiting:
            told += f", {self.waiting} requests' images to come"
        return f"{told}, {self.failures} not" if self.failures else told

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
            self._finish()

    def _finish(self) -> None:
        try:
            self._sheet.finish()
        except OSError as error:
            self._complain(f"{self._directory / NAME} could not be written: {error.strerror}")

    async def _work(self) -> None:
        while (request := await self._next()) is not None:
            try:
                paths = await self._client.download(request, self._directory, quality=self._quality)
            except DownloadError as error:
                self.failures += 1
                self._complain(f"{error} (of request {error.request_id!r})")
                paths = error.saved
            self.waiting -= 1
            self.saved += len(paths)
            self._sheet.add(request, paths)

    async def _next(self) -> SamplingRequest | None:
        """Return a new request first, then one of former calls; None at the end of both."""
        while not self._queue:
            former = next(self._former, None)
            if former is not None:
                self.waiting += 1
                return former
            if self._ended:
                return None
            self._more.clear()
            await self._more.wait()
        return self._queue.popleft()
