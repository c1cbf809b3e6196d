"""The client: what a service makes one of, and keeps."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal, overload

from msgspec import UNSET, UnsetType

from ideogram_async import _settings
from ideogram_async._errors import RequestError
from ideogram_async._feed import Feed
from ideogram_async._ids import Ids, check_id, check_ids
from ideogram_async._images import Quality, check_prefix, check_quality
from ideogram_async._lifetime import Lifetime
from ideogram_async._models import SamplingRequest, SamplingResponse
from ideogram_async._run import Run
from ideogram_async._waiter import Waiter


class IdeogramClient(Lifetime):
    """Polls a gateway's `POST /api/ideogram/task-request` for many ids at once.

    Make one for a service, in any place; it starts with its first call, in that call's event loop,
    and belongs to it. Close it by `async with`, or `await close()`.

    Args:
        base_url: The gateway's address, `https://host`, with a path if it has one; `http://` only
            for loopback addresses. Default: the variable `IDEOGRAM_BASE_URL`.
        token: The key, sent as `Authorization: Bearer …`.
        access_token: The key, sent as `Access-Token: …`. With `token`, one session sends both.
            Default, where no key is given at all: `IDEOGRAM_TOKEN`, `IDEOGRAM_ACCESS_TOKEN`.
        credentials: Several keys, a session each, instead of the two above.
        max_in_flight: Queries in flight at once, over all keys.
        max_rate: Queries a second, over all keys; None for finding out.
        deadline: Seconds that an id may take from its first query on; None for no limit.
        attempt_timeout: Seconds that one query may take.
        connect_timeout: Seconds that connecting may take.
        max_body: Bytes of an answer, decoded, that are read.
        schedule: When to ask next; default: an `AdaptiveSchedule`.
        proxy: The URL of an HTTP proxy; the environment's are not used.
        ssl: A TLS context of your own; False trusts any certificate.
        headers: More headers for every query; keys do not belong here.
        user_agent: The User-Agent header.
        allow_http: Send the key in clear to a host that is not loopback.
        downloads: How images are downloaded.
        hooks: Functions that are told of each `Event`: queries, ends of requests, states of keys.

    Raises:
        ValueError: A setting is out of its range, or there is no address; no key is shown.
        TypeError: A setting is of another type, or `credentials` came with another key.

    """

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
        return await self._one(request_id, timeout, once=True, deadline=None)

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
            request_id, timeout, once=False, deadline=limit, just_submitted=just_submitted
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
            ids, once=True, timeout=timeout, deadline=None, return_exceptions=return_exceptions
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
            max_pending=_settings.check_count("max_pending", max_pending),
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
            watches=True,
            timeout=timeout,
            deadline=self._deadline(deadline),
            return_exceptions=return_exceptions,
            max_pending=_settings.check_count("max_pending", max_pending),
            just_submitted=just_submitted,
        )

    def _deadline(self, deadline: float | UnsetType | None) -> float | None:
        if isinstance(deadline, UnsetType):
            return self._settings.deadline
        return _settings.check_seconds("deadline", deadline)

    async def _one(
        self,
        request_id: str,
        timeout: float | None,
        *,
        once: bool,
        deadline: float | None,
        just_submitted: bool = False,
    ) -> SamplingRequest:
        check_id(request_id)
        timeout = _settings.check_seconds("timeout", timeout)
        core = self._started()
        until = math.inf if timeout is None else core.loop.time() + timeout
        lane = core.ledger.agenda.urgent
        waiter = Waiter(request_id, lane, once=once, deadline=deadline, until=until)
        core.ledger.enter(waiter, core.loop.time())
        try:
            core.ledger.subscribe(
                waiter, request_id, core.loop.time(), just_submitted=just_submitted
            )
            core.engine.stir()
            return await waiter.result()
        finally:
            core.ledger.leave(waiter, core.loop.time())

    def _many(self, ids: Ids, *, timeout: float | None, **settings: Any) -> Run[Any]:
        check_ids(ids)
        timeout = _settings.check_seconds("timeout", timeout)
        core = self._started()
        feed: Feed[Any] = Feed(ids, core.engine, core.ledger, timeout=timeout, **settings)
        return Run(feed, self)
