"""The library's exceptions.

    IdeogramError
    ├── RequestError                 about one id
    │   ├── RequestFailed            the gateway says that the request failed
    │   ├── InvalidResponseError     the answer holds no record of this id
    │   ├── DeadlineExceeded         not complete within the id's deadline (a TimeoutError)
    │   └── APIError                 one query failed
    │       ├── APIConnectionError
    │       │   └── APITimeoutError                          (a TimeoutError)
    │       └── APIStatusError
    │           ├── AuthenticationError      401, or all keys refused: ends a run
    │           ├── PermissionDeniedError    403
    │           ├── NotFoundError            404
    │           │   └── RequestNotFound      the gateway does not know the id
    │           ├── RateLimitError           429
    │           └── InternalServerError      5xx
    ├── PollingFailed                about a run: some ids failed, all others were yielded
    │                                (an ExceptionGroup of RequestErrors)
    ├── WaitTimeout                  about a call: its timeout has passed (a TimeoutError)
    ├── DownloadError                about an image: it was not saved
    ├── ClientClosed                 about a client: it was closed before or during the call
    └── BaseURLError                 about a client: its address takes no queries

No exception holds a key. All of them can be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from ideogram_async._models import SamplingRequest


class IdeogramError(Exception):
    """The base class. Attributes that do not apply are None or empty."""

    retryable: bool = False
    """Whether the same call can succeed later without a change."""

    def __init__(
        self,
        message: str,
        *,
        request_id: str | None = None,
        request: SamplingRequest | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        pending: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.request_id: str | None = request_id
        """The id that the error is about."""
        self.request: SamplingRequest | None = request
        """The last record that was received for the id."""
        self.status: int | None = status
        """The HTTP status of the answer."""
        self.retry_after: float | None = retry_after
        """Seconds that the gateway asked to wait."""
        self.pending: tuple[str, ...] = pending
        """The ids that were taken in and still open when a call ended early, to be handed in again.

        Those that a run had not yet taken out of a long iterable are in its `rest`.
        """


class RequestError(IdeogramError):
    """An error of one id. It does not affect other ids."""

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.request_id is None else f"request {self.request_id!r}: {message}"


class RequestFailed(RequestError):
    """The gateway says that the request failed (`is_errored`). It is final."""


class InvalidResponseError(RequestError):
    """The answer is not valid: it is not JSON, has no list, or holds no record of this id."""

    retryable = True


class DeadlineExceeded(RequestError, TimeoutError):
    """The id was not complete within its deadline. `__cause__` is its last fault, if it had one."""

    retryable = True


class APIError(RequestError):
    """One query failed."""


class APIConnectionError(APIError):
    """No answer: the name was not resolved, or the connection was refused, reset or cut short."""

    retryable = True


class APITimeoutError(APIConnectionError, TimeoutError):
    """No connection within `connect_timeout`, or no complete answer within `attempt_timeout`."""


class APIStatusError(APIError):
    """The gateway answered with an error status. The message holds the gateway's own words."""

    retryable = True


class AuthenticationError(APIStatusError):
    """All keys were refused. It ends a run; `pending` lists the ids that had not ended."""

    retryable = False


class PermissionDeniedError(APIStatusError):
    """403 from a server in front of the gateway. The gateway's own 403 refuses the key."""


class NotFoundError(APIStatusError):
    """404."""

    retryable = False


class RequestNotFound(NotFoundError):
    """The gateway does not know the id: it repeatedly answered 404, 400, 422 or an empty list."""


class RateLimitError(APIStatusError):
    """429: too many queries. `retry_after` is set if the gateway sent `Retry-After`."""


class InternalServerError(APIStatusError):
    """5xx."""


class PollingFailed(IdeogramError, ExceptionGroup[RequestError]):
    """Some ids of a run failed. All other ids have been yielded.

    `exceptions` holds one `RequestError` per failed id, so `except*` works.
    """

    exceptions: tuple[RequestError, ...]  # pyright: ignore[reportIncompatibleMethodOverride]
    """The errors, one per id. The group holds no other groups."""

    def __new__(cls, message: str, exceptions: Sequence[RequestError], **_: Any) -> Self:
        return super().__new__(cls, message, exceptions)

    def __init__(self, message: str, exceptions: Sequence[RequestError], **details: Any) -> None:
        super().__init__(message, **details)
        self.args: tuple[Any, ...] = (message, exceptions)

    def derive(self, excs: Sequence[RequestError], /) -> PollingFailed:  # type: ignore[override]
        """Return a group of some of the errors, for `split` and `except*`."""
        return PollingFailed(
            self.message,
            excs,
            request_id=self.request_id,
            request=self.request,
            status=self.status,
            retry_after=self.retry_after,
            pending=self.pending,
        )


class WaitTimeout(IdeogramError, TimeoutError):
    """The call's `timeout` has passed. `pending` lists the ids that had not ended."""

    retryable = True


class DownloadError(IdeogramError):
    """An image could not be saved. The request is not affected; or it is not complete yet."""

    response_id: str | None = None
    """The image's id."""
    saved: tuple[Path, ...] = ()
    """The files of the request's other images that were saved."""


class ClientClosed(IdeogramError):
    """The client was closed before or during the call."""


class BaseURLError(IdeogramError):
    """The client's `base_url` takes no queries: it redirects, or does not know the path."""
