"""The downloads of a client: how many run at once, the retries, and the end of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

from ideogram_async._downloads.fetcher import Fetcher
from ideogram_async._downloads.files import PartialFile, find_image, open_directory
from ideogram_async._downloads.images import FetchError, Image, Quality, image_of
from ideogram_async._downloads.settings import Downloads
from ideogram_async._errors import ClientClosed, DownloadError
from ideogram_async._models import SamplingRequest, SamplingResponse

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each retry; a random share of up to half is taken off."""
LONGEST_WAIT = 60.0
"""Seconds. If the server asks to wait longer, the download fails with `retry_after`."""


class Downloader:
    """Saves images. It runs in its callers' tasks."""

    def __init__(
        self,
        downloads: Downloads,
        *,
        proxy: str | None,
        connect_timeout: float,
        user_agent: str | None,
    ) -> None:
        self._downloads = downloads
        self._slots = anyio.Semaphore(downloads.max_at_once)
        self._threads = anyio.CapacityLimiter(downloads.max_at_once)
        self._fetcher = Fetcher(
            downloads,
            proxy=proxy,
            connect_timeout=connect_timeout,
            user_agent=user_agent,
        )
        self._opened: set[Path] = set()
        self._opening = anyio.Lock()
        self._running: set[anyio.CancelScope] = set()
        self._idle = anyio.Event()

    async def save_all(
        self, request: SamplingRequest, directory: Path, quality: Quality, prefix: str
    ) -> tuple[Path, ...]:
        """Save all images of a request. If some fail, raise the first failure when all have ended.

        Raises:
            DownloadError: The request is not complete, or an image could not be saved; `saved`
                lists the others.
            ClientClosed: The client was closed.

        """
        if not (request.is_complete or request.responses):
            state = "has failed" if request.is_errored else "is not complete: wait for it first"
            raise DownloadError(
                f"the request has no images, for it {state}",
                request_id=request.request_id or None,
                request=request,
            )
        ends: list[Path | DownloadError | ClientClosed] = [Path()] * len(request.responses)

        async def save(index: int, response: SamplingResponse) -> None:
            try:
                ends[index] = await self.save(response, directory, quality, prefix)
            except (DownloadError, ClientClosed) as error:
                ends[index] = error

        async with anyio.create_task_group() as group:
            for index, response in enumerate(request.responses):
                group.start_soon(save, index, response)
        saved = tuple(end for end in ends if isinstance(end, Path))
        for end in ends:
            if isinstance(end, DownloadError):
                end.saved, end.request_id, end.request = saved, request.request_id, request
            if not isinstance(end, Path):
                raise end
        return saved

    async def save(
        self, response: SamplingResponse, directory: Path, quality: Quality, prefix: str
    ) -> Path:
        """Save one image, unless its file exists. Return the file's path."""
        with anyio.CancelScope() as scope:
            self._running.add(scope)
            try:
                image = image_of(
                    response, quality, prefix=prefix, assets_url=self._downloads.assets_url
                )
                return await self._until_saved(image, directory)
            except FetchError as fault:
                raise _error(response, fault) from None
            finally:
                self._running.discard(scope)
                if not self._running:
                    self._idle.set()
        raise ClientClosed("the client was closed")

    async def close(self) -> None:
        """End all downloads, and close all connections."""
        try:
            for scope in tuple(self._running):
                scope.cancel()
            if self._running:
                self._idle = anyio.Event()
                await self._idle.wait()
        finally:
            await self._fetcher.close()

    async def _until_saved(self, image: Image, directory: Path) -> Path:
        async with self._opening:
            if directory not in self._opened:
                await self._run(open_directory, directory)
                self._opened.add(directory)
        path = await self._run(find_image, directory, image.stem)
        if path is not None:
            return path
        for delay in DELAYS:
            try:
                return await self._attempt(image, directory)
            except FetchError as fault:
                if not fault.retryable or (fault.wait or 0.0) > LONGEST_WAIT:
                    raise
                wait = max(delay * random.uniform(0.5, 1.0), fault.wait or 0.0)  # noqa: S311
            await anyio.sleep(wait)  # other downloads use the slot meanwhile
        return await self._attempt(image, directory)

    async def _attempt(self, image: Image, directory: Path) -> Path:
        async with self._slots:
            part = PartialFile(directory)
            try:
                with anyio.move_on_after(self._downloads.timeout):
                    suffix = await self._fetcher.fetch(
                        image.url, lambda block: self._run(part.write, block)
                    )
                    return await self._run(part.publish, image.stem + suffix)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._run(part.discard)
            raise FetchError(f"not done within {self._downloads.timeout:g} s", retryable=True)

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a function that uses the disk in a thread, so that it does not block the loop."""
        try:
            return await to_thread.run_sync(function, *args, limiter=self._threads)
        except OSError as error:
            raise FetchError(f"it could not be saved: {error.strerror}") from None


def _error(response: SamplingResponse, fault: FetchError) -> DownloadError:
    error = DownloadError(
        f"image {response.response_id!r:.80}: {fault}", status=fault.status, retry_after=fault.wait
    )
    error.retryable = fault.retryable
    error.response_id = response.response_id
    return error
