"""What a gateway's headers say of its limit: believed until deeds disprove it."""

from __future__ import annotations

import math

LONGEST_SECONDS = 60.0
"""Seconds that an announcement binds at most."""
UNCOUNTED = 3
"""Accepted queries that the header did not count, after which it is another limit's: relays copy
the headers of their upstream."""


class AnnouncedLimit:
    """An upper bound of the rate.

    The cases of an announcement:

    1. It was disproved before: ignored.
    2. A new window: more remains than before, or the last one has ended.
    3. The same window: what remains falls by each accepted query. Where it does not, it is not
       this client's limit.
    """

    def __init__(self) -> None:
        self.rate: float = math.inf
        """Queries per second that it allows; inf for no bound."""
        self.until: float = -math.inf
        """When the announcement ends."""
        self._is_disproved = False
        self._most = self._least = math.inf
        self._accepted = 0
        self._ends = -math.inf

    def bound(self, now: float) -> float:
        """Return the rate that it allows now."""
        if now >= self.until:
            self.rate = math.inf
        return self.rate

    def accepted(self) -> None:
        """Record an accepted query."""
        self._accepted += 1

    def announce(self, remaining: float, seconds: float, now: float) -> None:
        """Record that so many more queries are allowed within so many seconds."""
        if self._is_disproved or seconds <= 0:
            return
        if now >= self._ends or remaining > self._most:
            self._most = self._least = remaining
            self._accepted, self._ends = 0, now + seconds
        self._least = min(self._least, remaining)  # answers overtake each other
        if self._accepted - (self._most - self._least) >= UNCOUNTED:
            self._is_disproved = True
            self.rate, self.until = math.inf, -math.inf
            return
        self.rate = max(self._least, 1.0) / seconds
        self.until = now + min(seconds, LONGEST_SECONDS)
