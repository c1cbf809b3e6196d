"""A rate that was told: queries go out evenly, and lateness is made up a little."""

from __future__ import annotations

import math

from ideogram_async._limiter import LimitSource

MADE_UP_SECONDS = 0.05
"""Lateness of a timer, or of the loop, that is made up while due queries wait: so many seconds'
worth of queries may go out in excess of an even pace."""
MADE_UP_RATE_FACTOR = 1.25
"""Times the rate at which lateness is made up: a gateway sees no burst."""
TIMER_SECONDS = 0.005
"""Lateness that is made up at once: the loop rounds its timers to milliseconds."""


class ToldRate:
    """At most `rate` queries per second; no more than rate · (T + 0.05 s) + 1 in any T seconds."""

    source: LimitSource = "told"

    def __init__(self, rate: float) -> None:
        self.rate: float = rate
        self.opens_at: float = -math.inf
        """When the next query may be sent."""
        self._interval = 1 / rate
        self._next = self._soonest = -math.inf
        self._waited = False

    def wait(self) -> None:
        """Record that a due query waits: only then lateness is made up."""
        self._waited = True

    def sent(self, now: float) -> None:
        """Record that a query goes out."""
        if self._waited:
            self._waited = False
            self._next = max(self._next, now - MADE_UP_SECONDS) + self._interval
            soonest = max(self._soonest, now - TIMER_SECONDS) + self._interval / MADE_UP_RATE_FACTOR
            self._soonest = soonest
            self.opens_at = max(self._next, soonest)
        else:
            self._next = self.opens_at = max(self._next, now) + self._interval
