"""The client. A service creates one and keeps it."""

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
from ideogram_async._validation import check_count, check_limit, check_seconds


class IdeogramClient:
    """Polls a gateway's `POST /api/ideogram/task-request` for many ids at once.

    A service needs one client, which can be created anywhere. It starts at its first call, and
    from then on belongs to that call's event loop. Close it by `async with`, or `await close()`.

    Args:
        base_url: The gateway's address, `https://host`, with a path if it has one; `http://` only
            for loopback addresses. Default: the variable `IDEOGRAM_BASE_URL`.
        options: The settings; `ClientOptions` describes each.

    Raises:
        ValueError: A setting is out of its range, or there is no address. No key is shown.
        TypeError: A setting is unknown or has a wrong type, or `credentials` was given together
            with another key.

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
        """Return an id's present state. A transient fault is retried twice.

        Args:
            request_id: The id.
            timeout: Seconds that the call may take, with retries and waiting.

        Raises:
            RequestNotFound: The gateway does not know the id.
            InvalidResponseError: The answer holds no record of the id.
            APIError: The third try failed as well; the class names the fault.
            RateLimitError: The gateway asks to wait longer than `timeout` allows. Raised at once,
                with `retry_after`.
            AuthenticationError: All keys were refused.
            BaseURLError: `base_url` takes no queries.
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
        """Poll an id until it is complete. Callers that wait for the same id share its queries.

        Args:
            request_id: The id.
            timeout: Seconds that the call may take.
            deadline: Seconds until it fails: from the id's first query, or from this call where the
                id is polled already. Default: the client's.
            just_submitted: Whether it was submitted just now. If so, no query is spent on finding
                out its age.

        Raises:
            RequestFailed: The gateway says that the request failed.
            RequestNotFound: The gateway repeatedly did not know the id.
            InvalidResponseError: The answers repeatedly held no record of the id.
            DeadlineExceeded: The id was not complete within its deadline.
            WaitTimeout: The timeout has passed; `request` is the last record that was received.
            AuthenticationError: All keys were refused.
            BaseURLError: `base_url` takes no queries.
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
        """Save one image, or all images of a request. Return the path of each file.

        A file is named by `prefix`, the image's id, and a suffix for its type. It appears only
        when it is complete. No file is overwritten: if the image's file exists, its path is
        returned without a query. No key is sent. A transient fault is retried five times, and so
        is the 404 of a new image (seen). The client's `downloads` limits size, time and number.

        Args:
            image: A request, or one of its `responses`.
            directory: The directory to save in. It is created if it is missing.
            quality: "lossless", or "balanced" for the smaller image at `url`.
            prefix: The start of each file's name.

        Raises:
            DownloadError: The request is not complete, or an image could not be saved; `saved`
                lists the request's other files.
            ClientClosed: The client was closed.
            ValueError: The quality is unknown, or the prefix could lead out of the directory.
            TypeError: `image` is neither a request nor a response.

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
        self, ids: Ids, *, timeout: float | None = None, return_exceptions: Literal[False] = False
    ) -> Run[SamplingRequest]: ...
    @overload
    def retrieve_many(
        self, ids: Ids, *, timeout: float | None = None, return_exceptions: Literal[True]
    ) -> Run[SamplingRequest | RequestError]: ...
    @overload
    def retrieve_many(
        self, ids: Ids, *, timeout: float | None = None, return_exceptions: bool
    ) -> Run[SamplingRequest] | Run[SamplingRequest | RequestError]: ...
    def retrieve_many(
        self, ids: Ids, *, timeout: float | None = None, return_exceptions: bool = False
    ) -> Run[Any]:
        """Query each id once, and yield the answers in the order in which they arrive.

        A transient fault is retried twice per id. Where the gateway is down, every id fails with
        its fault after three test queries over at least 15 seconds.

        Args:
            ids: Request ids. Each distinct id is queried once.
            timeout: Seconds that the whole call may take. Default: no limit, for a limited rate may
                make a long list take long.
            return_exceptions: Yield each `RequestError` like a result, instead of raising one
                `PollingFailed` with all of them at the end.

        Raises:
            PollingFailed: Some ids failed; all others have been yielded.
            RateLimitError: The gateway asks to wait longer than `timeout` allows.
            AuthenticationError, BaseURLError, WaitTimeout, ClientClosed: The run has ended early;
                `pending` lists the ids that had not ended.

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
        """Poll all ids, and yield each request when it is complete.

        An iterable is read completely, each distinct id once. An async iterable is read while
        fewer than `max_pending` of its ids have not been yielded; an id that comes again after it
        was yielded is polled again.

        Args:
            ids: Request ids.
            timeout: Seconds that the whole call may take.
            deadline: Seconds until an id fails: from its first query, or from this call where it is
                polled already. Default: the client's.
            return_exceptions: Yield each `RequestError` like a result as soon as it is known,
                instead of raising one `PollingFailed` with all of them at the end.
            max_pending: Ids that are read from an async iterable and not yet yielded, at most.
            just_submitted: Whether the ids were submitted just now.

        Raises:
            PollingFailed: Some ids failed; all others have been yielded.
            AuthenticationError, BaseURLError, WaitTimeout, ClientClosed: The run has ended early;
                `pending` lists the ids that had not ended.

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
        """Poll all ids, and yield each change of a request's state, until all are complete.

        A caller that is slower than the changes gets the latest state of each id. The last record
        of an id is always yielded. Arguments and errors are those of `as_completed`.
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

    # Lifetime

    def __repr__(self) -> str:
        settings = getattr(self, "_settings", None)
        return f"<IdeogramClient {'unmade' if settings is None else settings.base_url}>"

    @property
    def base_url(self) -> str:
        """The gateway's address, without a slash at its end."""
        return self._settings.base_url

    def statistics(self) -> Statistics:
        """Return the client's figures; after `close`, those of its end."""
        return self._last if self._runtime is None else self._runtime.statistics()

    def hold(self, seconds: float, *, session: int = 0) -> None:
        """Pause a session, and pace it afterwards, as after a refusal of its own.

        For processes that share a key and so its limit. If one of them is refused, pass its hold
        (`held` in its session's statistics) to the others. They then wait for its test query.

        Args:
            seconds: Seconds that the refused process holds.
            session: The index of the key; the first is 0.

        Raises:
            ValueError: The seconds are not > 0 and finite, or there is no such session.
            TypeError: The seconds are no number.
            ClientClosed: The client was closed.

        """
        seconds = check_limit("seconds", seconds, "a hold")
        if session not in range(len(self._settings.credentials)):
            raise ValueError(f"session is {session!r}: expected the index of a key")
        self._started().hold(seconds, session)

    async def close(self) -> None:
        """End all calls with `ClientClosed`, and close all connections, within 5 seconds.

        Cancelling it does not interrupt it: the cancellation is raised when all is closed.
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
        """Return the runtime, which the first call starts; raise if it cannot be used here."""
        if self._closed:
            raise ClientClosed("the client is closed for good: make another IdeogramClient")
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
        call = SingleCall(
            request_id,
            is_one_shot=is_one_shot,
            deadline=deadline,
            until=until,
            last_fault=runtime.tracker.last_fault,
        )
        runtime.tracker.enter(call, runtime.loop.time())
        try:
            runtime.tracker.subscribe(
                call, request_id, runtime.loop.time(), just_submitted=just_submitted
            )
            runtime.dispatcher.wake()
            return await call.result()
        finally:
            runtime.tracker.leave(call, runtime.loop.time())

    def _many(self, ids: Ids, *, timeout: float | None, **settings: Any) -> Run[Any]:
        check_ids(ids)
        timeout = check_seconds("timeout", timeout)
        runtime = self._started()
        state = local_run(ids, runtime.dispatcher, runtime.tracker, timeout=timeout, **settings)
        return Run(state, self)


_init: Any = IdeogramClient.__init__
_init.__signature__ = signature_of_client(inspect.signature(_init))
