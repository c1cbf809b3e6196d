"""Everything that this library raises of its own accord.

    IdeogramError
    ├── RequestError                 of one id
    │   ├── RequestFailed            the gateway says that the request failed
    │   ├── InvalidResponseError     what came back was no answer for this id
    │   ├── DeadlineExceeded         not complete within the id's deadline (a TimeoutError)
    │   └── APIError                 of one exchange with the gateway
    │       ├── APIConnectionError
    │       │   └── APITimeoutError                          (a TimeoutError)
    │       └── APIStatusError
    │           ├── AuthenticationError      401, or every key refused: ends a run
    │           ├── PermissionDeniedError    403
    │           ├── NotFoundError            404
    │           │   └── RequestNotFound      the gateway does not know the id
    │           ├── RateLimitError           429
    │           └── InternalServerError      5xx
    ├── PollingFailed                of a run: some ids failed, the rest was yielded
    │                                (an ExceptionGroup of RequestErrors)
    ├── WaitTimeout                  of a call: its timeout has passed (a TimeoutError)
    ├── DownloadError                of an image that was not saved
    ├── ClientClosed                 of a client: closed before or meanwhile
    └── BaseURLError                 of a client: nothing at this address takes queries

None of them holds a key, and all can be pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ideogram_async._models import SamplingRequest


class IdeogramError(Exception):
    """The base of all of them; each attribute is set where it applies."""

    request_id: str | None
    """The id that it is about."""
    request: SamplingRequest | None
    """The last record seen of that id."""
    status: int | None
    """The HTTP status that told it."""
    retryable: bool = False
    """Whether the same call may succeed later, with nothing changed."""
    retry_after: float | None
    """Seconds that the gateway asked to wait."""
    pending: tuple[str, ...]
    """The ids that were taken in and still open when a call ended early, to be handed in again.

    Those that a run had not yet taken out of a long iterable are in its `rest`.
    """

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
        self.request_id = request_id
        self.request = request
        self.status = status
        self.retry_after = retry_after
        self.pending = pending


class RequestError(IdeogramError):
    """What went wrong with one id; it never disturbs the others."""

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.request_id is None else f"request {self.request_id!r}: {message}"


class RequestFailed(RequestError):
    """The gateway says that the request failed (`is_errored`); asking again will not help."""


class InvalidResponseError(RequestError):
    """What came back was no answer for this id: no JSON, no list, or no record of it."""

    retryable = True


class DeadlineExceeded(RequestError, TimeoutError):
    """The id was not complete within its deadline; `__cause__` is what went wrong last, if so."""

    retryable = True


class APIError(RequestError):
    """One exchange with the gateway failed."""


class APIConnectionError(APIError):
    """No answer came: refused, reset, not resolved, cut short."""

    retryable = True


class APITimeoutError(APIConnectionError, TimeoutError):
    """No whole answer came within the attempt's timeout."""


class APIStatusError(APIError):
    """The gateway answered with a status that is no answer; its own words are in the message."""

    retryable = True


class AuthenticationError(APIStatusError):
    """The key was refused, and no other is left. Ends a run, which lists what is `pending`."""

    retryable = False


class PermissionDeniedError(APIStatusError):
    """403 from something in front of the gateway; the gateway's own 403 refuses the key."""


class NotFoundError(APIStatusError):
    """404."""

    retryable = False


class RequestNotFound(NotFoundError):
    """The gateway does not know the id: 404, 400, 422, or an empty list, and so repeatedly."""


class RateLimitError(APIStatusError):
    """429: too many queries; `retry_after` where the gateway told it."""


class InternalServerError(APIStatusError):
    """5xx."""


class PollingFailed(IdeogramError, ExceptionGroup[RequestError]):
    """Some ids of a run failed, and everything else has been yielded.

    `exceptions` holds a `RequestError` for each, so `except*` works.
    """

    if TYPE_CHECKING:

        @property
        def exceptions(self) -> tuple[RequestError, ...]:
            """The errors, one an id; never a group inside the group."""
            raise NotImplementedError

    def __new__(cls, message: str, exceptions: Sequence[RequestError], **_: Any) -> Self:
        return super().__new__(cls, message, exceptions)

    def __init__(self, message: str, exceptions: Sequence[RequestError], **details: Any) -> None:
        super().__init__(message, **details)
        self.args: tuple[Any, ...] = (message, exceptions)

    def derive(self, excs: Sequence[RequestError], /) -> PollingFailed:  # type: ignore[override]
        """Make a group of some of its errors, as `split` and `except*` ask."""
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
    """The call's `timeout` has passed; `pending` lists what it had not finished."""

    retryable = True


class DownloadError(IdeogramError):
    """An image could not be saved; the request itself is finished, and lost nothing."""

    response_id: str | None = None
    """The image's id."""
    saved: tuple[Path, ...] = ()
    """The files of the request's other images, which were saved."""


class ClientClosed(IdeogramError):
    """The client was closed, before the call or under it."""


class BaseURLError(IdeogramError):
    """Nothing at the client's `base_url` takes these queries: a redirect or an unknown path."""
