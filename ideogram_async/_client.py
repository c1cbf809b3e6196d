"""The client: what a service makes one of, and keeps."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

from msgspec import UNSET, UnsetType

from ideogram_async._config import ClientOptions, checked_settings, signature_of_client
from ideogram_async._downloads.images import Quality, check_prefix, check_quality
from ideogram_async._errors import ClientClosed, RequestError
from ideogram_async._logging import set_up_logging
from ideogram_async._models import SamplingRequest, SamplingResponse
from ideogram_async._runs.ids import Ids, check_id, check_ids
from ideogram_async._runs.local_backend import local_run
from ideogram_async._runs.run import Run
from ideogram_async._runs.single_call import SingleCall
from ideogram_async._runtime import Runtime, until_done
from ideogram_async._schedules.adaptive import AdaptiveSchedule
from ideogram_async._schedules.base import Schedule
from ideogram_async._statistics import Statistics
from ideogram_async._validation import check_count, check_seconds


class IdeogramClient:
    """Polls a gateway's `POST /api/ideogram/task-request` for many ids at once.

    Make one for a service, in any place; it starts with its first call, in that call's event loop,
    and belongs to it. Close it by `async with`, or `await close()`.

    Args:
        base_url: The gateway's address, `https://host`, with a path if it has one; `http://` only
            for loopback addresses. Default: the variable `IDEOGRAM_BASE_URL`.
        options: The settings; `ClientOptions` describes each.

    Raises:
        ValueError: A setting is out of its range, or there is no address; no key is shown.
        TypeError: A setting is of another type, or `credentials` came with another key.

    """

    def __init__(self, base_url: str | None = None, **options: Unpack[ClientOptions]) -> None:
        set_up_logging()
        self._runtime: Runtime | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._last = Statistics()
        self._settings = checked_settings(base_url, options)
        self._schedule: Schedule[Any] = self._settings.schedule or AdaptiveSchedule()

    # One id

    async def retrieve(self, request_id: str, *, timeout: float | None = 30.0) -> SamplingRequest:
        """Ask once for an id's state now; a transient fault is tried twice more.

        Args:
            request_id: The id.
            timeout: Seconds that the call may take, tries and waiting in line included.

        Raises:
            RequestNotFound: The gateway does not know the id.
            InvalidResponseError: What came back was no answer for it.
            APIError: The query failed, also at the third try; its class says how.
            RateLimitError: The gateway asks to wait for longer than `timeout` allows; at once,
                with `retry_after`.
            AuthenticationError: Every key was refused.
            BaseURLError: Nothing at `base_url` takes queries.
            WaitTimeout: The timeout has passed.
            ClientClosed: The client was closed.

        """
        return await self._one(request_id, timeout, is_one_shot=True, deadline=None)

    async def wait(
        self,
        request_id: str,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        just_submitted: bool = False,
    ) -> SamplingRequest:
        """Poll an id until it is complete; callers that wait for the same id share its queries.

        Args:
            request_id: The id.
            timeout: Seconds that the call may take.
            deadline: Seconds that the id may take from its first query on; default: the client's.
            just_submitted: Whether it was submitted just now, so that the schedule need not ask
                at once to find out how old it is.

        Raises:
            RequestFailed: The gateway says that the request failed.
            RequestNotFound: The gateway does not know the id, repeatedly.
            InvalidResponseError: What came back was no answer for it, repeatedly.
            DeadlineExceeded: It was not complete within its deadline.
            WaitTimeout: The timeout has passed; `request` is the last record seen.
            AuthenticationError: Every key was refused.
            BaseURLError: Nothing at `base_url` takes queries.
            ClientClosed: The client was closed.

        """
        limit = self._deadline(deadline)
        return await self._one(
            request_id, timeout, is_one_shot=False, deadline=limit, just_submitted=just_submitted
        )

    @overload
    async def download(
        self,
        image: SamplingResponse,
        directory: str | os.PathLike[str],
        *,
        quality: Quality = "lossless",
        prefix: str = "ideogram-",
    ) -> Path: ...
    @overload
    async def download(
        self,
        image: SamplingRequest,
        directory: str | os.PathLike[str],
        *,
        quality: Quality = "lossless",
        prefix: str = "ideogram-",
    ) -> tuple[Path, ...]: ...
    async def download(
        self,
        image: SamplingRequest | SamplingResponse,
        directory: str | os.PathLike[str],
        *,
        quality: Quality = "lossless",
        prefix: str = "ideogram-",
    ) -> Path | tuple[Path, ...]:
        """Save one image, or all images of a request, in a directory; give their files.

        A file appears whole or not at all, under a name of `prefix`, the image's id and a suffix
        by its type. Nothing is overwritten: a file that is there already is the image, and is
        given without a query. No key is sent. Faults that may pass are tried five times more, the
        404 of a fresh image among them. The client's `downloads` bounds size, time and number.

        Args:
            image: A request, or one of its `responses`.
            directory: Where to save; made if it is missing.
            quality: The lossless image, or the smaller one that `url` names.
            prefix: What the names of the files begin with.

        Raises:
            DownloadError: An image could not be saved; `saved` are the others of the request.
            ClientClosed: The client was closed.
            ValueError: There is no such quality, or the prefix could lead out of the directory.

        """
        check_quality(quality)
        check_prefix(prefix)
        folder = Path(directory)
        downloader = self._started().downloader
        if isinstance(image, SamplingResponse):
            return await downloader.save(image, folder, quality, prefix)
        if isinstance(image, SamplingRequest):
            return await downloader.save_all(image, folder, quality, prefix)
        raise TypeError(
            f"image is a {type(image).__name__}: expected a SamplingRequest or SamplingResponse"
        )

    # Many ids

    @overload
    def retrieve_many(
        self, ids: Ids, *, timeout: float | None = 30.0, return_exceptions: Literal[False] = False
    ) -> Run[SamplingRequest]: ...
    @overload
    def retrieve_many(
        self, ids: Ids, *, timeout: float | None = 30.0, return_exceptions: Literal[True]
    ) -> Run[SamplingRequest | RequestError]: ...
    @overload
    def retrieve_many(
        self, ids: Ids, *, timeout: float | None = 30.0, return_exceptions: bool
    ) -> Run[SamplingRequest] | Run[SamplingRequest | RequestError]: ...
    def retrieve_many(
        self, ids: Ids, *, timeout: float | None = 30.0, return_exceptions: bool = False
    ) -> Run[Any]:
        """Ask once for the state of each id, and yield the answers as they come.

        A transient fault is tried twice more for each id.

        Args:
            ids: Request ids, each asked once.
            timeout: Seconds that the whole call may take.
            return_exceptions: Yield each `RequestError` in the stream, instead of raising all of
                them as one `PollingFailed` at the end.

        Raises:
            PollingFailed: Some ids failed; everything else has been yielded.
            RateLimitError: The gateway asks to wait for longer than `timeout` allows.
            AuthenticationError, BaseURLError, WaitTimeout, ClientClosed: The run has ended early;
                `pending` lists what was open.

        """
        return self._many(
            ids,
            is_one_shot=True,
            timeout=timeout,
            deadline=None,
            return_exceptions=return_exceptions,
        )

    @overload
    def as_completed(
        self,
        ids: Ids,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        return_exceptions: Literal[False] = False,
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> Run[SamplingRequest]: ...
    @overload
    def as_completed(
        self,
        ids: Ids,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        return_exceptions: Literal[True],
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> Run[SamplingRequest | RequestError]: ...
    @overload
    def as_completed(
        self,
        ids: Ids,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        return_exceptions: bool,
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> Run[SamplingRequest] | Run[SamplingRequest | RequestError]: ...
    def as_completed(
        self,
        ids: Ids,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        return_exceptions: bool = False,
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> Run[Any]:
        """Poll all ids, and yield each request as it completes.

        An iterable is taken in whole, each distinct id once. An async iterable is pulled as there
        is room; an id that comes again after it was yielded is asked anew.

        Args:
            ids: Request ids.
            timeout: Seconds that the whole call may take.
            deadline: Seconds that an id may take from its first query on; default: the client's.
            return_exceptions: Yield each `RequestError` in the stream the moment it is known,
                instead of raising all of them as one `PollingFailed` at the end.
            max_pending: Ids taken from an async iterable and not yet yielded, at most.
            just_submitted: Whether the ids were submitted just now.

        Raises:
            PollingFailed: Some ids failed; everything else has been yielded.
            AuthenticationError, BaseURLError, WaitTimeout, ClientClosed: The run has ended early;
                `pending` lists what was open.

        """
        return self._many(
            ids,
            timeout=timeout,
            deadline=self._deadline(deadline),
            return_exceptions=return_exceptions,
            max_pending=check_count("max_pending", max_pending),
            just_submitted=just_submitted,
        )

    @overload
    def watch(
        self,
        ids: Ids,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        return_exceptions: Literal[False] = False,
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> Run[SamplingRequest]: ...
    @overload
    def watch(
        self,
        ids: Ids,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        return_exceptions: Literal[True],
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> Run[SamplingRequest | RequestError]: ...
    @overload
    def watch(
        self,
        ids: Ids,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        return_exceptions: bool,
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> Run[SamplingRequest] | Run[SamplingRequest | RequestError]: ...
    def watch(
        self,
        ids: Ids,
        *,
        timeout: float | None = None,
        deadline: float | UnsetType | None = UNSET,
        return_exceptions: bool = False,
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> Run[Any]:
        """Poll all ids, and yield each change of a request's state, until each is complete.

        A caller that is slower than the changes gets the latest of each id. The last record of
        an id is always yielded. Arguments and errors are those of `as_completed`.
        """
        return self._many(
            ids,
            wants_changes=True,
            timeout=timeout,
            deadline=self._deadline(deadline),
            return_exceptions=return_exceptions,
            max_pending=check_count("max_pending", max_pending),
            just_submitted=just_submitted,
        )

    # Its life

    def __repr__(self) -> str:
        settings = getattr(self, "_settings", None)
        return f"<IdeogramClient {'unmade' if settings is None else settings.base_url}>"

    def statistics(self) -> Statistics:
        """Give the figures of this client as they stand now."""
        return self._last if self._runtime is None else self._runtime.statistics()

    def hold(self, seconds: float, *, session: int = 0) -> None:
        """Send nothing on a session for so long, and pace it anew, as at a refusal of its own.

        For processes that share a key, and so its limit: what one of them was refused (see `held`
        in its statistics) is told to the others, who let its probe go first.

        Args:
            seconds: How long the other one holds.
            session: Which key, in their order.

        Raises:
            ValueError: The seconds are not > 0 and finite, or there is no such session.
            ClientClosed: The client was closed.

        """
        checked = check_seconds("seconds", seconds)
        if session not in range(len(self._settings.credentials)):
            raise ValueError(f"session is {session!r}: expected the place of a key")
        if checked is not None:
            self._started().hold(checked, session)

    async def close(self) -> None:
        """End every call with `ClientClosed`, and close every connection, within 5 seconds.

        Cancelling it does not stop it: the cancellation comes out once all is closed.
        """
        runtime = self._runtime
        if runtime is not None:
            self._closing = runtime.start_closing()
            self._last = runtime.statistics()
        self._closed, self._runtime = True, None
        try:
            await until_done(self._closing)
        finally:
            if runtime is not None:
                self._last = runtime.statistics()  # nothing is in flight any more

    aclose = close

    async def __aenter__(self) -> Self:
        self._started()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        runtime = getattr(self, "_runtime", None)
        if runtime is not None:
            runtime.abandon()  # before the warning, which may be raised as an error
            warnings.warn(
                f"{self!r} was never closed: use `async with`, or `await client.close()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _started(self) -> Runtime:
        """Return the runtime, started by the first call; raise where it cannot work."""
        if self._closed:
            raise ClientClosed("the client is closed")
        self._runtime = Runtime.current(self._runtime, self._settings, self._schedule)
        return self._runtime

    # Calls

    def _deadline(self, deadline: float | UnsetType | None) -> float | None:
        if isinstance(deadline, UnsetType):
            return self._settings.deadline
        return check_seconds("deadline", deadline)

    async def _one(
        self,
        request_id: str,
        timeout: float | None,
        *,
        is_one_shot: bool,
        deadline: float | None,
        just_submitted: bool = False,
    ) -> SamplingRequest:
        request_id = check_id(request_id)
        timeout = check_seconds("timeout", timeout)
        runtime = self._started()
        until = math.inf if timeout is None else runtime.loop.time() + timeout
        waiter = SingleCall(request_id, is_one_shot=is_one_shot, deadline=deadline, until=until)
        runtime.tracker.enter(waiter, runtime.loop.time())
        try:
            runtime.tracker.subscribe(
                waiter, request_id, runtime.loop.time(), just_submitted=just_submitted
            )
            runtime.dispatcher.wake()
            return await waiter.result()
        finally:
            runtime.tracker.leave(waiter, runtime.loop.time())

    def _many(self, ids: Ids, *, timeout: float | None, **settings: Any) -> Run[Any]:
        check_ids(ids)
        timeout = check_seconds("timeout", timeout)
        runtime = self._started()
        state = local_run(ids, runtime.dispatcher, runtime.tracker, timeout=timeout, **settings)
        return Run(state, self)


_init: Any = IdeogramClient.__init__
_init.__signature__ = signature_of_client(inspect.signature(_init))
