"""Figures on polling itself, as they stand at the moment they are asked for."""

from __future__ import annotations

import msgspec


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
