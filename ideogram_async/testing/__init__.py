"""Help for tests of asyncio clients: virtual time, and a gateway on loopback."""

from ._gateway import PATH, Gateway
from ._limits import AtRandom, LeakyBucket, Limit, RateLimit, SlidingWindow, TokenBucket
from ._loop import VirtualTimeLoop, run_in_virtual_time
from ._pictures import ImageQuery, picture
from ._progress import Progress, ProgressFunction, ProgressKind
from ._queries import Query
from ._replies import (
    DROP,
    HANG,
    RESET,
    TRUNCATE,
    UNAUTHORIZED,
    Altered,
    Fault,
    Reply,
    TransportFault,
    html_reply,
    json_reply,
    relay_error,
)
from ._submissions import Submission

__all__ = [
    "DROP",
    "HANG",
    "PATH",
    "RESET",
    "TRUNCATE",
    "UNAUTHORIZED",
    "Altered",
    "AtRandom",
    "Fault",
    "Gateway",
    "ImageQuery",
    "LeakyBucket",
    "Limit",
    "Progress",
    "ProgressFunction",
    "ProgressKind",
    "Query",
    "RateLimit",
    "Reply",
    "SlidingWindow",
    "Submission",
    "TokenBucket",
    "TransportFault",
    "VirtualTimeLoop",
    "html_reply",
    "json_reply",
    "picture",
    "relay_error",
    "run_in_virtual_time",
]
