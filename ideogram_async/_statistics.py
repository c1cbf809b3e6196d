"""Figures on polling itself, as they stand at the moment they are asked for."""

from __future__ import annotations

from typing import Literal

import msgspec

SessionState = Literal["open", "throttled", "broken", "refused"]
TransportLane = Literal["fast", "plain"]


class SessionStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the session of one key has done, without the key."""

    queries: int = 0
    """Queries sent, replays included."""
    in_flight: int = 0
    """Queries sent and not yet answered."""
    refused: int = 0
    """Queries answered by a throttle (429, 503) or a refused key."""
    rate: float | None = None
    """Queries a second that refusals have left it, or None where no limit has shown."""
    state: SessionState = "open"
    """In use; holding for a throttle; holding for a gateway that is down; its key refused."""
    held: float = 0.0
    """Seconds for which a throttle, or what the gateway asked, still holds it."""
    reason: str | None = None
    """What the gateway said when it refused the key."""


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a client has done since its first call."""

    queries: int = 0
    """Queries sent, replays included."""
    in_flight: int = 0
    """Queries sent and not yet answered."""
    pending: int = 0
    """Ids that are being polled or asked, each counted once however many await it."""
    completed: int = 0
    """Ids that were seen to complete."""
    failed: int = 0
    """Ids that ended in a `RequestError`."""
    refused: int = 0
    """Queries answered by a throttle (429, 503) or a refused key."""
    sessions: tuple[SessionStatistics, ...] = ()
    """The figures of each session, in the order of the keys."""
    lane: TransportLane | None = None
    """How queries are sent: over connections that the client keeps itself, which costs less than
    half, or each through aiohttp's session, where tracing sees it. None before the first call."""
    lane_reason: str | None = None
    """Why they are sent so."""


class RunStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has done."""

    taken: int = 0
    """Distinct ids taken in."""
    pending: int = 0
    """Ids taken in whose end is not yet known."""
    completed: int = 0
    """Ids that ended well: complete, or in `retrieve_many` answered."""
    failed: int = 0
    """Ids that ended in a `RequestError`."""
    yielded: int = 0
    """Results that the caller has had."""
