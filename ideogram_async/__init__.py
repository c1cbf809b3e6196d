"""Poll many image requests at once through a gateway, and get each as it completes.

What happens to one id of `client.as_completed(ids)`, room by room. A room is a module or folder of
this package; a room imports only rooms below it, and `.github/CONTRIBUTING.md` maps them.

1.  `_client` checks the arguments. At the first call it starts `_runtime`: the queue, the workers,
    the sessions and the connections of this client, in the caller's event loop. The settings come
    from `_config`, which checked them when the client was made.
2.  `_runs` makes the run that the caller iterates. It reads ids from the caller's iterable in
    slices of some milliseconds, so that the loop is not blocked; from an async iterable only while
    fewer than `max_pending` ids have not been yielded.
3.  `_polling` looks for a job of the id. If other callers await the same id, they share one job. If
    not, a new job asks `_schedules` for its state and its first delay, and waits in the lane of its
    run. Lanes take turns; a call for a single id goes first.
4.  When a job is due, a worker of `_polling` asks `_limits` for a session. There is one session per
    key; each has a pace, and may be held by a refusal, a `Retry-After`, or a gateway that is down.
    Nothing waits inside a worker: if no session may send, the job stays in its lane.
5.  `_transport` sends the query and reads the answer, within `attempt_timeout`. It raises nothing:
    its outcome is an answer or a fault. A kept connection that died is replaced, and the query sent
    again, once.
6.  `_protocol` makes the bytes of the query, and reads the bytes of the answer. It finds the record
    by its `request_id`, or returns a fault with its scope: the id, the key, the address, or only
    this moment.
7.  `_limits` receives the outcome first: it adjusts the pace, and opens or closes the session.
    `_hooks` reports the outcome to the caller's hooks.
8.  `_polling` then decides about the id, in one place and without I/O:

    - not complete: `_schedules` returns the next delay, and the job goes back to step 4
    - a fault that can pass: the job goes back after a backoff. Waiting never occupies a worker
    - complete, failed, or past its deadline: the job leaves the queue, and each run that awaits it
      receives the record (`_models`) or the error (`_errors`)

9.  `_runs` keeps the results in the order of arrival until the caller takes them. At the end it
    raises the failures together, as `PollingFailed`. If the caller leaves early, `run.pending`
    lists the ids that had not ended; those that no other caller awaits are not queried any more.

`client.download` goes another way: `_downloads` fetches, checks and saves images, with connections
and limits of its own, and without a key.

Around the client, on its public names and few rooms: `cli` is the command, `ray` a run on a Ray
cluster, `redis` one budget for several processes (what both do to share a rate is in `_fleet`),
`telemetry` reports metrics and spans, `testing` has a loopback gateway and virtual time,
and `pytest_plugin` offers both as fixtures.
"""

from ideogram_async._client import IdeogramClient
from ideogram_async._config import ClientOptions
from ideogram_async._downloads.settings import Downloads
from ideogram_async._errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BaseURLError,
    ClientClosed,
    DeadlineExceeded,
    DownloadError,
    IdeogramError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    PollingFailed,
    RateLimitError,
    RequestError,
    RequestFailed,
    RequestNotFound,
    WaitTimeout,
)
from ideogram_async._hooks import (
    Event,
    Hook,
    QueryAnswered,
    RequestEnded,
    RequestFailing,
    SessionChanged,
)
from ideogram_async._limiter import BackgroundLimiter, Limiter
from ideogram_async._models import SamplingRequest, SamplingResponse, User
from ideogram_async._protocol.credentials import Credential
from ideogram_async._runs.run import Run
from ideogram_async._schedules.adaptive import AdaptiveSchedule
from ideogram_async._schedules.base import FixedInterval, Observation, Schedule
from ideogram_async._schedules.learned import CompletionSample, Learned
from ideogram_async._statistics import RunStatistics, SessionStatistics, Statistics
from ideogram_async._version import __version__

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AdaptiveSchedule",
    "AuthenticationError",
    "BackgroundLimiter",
    "BaseURLError",
    "ClientClosed",
    "ClientOptions",
    "CompletionSample",
    "Credential",
    "DeadlineExceeded",
    "DownloadError",
    "Downloads",
    "Event",
    "FixedInterval",
    "Hook",
    "IdeogramClient",
    "IdeogramError",
    "InternalServerError",
    "InvalidResponseError",
    "Learned",
    "Limiter",
    "NotFoundError",
    "Observation",
    "PermissionDeniedError",
    "PollingFailed",
    "QueryAnswered",
    "RateLimitError",
    "RequestEnded",
    "RequestError",
    "RequestFailed",
    "RequestFailing",
    "RequestNotFound",
    "Run",
    "RunStatistics",
    "SamplingRequest",
    "SamplingResponse",
    "Schedule",
    "SessionChanged",
    "SessionStatistics",
    "Statistics",
    "User",
    "WaitTimeout",
    "__version__",
]
