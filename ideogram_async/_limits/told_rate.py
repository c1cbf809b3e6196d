"""A rate that was told: queries go out evenly, and lateness is made up a little."""

from __future__ import annotations

import math
from collections.abc import Callable

from ideogram_async._limiter import LimitSource

MADE_UP_SECONDS = 0.05
"""Lateness of a timer, or of the loop, that is made up while due queries wait: so many seconds'
worth of queries may go out in excess of an even pace."""
MADE_UP_AT = 1.25
"""Times the rate at which lateness is made up: a gateway sees no burst."""
TIMER_SECONDS = 0.005
"""Lateness that is made up at once: the loop rounds its timers to milliseconds."""


class ToldRate:
    """At most `rate` queries per second; no more than rate · (T + 0.05 s) + 1 in any T seconds."""

    source: LimitSource = "told"
    held_until: float = -math.inf
    is_probing: bool = False

    def __init__(self, rate: float) -> None:
        self.rate: float = rate
        self._interval = 1 / rate
        self._opens_at = self._next = -math.inf
        self._soonest = -math.inf
        self._waited = False

    def opens_at(self, now: float) -> float:  # noqa: ARG002 - the protocol's
        """Return when the next query may be sent."""
        return self._opens_at

    def wait(self, pending: float) -> None:  # noqa: ARG002 - the protocol's
        """Record that a due query waits: only then lateness is made up."""
        self._waited = True

    def sent(self, now: float, *, paced: bool = True) -> None:  # noqa: ARG002 - all are
        """Record that a query goes out."""
        if self._waited:
            self._waited = False
            self._next = max(self._next, now - MADE_UP_SECONDS) + self._interval
            soonest = max(self._soonest, now - TIMER_SECONDS) + self._interval / MADE_UP_AT
            self._soonest = soonest
            self._opens_at = max(self._next, soonest)
        else:
            self._next = self._opens_at = max(self._next, now) + self._interval

    def change_rate(self, rate: float, now: float) -> None:
        """Go on at another rate; what was sent too soon for it is made up for at that rate."""
        if rate != self.rate:
            slower = self.rate / rate
            self._next = min(self._next, now) + max(self._next - now, 0.0) * slower
            self._soonest = min(self._soonest, now) + max(self._soonest - now, 0.0) * slower
            self._opens_at = max(self._next, self._soonest)
            self.rate, self._interval = rate, 1 / rate

    def accepted(self, asked: float, now: float) -> None:
        """Do nothing: what the gateway answers changes no rate that was told."""

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:  # noqa: ARG002
        """Do nothing: the session finds out how far a told rate is wrong."""
        return False

    def hold(self, until: float, now: float) -> None:  # noqa: ARG002 - the protocol's
        """Send nothing until then."""
        self.held_until = max(self.held_until, until)
        self._next = max(self._next, until)
        self._opens_at = max(self._opens_at, until)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Do nothing: it never opens sooner than it said."""
