"""Figures about the polling, as of the moment of the call that returns them."""

from __future__ import annotations

from typing import Literal

import msgspec

SessionState = Literal["open", "throttled", "broken", "refused"]
TransportLane = Literal["fast", "plain"]


class SessionStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one key's session. They do not hold the key."""

    queries: int = 0
    """Queries sent, replays included."""
    in_flight: int = 0
    """Queries sent and not yet answered."""
    refused: int = 0
    """Queries that were throttled (429, 503), or whose key was refused."""
    rate: float | None = None
    """Queries per second that the session now allows itself. None: no limit was met so far."""
    limit_source: Literal["none", "told", "found", "header"] = "none"
    """How the limit is known. told: by `max_rate`. found: by what was accepted and refused.
    header: by an answer's `RateLimit` or the like. none: no limit has shown."""
    limit_certain: bool = False
    """Whether the rate was told, or found and tried: else it rests on few queries so far."""
    state: SessionState = "open"
    """open: in use. throttled: it waits after a refusal. broken: the gateway is down.
    refused: the key was refused."""
    held: float = 0.0
    """Seconds that a throttle or a `Retry-After` still holds the session; `reason` says why."""
    next_try: float = 0.0
    """Seconds until it sends the next test query, where it is not open; 0 while one is sent."""
    reason: str | None = None
    """Why it is not open: what the gateway said, or why it cannot be reached."""


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a client since its first call."""

    queries: int = 0
    """Queries sent, replays included."""
    in_flight: int = 0
    """Queries sent and not yet answered."""
    pending: int = 0
    """Ids that have not ended. An id that several callers await counts once."""
    completed: int = 0
    """Ids that are complete; in `retrieve` and `retrieve_many`, that were answered."""
    failed: int = 0
    """Ids that ended with a `RequestError`."""
    failing: int = 0
    """Ids that are pending, and whose last queries had faults of their own."""
    refused: int = 0
    """Queries that were throttled (429, 503), or whose key was refused."""
    sessions: tuple[SessionStatistics, ...] = ()
    """The figures of each session, in the order of the keys."""
    lane: TransportLane | None = None
    """How queries are sent: over connections that the client keeps itself, which costs less than
    half, or each through aiohttp's session, where tracing sees it. None before the first call."""
    lane_reason: str | None = None
    """Why they are sent so."""


class RunStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run."""

    taken: int = 0
    """Distinct ids that were read from the caller's iterable."""
    pending: int = 0
    """Ids among them that have not ended."""
    completed: int = 0
    """Ids that are complete; in `retrieve_many`, that were answered."""
    failed: int = 0
    """Ids that ended with a `RequestError`."""
    yielded: int = 0
    """Results that were yielded to the caller."""
