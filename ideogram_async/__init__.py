"""Poll many image requests at once through a gateway, and get each as it completes."""

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
from ideogram_async._models import SamplingRequest, SamplingResponse, User
from ideogram_async._protocol.credentials import Credential
from ideogram_async._runs.run import Run
from ideogram_async._schedules.adaptive import AdaptiveSchedule
from ideogram_async._schedules.base import FixedInterval, Observation, Schedule
from ideogram_async._schedules.learned import Learned
from ideogram_async._statistics import RunStatistics, SessionStatistics, Statistics
from ideogram_async._version import __version__

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AdaptiveSchedule",
    "AuthenticationError",
    "BaseURLError",
    "ClientClosed",
    "ClientOptions",
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
