"""A rate that was told: queries go out evenly, and lateness is made up a little."""

from __future__ import annotations

import math
from collections.abc import Callable

from ideogram_async._statistics import LimitSource

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
    is_certain: bool = True
    held_until: float = -math.inf
    is_probing: bool = False

    def __init__(self, rate: float) -> None:
        self.rate: float = rate
        self._next = -math.inf
        self._soonest = -math.inf
        self._waited = False

    def opens_at(self, now: float) -> float:  # noqa: ARG002 - the protocol's
        """Return when the next query may be sent."""
        return max(self._next, self._soonest)

    def wait(self, pending: float) -> None:  # noqa: ARG002 - the protocol's
        """Record that a due query waits: only then lateness is made up."""
        self._waited = True

    def sent(self, now: float, *, paced: bool = True) -> None:  # noqa: ARG002 - all are
        """Record that a query goes out."""
        made_up, late = (MADE_UP_SECONDS, TIMER_SECONDS) if self._waited else (0.0, 0.0)
        self._waited = False
        self._next = max(self._next, now - made_up) + 1 / self.rate
        self._soonest = max(self._soonest, now - late) + 1 / (MADE_UP_AT * self.rate)

    def accepted(self, asked: float, now: float) -> None:
        """Do nothing: what the gateway answers changes no rate that was told."""

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:  # noqa: ARG002
        """Do nothing: the session finds out how far a told rate is wrong."""
        return False

    def announced(self, remaining: float, seconds: float, now: float) -> None:
        """Do nothing: the caller knows better."""

    def hold(self, until: float, now: float) -> None:  # noqa: ARG002 - the protocol's
        """Send nothing until then."""
        self.held_until = max(self.held_until, until)
        self._next = max(self._next, until)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Do nothing: it never opens sooner than it said."""
